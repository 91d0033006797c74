"""The sampling of multi-scale deformable attention as one compiled loop, for inference on a processor.

The same sums as `perpixel.layers.deformable.sample`, which needs several passes over the corners' indices and weights:
here they never leave the cache. numba compiles the loop once per machine and keeps it in its cache, beside this file
or, where that folder cannot be written, in the user's cache folder (`NUMBA_CACHE_DIR` names another one). This module
imports numba, so it is imported only when a model samples for the first time.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from perpixel.errors import PerpixelWarning

# Floats that are read at once. Wider than some processors' registers: LLVM then takes several.
LANES = 32
# Partial sums, so that an addition need not wait for the one before.
SUMS = 2
# Queries whose corners are found before they are read.
QUERIES = 32
# Queries a thread must have for a second thread to be worth its start.
LEAST_QUERIES = 256

Kernel = Callable[..., None]
ir = cgutils.ir


@intrinsic  # type: ignore[untyped-decorator]
def weighted_sum(
    _: Any, table: Any, rows: Any, weights: Any, begin: Any, count: Any, part: Any, out: Any, place: Any
) -> Any:
    """`out[place : place + LANES]` = Σ of `weights[i] · table[rows[i] : rows[i] + LANES]` over the first `count` rows.

    Written as LLVM's instructions, because of a loop in Python LLVM keeps the sums in memory: it cannot know that they
    are none of the values that are read. All arrays are flat; `rows` holds where each row starts.
    """
    vector = ir.VectorType(ir.FloatType(), LANES)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, rows, weights, out = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 1, 2, 6)
        )
        begin, count, part, place = arguments[3], arguments[4], arguments[5], arguments[7]
        add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
        )
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LANES)) for _ in range(SUMS)]
        with cgutils.for_range(builder, builder.udiv(count, count.type(SUMS))) as loop:
            for k, total in enumerate(sums):
                i = builder.add(builder.mul(loop.index, loop.index.type(SUMS)), loop.index.type(k))
                i = builder.add(i, begin)
                start = builder.add(builder.zext(builder.load(builder.gep(rows, [i])), ir.IntType(64)), part)
                read = builder.load(builder.bitcast(builder.gep(table, [start]), vector.as_pointer()), align=4)
                weight = builder.load(builder.gep(weights, [i]))
                first = builder.insert_element(ir.Constant(vector, ir.Undefined), weight, ir.IntType(32)(0))
                spread = builder.shuffle_vector(first, first, zeros)
                builder.store(builder.call(add, [read, spread, builder.load(total)]), total)
        parts = [builder.load(total) for total in sums]
        while len(parts) > 1:
            parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        builder.store(parts[0], builder.bitcast(builder.gep(out, [place]), vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(table, rows, weights, begin, count, part, out, place), generate


def _loop(table: Any, shapes: Any, references: Any, offsets: Any, weights: Any, out: Any) -> None:
    """Sample for some queries.

    Args:
        table: (heads · n + 1, d), see `KernelTable`.
        shapes: (levels, 2), rows and columns of each level.
        references: (q, 2), x then y, as fractions of the levels.
        offsets: (q, heads, levels · points · 2), x then y, in pixels of the level.
        weights: (q, heads, levels · points).
        out: (q, heads, d).
    """
    queries, heads = np.uintp(weights.shape[0]), weights.shape[1]
    n = (len(table) - 1) // heads
    points = weights.shape[2] // len(shapes)
    # Unsigned, or every index would be checked for being negative.
    count, d = np.uintp(weights.shape[2]), np.uintp(table.shape[1])
    u1, u2, u3, u4 = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    slots = count * np.uintp(heads)
    levels = np.empty(4 * slots, np.int32)
    first = 0
    for level in range(len(shapes)):
        for head in range(heads):
            for point in range(points):
                at = u4 * np.uintp((head * len(shapes) + level) * points + point)
                levels[at], levels[at + u1] = shapes[level, 1], shapes[level, 0]
                levels[at + u2], levels[at + u3] = first + head * n, 0
        first += shapes[level, 0] * shapes[level, 1]
    values, results = table.reshape(-1), out.reshape(-1)
    each, by_slot = offsets.reshape(-1), weights.reshape(-1)
    # The four corners of every slot, one slot after the other.
    rows, by = np.empty(QUERIES * 4 * slots, np.uint32), np.empty(QUERIES * 4 * slots, np.float32)
    none, single, pitch = np.int32(0), np.int32(1), np.int32(table.shape[1])
    one, half, nan = np.float32(1), np.float32(0.5), np.float32(np.nan)
    outside = np.int32(heads * n) * pitch
    for block in range(np.uintp(0), queries, np.uintp(QUERIES)):
        end = min(block + np.uintp(QUERIES), queries)
        for query in range(block, end):
            middle_x, middle_y = references[query, 0], references[query, 1]
            for slot in range(slots):
                k, m = u4 * slot, u4 * ((query - block) * slots + slot)
                w, h, begin = levels[k], levels[k + u1], levels[k + u2]
                x = middle_x * np.float32(w) + each[u2 * (query * slots + slot)] - half
                y = middle_y * np.float32(h) + each[u2 * (query * slots + slot) + u1] - half
                weight = by_slot[query * slots + slot]
                weight = weight if (x == x) & (y == y) else nan
                # One pixel beyond the edge there is nothing to read, so farther points may be moved there.
                x = x if x > -one else -one
                y = y if y > -one else -one
                x = x if x < np.float32(w) else np.float32(w)
                y = y if y < np.float32(h) else np.float32(h)
                low_x, low_y = np.floor(x), np.floor(y)
                right, below = x - low_x, y - low_y
                column, line = np.int32(low_x), np.int32(low_y)
                left_in, right_in = (column >= none) & (column < w), (x > -one) & (column + single < w)
                upper_in, lower_in = (line >= none) & (line < h), (y > -one) & (line + single < h)
                row = (begin + line * w + column) * pitch
                down = row + w * pitch
                rows[m] = row if left_in & upper_in else outside
                rows[m + u1] = row + pitch if right_in & upper_in else outside
                rows[m + u2] = down if left_in & lower_in else outside
                rows[m + u3] = down + pitch if right_in & lower_in else outside
                lower = weight * below
                upper = weight - lower
                upper_right, lower_right = upper * right, lower * right
                by[m], by[m + u1] = upper - upper_right, upper_right
                by[m + u2], by[m + u3] = lower - lower_right, lower_right
        # Head by head: successive queries read neighbouring rows, which are then still in the cache.
        for head in range(np.uintp(heads)):
            for query in range(block, end):
                begin_at = u4 * ((query - block) * slots + head * count)
                place = (query * np.uintp(heads) + head) * d
                for part in range(np.uintp(0), d, np.uintp(LANES)):
                    weighted_sum(values, rows, by, begin_at, count * u4, part, results, place + part)


@cache
def kernel() -> Kernel | None:
    """The compiled loop; None, with a warning, where it cannot be compiled."""
    if numba.config.DISABLE_JIT:
        return None
    tables = [types.Array(types.float32, n, "C") for n in (2, 2, 3, 3, 3)]
    signature = types.void(tables[0], types.Array(types.int64, 2, "C"), *tables[1:])
    try:
        try:
            compiled: Kernel = numba.njit(signature, cache=True, nogil=True, error_model="numpy")(_loop)
        except (OSError, RuntimeError):  # no folder can be written, or what is in there cannot be read
            compiled = numba.njit(signature, nogil=True, error_model="numpy")(_loop)
    except Exception as error:  # a compiler can fail in any way; there is another path
        warnings.warn(
            f"numba cannot compile the sampling of deformable attention, so it runs slower ({error!r}): "
            "install the newest numba",
            PerpixelWarning,
            stacklevel=2,
        )
        return None
    return compiled


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
        loop = kernel()
        assert loop is not None
        q, d = len(references), self.rows.shape[1]
        out = torch.empty(q, self.heads, d, dtype=torch.float32)
        rows, shapes = self.rows.numpy(), np.array(self.shapes, np.int64).reshape(-1, 2)
        each = [tensor.detach().float().contiguous().numpy() for tensor in (references, offsets, weights)]
        each.append(out.numpy())
        # Threads of Python for the length of the call: those of numba clash with torch's and do not survive a fork.
        count = max(1, min(torch.get_num_threads(), q // LEAST_QUERIES))
        if count == 1:
            loop(rows, shapes, *each)
        else:
            edges = [q * i // count for i in range(count + 1)]
            with ThreadPoolExecutor(count) as pool:
                parts = [[array[a:b] for array in each] for a, b in itertools.pairwise(edges)]
                for done in [pool.submit(loop, rows, shapes, *part) for part in parts]:
                    done.result()
        return out.flatten(1)


def kernel_table(value: Tensor, shapes: Sequence[tuple[int, int]]) -> KernelTable:
    """Lay out the values of one image, (n, heads, d), d a multiple of `LANES`."""
    n, heads, d = value.shape
    rows = torch.empty(heads * n + 1, d, dtype=torch.float32)
    rows[:-1].view(heads, n, d).copy_(value.detach().transpose(0, 1))
    rows[-1].zero_()
    return KernelTable(rows, heads, shapes)
