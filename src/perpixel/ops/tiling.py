"""Overlapping tiles over the part of an image that needs them, joined without seams."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image, `[top:bottom, left:right]`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The slices that cut this tile out of an (h, w) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def plan_tiles(needed: NDArray[np.bool_], side: int, overlap: int, multiple: int = 1) -> list[Tile]:
    """Cover the needed pixels with square tiles that overlap.

    Args:
        needed: (h, w) bool.
        side: side of a tile in pixels; tiles are cut to the image.
        overlap: how many pixels neighbours share at least.
        multiple: tiles start at multiples of so many pixels; at most `side - overlap`.

    Returns:
        Tiles in row-major order; each needed pixel is in at least one of them.

    Example:
        >>> plan_tiles(np.ones((64, 100), bool), side=64, overlap=16)
        [Tile(top=0, bottom=64, left=0, right=64), Tile(top=0, bottom=64, left=36, right=100)]
    """
    if overlap < 0 or multiple < 1 or side - overlap < multiple:
        raise InputError(
            f"tiles of {side} pixels cannot overlap by {overlap} and start at multiples of {multiple}: "
            f"make them {overlap + multiple} pixels or more"
        )
    height, width = needed.shape
    return [
        tile
        for top, bottom in _spans(height, side, overlap, multiple)
        for left, right in _spans(width, side, overlap, multiple)
        if needed[(tile := Tile(top, bottom, left, right)).window].any()
    ]


def _spans(length: int, side: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    last = max(0, -(-(length - side) // multiple) * multiple)
    step = (side - overlap) // multiple * multiple
    return [(start, min(start + side, length)) for start in [*range(0, last, step), last]]


def tile_weight(tile: Tile, height: int, width: int, overlap: int) -> NDArray[np.float32]:
    """How much each pixel of a tile counts: 1 inside, falling to nearly 0 over the overlap, 1 at the image's border.

    Args:
        tile: one tile of `plan_tiles`.
        height: the image's rows.
        width: the image's columns.
        overlap: as planned.

    Returns:
        (tile height, tile width) float32, all above 0.
    """
    rows = _ramp(tile.bottom - tile.top, overlap, tile.top > 0, tile.bottom < height)
    columns = _ramp(tile.right - tile.left, overlap, tile.left > 0, tile.right < width)
    return rows[:, None] * columns[None, :]


def _ramp(length: int, overlap: int, at_start: bool, at_end: bool) -> NDArray[np.float32]:
    # The outer half of the overlap, where a tile sees least, counts next to nothing.
    distance = np.arange(length, dtype=np.float32) + 0.5
    weight = np.ones(length, np.float32)
    for active, far in ((at_start, distance), (at_end, distance[::-1])):
        if active and overlap:
            inner = np.clip((far - overlap / 4) / (overlap / 2), 0, 1)
            weight *= 1e-4 + (1 - 1e-4) * inner * inner * (3 - 2 * inner)
    return weight


def memory_bytes(amount: int | float | str) -> int:
    """Read an amount of memory: a number of bytes, or text such as "4GB", "512 MiB", "1.5g".

    Example:
        >>> memory_bytes("4GB"), memory_bytes("512 MiB"), memory_bytes(1000)
        (4000000000, 536870912, 1000)
    """
    text = str(amount).strip().lower()
    match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e\+?[0-9]+)?)\s*([kmgt]?i?)b?", text)
    if match is None or match[2] not in _UNITS or not 0 < float(match[1]) < math.inf:
        raise InputError(f"{amount!r} is no amount of memory: give bytes or an amount such as 4GB or 512MiB")
    return int(float(match[1]) * _UNITS[match[2]])
