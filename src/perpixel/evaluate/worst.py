"""The worst cases of an evaluation, with their pictures; no more of them are ever held than will be shown."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from perpixel.evaluate.pictures import Panel

__all__ = ["WorstCase", "WorstCases"]


@dataclass(frozen=True)
class WorstCase:
    """One of the worst images.

    Attributes:
        name: of the image.
        value: its headline measure.
        panels: its pictures.
    """

    name: str
    value: float
    panels: tuple[Panel, ...]


class WorstCases:
    """A bounded heap. Which cases it ends with does not depend on the order or on how the images were shared out.

    >>> worst = WorstCases(2, larger_is_better=True)
    >>> for name, value in (("a", 0.9), ("b", 0.1), ("c", 0.5), ("d", 0.7)):
    ...     worst.offer(name, value, tuple)
    >>> [case.name for case in worst.cases()]
    ['b', 'c']
    """

    def __init__(self, most: int, *, larger_is_better: bool) -> None:
        """Hold at most `most` cases; of equal ones those with the first names."""
        self.most = most
        self.larger_is_better = larger_is_better
        self._heap: list[tuple[float, _Backwards, WorstCase]] = []

    def offer(self, name: str, value: float, draw: Callable[[], tuple[Panel, ...]]) -> None:
        """Keep a case if it is among the worst, and only then draw it; NaN is no measure and is left out."""
        if not self.most or math.isnan(value):
            return
        key = (self._badness(value), _Backwards(name))
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, (*key, WorstCase(name, value, draw())))
        elif key > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*key, WorstCase(name, value, draw())))

    def merge(self, other: WorstCases) -> None:
        """Take in what another process kept."""
        for case in other.cases():
            self.offer(case.name, case.value, lambda case=case: case.panels)  # type: ignore[misc]

    def cases(self) -> tuple[WorstCase, ...]:
        """The worst first."""
        return tuple(case for _, _, case in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))

    def _badness(self, value: float) -> float:
        return -value if self.larger_is_better else value


class _Backwards(str):
    """A name that sorts the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)
