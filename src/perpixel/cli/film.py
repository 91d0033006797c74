"""`perpixel cutout`, `depth` and `segment` for films: which words mean films, where each result goes, and the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import perpixel
from perpixel.cli.files import Source, expand
from perpixel.cli.reporting import Done, Settings, UsageError, progress, run_files

if TYPE_CHECKING:
    from perpixel.images.film_write import Content
    from perpixel.tasks.video import FilmResults

# The suffixes of perpixel.images.video, which is not imported for `--help`; a test keeps the two equal.
SUFFIXES = frozenset(
    {
        ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
        ".ts", ".webm", ".wmv",
    }
)  # fmt: skip


def are_films(images: Sequence[str]) -> bool:
    """Whether the words of a command mean films.

    Raises:
        UsageError: some are films and some are not.
    """
    films = [word for word in images if Path(word).suffix.lower() in SUFFIXES and not Path(word).is_dir()]
    if films and len(films) < len(images):
        other = next(word for word in images if word not in films)
        raise UsageError(f"{films[0]} is a film and {other} is not: do films and pictures apart")
    return bool(films)


def only_for_pictures(options: Mapping[str, object]) -> None:
    """Refuse options that films do not have: names of options and whether each was given."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} is for pictures, and the input is a film: leave it out")


def cutout_films(
    images: Sequence[str],
    settings: Settings,
    *,
    hints: dict[str, Any],
    segmentation_model: str | None,
    every: int | None,
    output: str | None,
    background: str | None,
    json: bool,
    model: str | None,
    device: str | None,
    dtype: Any,
    engine: Any,
    max_memory: str | None,
) -> int:
    """Cut the subject out of films; `hints` are the keywords of `perpixel.cutout_film` that were given."""
    content: Content = "alpha" if background is None else "picture"
    sources = expand(images)
    reads = [hints.get("trimap_first"), hints.get("mask_first"), Path(background) if background else None]
    outputs = _place(sources, output, "cutout", ".mov" if background is None else ".mp4", content, reads)
    perpixel.tune_allocator(many_sizes=True)  # before torch is imported
    from perpixel.tasks.matting import load_matting_model
    from perpixel.tasks.video_cutout import EVERY, cutout_film

    network = load_matting_model(model, device, dtype, engine)
    segmenter = None
    if "label" in hints or "subject" in hints:
        from perpixel.tasks.segmentation import load_segmenter

        segmenter = load_segmenter(segmentation_model, device, dtype, engine)

    def work(film: Path) -> tuple[FilmResults[Any], Callable[..., Path]]:
        results = cutout_film(
            film,
            **hints,
            segmentation_model=segmenter,
            every=every or EVERY,
            model=network,
            max_memory=max_memory,
        )
        return results, lambda path, watch: results.save(path, background=background, watch=watch)

    return _run(sources, outputs, work, json, settings)


def depth_films(
    images: Sequence[str],
    settings: Settings,
    *,
    output: str | None,
    colour: str | None,
    size: int | None,
    kind: Any,
    json: bool,
    model: str | None,
    device: str | None,
    dtype: Any,
    engine: Any,
    quantize: Any,
    max_memory: str | None,
) -> int:
    """Estimate the depth of films."""
    sources = expand(images)
    suffix = Path(output).suffix.lower() if output else ".mp4"
    numbers = colour is None and (suffix == ".mkv" or _is_folder(output))
    outputs = _place(sources, output, "depth", ".mp4", "grey" if numbers else "picture")
    perpixel.tune_allocator(many_sizes=True)  # before torch is imported
    from perpixel.tasks.depth import load_depth_model
    from perpixel.tasks.video_depth import depth_film

    estimator = load_depth_model(model, device, dtype, engine, quantize, kind=kind)

    def work(film: Path) -> tuple[FilmResults[Any], Callable[..., Path]]:
        results = depth_film(film, model=estimator, max_memory=max_memory, size=size)
        what: Literal["colour", "depth"] = "depth" if numbers else "colour"
        return results, lambda path, watch: results.save(path, what, map=colour or "inferno", watch=watch)

    return _run(sources, outputs, work, json, settings)


def segment_films(
    images: Sequence[str],
    settings: Settings,
    *,
    output: str | None,
    kind: Any,
    label: list[str] | None,
    threshold: float,
    json: bool,
    model: str | None,
    device: str | None,
    dtype: Any,
    engine: Any,
    quantize: Any,
) -> int:
    """Draw the segments of films."""
    sources = expand(images)
    outputs = _place(sources, output, "segments", ".mp4", "picture")
    perpixel.tune_allocator(many_sizes=True)  # before torch is imported
    from perpixel.tasks.segmentation import load_segmenter
    from perpixel.tasks.video_segment import segment_film

    segmenter = load_segmenter(model, device, dtype, engine, quantize)
    segmenter.kind(kind)  # before the work

    def work(film: Path) -> tuple[FilmResults[Any], Callable[..., Path]]:
        results = segment_film(film, model=segmenter, kind=kind, threshold=threshold, labels=label)
        return results, lambda path, watch: results.save(path, watch=watch)

    return _run(sources, outputs, work, json, settings)


def first_hints(
    trimap: Path | None,
    mask: Path | None,
    box: Sequence[int] | None,
    points: Sequence[Sequence[int]],
    outside: Sequence[Sequence[int]],
    label: str | None,
    index: int | None,
    subject: str | None,
) -> dict[str, Any]:
    """The hints that were given, as keywords of `perpixel.cutout_film`."""
    hints = {
        "trimap_first": trimap,
        "mask_first": mask,
        "box": box,
        "points": points or None,
        "background_points": outside or None,
        "label": label,
        "index": index,
        "subject": subject,
    }
    return {name: hint for name, hint in hints.items() if hint is not None}


def _run(
    sources: Sequence[Source],
    outputs: Sequence[str],
    work: Callable[[Path], tuple[FilmResults[Any], Callable[..., Path]]],
    as_json: bool,
    settings: Settings,
) -> int:
    paths = [source.path for source in sources]
    goals = {Path(output): output for output in outputs}  # a Path forgets the "/" at its end, which means a folder

    def film(path: Path, target: Path) -> Done:
        results, save = work(path)
        known = results.film
        with progress("frames", known.count, shown=len(paths) == 1) as show:
            frames = 0

            def watch(done: int) -> None:
                nonlocal frames
                frames = done
                show(done)

            save(goals[target], watch)
        details = {"frames": frames, "rate": float(known.rate)}
        return Done(known.width, known.height, f"{frames} frames", details)

    return run_files(paths, list(goals), film, as_json=as_json, settings=settings)


def _place(
    sources: Sequence[Source],
    output: str | None,
    ending: str,
    suffix: str,
    content: Content,
    others: Sequence[Path | None] = (),
) -> list[str]:
    """Where the result of each film goes, checked.

    Without `output` beside the film; one film goes to the file or the folder of frames that `output` names, many go
    into the folder, a film each.
    """
    from perpixel.images.film_write import check_film_output

    if output is None:
        goals = [str(source.path.with_name(f"{source.path.stem}-{ending}{suffix}")) for source in sources]
    elif len(sources) == 1:
        goals = [output]
    elif _is_folder(output):
        Path(output).mkdir(parents=True, exist_ok=True)
        goals = [str(Path(output) / f"{source.path.stem}{suffix}") for source in sources]
    else:
        raise UsageError(f"{len(sources)} films do not fit into one file, {output}: give a folder, -o out/")
    inputs = {path.resolve() for path in (*(source.path for source in sources), *others) if path is not None}
    for goal in goals:
        if Path(goal).resolve() in inputs:
            raise UsageError(f"{goal} is an input and would be overwritten: give another place with -o")
        if goals.count(goal) > 1:
            raise UsageError(f"two films would both become {goal}: do them apart, each with -o")
        if output is not None:  # otherwise the folder is the film's, and a missing one means a missing film
            check_film_output(goal, content)
    return goals


def _is_folder(output: str | None) -> bool:
    return output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir() or not Path(output).suffix)
