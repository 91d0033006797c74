"""Masks as run lengths, the way COCO stores them: encode, decode, draw, measure, and look up single points.

An RLE is a dict `{"size": [h, w], "counts": …}`. The runs go down the columns, column after column, and begin with
background; `counts` is COCO's compressed string (str or bytes), or a plain list of the runs. Everything written here
is read by pycocotools, and the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from perpixel.errors import InputError
from perpixel.ops.polygons import polygons_from_mask

__all__ = [
    "Corners",
    "Rle",
    "bilinear_corners",
    "decode_rle",
    "encode_rle",
    "polygons_from_mask",
    "rle_area",
    "rle_box",
    "rle_ends",
    "rle_from_polygons",
    "sample_ends",
    "sample_rle",
]

Bool = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]

# Up to this many pixels for each point, writing the columns of an object out and reading them is faster than
# searching its runs; beyond it the search is, and it needs no memory for the pixels.
PIXELS_A_POINT = 128
# Polygons are drawn edge point by edge point, so a vertex at a billion would take all memory. This many image
# sizes away is further than any honest annotation.
FAR = 16


class Rle(TypedDict):
    """A mask in COCO's form: `size` is [h, w], `counts` the compressed string or the list of the runs."""

    size: list[int]
    counts: str | bytes | list[int]


class Corners(NamedTuple):
    """The four pixels around each of some points, for bilinear sampling; see `bilinear_corners`."""

    columns: Ints  # (2, p): left and right
    rows: Ints  # (2, p): upper and lower
    weights: Floats  # (2, 2, p): of [column][row]; 0 where the pixel is outside of the mask
    height: int


def encode_rle(mask: AnyArray) -> Rle:
    """Compress a mask.

    Args:
        mask: (h, w) bool, or numbers of which every one but 0 is foreground.

    Returns:
        `{"size": [h, w], "counts": str}`, ready for JSON.

    Raises:
        InputError: the mask has not two dimensions, or no pixel.

    Example:
        >>> encode_rle(np.array([[0, 1], [1, 1]], bool))
        {'size': [2, 2], 'counts': '13'}
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"a mask of shape {mask.shape} cannot be encoded: pass (height, width) with at least 1 pixel")
    rle = coco.encode(np.asfortranarray(mask != 0).view(np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: Rle | Mapping[str, Any]) -> Bool:
    """Write a compressed mask out.

    Args:
        rle: COCO's RLE, its counts compressed (str, bytes) or a list of runs.

    Returns:
        (h, w) bool.

    Raises:
        InputError: no RLE, or its runs do not cover exactly its size.

    Example:
        >>> decode_rle({"size": [2, 2], "counts": [1, 3]}).tolist()
        [[False, True], [True, True]]
    """
    height, width = _size(rle)
    runs = np.diff(rle_ends(rle), prepend=0)
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)  # (h, w)


def rle_ends(rle: Rle | Mapping[str, Any]) -> npt.NDArray[np.signedinteger[Any]]:
    """Where each run of a mask ends, counted in pixels down the columns: background, foreground, background, …

    Args:
        rle: COCO's RLE, its counts compressed or a list of runs.

    Returns:
        (runs,) int32, or int64 for 2³¹ pixels and more. Strictly ascending after the first, which is 0 where the
        mask begins with foreground; the last is h · w. This is the smallest form that can be sampled.

    Raises:
        InputError: no RLE, or its runs do not cover exactly its size.
    """
    height, width = _size(rle)
    counts = rle["counts"]
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    runs = _parse(counts) if isinstance(counts, bytes) else _listed(counts)
    total = sum(runs.tolist()) if len(runs) else 0
    if (runs < 0).any() or total != height * width:
        problem = f"{total} pixels" if not (runs < 0).any() else "a negative run"
        raise InputError(
            f"the runs of an RLE of size {height}×{width} (height×width) give {problem}, not {height * width}: "
            "its size or its counts are wrong (COCO's size is [height, width])"
        )
    ends = np.cumsum(runs)
    # Runs of length 0 put borders on top of each other; two of them cancel.
    borders, times = np.unique(ends[:-1], return_counts=True)
    borders = borders[(times % 2 == 1) & (borders < total)]
    return np.append(borders, total).astype(np.int32 if total < 2**31 else np.int64)


def _size(rle: Rle | Mapping[str, Any]) -> tuple[int, int]:
    if not isinstance(rle, Mapping) or not {"size", "counts"} <= set(rle):
        raise InputError(f'{_short(rle)} is no RLE: pass a dict with "size" ([height, width]) and "counts"')
    size = rle["size"]
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise InputError(f"the size of an RLE is {_short(size)}: pass [height, width], both at least 1")
    return height, width


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(counts: Any) -> Ints:
    try:
        runs = np.asarray(counts)
    except ValueError:
        runs = np.empty((0, 0))
    if runs.ndim != 1 or not len(runs) or runs.dtype.kind not in "iu":
        raise InputError(f"the counts of an RLE are {_short(counts)}: pass COCO's string or a list of whole numbers")
    return runs.astype(np.int64)


def _parse(counts: bytes) -> Ints:
    """The runs in COCO's string: numbers of 5 bits a character, low bits first, bit 5 says that more follow; from the
    fourth on, a number is the difference to the one two before."""
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = codes & 32 == 0
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise InputError(f"the counts of an RLE are {_short(counts)}: this is no COCO string, or one that was cut off")
    starts = np.flatnonzero(np.append(True, last[:-1]))
    lengths = np.diff(np.append(starts, len(codes)))
    if lengths.max() > 12:
        raise InputError(f"the counts of an RLE hold a number of {lengths.max()} characters: this is no COCO string")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    negative = codes[starts + lengths - 1] & 16 != 0
    runs = runs - np.where(negative, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _packed(rle: Rle | Mapping[str, Any]) -> Any:
    """A checked RLE as pycocotools takes it."""
    height, width = _size(rle)
    runs = np.diff(rle_ends(rle), prepend=0)
    return coco.frPyObjects([{"size": [height, width], "counts": runs.tolist()}], height, width)[0]


def rle_area(rle: Rle | Mapping[str, Any]) -> int:
    """How many pixels are foreground.

    Example:
        >>> rle_area({"size": [2, 2], "counts": [1, 3]})
        3
    """
    return int(np.diff(rle_ends(rle), prepend=0)[1::2].sum())


def rle_box(rle: Rle | Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The tightest box around the foreground, as COCO gives boxes.

    Returns:
        (x, y, width, height) in pixels; (0, 0, 0, 0) for an empty mask.

    Example:
        >>> rle_box({"size": [4, 3], "counts": [5, 2, 5]})
        (1, 1, 1, 2)
    """
    x, y, width, height = (int(value) for value in coco.toBbox(_packed(rle)))
    return x, y, width, height


def rle_from_polygons(polygons: Sequence[Sequence[float] | AnyArray], height: int, width: int) -> Rle:
    """Draw the polygons of one object, as COCO does.

    Several polygons are the parts of the object: what lies in any of them is foreground, and a polygon inside another
    cuts no hole. A hole is written by one polygon that goes around the outside, along a cut to the hole, around the
    hole the other way, and back along the cut, as `polygons_from_mask` does. What lies outside the image is cut off.

    Args:
        polygons: each [x0, y0, x1, y1, …] or (n, 2), at least three points in pixels; (0, 0) is the upper left corner
            of the image, not the middle of its first pixel.
        height: rows of the mask.
        width: columns of the mask.

    Returns:
        The RLE; an empty mask for no polygon.

    Raises:
        InputError: a polygon with fewer than three points, an odd count, no finite numbers or far out of the image.

    Example:
        >>> decode_rle(rle_from_polygons([[1, 0, 3, 0, 3, 1, 1, 1]], height=2, width=3)).astype(int).tolist()
        [[0, 1, 1], [0, 0, 0]]
    """
    if min(height, width) < 1:
        raise InputError(f"polygons cannot be drawn on {width}×{height} pixels: both sides must be at least 1")
    flat = []
    for number, polygon in enumerate(polygons):
        try:
            points = np.asarray(polygon, np.float64).ravel()
        except (TypeError, ValueError):
            points = np.empty(0)
        if len(points) < 6 or len(points) % 2:
            raise InputError(
                f"polygon {number} is {_short(polygon)}: pass a list of polygons, each [x0, y0, x1, y1, …] "
                "with at least three points"
            )
        if not np.isfinite(points).all() or np.abs(points).max() > FAR * max(height, width):
            raise InputError(
                f"polygon {number} has a point that is infinite or far outside of the {width}×{height} image: "
                "coordinates are pixels, x before y"
            )
        flat.append(points.tolist())
    if not flat:
        return encode_rle(np.zeros((height, width), np.bool_))
    rle = coco.merge(coco.frPyObjects(flat, height, width))
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode("ascii")}


def bilinear_corners(
    points: npt.ArrayLike, height: int, width: int, canvas: tuple[float, float] | None = None
) -> Corners:
    """Find the four pixels around each point and their weights in bilinear sampling.

    Args:
        points: (p, 2) x and y, 0…1 from the left and upper border of the canvas to its right and lower border.
        height: rows of the masks that will be sampled.
        width: columns.
        canvas: height and width of the canvas, in pixels of the masks, where the masks are its upper left part and
            the rest is background; by default the masks are the canvas.

    Returns:
        What `sample_ends` needs. The arithmetic is that of `grid_sample(align_corners=False)` in float32.
    """
    relative = np.asarray(points, np.float32).reshape(-1, 2).T  # (2, p)
    # Clipped so that a point far away stays an integer; from two canvases off, every weight is 0 anyway.
    grid = np.clip(2 * relative - 1, -5, 5)  # (2, p)
    sides = np.array([[width], [height]], np.float32)
    extent = sides if canvas is None else np.array([[canvas[1]], [canvas[0]]], np.float32)
    position = (grid + 1) * (extent / 2) - np.float32(0.5)  # (2, p)
    low = np.floor(position)
    share = position - low  # (2, p)
    pixels = np.stack([low, low + 1])  # (2, 2, p), of [lower or upper][x or y]
    within = ((pixels >= 0) & (pixels < sides)).astype(np.float32)
    weights = (np.stack([1 - share, share]) * within).astype(np.float32, copy=False)  # (2, 2, p)
    inside = np.clip(pixels, 0, sides - 1).astype(np.int64)
    return Corners(inside[:, 0], inside[:, 1], weights[:, None, 0] * weights[None, :, 1], height)


def sample_ends(ends: npt.NDArray[np.signedinteger[Any]], corners: Corners) -> Floats:
    """Read a mask at points, straight from the ends of its runs.

    Args:
        ends: of `rle_ends`.
        corners: of `bilinear_corners`, for masks of this size.

    Returns:
        (p,) float32 in [0, 1].
    """
    columns, rows, weights, height = corners
    values = np.zeros(columns.shape[1], np.float32)
    if len(ends) == 1:
        return values
    # All foreground lies in these columns; most objects are small, and most points need no look.
    first = int(ends[0]) // height
    last = (int(ends[-1 - len(ends) % 2]) - 1) // height
    near = np.flatnonzero((columns[1] >= first) & (columns[0] <= last))
    if not len(near):
        return values
    at_columns, upper, lower = columns[:, near], rows[0, near], rows[1, near]
    if (last - first + 1) * height <= PIXELS_A_POINT * len(near):
        found = _read(ends, at_columns, upper, lower, height, first, last)
    else:
        found = _search(ends, at_columns, upper, lower, height)
    values[near] = (weights[..., near] * found).sum((0, 1))
    return values


def _read(ends: AnyArray, columns: Ints, upper: Ints, lower: Ints, height: int, first: int, last: int) -> Bool:
    """(2, 2, p): the pixels at [column][upper or lower], from the columns first…last written out."""
    runs = np.diff(np.clip(ends, first * height, (last + 1) * height), prepend=first * height)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    offset = columns - first
    flat = np.clip(offset, 0, last - first) * height
    found = pixels[np.stack([flat + upper, flat + lower], axis=1)]
    return found & ((offset >= 0) & (offset <= last - first))[:, None]


def _search(ends: AnyArray, columns: Ints, upper: Ints, lower: Ints, height: int) -> Bool:
    """(2, 2, p): the pixels at [column][upper or lower], each by a binary search for its run."""
    index = (columns * height + upper).astype(ends.dtype)
    run = np.searchsorted(ends, index, side="right")
    above = run % 2 == 1
    # The pixel below is of the same run, unless the run ends here.
    below = above ^ ((lower > upper) & (ends[run] == index + 1))
    return np.stack([above, below], axis=1)


def sample_rle(rle: Rle | Mapping[str, Any], points: npt.ArrayLike) -> Floats:
    """Read a mask at points without writing it out, bilinearly between the middles of the pixels.

    The numbers are those of `torch.nn.functional.grid_sample(mask, 2 * points - 1, align_corners=False)` on the
    decoded mask: outside of it is background.

    Args:
        rle: COCO's RLE, its counts compressed or a list of runs.
        points: (…, 2) x and y, 0…1 across the mask.

    Returns:
        (…) float32 in [0, 1].

    Raises:
        InputError: no RLE, or points whose last dimension is not 2.

    Example:
        >>> sample_rle({"size": [2, 2], "counts": [1, 3]}, [[0.25, 0.25], [0.5, 0.5], [0.75, 0.25]]).tolist()
        [0.0, 0.75, 1.0]
    """
    places = np.asarray(points, np.float32)
    if not places.ndim or places.shape[-1] != 2:
        raise InputError(f"points have the shape {places.shape}: pass (…, 2), x before y, 0…1 across the mask")
    height, width = _size(rle)
    return sample_ends(rle_ends(rle), bilinear_corners(places, height, width)).reshape(places.shape[:-1])
