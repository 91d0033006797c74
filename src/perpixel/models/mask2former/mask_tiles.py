"""Mask logits, enlarged bilinearly to the size of the result, tile by tile and only where somebody asks.

Linear interpolation never leaves the range of the values that it reads. So the lowest and the highest logit that a
tile reads tell, before anything is enlarged, which masks cover the tile wholly, which not at all, and which may win
a pixel of it. Most tiles are decided by that alone; the others enlarge the few masks in question.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

# Side of a tile in pixels of the result. Smaller tiles are decided without a look more often, larger ones cost fewer
# calls. 96 and 128 were the best of 48, 64, 96, 128 and 192 for the three kinds together.
SIDE = 96
# Infinite logits would turn into NaN in a sum with a weight of zero.
LIMIT = 1e30


def sigmoid(logits: Floats) -> Floats:
    """The probabilities of logits."""
    with np.errstate(over="ignore"):
        found: Floats = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return found


def cuts(above: float) -> tuple[float, float]:
    """Up to which logits no pixel between them exceeds `above`, and above which logits every one does.

    Without rounding both would be `above` itself. A logit in between is a · (1 − s) + b · s twice over, in float32.
    """
    if math.isinf(above):
        return above, above
    return above - 1e-6 * abs(above), above + 1e-6 * abs(above)


class Grid(NamedTuple):
    """Where the image lies on the logits, and how large its result is."""

    rows: int  # of logits
    columns: int
    reach: tuple[float, float]  # how many rows and columns the image covers
    size: tuple[int, int]  # of the result

    @classmethod
    def of(cls, shape: Sequence[int], covered: tuple[float, float] | None, size: tuple[int, int] | None) -> Grid:
        """See `MaskTiles` for the arguments; `shape` ends with the logits' rows and columns."""
        reach = (float(shape[-2]), float(shape[-1])) if covered is None else covered
        rows, columns = (min(whole, max(1, math.ceil(part))) for whole, part in zip(shape[-2:], reach, strict=True))
        if size is None:
            size, reach = (rows, columns), (float(rows), float(columns))
        return cls(rows, columns, reach, size)


class Taps(NamedTuple):
    """Between which logits each pixel of an axis lies, and how much each of the two counts."""

    lower: Indices
    upper: Indices
    less: Floats  # 1 - share
    share: Floats


def axis_taps(length: int, covered: float, size: int) -> Taps:
    """Place the pixels of one axis on the logits.

    Pixel i of the result lies at (i + 0.5) · covered / size − 0.5 on the logits, kept within [0, length − 1], as in
    `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.

    Args:
        length: number of logits.
        covered: how much of them the image covers, in (0, length], not always a whole number.
        size: number of pixels of the result.

    Example:
        >>> axis_taps(length=2, covered=2.0, size=4).share.tolist()
        [0.0, 0.25, 0.75, 0.0]
    """
    position = ((np.arange(size) + 0.5) * covered / size - 0.5).clip(0, length - 1)
    lower = np.floor(position).astype(np.int64)
    share = (position - lower).astype(np.float32)
    return Taps(lower, np.minimum(lower + 1, length - 1), 1 - share, share)


class Span(NamedTuple):
    """A tile's extent along one axis: the pixels [start, stop) of the result from the logits [first, last)."""

    start: int
    stop: int
    first: int
    last: int
    lower: Tensor  # (stop - start,) int64, counted from `first`, as is `upper`
    upper: Tensor
    less: Tensor  # (stop - start,) float32, as is `share`
    share: Tensor


def axis_spans(length: int, covered: float, size: int, device: Any = None) -> list[Span]:
    """Cut one axis into tiles; for the arguments see `axis_taps`. The tensors lie on the device."""
    taps = axis_taps(length, covered, size)
    count = max(1, round(size / SIDE))
    edges = [round(i * size / count) for i in range(count + 1)]
    spans = []
    for start, stop in itertools.pairwise(edges):
        lower, upper, less, share = (array[start:stop] for array in taps)
        first, last = int(lower[0]), int(upper[-1]) + 1
        parts = [torch.from_numpy(array).to(device) for array in (lower - first, upper - first, less, share)]
        spans.append(Span(start, stop, first, last, *parts))
    return spans


class MaskTiles:
    """The masks of one image at the size of the result, cut into tiles.

    Attributes:
        height, width: of the result, in pixels.
        rows, columns: the tiles' extents; tile (i, j) is rows[i] × columns[j].
        low, high: (n, rows, columns) float32, the range of each mask's logits within each tile.
        areas: (rows, columns) int64, the number of pixels of each tile.

    Args:
        logits: (q, h, w), of any floating type.
        queries: (n,) int64, the masks that matter; "mask" means a place in this list from here on.
        covered: how many rows and columns of the logits the image covers; the whole map if not given.
        size: height and width of the result; that of the covered logits, rounded up, if not given.
    """

    def __init__(
        self,
        logits: Tensor,
        queries: Indices,
        covered: tuple[float, float] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        grid = Grid.of(logits.shape, covered, size)
        self.height, self.width = grid.size
        self.logits = logits
        self.queries = torch.from_numpy(queries).to(logits.device)
        self.rows = axis_spans(grid.rows, grid.reach[0], self.height, logits.device)
        self.columns = axis_spans(grid.columns, grid.reach[1], self.width, logits.device)
        self.areas = np.outer([r.stop - r.start for r in self.rows], [c.stop - c.start for c in self.columns])
        self.low, self.high = self._ranges(grid.columns)

    def _ranges(self, width: int) -> tuple[Floats, Floats]:
        low, high = self.logits.new_empty(2, len(self.rows), len(self.queries), width)
        for row, least, most in zip(self.rows, low, high, strict=True):
            band = self.logits[:, row.first : row.last, :width].index_select(0, self.queries)  # (n, rows, w)
            # Both at once, by aminmax, would take several times as long.
            torch.amin(band, 1, out=least)
            torch.amax(band, 1, out=most)
        lows = torch.stack([low[..., c.first : c.last].amin(2) for c in self.columns], 2)  # (rows, n, columns)
        highs = torch.stack([high[..., c.first : c.last].amax(2) for c in self.columns], 2)
        found = torch.stack([lows, highs]).transpose(1, 2).float()  # (2, n, rows, columns)
        both: Floats = found.clamp(-LIMIT, LIMIT).cpu().numpy()
        return both[0], both[1]

    def values(self, masks: Indices, i: int, j: int) -> Tensor:
        """The logits of some masks in tile (i, j): (len(masks), rows, columns) float32."""
        row, column = self.rows[i], self.columns[j]
        chosen = self.queries[torch.from_numpy(masks).to(self.queries.device)]
        part = self.logits[:, row.first : row.last, column.first : column.last].index_select(0, chosen)
        part = part.float().clamp_(-LIMIT, LIMIT)  # (m, h, w)
        # Sideways, then down, and two products and a sum each time: the compiled loops round in the same places.
        wide = part.index_select(2, column.lower).mul_(column.less)  # (m, h, columns)
        wide += part.index_select(2, column.upper).mul_(column.share)
        found = wide.index_select(1, row.lower).mul_(row.less[:, None])  # (m, rows, columns)
        return found.add_(wide.index_select(1, row.upper).mul_(row.share[:, None]))

    def place(self, i: int, j: int) -> tuple[slice, slice]:
        """Where tile (i, j) lies in the result."""
        row, column = self.rows[i], self.columns[j]
        return slice(row.start, row.stop), slice(column.start, column.stop)

    def pieces(self, mask: int, above: float) -> Iterator[tuple[tuple[slice, slice], Tensor | bool]]:
        """One binary mask, logit > `above`, as the tiles that it may touch: their places and (rows, columns) bool.

        A tile that the mask covers wholly comes as True.
        """
        low, high = self.low[mask], self.high[mask]
        chosen = np.array([mask])
        none, every = cuts(above)
        for i, j in np.argwhere(~(high <= none)).tolist():
            yield self.place(i, j), True if low[i, j] > every else self.values(chosen, i, j)[0] > above

    def draw(self, mask: int, above: float, out: Tensor) -> Tensor:
        """Write one binary mask into `out`, (height, width) bool and all False before."""
        for place, piece in self.pieces(mask, above):
            out[place] = piece
        return out
