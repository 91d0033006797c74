"""How long a picture would take, so that one which cannot be done in time is refused at once."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

# Between the cost of most layers, which grows with the pixels, and that of global attention, which grows with their
# square. For vitmatte-nano it tells the time of 0.4 to 10 megapixels to a third.
GROWTH = 1.5
# Pixels of the smallest pictures that say what larger ones take after the model: in others it is not the pixels.
TELLING = 300_000
# How much a picture that took longer than those before counts for the next.
NEWEST = 0.2


@dataclass(frozen=True)
class Effort:
    """What a model took for one picture.

    Attributes:
        pixels: that it saw.
        seconds: of the processor, in the model's thread, so that other work on the machine does not count.
    """

    pixels: int
    seconds: float

    def expected(self, pixels: int, growth: float = GROWTH) -> float:
        """The seconds for an input of another size.

        Args:
            pixels: that the model would see.
            growth: the power of the pixels that the time grows with; small inputs cost by the pixel.

        >>> Effort(400_000, 0.5).expected(1_600_000), Effort(400_000, 0.5).expected(100_000)
        (4.0, 0.125)
        """
        ratio = pixels / self.pixels
        return self.seconds * ratio ** (growth if ratio > 1 else 1)

    def of_matting(self, network: Any, height: int, width: int, limit: int | None) -> float:
        """The seconds for a picture's alpha, if all of it is unknown and nothing else is to be done.

        Args:
            network: the model.
            height: of the picture.
            width: likewise.
            limit: of its working memory in bytes, beyond which it sees tiles.
        """
        from perpixel.tasks.matting import AREAS, SMALLEST_TILE

        seen, tiles = height * width, 1.0
        if limit is not None and network.working_memory(height, width, AREAS[-1]) > limit:
            side = max(height, width)
            while side > SMALLEST_TILE and network.working_memory(side, side, AREAS[-1]) > limit:
                side = side * 3 // 4
            seen, tiles = side * side, max(1.0, height * width / side**2)
        return tiles * self.expected(seen)

    def of_depth(self, estimator: Any, height: int, width: int, size: int | None, tiled: bool) -> float:
        """The seconds for a picture's depth.

        Args:
            estimator: the model.
            height: of the picture.
            width: likewise.
            size: of the model's input, as in `perpixel.depth`.
            tiled: whether it also sees tiles of the picture's own pixels.
        """
        from perpixel.tasks.depth import OVERLAP, input_size

        seconds = self.expected(math.prod(input_size(estimator, (height, width), size)))
        side = size or math.isqrt(self.pixels)
        if tiled and max(height, width) > side:
            step = side * (1 - OVERLAP)
            seconds += math.ceil(height / step) * math.ceil(width / step) * self.expected(side * side)
        return seconds


class Finishing:
    """What results take after the model, from its output to the bytes of the answer, learned from those that were made.

    It goes with the pixels of the picture, and with what is asked for: a PNG of a large photograph takes ten times as
    long as that of a mask. What is quicker than those before is believed at once, since the first may have waited for
    loops to be compiled, and what is slower only if others are as well.

    >>> finishing = Finishing()
    >>> finishing.took("overlay", 1_000_000, 0.25)
    >>> finishing.expected("overlay", 24_000_000), finishing.expected("map", 24_000_000)
    (6.0, 0.0)
    """

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def expected(self, kind: Hashable, pixels: int) -> float:
        """The seconds of the processor for a picture; 0 while there was none of its kind.

        Args:
            kind: what is asked for; there are few of them.
            pixels: of the picture.
        """
        return self._seconds.get(kind, 0.0) * pixels

    def took(self, kind: Hashable, pixels: int, seconds: float) -> None:
        """Learn from a picture."""
        if pixels >= TELLING:
            found = seconds / pixels
            before = self._seconds.get(kind, found)
            self._seconds[kind] = min(found, before + NEWEST * (found - before))
