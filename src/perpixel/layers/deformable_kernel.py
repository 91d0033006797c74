"""The sampling of multi-scale deformable attention as one compiled loop, for inference on a processor.

The same sums as `perpixel.layers.deformable.sample`; `deformable_loops` has what the loop does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from perpixel.layers.compiled import Loop, address, load_loops

# Queries whose corners are found before they are read.
QUERIES = 32
# Queries a thread must have for a second thread to be worth its start.
LEAST_QUERIES = 256


@cache
def kernel() -> Loop | None:
    """The compiled loop, made at the first call; None, perhaps with a warning, where it cannot be had."""
    loops = load_loops("perpixel.layers.deformable_loops", {"sample": "flffffnnf" + "i" * 7})
    return None if loops is None else loops["sample"]


class KernelTable(NamedTuple):
    """One image's values as the loop reads them.

    Attributes:
        rows: (heads · n + 1, d) float32, a row a head and pixel, head by head; the last row is zero and stands for
            all that lies outside.
        heads: how many heads there are.
        shapes: (h, w) of every level.
    """

    rows: Tensor
    heads: int
    shapes: Sequence[tuple[int, int]]

    def sample(self, references: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """Read all levels bilinearly around each query's place and sum by weight; what lies outside counts as 0.

        Args:
            references: (q, 2), x then y, as fractions of the levels.
            offsets: (q, heads, levels · points · 2), x then y, in pixels of the level that is read.
            weights: (q, heads, levels · points).

        Returns:
            (q, heads · d) float32.
        """
        out = self.rows.new_empty(len(references), self.heads, self.rows.shape[1])
        each = [tensor.detach().float().contiguous() for tensor in (references, offsets, weights)]
        each.append(out)
        # Threads of Python for the length of the call: those of numba clash with torch's and do not survive a fork.
        count = max(1, min(torch.get_num_threads(), len(out) // LEAST_QUERIES))
        if count == 1:
            self._run(*each)
        else:
            edges = [len(out) * i // count for i in range(count + 1)]
            with ThreadPoolExecutor(count) as pool:
                parts = [[tensor[a:b] for tensor in each] for a, b in itertools.pairwise(edges)]
                for done in [pool.submit(self._run, *part) for part in parts]:
                    done.result()
        return out.flatten(1)

    def _run(self, references: Tensor, offsets: Tensor, weights: Tensor, out: Tensor) -> None:
        """Sample for some queries, all float32 and contiguous, into `out`, (q, heads, d)."""
        loop = kernel()
        assert loop is not None
        shapes = torch.tensor(self.shapes, dtype=torch.int64, device="cpu").view(-1, 2)
        (q, heads, d), (_, _, slots), depth = out.shape, weights.shape, len(shapes)
        pixels = sum(h * w for h, w in self.shapes)
        # The loop reads memory as it is told, so what it is told is checked.
        assert len(self.rows) == heads * pixels + 1 and self.rows.shape[1] == d and d % 32 == 0 and slots % depth == 0
        assert references.shape == (q, 2) and weights.shape == (q, heads, slots) and offsets.shape[2] == 2 * slots
        corners = 4 * heads * slots
        levels = shapes.new_empty(corners, dtype=torch.int32)
        rows, by = shapes.new_empty(QUERIES * corners, dtype=torch.int32), out.new_empty(QUERIES * corners)
        loop(
            address(self.rows),
            address(shapes, torch.int64),
            *(address(x) for x in (references, offsets, weights, out)),
            address(levels, torch.int32),
            address(rows, torch.int32),
            address(by),
            *(pixels, heads, d, depth, slots // depth, q, QUERIES),
        )


def kernel_table(value: Tensor, shapes: Sequence[tuple[int, int]]) -> KernelTable:
    """Lay out the values of one image, (n, heads, d), d a multiple of 32."""
    n, heads, d = value.shape
    rows = torch.empty(heads * n + 1, d, dtype=torch.float32)
    rows[:-1].view(heads, n, d).copy_(value.detach().transpose(0, 1))
    rows[-1].zero_()
    return KernelTable(rows, heads, shapes)
