"""`perpixel depth`: photographs in, how far away each pixel is out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.files import Source, expand, place
from perpixel.cli.film import are_films, depth_films, only_for_pictures
from perpixel.cli.reporting import Done, UsageError, run_files

# What --save takes: the suffix, what is added to the name, and what `DepthMap.save` is asked.
FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png16": (".png", "", {}),
    "png8": (".png", "", {"bits": 8}),
    "tiff": (".tiff", "", {}),
    "npy": (".npy", "", {}),
    "pfm": (".pfm", "", {}),
    "exr": (".exr", "", {}),
    "ply": (".ply", "", {}),
    "glb": (".glb", "", {}),
    "colour": (".png", "-colour", {"what": "colour"}),
    "relief": (".png", "-relief", {"what": "relief"}),
}
CLOUDS = ("ply", "glb")
NUMBERS = ("png16", "png8", "tiff", "npy", "pfm", "exr")
PICTURES = ("colour", "relief")


def depth(
    context: typer.Context,
    images: given.Images,
    save: Annotated[
        str | None,
        typer.Option(metavar="FORM,…", help=f"What to write: {', '.join(FORMS)}.", show_default="png16"),
    ] = None,
    colour: Annotated[
        Literal["grey", "inferno", "magma", "plasma", "viridis", "cividis", "turbo", "jet"] | None,
        typer.Option(help="Write a picture in these colours too.", show_default=False),
    ] = None,
    align: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y=METRES", help="A known distance; two or more give metres.", show_default=False),
    ] = None,
    farthest: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="With --align: what comes out farther is put there.", show_default=False),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES", help="With ply and glb: the angle that the longer side spans.", show_default="60"
        ),
    ] = None,
    detail: given.Detail = "whole",
    size: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="The side that the model sees.", show_default=False),
    ] = None,
    kind: Annotated[
        Literal["inverse", "metric"] | None,
        typer.Option(help="What the model's numbers are, where it does not say it itself.", show_default=False),
    ] = None,
    output: given.Output = None,
    json: given.Json = False,
    model: given.DepthModel = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: given.Engine = None,
    quantize: given.Quantize = None,
    max_memory: given.MaxMemory = None,
) -> int:
    """Estimate depth: how far away each pixel of photographs is.

    Most models give inverse depth without unit, which grows towards the camera; two known distances make metres of
    it. The numbers go to NAME-depth.png beside the photograph unless --save and -o say otherwise, and what they mean
    to a small JSON file beside them; ply and glb are point clouds.

    A film becomes NAME-depth.mp4 in colours; with -o to .mkv or a folder it is numbers of 16 bits.
    """
    if are_films(images):
        only_for_pictures(
            {
                "--save": save,
                "--align": align,
                "--farthest": farthest,
                "--fov": fov,
                "--detail tiled": detail == "tiled",
            }
        )
        return depth_films(
            images,
            context.obj,
            output=output,
            colour=colour,
            size=size,
            kind=kind,
            json=json,
            model=model,
            device=device,
            dtype=dtype,
            engine=engine,
            quantize=quantize,
            max_memory=max_memory,
        )
    sources = expand(images)
    forms = _forms(save, colour, output)
    known = _known(align)
    if farthest is not None and not known:
        raise UsageError("--farthest is given without --align: add the known distances")
    if farthest is not None and not 0 < farthest < math.inf:
        raise UsageError(f"--farthest takes metres above 0, not {farthest}")
    if fov is not None and not set(forms) & set(CLOUDS):
        raise UsageError("--fov is for point clouds: add --save ply or --save glb")
    if fov is not None and not 0 < fov < 180:
        raise UsageError(f"--fov takes degrees between 0 and 180, not {fov:g}")
    targets = _targets(sources, output, forms)
    if "exr" in forms:
        _check_exr()
    perpixel.tune_allocator()  # before torch is imported
    from perpixel.tasks.depth import load_depth_model

    if max_memory is not None:
        from perpixel.ops.tiling import memory_bytes

        memory_bytes(max_memory)
    paths = [source.path for source in sources]
    estimator = load_depth_model(model, device, dtype, engine, quantize, paths[: given.SHOWN], kind=kind)
    files = dict(zip(paths, targets, strict=True))

    def work(image: Path, target: Path) -> Done:
        found = perpixel.depth(image, model=estimator, max_memory=max_memory, detail=detail, size=size)
        if known:
            found = found.align(known, farthest=farthest)
        for form, path in zip(forms, files[image], strict=True):
            options: dict[str, Any] = dict(FORMS[form][2])
            if form in CLOUDS:
                options["fov"] = fov
            elif form in PICTURES and colour is not None:
                options["map"] = colour
            found.save(path, **options)
        values = found.values[found.valid]
        low, high = float(values.min()), float(values.max())
        details = {
            "kind": found.kind,
            "unit": found.unit,
            "least": low,
            "most": high,
            "unknown": int(found.valid.size - values.size),
            "files": [str(path) for path in files[image]],
        }
        words = f"{low:.3g} to {high:.3g} m" if found.unit else f"inverse depth {low:.3g} to {high:.3g}"
        return Done(found.width, found.height, words, details)

    return run_files(paths, [each[0] for each in targets], work, as_json=json, settings=context.obj)


def _forms(save: str | None, colour: str | None, output: str | None) -> list[str]:
    """What to write, each once."""
    file = _file(output)
    suffix = {".tif": ".tiff"}.get(file.suffix.lower(), file.suffix.lower()) if file else ".png"
    if save is None:
        by_suffix = {FORMS[form][0]: form for form in (*reversed(NUMBERS), *CLOUDS)}
        if suffix not in by_suffix:
            raise UsageError(f"{output} has the suffix {suffix}: depth goes to {', '.join(by_suffix)}")
        forms = [by_suffix[suffix]]
    else:
        forms = list(dict.fromkeys(part.strip().lower() for part in save.split(",")))
        if unknown := [form for form in forms if form not in FORMS]:
            raise UsageError(f"--save does not know {unknown[0]!r}: use {', '.join(FORMS)}, joined by commas")
        if "png16" in forms and "png8" in forms:
            raise UsageError("--save png16 and png8 would both become one file: give one of them")
        if file and suffix not in {FORMS[form][0] for form in forms}:
            raise UsageError(f"-o {output} fits none of --save {','.join(forms)}: give a folder, or another suffix")
    if colour is not None and not set(forms) & set(PICTURES):
        forms.append("colour")
    return forms


def _file(output: str | None) -> Path | None:
    """The one file that -o names, None for a folder."""
    path = Path(output or "")
    return path if output and path.suffix and not path.is_dir() and not output.endswith("/") else None


def _known(align: list[str] | None) -> dict[tuple[float, float], float]:
    """`["120,80=1.5"]` as `{(120, 80): 1.5}`."""
    known: dict[tuple[float, float], float] = {}
    for text in align or ():
        place_text, _, metres = text.partition("=")
        try:
            far = float(metres)
        except ValueError:
            far = math.nan
        if not 0 < far < math.inf:
            raise UsageError(f"--align takes a pixel and its distance in metres such as 120,80=1.5, not {text!r}")
        x, y = given.whole_numbers(place_text, 2, "--align")
        if known.setdefault((x, y), far) != far:
            raise UsageError(f"--align has two distances at {x},{y}: give one of them")
    if len(known) == 1:
        raise UsageError("--align is given once, and scale and shift need two: add another at another depth")
    return known


def _targets(sources: Sequence[Source], output: str | None, forms: Sequence[str]) -> list[list[Path]]:
    """For each picture the files of all forms.

    Raises:
        UsageError: an input would be overwritten, or two results would go to one place.
    """
    file = _file(output)
    # The place is found with a suffix that every picture may have; those of the forms replace it.
    bases = place(sources, str(file.with_suffix(".png")) if file else output, "depth")
    targets = [[base.with_name(f"{base.stem}{FORMS[form][1]}{FORMS[form][0]}") for form in forms] for base in bases]
    if file and file.suffix.lower() == ".tif":
        targets = [[path.with_suffix(file.suffix) if path.suffix == ".tiff" else path for path in targets[0]]]
    inputs = {source.path.resolve() for source in sources}
    taken: dict[Path, Path] = {}
    for source, row in zip(sources, targets, strict=True):
        for path in row:
            if path.resolve() in inputs:
                raise UsageError(f"{path} is an input and would be overwritten: give another place with -o")
            if path in taken:
                raise UsageError(
                    f"{taken[path]} and {source.path} would both become {path}: do them apart, each with -o"
                )
            taken[path] = source.path
    return targets


def _check_exr() -> None:
    from importlib.util import find_spec

    from perpixel.errors import MissingDependencyError

    if find_spec("OpenEXR") is None:
        raise MissingDependencyError('EXR needs the OpenEXR package: pip install "perpixel[exr]"')
