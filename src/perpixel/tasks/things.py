"""Which labels of the well-known data sets are things, which can be counted, and which are stuff, like the sky.

A checkpoint's configuration does not tell, but panoptic segmentation joins all parts of a stuff label into one
segment ("Panoptic Segmentation", Kirillov et al., 2019, arXiv 1801.00868), so the data set is recognised by its labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["known_things"]


@dataclass(frozen=True)
class _LabelSet:
    """A data set: how many labels, the names of some, and the labels that are things or stuff."""

    count: int
    some: Mapping[int, str]
    things: frozenset[int]


def _all_but(count: int, stuff: set[int]) -> frozenset[int]:
    return frozenset(range(count)) - stuff


# fmt: off
_ADE_STUFF = {
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77,
    79, 84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
}
_VISTAS_STUFF = {2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, *range(24, 32), 43, 58, 63, 64}
# fmt: on
_LABEL_SETS = (
    _LabelSet(133, {0: "person", 79: "toothbrush", 80: "banner"}, frozenset(range(80))),  # COCO panoptic
    _LabelSet(150, {0: "wall", 12: "person", 149: "flag"}, _all_but(150, _ADE_STUFF)),  # ADE20K
    _LabelSet(19, {0: "road", 11: "person", 18: "bicycle"}, frozenset(range(11, 19))),  # Cityscapes
    _LabelSet(65, {0: "bird", 55: "car"}, _all_but(65, _VISTAS_STUFF)),  # Mapillary Vistas
)


def known_things(id2label: Mapping[int, str]) -> frozenset[int] | None:
    """The labels that are things, or None for labels of no data set known here.

    Args:
        id2label: the name of every label.

    >>> known_things({0: "cat", 1: "dog"}) is None
    True
    """
    for known in _LABEL_SETS:
        if len(id2label) == known.count and all(
            str(id2label.get(label, "")).casefold() == name for label, name in known.some.items()
        ):
            return known.things
    return None
