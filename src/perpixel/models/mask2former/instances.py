"""What instance segmentation asks of the masks, on the processor; `instance_kernel` does the same in one loop.

Both give the same pixels: a mask is where the logits, enlarged as `MaskTiles.values` does it, exceed a threshold.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perpixel.models.mask2former.mask_tiles import MaskTiles, cuts
from perpixel.ops.rle import Rle, encode_rle


class Instances:
    """Masks to measure, draw, encode and paint.

    Args:
        tiles: n masks.
        above: the logit that a pixel of a mask exceeds.
    """

    def __init__(self, tiles: MaskTiles, above: float) -> None:
        self.tiles, self.above = tiles, above
        self.height, self.width = tiles.height, tiles.width
        none, every = cuts(above)
        self.full, self.touched = tiles.low > every, ~(tiles.high <= none)
        # The label map, and how many pixels of each tile are still free.
        self.labels = np.full((0, 0), -1, np.int32)
        self.free = tiles.areas.copy()
        self.painted = 0

    def confidence(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """The mean probability of each mask's own pixels, 0 for a mask without a pixel, and their number: both (n,)."""
        full, tiles = self.full, self.tiles
        total, count = np.zeros(len(full)), (full * tiles.areas).sum((1, 2))
        for i, j in np.argwhere(self.touched.any(0)).tolist():
            masks = np.flatnonzero(self.touched[:, i, j])
            logits = tiles.values(masks, i, j).flatten(1)  # (m, rows · columns)
            edges = np.flatnonzero(~full[masks, i, j])
            inside = logits.numpy()[edges] > self.above
            probabilities = logits.sigmoid_().numpy()
            probabilities[edges] *= inside
            count[masks[edges]] += np.count_nonzero(inside, axis=1)
            total[masks] += probabilities.sum(1)
        return total / np.maximum(count, 1), count

    def draw(self, mask: int, out: Tensor) -> None:
        """Write one mask into `out`, (height, width) bool and all False before."""
        self.tiles.draw(mask, self.above, out)

    def encode(self, mask: int) -> Rle:
        """One mask as a COCO RLE."""
        out = torch.zeros(self.height, self.width, dtype=torch.bool)
        self.draw(mask, out)
        return encode_rle(out.numpy())

    def paint(self, mask: int, least: float) -> bool:
        """Paint a mask's pixels that are still free with the next number, if there are at least `least` and any."""
        labels = self._canvas()
        found: list[tuple[int, int, npt.NDArray[np.bool_] | bool, int]] = []
        for i, j in np.argwhere(self.touched[mask] & (self.free > 0)).tolist():
            part: npt.NDArray[np.bool_] | bool = True
            if not self.full[mask, i, j]:
                part = self.tiles.values(np.array([mask]), i, j)[0].numpy() > self.above
            if self.free[i, j] < self.tiles.areas[i, j]:
                part = part & (labels[self.tiles.place(i, j)] < 0)
            found.append((i, j, part, int(self.free[i, j] if part is True else np.count_nonzero(part))))
        count = sum(pixels for *_, pixels in found)
        if count == 0 or count < least:
            return False
        self.painted += 1
        for i, j, part, pixels in found:
            # A free pixel is -1, so a sum paints it; that is faster than an assignment by mask.
            labels[self.tiles.place(i, j)] += part * np.int32(self.painted)
            self.free[i, j] -= pixels
        return True

    def label_map(self) -> Tensor:
        """What was painted, (height, width) int32: 0, 1, 2 …, and -1 where it is free."""
        return torch.from_numpy(self._canvas())

    def _canvas(self) -> npt.NDArray[np.int32]:
        if not self.labels.size:
            self.labels = np.full((self.height, self.width), -1, np.int32)
        return self.labels
