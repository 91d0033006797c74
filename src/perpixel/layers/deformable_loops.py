"""The loop of `perpixel.layers.deformable_kernel` as it is compiled.

The same sums as `perpixel.layers.deformable.sample`, which needs several passes over the corners' indices and weights:
here they never leave the cache. This module imports numba, so only `perpixel.layers.compiled` imports it, to compile
it. Each array comes as an address and its sizes, and memory to work in comes from the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

# Floats that are read at once. Wider than some processors' registers: LLVM then takes several.
LANES = 32
# Partial sums, so that an addition need not wait for the one before.
SUMS = 2
# None of numba's liberties: what is not a number is told by being unlike itself.
FASTMATH = False

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


def sample(
    table: Any,
    shapes_data: Any,
    references_data: Any,
    offsets: Any,
    weights: Any,
    out: Any,
    levels_data: Any,
    rows_data: Any,
    by_data: Any,
    pixels: int,
    heads: int,
    width: int,
    depth: int,
    points: int,
    asking: int,
    block: int,
) -> None:
    """Sample for some queries.

    Args:
        table: (heads · pixels + 1, width), see `perpixel.layers.deformable_kernel.KernelTable`.
        shapes_data: (depth, 2), rows and columns of each level.
        references_data: (asking, 2), x then y, as fractions of the levels.
        offsets: (asking, heads, depth · points · 2), x then y, in pixels of the level.
        weights: (asking, heads, depth · points).
        out: (asking, heads, width), what is written.
        levels_data: room for 4 integers a slot, of which there are heads · depth · points.
        rows_data: room for 4 integers a slot and query of a block.
        by_data: room for as many weights.
        pixels: of all levels.
        heads: how many there are.
        width: of a head.
        depth: how many levels there are.
        points: that a head reads in a level.
        asking: how many queries there are.
        block: queries whose corners are found before they are read.
    """
    # Unsigned, or every index would be checked for being negative.
    queries, count, d = np.uintp(asking), np.uintp(depth * points), np.uintp(width)
    u1, u2, u3, u4 = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    slots, size = count * np.uintp(heads), heads * depth * points
    shapes, references = carray(shapes_data, (depth, 2)), carray(references_data, (asking, 2))
    levels = carray(levels_data, (4 * size,))
    first = 0
    for level in range(depth):
        for head in range(heads):
            for point in range(points):
                at = u4 * np.uintp((head * depth + level) * points + point)
                levels[at], levels[at + u1] = shapes[level, 1], shapes[level, 0]
                levels[at + u2], levels[at + u3] = first + head * pixels, 0
        first += shapes[level, 0] * shapes[level, 1]
    values, results = carray(table, ((heads * pixels + 1) * width,)), carray(out, (asking * heads * width,))
    each, by_slot = carray(offsets, (2 * asking * size,)), carray(weights, (asking * size,))
    # The four corners of every slot, one slot after the other.
    rows, by = carray(rows_data, (block * 4 * size,)), carray(by_data, (block * 4 * size,))
    none, single, pitch = np.int32(0), np.int32(1), np.int32(width)
    one, half, nan = np.float32(1), np.float32(0.5), np.float32(np.nan)
    outside = np.int32(heads * pixels) * pitch
    # A range of a step that is not known could raise.
    for number in range((asking + block - 1) // block):
        start = np.uintp(number * block)
        end = min(start + np.uintp(block), queries)
        for query in range(start, end):
            middle_x, middle_y = references[query, 0], references[query, 1]
            for slot in range(slots):
                k, m = u4 * slot, u4 * ((query - start) * slots + slot)
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
            for query in range(start, end):
                begin_at = u4 * ((query - start) * slots + head * count)
                place = (query * np.uintp(heads) + head) * d
                for part in range(np.uintp(0), d, np.uintp(LANES)):
                    weighted_sum(values, rows, by, begin_at, count * u4, part, results, place + part)
