"""How a measure over a whole data set is taken: image by image, in any order, on any number of machines.

A meter's own `update` differs (it takes what it compares); the rest is the same for all of them. Its numbers do not
depend on the order or on how the images were shared out: sums are exact (`ExactSum`) or whole numbers.
"""

from __future__ import annotations

import math
from typing import Protocol, Self


class Meter(Protocol):
    """A measure over many images. Pickles, so that the parts of several processes can be merged."""

    def merge(self, other: Self) -> None:
        """Take in what another meter of the same settings has seen; no image may be in both."""

    def compute(self) -> dict[str, float]:
        """The measures by name, over all images seen; NaN where nothing was seen that could say."""


class ExactSum:
    """A sum of floats without rounding, so that it is the same in every order (Shewchuk, 1997).

    Example:
        >>> total = ExactSum()
        >>> for value in (1e100, 1.0, -1e100):
        ...     total.add(value)
        >>> total.value, total.count, total.mean
        (1.0, 3, 0.3333333333333333)
    """

    def __init__(self) -> None:
        self.parts: list[float] = []
        self.count = 0

    def add(self, value: float) -> None:
        """Add one number; NaN and infinity stay in the sum."""
        self.count += 1
        self._add(float(value))

    def merge(self, other: Self) -> None:
        """Add all numbers of another sum."""
        self.count += other.count
        for part in other.parts:
            self._add(part)

    @property
    def value(self) -> float:
        """The sum, rounded once."""
        finite = all(map(math.isfinite, self.parts))
        return math.fsum(self.parts) if finite else sum(self.parts)

    @property
    def mean(self) -> float:
        """The sum divided by how many numbers there were; NaN without any."""
        return self.value / self.count if self.count else math.nan

    def _add(self, value: float) -> None:
        if not math.isfinite(value):
            self.parts.append(value)
            return
        kept = []
        for part in self.parts:
            if not math.isfinite(part):
                kept.append(part)
                continue
            if abs(value) < abs(part):
                value, part = part, value
            high = value + part
            low = part - (high - value)
            if low:
                kept.append(low)
            value = high
        self.parts = [*kept, value]
