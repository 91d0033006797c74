"""How long a matting model would work on a picture, so that one which cannot be done in time is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Between the cost of most layers, which grows with the pixels, and that of global attention, which grows with their
# square. For vitmatte-nano it tells the time of 0.4 to 10 megapixels to a third.
GROWTH = 1.5


@dataclass(frozen=True)
class Effort:
    """What a model took for one picture.

    Attributes:
        pixels: of the picture.
        seconds: of the processor, in the model's thread, so that other work on the machine does not count.
    """

    pixels: int
    seconds: float

    def expected(self, network: Any, height: int, width: int, limit: int | None) -> float:
        """The seconds for another picture, if all of it is unknown and nothing else is to be done.

        Args:
            network: the model.
            height: of the picture.
            width: likewise.
            limit: of its working memory in bytes, beyond which it sees tiles.

        >>> Effort(400_000, 0.5).expected(None, 1000, 1600, None)
        4.0
        """
        from perpixel.tasks.matting import AREAS, SMALLEST_TILE

        seen, tiles = height * width, 1.0
        if limit is not None and network.working_memory(height, width, AREAS[-1]) > limit:
            side = max(height, width)
            while side > SMALLEST_TILE and network.working_memory(side, side, AREAS[-1]) > limit:
                side = side * 3 // 4
            seen, tiles = side * side, max(1.0, height * width / side**2)
        return float(tiles * self.seconds * (seen / self.pixels) ** GROWTH)
