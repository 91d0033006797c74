"""Photographs and their labels in folders: found by name, paired, and read one by one."""

from __future__ import annotations

import operator
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from perpixel.data.samples import Categories, LabelKind, Sample
from perpixel.errors import ConfigError, InputError
from perpixel.images.read import read_photo

__all__ = ["PICTURES", "Found", "Part", "Reader", "find_parts", "list_files", "pair_names", "read_lines", "read_pixels"]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})

# What people call the parts of a data set.
_SPLITS = {
    "train": ("train", "training", "Train"),
    "validation": ("validation", "val", "valid", "Validation"),
    "test": ("test", "testing", "Test"),
}
WHOLE = "all"
_SHOWN = 5

SampleType = TypeVar("SampleType", bound=Sample)


class Reader(ABC, Generic[SampleType]):
    """A sequence of samples that are read from files when they are asked for.

    It holds names and paths only, so it can be forked, pickled and sent to workers.

    Args:
        kind: what the samples are labelled with.
        names: the samples' names, in order.
        categories: the classes of a segmentation data set.
    """

    def __init__(self, kind: LabelKind, names: Iterable[str], categories: Categories | None = None) -> None:
        self._kind = kind
        self._names = tuple(names)
        self._categories = categories

    @property
    def kind(self) -> LabelKind:
        """What its samples are labelled with."""
        return self._kind

    @property
    def categories(self) -> Categories | None:
        """The classes of a segmentation data set; None for mattes and depth."""
        return self._categories

    @property
    def names(self) -> tuple[str, ...]:
        """The samples' names, in order."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: SupportsIndex) -> SampleType:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"sample {place} of {len(self)}")
        return self.read(place % len(self))

    def __iter__(self) -> Iterator[SampleType]:
        for place in range(len(self)):
            yield self.read(place)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} {self.kind} samples)"

    @abstractmethod
    def read(self, place: int) -> SampleType:
        """Read the sample at a place from 0; an unreadable file is an InputError that names it."""


@dataclass(frozen=True)
class Part:
    """One of the files that make a sample, and where they lie.

    Attributes:
        role: what messages call it: "image", "alpha", "depth".
        folders: names of its folder, the first one is the usual.
        suffixes: of its files.
        ending: what its files' names end in where that says more, such as ".depth.png"; it is no part of a name.
        needed: whether a data set without its folder is refused.
    """

    role: str
    folders: tuple[str, ...]
    suffixes: frozenset[str] = PICTURES
    ending: str | None = None
    needed: bool = True


@dataclass(frozen=True)
class Found:
    """The samples of a folder.

    Attributes:
        names: in order.
        paths: for each role, the file of each name; roles whose folder is absent are left out.
    """

    names: tuple[str, ...]
    paths: Mapping[str, tuple[Path, ...]]


def find_parts(root: Path, parts: Sequence[Part], split: str, expected: str) -> Found:
    """Find the files of a split of a plain data set, and pair them by name.

    The folders of the parts lie in `root`, in `root/SPLIT`, or hold a folder for each split (`images/train`). Where
    no part has a folder and each has an ending, all files lie together. A data set without folders for splits is all
    "train", and any data set is all "all".

    Args:
        root: the data set's folder.
        parts: what makes a sample: the photographs, the labels, and what else there is.
        split: "train", "validation", "test", "all", or the name of the split's folder.
        expected: what should lie in the root, for messages.

    Raises:
        InputError: no such folder, no files, two files of one name, or files without a partner, which it names.
    """
    places = _places(root, parts, split, expected)
    if places is None:
        endings = {part.role: part.ending for part in parts if part.ending is not None}
        listed = _list_together(_split_folder(root, split) or root, endings)
    else:
        listed = {
            part.role: list_files(places[part.role], part.suffixes, part.ending)
            for part in parts
            if part.role in places
        }
    for part in parts:
        if part.needed and not listed.get(part.role):
            where = root if places is None else places[part.role]
            ending = f"*{part.ending}" if part.ending else " or ".join(sorted(part.suffixes))
            raise InputError(f"{where} holds no {part.role} ({ending}): expected is {expected}")
    listed = {role: files for role, files in listed.items() if files}
    names = pair_names(listed)
    return Found(names, {role: tuple(files[name] for name in names) for role, files in listed.items()})


def list_files(folder: Path, suffixes: frozenset[str] = PICTURES, ending: str | None = None) -> dict[str, Path]:
    """List the files of a folder and of the folders in it, by name.

    A name is the path from the folder without the suffix, or without the ending if one is given. Hidden files are
    left out, links are followed.

    Raises:
        InputError: two files have the same name, such as `cat.jpg` and `cat.png`.
    """
    found: dict[str, Path] = {}
    for relative in _walk(folder):
        if ending is None:
            name, suffix = os.path.splitext(relative)  # noqa: PTH122 - a path for each takes ten times as long
            if suffix.lower() not in suffixes:
                continue
        elif _has(relative, ending):
            name = relative[: -len(ending)]
        else:
            continue
        path = Path(folder, relative)
        if name in found:
            raise InputError(f"{found[name]} and {path} have the same name {name!r}: remove or rename one of them")
        found[name] = path
    return dict(sorted(found.items()))


def pair_names(listed: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    """The names that files of every role have, in order.

    Args:
        listed: for each role its files by name, the photographs first.

    Raises:
        InputError: a file has no partner; the message names the first ones.
    """
    (first, images), *others = listed.items()
    for role, files in others:
        for lacking, having, sources in ((role, first, images), (first, role, files)):
            partners = files if lacking == role else images
            alone = [sources[name] for name in sources if name not in partners]
            if alone:
                shown = ", ".join(str(path) for path in alone[:_SHOWN])
                more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
                raise InputError(
                    f"{len(alone)} of {len(sources)} {having}s have no {lacking} of the same name: {shown}{more}; "
                    "add what is missing or take them out"
                )
    return tuple(images)


def plain_folder(root: Path, split: str) -> Path:
    """The folder of a split of a data set whose files are of one sort: `root/SPLIT`, or `root` where it has no splits.

    Raises:
        InputError: the data set has no such split.
    """
    own = None if split == WHOLE else _split_folder(root, split)
    if own is None and split != WHOLE and (split != "train" or _divided(root)):
        raise _no_split(root, split)
    return own or root


def one_kind(kind: LabelKind | None, only: LabelKind, layout: str) -> None:
    """Refuse a kind of label that a layout does not have.

    Raises:
        ConfigError: `kind` is neither None nor the only one.
    """
    if kind not in (None, only):
        raise ConfigError(f"the layout {layout!r} is labelled for {only}, not {kind}: leave kind out")


def read_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """Read a photograph upright, (h, w, 3) uint8 RGB; an unreadable one is an InputError that names it."""
    return read_photo(path).rgb8


def read_lines(path: Path) -> list[str]:
    """The lines of a list of names, stripped, without empty ones.

    Raises:
        InputError: the file cannot be read as text.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of names ({error}): give a text file") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def named_list(root: Path, file: str | Path) -> Path:
    """A list of names that is given as a path, or as one from the data set's folder.

    Raises:
        InputError: there is no such file.
    """
    for path in (Path(file), root / file):
        if path.is_file():
            return path
    raise InputError(f"{file} is neither a file nor one in {root}: give the list of the names to read")


def same_size(image: npt.NDArray[np.uint8], label: tuple[int, ...], path: Path, role: str, label_path: Path) -> None:
    """Refuse a label of another size than its photograph.

    Raises:
        InputError: it names both files and both sizes.
    """
    if image.shape[:2] != label[:2]:
        own, needed = f"{label[1]}×{label[0]}", f"{image.shape[1]}×{image.shape[0]}"
        raise InputError(
            f"{label_path} is {own} but {path} is {needed} (width×height): "
            f"the {role} must have the size of its photograph as a viewer shows it (EXIF turns it)"
        )


def _walk(folder: Path) -> Iterator[str]:
    """Every file below a folder as its path from there, with "/" between the names."""
    seen: set[tuple[int, int]] = set()
    for top, folders, files in os.walk(folder, followlinks=True):
        status = Path(top).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = Path(top).relative_to(folder).as_posix()
        before = "" if inner == "." else inner + "/"
        for name in files:
            if not name.startswith("."):
                yield before + name


def _has(relative: str, ending: str) -> bool:
    """Whether a file has an ending, and a name before it."""
    return relative.endswith(ending) and relative.rpartition("/")[2] != ending


def _list_together(folder: Path, endings: Mapping[str, str]) -> dict[str, dict[str, Path]]:
    """Files that lie in one folder, each given to the longest ending that fits it; photographs and labels first."""
    found: dict[str, dict[str, Path]] = {role: {} for role in endings}
    order = sorted(endings, key=lambda role: -len(endings[role]))
    for relative in _walk(folder):
        for role in order:
            if _has(relative, endings[role]):
                found[role][relative[: -len(endings[role])]] = Path(folder, relative)
                break
    images, labels = (found[role] for role in list(endings)[:2])
    if Path("name" + next(iter(endings.values()))).stem == "name":  # ".png" fits what is no photograph too
        for name in images.keys() - labels.keys():
            del images[name]
    return {role: dict(sorted(files.items())) for role, files in found.items()}


def _places(root: Path, parts: Sequence[Part], split: str, expected: str) -> dict[str, Path] | None:
    """The folder of each part that is there; None where all files lie together."""
    own = _split_folder(root, split)
    for base in [own, root] if own is not None and split != WHOLE else [root]:
        chosen = {part.role: folder for part in parts if (folder := _folder(base, part.folders)) is not None}
        if parts[0].role not in chosen:
            continue
        if base == root and split != WHOLE:
            chosen = _inner(chosen, parts[0].role, split, root)
        for part in parts:
            if part.needed and part.role not in chosen:
                raise InputError(f"{base} has no folder {part.folders[0]} with {part.role}s: expected is {expected}")
        return chosen
    if all(part.ending is not None for part in parts if part.needed):
        if own is None and split not in ("train", WHOLE):
            raise _no_split(root, split)
        return None
    if own is None and _divided(root):
        raise _no_split(root, split)
    raise InputError(f"{own or root} has no folder {parts[0].folders[0]}: expected is {expected}")


def _inner(chosen: dict[str, Path], first: str, split: str, root: Path) -> dict[str, Path]:
    """Go into the folders of a split, such as images/train, if there are any."""
    inner = {role: folder for role, outer in chosen.items() if (folder := _split_folder(outer, split)) is not None}
    if first in inner:
        return inner
    if split != "train" or _divided(chosen[first]):
        raise _no_split(root, split)
    return chosen


def _no_split(root: Path, split: str) -> InputError:
    there = [name for names in _SPLITS.values() for name in names if (root / name).is_dir()]
    mend = f"it has {', '.join(there)}" if there else f"put it into a folder {split}"
    return InputError(f"{root} has no part {split!r}: {mend}, or take split={WHOLE!r} for all samples")


def _divided(folder: Path) -> bool:
    """Whether a folder holds folders for splits."""
    return any((folder / name).is_dir() for names in _SPLITS.values() for name in names)


def _split_folder(root: Path, split: str) -> Path | None:
    return _folder(root, _SPLITS.get(split, (split,)))


def _folder(base: Path, names: Iterable[str]) -> Path | None:
    return next((base / name for name in names if (base / name).is_dir()), None)
