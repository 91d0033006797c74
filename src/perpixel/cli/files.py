"""From the words of a command to files: which pictures are meant, which hint belongs to each, where each
result goes."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perpixel.cli.reporting import UsageError
from perpixel.errors import InputError, OutputError

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""What counts as a picture when a folder is given; a file named on its own may have any suffix."""


@dataclass(frozen=True)
class Source:
    """One picture to work on, and the folder argument it was found in, if it was."""

    path: Path
    folder: Path | None = None


def expand(arguments: Sequence[str]) -> list[Source]:
    """The pictures that files, folders and glob patterns stand for, in order and each once.

    A folder stands for the pictures directly inside it, a pattern (`*`, `?`, `[…]`, `**`) for the files it
    matches. A file that does not exist is kept: the batch reports it and goes on with the rest.

    Raises:
        UsageError: a folder without a picture, or a pattern that matches nothing.
    """
    found: dict[Path, Source] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            sources = [Source(inside, path) for inside in sorted(path.iterdir()) if _is_picture(inside)]
            if not sources:
                raise UsageError(f"the folder {argument} holds no picture: give one that does")
        elif glob.has_magic(argument) and not path.exists():
            matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207
            sources = [Source(match) for match in matches if match.is_file()]
            if not sources:
                raise UsageError(f"no file matches {argument}: check the folder and the pattern")
        else:
            sources = [Source(path)]
        for source in sources:
            found.setdefault(source.path, source)
    return list(found.values())


def place(
    sources: Sequence[Source],
    output: str | None,
    ending: str,
    *,
    alpha: bool = False,
    others: Sequence[Path | None] = (),
) -> list[Path]:
    """Where the result of each source goes.

    Without `output`, `photo.jpg` becomes `photo-cutout.png` beside it, and the pictures of the folder `trip`
    go to the folder `trip-cutout` beside that (for `ending="cutout"`). With a file name as `output` the one
    result goes there; anything else is a folder, made if need be, and `photo.jpg` becomes `photo.png` in it.

    Args:
        sources: the pictures to work on.
        output: what `-o` was given.
        ending: what is added to a result's name, or its folder's, without `output`.
        alpha: whether the results have transparency, which not every format holds.
        others: further files that the command reads, and so may not overwrite.

    Raises:
        UsageError: many results for one file, two results for one place, or a result in place of an input.
        InputError: a format that cannot be written, or that lacks transparency.
        OutputError: the folder to write in does not exist, or cannot be made or written.
    """
    folder = Path(output) if output else None
    is_file = bool(folder and folder.suffix and not folder.is_dir() and not str(output).endswith(("/", os.sep)))
    if folder is not None and is_file:
        if len(sources) > 1 or sources[0].folder is not None:
            raise UsageError(f"{len(sources)} pictures do not fit into one file, {output}: give a folder, -o out/")
        goals = [folder]
    elif folder is not None:
        goals = [folder / f"{source.path.stem}.png" for source in sources]
    else:
        goals = [_beside(source, ending) for source in sources]

    inputs = {path.resolve() for path in (*(source.path for source in sources), *others) if path is not None}
    taken: dict[Path, Path] = {}
    for source, goal in zip(sources, goals, strict=True):
        if goal.resolve() in inputs:
            raise UsageError(f"{goal} is an input and would be overwritten: give another place with -o")
        if goal in taken:
            raise UsageError(f"{taken[goal]} and {source.path} would both become {goal}: do them apart, each with -o")
        taken[goal] = source.path

    for source, goal in zip(sources, goals, strict=True):
        if not is_file and (folder is not None or source.folder is not None):
            _make(goal.parent)
    if output:  # otherwise the folder is the picture's, and a missing one means a missing picture
        from perpixel.images.write import check_output

        check_output(goals[0], alpha=alpha)
    return goals


def hint_for(image: Path, hint: Path, kind: str) -> Path:
    """The hint file that belongs to an image.

    Args:
        image: the picture.
        hint: a file, which is meant for every picture, or a folder, where a file of the picture's name is
            looked for with any suffix: `hair.png`, `hair-trimap.png` or `hair_trimap.png` for `hair.jpg`.
        kind: "trimap" or "mask", the word in such names.

    Raises:
        InputError: the folder holds no such file.
    """
    if not hint.is_dir():
        return hint
    for name in (image.stem, f"{image.stem}-{kind}", f"{image.stem}_{kind}"):
        for path in sorted(hint.glob(f"{glob.escape(name)}.*")):
            if path.stem == name and path != image and _is_picture(path):
                return path
    names = f"{image.stem}.png or {image.stem}-{kind}.png"
    raise InputError(f"there is no {kind} for {image.name} in {hint}: put {names} there")


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _beside(source: Source, ending: str) -> Path:
    if source.folder is None:
        return source.path.with_name(f"{source.path.stem}-{ending}.png")
    folder = source.folder.resolve()
    return folder.with_name(f"{folder.name}-{ending}") / f"{source.path.stem}.png"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} ({error.strerror}): give another place with -o") from error
