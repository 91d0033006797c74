"""What the readers of segmentation data share: label pictures turned into class numbers, segments and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from perpixel.data.folders import read_pixels, same_size
from perpixel.data.samples import VOID, Categories, LabelKind, LabelledObject, SegmentationSample
from perpixel.errors import ConfigError, InputError
from perpixel.images.labels import read_labels
from perpixel.ops.rle import encode_rle

__all__ = [
    "SegmentationKind",
    "as_instance",
    "as_semantic",
    "choose_kind",
    "class_numbers",
    "inner_root",
    "listed",
    "official_split",
    "panoptic_sample",
    "read_ids",
    "semantic_sample",
    "things_of",
]

AnyArray = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]
SegmentationKind = Literal["semantic", "instance", "panoptic"]

# No class has this number; it marks values of a file that nothing is known about.
_UNKNOWN = VOID - 1
_TABLE = 2**16
_SHOWN = 8
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}


def choose_kind(kind: LabelKind | None, allowed: Sequence[SegmentationKind], layout: str) -> SegmentationKind:
    """The kind of label that was asked for; the first of the allowed ones by default.

    Raises:
        ConfigError: the layout does not have this kind.
    """
    if kind is None:
        return allowed[0]
    if kind not in allowed:
        raise ConfigError(f"the layout {layout!r} has no labels of kind {kind!r}: use {' or '.join(allowed)}")
    return cast(SegmentationKind, kind)


def official_split(split: str, layout: str) -> Literal["train", "val"]:
    """The split of a published data set, whose labels exist for two parts: "train" or "val", under either name.

    Raises:
        ConfigError: another name; the labels of test images are not published.

    >>> official_split("validation", "ade20k")
    'val'
    """
    if split not in _SPLITS:
        raise ConfigError(f"the layout {layout!r} has no labels for the split {split!r}: use 'train' or 'val'")
    return cast(Literal["train", "val"], _SPLITS[split])


def inner_root(root: Path, sign: str, names: Sequence[str], expected: str) -> Path:
    """The folder that a data set's own folders are in: `root`, or one of its usual names below it.

    Args:
        root: what was given.
        sign: a folder that has to be in it.
        names: of the folders below.
        expected: what should lie there, for the message.

    Raises:
        InputError: neither holds the sign.
    """
    for folder in (root, *(root / name for name in names)):
        if (folder / sign).is_dir():
            return folder
    raise InputError(f"{root} has no folder {sign}: expected is {expected}")


def things_of(categories: Categories) -> Categories:
    """Only the countable classes, numbered anew; what instance segmentation is done with.

    >>> things_of(Categories(("sky", "car"), (23, 26), (False, True)))
    Categories(names=('car',), ids=(26,), things=(True,))
    """
    kept = [number for number, thing in enumerate(categories.things) if thing]
    return Categories(
        tuple(categories.names[number] for number in kept), tuple(categories.ids[number] for number in kept)
    )


def read_ids(path: Path) -> AnyArray:
    """Read a label picture as one whole number a pixel.

    Args:
        path: a grey or palette picture of any depth, whose values are the numbers; or one in colour, where a number
            is red + 256 · green + 65536 · blue, as COCO has it.

    Returns:
        (h, w), an integer type or bool.

    Raises:
        InputError: it cannot be read, was compressed with losses, or holds fractions.
    """
    values = read_labels(path)
    if values.ndim == 3:
        wide = values.astype(np.int32)  # (h, w, 3)
        return np.asarray(wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2])  # (h, w)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values % 1).any():
            raise InputError(f"{path} holds fractions: labels are whole numbers, save it as an 8- or 16-bit PNG")
        values = values.astype(np.int64)
    return values


def class_numbers(
    values: AnyArray, numbers: Mapping[int, int], path: Path, mend: str, shown: Callable[[int], str] = str
) -> Labels:
    """Turn the numbers of a file into class numbers.

    Args:
        values: (h, w) integers or bool.
        numbers: for each number that may occur its class number, or VOID.
        path: the file, for the message.
        mend: what to do about other numbers, for the message.
        shown: how the message writes a number.

    Returns:
        (h, w) int32.

    Raises:
        InputError: another number occurs; the message names the file and the number.

    >>> class_numbers(np.array([[0, 7]]), {0: VOID, 7: 0}, Path("street.png"), "")
    array([[-1,  0]], dtype=int32)
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low >= 0 and high < _TABLE:
        table = np.full(high + 1, _UNKNOWN, np.int32)
        for value, number in numbers.items():
            if 0 <= value <= high:
                table[value] = number
        labels = table[values.astype(np.intp, copy=False)]  # (h, w)
    else:
        found, places = np.unique(values, return_inverse=True)
        table = np.array([numbers.get(int(value), _UNKNOWN) for value in found], np.int32)
        labels = table[places.reshape(values.shape)]  # (h, w)
    if (labels == _UNKNOWN).any():
        strange = np.unique(values[labels == _UNKNOWN]).tolist()
        raise InputError(f"{path} holds {listed([shown(value) for value in strange])}, which no class has: {mend}")
    return labels


def listed(values: Sequence[object]) -> str:
    """The first few of some values, for messages."""
    return ", ".join(map(str, values[:_SHOWN])) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def semantic_sample(name: str, image_path: Path, labels: Labels, label_path: Path) -> SegmentationSample:
    """A sample with a class for each pixel.

    Raises:
        InputError: the photograph cannot be read, or has another size than its labels.
    """
    image = read_pixels(image_path)
    same_size(image, labels.shape, image_path, "label picture", label_path)
    return SegmentationSample(name, image, "semantic", labels)


def panoptic_sample(
    name: str,
    image_path: Path,
    ids: AnyArray,
    segments: Mapping[int, LabelledObject],
    label_path: Path,
    void: Sequence[int] = (0,),
) -> SegmentationSample:
    """A sample with a segment for each pixel.

    Args:
        name: the sample's.
        image_path: its photograph.
        ids: (h, w) the number of each pixel's segment.
        segments: what is known of each number, in the order in which the sample lists them.
        label_path: the file that the numbers are from, for messages.
        void: the numbers of no segment.

    Raises:
        InputError: the photograph cannot be read or has another size, a number has no segment, or a segment no pixel.
    """
    image = read_pixels(image_path)
    same_size(image, ids.shape, image_path, "label picture", label_path)
    places = {**dict.fromkeys(void, VOID), **{identifier: place for place, identifier in enumerate(segments)}}
    known = np.array(sorted(places), np.int64)
    at = np.searchsorted(known, ids).clip(max=len(known) - 1)  # (h, w)
    strange = known[at] != ids
    if strange.any():
        raise InputError(
            f"{label_path} holds the segments {listed(np.unique(ids[strange]).tolist())}, of which its list says "
            "nothing: take picture and list from the same release, or write both anew"
        )
    labels = np.array([places[int(identifier)] for identifier in known], np.int32)[at]  # (h, w)
    areas = np.bincount(labels[labels != VOID], minlength=len(segments))
    if not areas.all():
        absent = [identifier for identifier, area in zip(segments, areas, strict=True) if not area]
        raise InputError(
            f"{label_path} has no pixel of the segments {listed(absent)} that its list names: take picture and list "
            "from the same release, or write both anew"
        )
    return SegmentationSample(name, image, "panoptic", labels, tuple(segments.values()))


def as_semantic(sample: SegmentationSample) -> SegmentationSample:
    """The classes of a panoptic sample; groups that were not separated count as their class."""
    assert sample.labels is not None
    numbers = np.array([item.category for item in sample.objects] + [VOID], np.int32)  # VOID is the last place
    return SegmentationSample(sample.name, sample.image, "semantic", numbers[sample.labels])


def as_instance(sample: SegmentationSample, categories: Categories) -> SegmentationSample:
    """The things of a panoptic sample, numbered as `things_of(categories)` does."""
    assert sample.labels is not None
    things = [number for number, thing in enumerate(categories.things) if thing]
    numbers = {number: place for place, number in enumerate(things)}
    objects = tuple(
        replace(item, category=numbers[item.category], rle=encode_rle(sample.labels == place))
        for place, item in enumerate(sample.objects)
        if item.category in numbers
    )
    return SegmentationSample(sample.name, sample.image, "instance", None, objects)
