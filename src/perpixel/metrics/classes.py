"""What the measures of segmentation share: the classes by name, and maps of labels that are checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = ["VOID", "Classes", "Labels", "distinct_names", "label_map"]

Labels: TypeAlias = npt.NDArray[np.int64]

# A pixel that no class or segment is given for; the same number as in labelled samples.
VOID = -1


class Classes(Protocol):
    """The classes of a data set, in the order of their numbers; `perpixel.data.samples.Categories` is one."""

    @property
    def names(self) -> tuple[str, ...]:
        """For people, one for each class."""

    @property
    def things(self) -> tuple[bool, ...]:
        """Whether a class is countable rather than stuff."""


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names as keys of a report: one that several classes have gets the class number behind it.

    Example:
        >>> distinct_names(["sky", "screen", "screen"])
        ('sky', 'screen (1)', 'screen (2)')
    """
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({number})" for number, name in enumerate(names))


def label_map(labels: npt.NDArray[Any], count: int, name: str, what: str = "classes") -> Labels:
    """Check a map of labels: (h, w) whole numbers, each VOID or in 0 … count - 1.

    Args:
        labels: the map.
        count: how many labels there are.
        name: of the map, for the error.
        what: the labels are, for the error.

    Returns:
        (h, w) int64.

    Raises:
        InputError: another shape, no whole numbers, or a label beyond.
    """
    values = np.asarray(labels)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "iu":
        raise InputError(
            f"{name} is {values.dtype} of shape {values.shape}, and whole numbers of shape (height, width) are needed"
        )
    low, high = int(values.min()), int(values.max())
    if low < VOID or high >= count:
        wrong = low if low < VOID else high
        raise InputError(
            f"{name} has the label {wrong}, and there are {count} {what} (0 to {count - 1}; {VOID} is void): "
            "map the file's numbers to class numbers first, and its number for void to -1"
        )
    return values.astype(np.int64)
