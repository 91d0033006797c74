"""Names of labels as people write them and as data sets have them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["near_labels", "same_label"]

# What COCO's panoptic categories say about how they were joined.
_JOINED = ("-other-merged", "-merged", "-other", "-stuff")


def same_label(wanted: str, label: str) -> bool:
    """Whether a word means a label: the whole name, one of several, or COCO's without its ending, in any case.

    >>> [same_label("Sky", "sky-other-merged"), same_label("route", "road, route"), same_label("car", "cart")]
    [True, True, False]
    """
    return _plain(wanted) in _names(label)


def near_labels(wanted: str, labels: Iterable[str], count: int = 3) -> list[str]:
    """The labels whose names are spelt much like a word, the nearest first.

    >>> near_labels("persn", ["cat", "person", "purse"])
    ['person', 'purse']
    """
    spelt = {name: label for label in labels for name in _names(label)}
    close = difflib.get_close_matches(_plain(wanted), spelt, n=count, cutoff=0.55)
    return list(dict.fromkeys(spelt[name] for name in close))


def _names(label: str) -> set[str]:
    whole = _plain(label)
    names = {whole, *(part.strip() for part in whole.split(","))}
    return names | {name.removesuffix(ending) for name in names for ending in _JOINED}


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
