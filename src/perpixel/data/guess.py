"""Tell from a folder's shape how its labelled images are laid out, for people who do not know the layouts' names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perpixel.data.check import spread
from perpixel.data.folders import PICTURES, list_files
from perpixel.data.layouts import open_dataset
from perpixel.data.samples import LabelKind, LabelledImages
from perpixel.errors import ConfigError, InputError, PerpixelError
from perpixel.images.labels import read_labels

__all__ = ["Guess", "guess_layout", "open_some_split", "other_splits"]

# Folders and files that only one data set has, in the order in which they are looked for.
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("nyuv2", ("nyu_depth_v2_labeled.mat", "splits.mat", "train_annotations.json", "official_splits")),
    ("kitti", ("data_depth_annotated", "depth_selection", "2011_*_*", "raw/2011_*_*", "kitti_raw")),
    ("cityscapes", ("leftImg8bit", "cityscapes/leftImg8bit")),
    ("ade20k", ("ADEChallengeData2016", "annotations/training", "annotations/validation", "annotations_instance")),
    ("pascal-context", ("JPEGImages", "VOC2010", "VOCdevkit/VOC2010")),
    ("distinctions-646", ("Train/FG", "Test/FG", "Test/Image")),
    ("composition-1k", ("Training_set", "Test_set", "Combined_Dataset", "merged", "alpha_copy")),
    ("coco-panoptic", ("annotations/panoptic_*2017.json",)),
    ("coco", ("annotations/instances_*2017.json",)),
)
_IMAGES = ("images", "image", "rgb", "color", "photos", "JPEGImages", "imgs", "img")
_DEPTHS = ("depths", "depth")
_ALPHAS = ("alphas", "alpha", "mattes", "matte")
_LABELS = ("labels", "masks", "annotations", "segmentation", "trimaps", "gt", "label", "mask")
_SPLITS = ("train", "training", "val", "validation", "valid", "test")
_LOOKED_AT = 200  # label pictures, to learn which values they hold
_SHOWN = 12


@dataclass(frozen=True)
class Guess:
    """A layout that fits a folder.

    Attributes:
        layout: its name, as in `LAYOUTS`.
        why: what in the folder speaks for it.
        options: what its reader has to be told.
        doubts: what was taken for granted, and how to say it better.
    """

    layout: str
    why: str
    options: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


def guess_layout(root: Path, given: Iterable[str] = ()) -> Guess | None:
    """Find the layout that a folder has; None if nothing fits.

    Args:
        root: the folder.
        given: names of options that are known already, and so need no guess.

    Raises:
        InputError: it is no folder, or two of its files have the same name.
    """
    if not root.is_dir():
        raise InputError(f"{root} {'is no folder' if root.exists() else 'does not exist'}: give a data set's folder")
    for layout, signs in _SIGNS:
        for sign in signs:
            if next(root.glob(sign), None) is not None:
                return Guess(layout, f"there is {sign}")
    known = frozenset(given)
    for found in (_coco(root), _depth(root), _matte(root), _together(root), _labels(root, known), _cutouts(root)):
        if found is not None:
            return found
    return None


def open_some_split(
    layout: str, root: Path, split: str | None, kind: LabelKind | None, options: Mapping[str, Any]
) -> tuple[LabelledImages[Any], str]:
    """Open a data set, and where no split is given, the training one or the one that there is.

    Returns:
        the data set and the split.

    Raises:
        ConfigError, InputError: as `open_dataset` does, about the first split that was tried.
    """
    first: PerpixelError | None = None
    for candidate in ("train", "validation", "test", "all") if split is None else (split,):
        try:
            return open_dataset(layout, root, split=candidate, kind=kind, **options), candidate
        except (ConfigError, InputError) as error:
            first = first or error
            if candidate == "train" and _mentions(root, "train"):
                break  # it is there, and something is wrong with it
    assert first is not None
    raise first


def other_splits(root: Path, split: str) -> list[str]:
    """Parts of a data set, besides the one named, for which there are folders or files."""
    if split == "all":
        return []
    names = {"train": ("train",), "validation": ("val",), "test": ("test",)}
    return [name for name, words in names.items() if name != split and any(_mentions(root, word) for word in words)]


def _mentions(root: Path, word: str) -> bool:
    """Whether a folder, a list or a JSON file in the root or one level below has the word in its name."""
    for pattern in ("*", "*/*"):
        for place in root.glob(pattern):
            listing = place.suffix in (".txt", ".json")
            if word in re.split(r"[^a-z]+", place.name.lower().removesuffix("ing")) and (listing or place.is_dir()):
                return True
            if listing and word in place.stem.lower():
                return True
    return False


def _folders(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Folders of these names in the root, or in the folders of its splits."""
    for base in (root, *(root / split for split in _SPLITS)):
        for name in names:
            if (base / name).is_dir():
                yield base / name


def _coco(root: Path) -> Guess | None:
    """A JSON file in COCO's format and the folder that has the photographs it lists."""
    for path in sorted([*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/*.json")]):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
            continue
        rows = content["images"]
        if not isinstance(rows, list):
            continue
        names = [str(row.get("file_name", "")) for row in rows[:50] if isinstance(row, dict)]
        for folder in (root, *sorted(place for place in root.glob("*") if place.is_dir()), path.parent):
            if any(name and (folder / name).is_file() for name in names):
                options = {"annotations": _inside(path, root), "images": _inside(folder, root)}
                return Guess("coco", f"{options['annotations']} is in COCO's format", options)
    return None


def _depth(root: Path) -> Guess | None:
    for folder in _folders(root, _DEPTHS):
        return Guess("depth-folder", f"there is a folder {_inside(folder, root)}")
    return None


def _matte(root: Path) -> Guess | None:
    for folder in _folders(root, _ALPHAS):
        return Guess("matte-folder", f"there is a folder {_inside(folder, root)}")
    return None


def _together(root: Path) -> Guess | None:
    """Photographs and labels in one folder, told apart by what their names end in."""
    names = sorted(path.name for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    for word, layout, option in (
        ("depth", "depth-folder", "depth_suffix"),
        ("alpha", "matte-folder", "alpha_suffix"),
        ("matte", "matte-folder", "alpha_suffix"),
    ):
        endings = Counter(found[0] for name in names if (found := re.search(rf"[._-]{word}\.\w+$", name)))
        if not endings:
            continue
        ending = endings.most_common(1)[0][0]
        stems = [name[: -len(ending)] for name in names if name.endswith(ending)]
        rests = Counter(
            rest
            for stem in stems
            for name in names
            if name.startswith(stem) and re.fullmatch(r"([._-][a-z]+\d?)?\.\w+", rest := name[len(stem) :])
        )
        images = [
            rest for rest, _ in rests.most_common() if re.fullmatch(r"([._-](color|colour|rgb|image))?\.\w+", rest)
        ]
        images = [rest for rest in images if Path("x" + rest).suffix.lower() in PICTURES]
        if images:
            options = {"image_suffix": images[0], option: ending}
            trimaps = sorted(rest for rest in rests if "trimap" in rest)
            if trimaps and layout == "matte-folder":
                options["trimap_suffix"] = trimaps[0]
            return Guess(layout, f"there are pairs of *{images[0]} and *{ending}", options)
    return None


def _labels(root: Path, given: frozenset[str]) -> Guess | None:
    images = next(_folders(root, _IMAGES), None)
    if images is None:
        return None
    others = [
        place
        for place in sorted(images.parent.iterdir())
        if place.is_dir() and place != images and place.name[0] != "."
    ]
    others.sort(key=lambda place: _LABELS.index(place.name) if place.name in _LABELS else len(_LABELS))
    photos = list_files(images)
    for folder in others:
        pictures = [path for name, path in list_files(folder).items() if name in photos or _parent(name) in photos]
        if not pictures:
            continue
        options: dict[str, Any] = {} if images.name == "images" else {"images": images.name}
        why = f"{_inside(folder, root)} holds pictures with the names of those in {_inside(images, root)}"
        if folder.name == "masks":
            return Guess("label-folder", why, options)
        if folder.name != "labels":
            options["labels"] = folder.name
        doubts: tuple[str, ...] = ()
        named = any(place.stem in ("names", "classes") for place in root.glob("*.[tj][xs]*"))
        if not named and not given & {"names", "mapping"} and (values := _values(pictures)):
            mapping = _meanings(values)
            options["mapping"] = mapping
            said = ",".join(f"{value}:{name}" for value, name in list(mapping.items())[:_SHOWN])
            doubts = (
                f"what the values of the label pictures mean is not known, so it was guessed: --option mapping={said}"
                f"{',…' if len(mapping) > _SHOWN else ''}",
            )
        return Guess("label-folder", why, options, doubts)
    return None


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _values(pictures: list[Path]) -> list[int]:
    """The whole numbers in label pictures; none where they are colours."""
    found: set[int] = set()
    for place in spread(len(pictures), _LOOKED_AT):
        try:
            values = read_labels(pictures[place])
        except InputError:
            continue
        if values.ndim == 3:
            if (values != values[..., :1]).any():
                return []
            values = values[..., 0]
        found.update(int(value) for value in np.unique(values))
    return sorted(found)


def _meanings(values: list[int]) -> dict[int, str]:
    """Names for values: 0 and 255 alone are a mask; beside others, 255 is void."""
    if values == [0, 255] or values == [0, 1]:
        return {values[0]: "background", values[1]: "object"}
    return {value: "void" if value == 255 else f"class{value}" for value in values}


def _cutouts(root: Path) -> Guess | None:
    """Pictures with transparency, and nothing else."""
    files = [path for path in list_files(root).values() if path.suffix.lower() in (".png", ".webp", ".tif", ".tiff")]
    for place in spread(len(files), 5):
        try:
            with Image.open(files[place]) as picture:
                clear = picture.has_transparency_data
        except (OSError, ValueError, SyntaxError):
            continue
        if clear:
            return Guess("rgba", f"{_inside(files[place], root)} has transparency")
        return None
    return None


def _inside(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
