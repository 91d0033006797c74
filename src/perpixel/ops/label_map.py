"""Maps that hold a segment's number at each pixel: where each number is, and masks painted into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

if TYPE_CHECKING:
    from perpixel.ops.rle import Rle

__all__ = ["Box", "checked_map", "extents", "numbers_in", "painted", "relabelled"]

Map = npt.NDArray[np.int32]
Box = tuple[int, int, int, int]


def checked_map(map: npt.NDArray[np.integer[Any]]) -> Map:
    """Return the map as int32.

    Args:
        map: (h, w), whole numbers that int32 holds.

    Raises:
        InputError: another type or shape, or an empty one.
    """
    if not isinstance(map, np.ndarray) or map.ndim != 2 or not map.size or not np.issubdtype(map.dtype, np.integer):
        given = f"{map.dtype} {map.shape}" if isinstance(map, np.ndarray) else type(map).__name__
        raise InputError(f"the map is {given}, but whole numbers of shape (height, width) are needed: convert it")
    if int(map.max()) > np.iinfo(np.int32).max or int(map.min()) < np.iinfo(np.int32).min:
        raise InputError(f"the map holds numbers up to {map.max()}, but 32 bits are the most: number from 1")
    return np.ascontiguousarray(map, np.int32)


def numbers_in(map: Map) -> list[int]:
    """The numbers that are somewhere in a map (h, w), ascending.

    >>> numbers_in(np.array([[7, 7, -1], [7, 2, 2]], np.int32))
    [-1, 2, 7]
    """
    flat = map.ravel()
    # The last pixel of each run has all of them: a map has far fewer runs than pixels.
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    found: list[int] = np.unique(np.append(flat[ends], flat[-1:])).tolist()
    return found


def relabelled(map: Map, numbers: Mapping[int, int]) -> Map:
    """Replace each number of a map.

    Args:
        map: (h, w) int32.
        numbers: the new number for each old one; those it lacks become 0.

    Returns:
        (h, w) int32.

    >>> relabelled(np.array([[4, -1, 9]], np.int32), {4: 1, 9: 2}).tolist()
    [[1, 0, 2]]
    """
    low, high = int(map.min()), int(map.max())
    if high - low <= max(map.size, 65536):
        table = np.zeros(high - low + 1, np.int32)
        for old, new in numbers.items():
            if low <= old <= high:
                table[old - low] = new
        return table[map - low]
    # A few numbers far apart, such as the colours of a panoptic PNG, would need a huge table.
    present, places = np.unique(map, return_inverse=True)
    table = np.array([numbers.get(int(old), 0) for old in present], np.int32)
    return table[places].reshape(map.shape)


def extents(map: Map, count: int) -> dict[int, tuple[int, Box]]:
    """Area and box of each number from 1 to `count` that is in a map.

    Args:
        map: (h, w) int32, numbers from 0 to `count`.
        count: the largest number.

    Returns:
        by number the area in pixels and (x0, y0, x1, y1), x1 and y1 just outside.

    >>> extents(np.array([[0, 2, 2], [0, 0, 2]], np.int32), 2)
    {2: (3, (1, 0, 3, 2))}
    """
    # Run by run rather than pixel by pixel: a row of a photograph has hundreds of runs, not thousands.
    height, width = map.shape
    begins = np.ones((height, width), np.bool_)
    np.not_equal(map[:, 1:], map[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=map.size)
    numbers = map.ravel()[starts]
    rows, columns = np.divmod(starts, width)
    areas = np.zeros(count + 1, np.int64)
    np.add.at(areas, numbers, lengths)
    low, high = np.full((count + 1, 2), max(height, width)), np.zeros((count + 1, 2), np.int64)  # of x and y
    np.minimum.at(low[:, 0], numbers, columns)
    np.minimum.at(low[:, 1], numbers, rows)
    np.maximum.at(high[:, 0], numbers, columns + lengths)
    np.maximum.at(high[:, 1], numbers, rows + 1)
    found = {}
    for number in np.flatnonzero(areas[1:]) + 1:
        (x0, y0), (x1, y1) = low[number].tolist(), high[number].tolist()
        found[int(number)] = int(areas[number]), (x0, y0, x1, y1)
    return found


def painted(masks: Iterable[tuple[int, Rle]], size: tuple[int, int]) -> Map:
    """Paint masks over each other, the last on top.

    Args:
        masks: pairs of a number and a mask as COCO's RLE.
        size: height and width.

    Returns:
        (h, w) int32, 0 where no mask is.

    Raises:
        InputError: a mask of another size.
    """
    from perpixel.ops.rle import decode_rle

    result = np.zeros(size, np.int32)
    for number, rle in masks:
        if tuple(rle["size"]) != size:
            raise InputError(
                f"a mask is {rle['size'][1]}×{rle['size'][0]} but the image is {size[1]}×{size[0]} (width×height): "
                "give masks of the image's size"
            )
        result[decode_rle(rle)] = number
    return result
