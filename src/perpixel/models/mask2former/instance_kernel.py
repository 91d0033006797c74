"""What instance segmentation asks of the masks, as compiled loops; `instance_loops` has what they do.

The same pixels as `perpixel.models.mask2former.instances`, and the same scores to 1e-6: the interpolation is that of
`MaskTiles.values`, operation by operation. Each mask is enlarged a few rows at a time and nowhere written out whole.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco
from torch import Tensor

from perpixel.layers.compiled import Loop, load_loops
from perpixel.models.mask2former.mask_tiles import Floats, Grid, Indices, Taps, axis_taps, cuts
from perpixel.ops.rle import Rle

# Columns of a cell, and its rows at most: a float32 sum of more would lose digits.
SIDE, TALL = 64, 64
# Rows of working memory: the cell's upper and lower logits, enlarged sideways, and two sums of each column.
WORK = 4
# Masks × pixels from which on the loops are used. On so many they save some 10 ms, and to load them takes 25 ms, once a
# process; below, hardly anything can be saved.
LEAST_PIXELS = 20_000_000
# The label map is painted in bytes, and 0 is free.
MOST = 255

# The addresses that all loops take: logits (h, w), cells (n + 1), lines (2, height) with the upper and the lower row of
# logits, down (2, height) with how much each counts, columns and across (2, width) likewise, the logits that a pixel of
# the mask exceeds, up to which none is inside and above which all are, and working memory. Then come the loop's own
# and h, w, n, height and width.
COMMON = "fnnfnfff"
Result = Literal["encode", "paint"]
SIGNATURES = {"measure": COMMON + "diiiii", "paint": COMMON + "bliiiiii", "encode": COMMON + "lliiiiii"}


@cache
def loop(name: str) -> Loop | None:
    """A compiled loop, made or loaded at the first call; None, perhaps with a warning, where it cannot be had."""
    found = load_loops("perpixel.models.mask2former.instance_loops", {name: SIGNATURES[name]})
    return None if found is None else found[name]


def compiled_instances(
    logits: Tensor, queries: Indices, grid: Grid, above: float, result: Result = "paint"
) -> CompiledInstances | None:
    """The masks of some queries for the compiled loops; None where these cannot be used, or would not pay.

    Args:
        logits: (q, h, w), of any floating type.
        queries: (n,), the masks that matter.
        grid: of the logits.
        above: the logit that a pixel of a mask exceeds, a float32.
        result: what will be asked for: "encode" for COCO RLEs, "paint" for masks and label maps.
    """
    height, width = grid.size
    if logits.device.type != "cpu" or logits.dtype == torch.float64 or type(logits) is not Tensor:
        return None
    if len(queries) > MOST or len(queries) * height * width < LEAST_PIXELS:
        return None
    if loop("measure") is None or loop(result) is None:
        return None
    return CompiledInstances(logits.detach(), queries, grid, above)


class CompiledInstances:
    """See `perpixel.models.mask2former.instances.Instances`, which has the same methods."""

    def __init__(self, logits: Tensor, queries: Indices, grid: Grid, above: float) -> None:
        self._logits, self._queries, self._grid = logits, queries.tolist(), grid
        self.height, self.width = grid.size
        rows = axis_taps(grid.rows, grid.reach[0], self.height)
        self._lines, self._down = _pairs(rows)
        self._columns, self._across = _pairs(axis_taps(grid.columns, grid.reach[1], self.width))
        starts = np.flatnonzero(np.diff(rows.lower, prepend=-1))
        ends = np.append(starts[1:], self.height)
        cells = [np.arange(start, end, TALL) for start, end in zip(starts, ends, strict=True)]
        self._cells = np.concatenate([*cells, [self.height]]).astype(np.int32)
        self._cuts = np.array([above, *cuts(above)], np.float32)
        self._work = np.empty(max(WORK * SIDE, grid.rows), np.float32)
        self._count = np.zeros(1, np.int64)
        self._canvas: npt.NDArray[np.uint8] | None = None
        self._painted = 0

    def _run(self, name: str, logits: Floats, own: tuple[npt.NDArray[np.generic], ...], *number: int) -> None:
        common = (self._cells, self._lines, self._down, self._columns, self._across, self._cuts, self._work)
        sizes = (*logits.shape, len(self._cells) - 1, self.height, self.width)
        arrays = (logits, *common, *own)
        assert all(array.flags.c_contiguous for array in arrays)
        compiled = loop(name)
        assert compiled is not None
        compiled(*(array.ctypes.data for array in arrays), *sizes, *number)

    def _plane(self, mask: int) -> Floats:
        """A mask's logits, (h, w)."""
        part = self._logits[self._queries[mask], : self._grid.rows, : self._grid.columns]
        plane: Floats = part.float().contiguous().numpy()
        return plane

    def confidence(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """The mean probability of each mask's own pixels, 0 for a mask without a pixel, and their number: both (n,)."""
        found = np.zeros((len(self._queries), 2))
        for mask, out in enumerate(found):
            self._run("measure", self._plane(mask), (out,))
        count = found[:, 0].astype(np.int64)
        return found[:, 1] / np.maximum(count, 1), count

    def draw(self, mask: int, out: Tensor) -> None:
        """Write one mask into `out`, (height, width) bool and all False before."""
        self._run("paint", self._plane(mask), (out.numpy().view(np.uint8), self._count), 1)

    def encode(self, mask: int) -> Rle:
        """One mask as a COCO RLE."""
        logits = np.ascontiguousarray(self._plane(mask).T)
        ends = np.empty(4 * self.width, np.int64)
        self._run("encode", logits, (ends, self._count), len(ends))
        if self._count[0] > len(ends):
            ends = np.empty(int(self._count[0]), np.int64)
            self._run("encode", logits, (ends, self._count), len(ends))
        size = self.height * self.width
        runs = np.diff(np.append(ends[: int(self._count[0])], size), prepend=0)
        packed = coco.frPyObjects([{"size": list(self._grid.size), "counts": runs.tolist()}], *self._grid.size)[0]
        return {"size": [self.height, self.width], "counts": packed["counts"].decode("ascii")}

    def paint(self, mask: int, least: float) -> bool:
        """Paint a mask's pixels that are still free with the next number, if there are at least `least` and any."""
        if self._canvas is None:
            self._canvas = np.zeros(self._grid.size, np.uint8)
        logits = self._plane(mask)
        self._run("paint", logits, (self._canvas, self._count), 0)
        if self._count[0] == 0 or self._count[0] < least:
            return False
        self._painted += 1
        self._run("paint", logits, (self._canvas, self._count), self._painted)
        return True

    def label_map(self) -> Tensor:
        """What was painted, (height, width) int32: 0, 1, 2 …, and -1 where it is free."""
        if self._canvas is None:
            return torch.full(self._grid.size, -1, dtype=torch.int32)
        found = np.empty(self._grid.size, np.int32)
        # Strips that fit into the cache.
        for top in range(0, self.height, SIDE):
            strip = slice(top, top + SIDE)
            np.subtract(self._canvas[strip], 1, out=found[strip], dtype=np.int32)
        return torch.from_numpy(found)


def _pairs(taps: Taps) -> tuple[npt.NDArray[np.int32], Floats]:
    """Both logits of each pixel, and how much each counts: (2, n)."""
    return np.stack([taps.lower, taps.upper]).astype(np.int32), np.stack([taps.less, taps.share])
