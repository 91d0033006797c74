"""The loops of `perpixel.models.mask2former.instance_kernel` as they are compiled.

The result is walked through in cells: the pixels between two rows of logits, `SIDE` columns at a time. Linear
interpolation does not leave the range of the logits that it reads, so most cells are known to lie wholly inside or
wholly outside of the mask before a pixel of them is enlarged. The others are enlarged in the cache, and nowhere else.
This module imports numba, so only `perpixel.layers.compiled` imports it, to compile it. Each array comes as an address
and its sizes, and memory to work in comes from the caller; `instance_kernel` says what they hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from perpixel.models.mask2former.instance_kernel import SIDE, WORK

# Sums and products must round where `MaskTiles.values` rounds them.
FASTMATH = False
# A probability is 1/2 + z · P(z²) / Q(z²) of the logit z within ±17, to 6e-9 before rounding and 2e-7 after it; beyond
# it is 0 or 1 to 5e-8. The polynomials were fitted to tanh(z / 2) / 2 by least squares, weighted until the largest
# error was smallest. They need no exponential function, so that LLVM makes vectors of them.
P0, P1, P2, P3, P4 = (
    np.float32(value)
    for value in (
        0.24999998637651374,
        0.00837887774681156,
        5.5090897453439515e-05,
        8.250603443368896e-08,
        1.376876716677549e-11,
    )
)
Q1, Q2, Q3, Q4 = (
    np.float32(value)
    for value in (0.11684878944135829, 0.001624445516532667, 5.212011743085244e-06, 3.153752419818383e-09)
)
END = np.float32(17)
# A cell whose probabilities are no further apart counts with their middle.
EQUAL = np.float32(2e-7)
LIMIT = np.float32(1e30)


@njit(error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _probability(z: Any) -> Any:
    """The probability of a logit, less 1/2."""
    z = min(max(z, -END), END)
    u = z * z
    p = (((P4 * u + P3) * u + P2) * u + P1) * u + P0
    return z * p / ((((Q4 * u + Q3) * u + Q2) * u + Q1) * u + np.float32(1))


@njit(error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _cut(logits: Any, row: Any, column: Any) -> Any:
    return min(max(logits[row, column], -LIMIT), LIMIT)


@njit(error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _range(logits: Any, up: Any, low: Any, first: Any, last: Any) -> Any:
    """The lowest and the highest logit that a cell reads."""
    least, most = LIMIT, -LIMIT
    for k in range(first, last + np.uintp(1)):
        a, b = _cut(logits, up, k), _cut(logits, low, k)
        least, most = min(least, min(a, b)), max(most, max(a, b))
    return least, most


@njit(error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _widen(logits: Any, up: Any, low: Any, columns: Any, across: Any, left: Any, n: Any, work: Any) -> None:
    """Enlarge a cell's logits sideways; what lies beyond the result is inside of no mask."""
    upper, lower = work[0], work[1]
    for k in range(n):
        i, j = np.uintp(columns[0, left + k]), np.uintp(columns[1, left + k])
        before, after = across[0, left + k], across[1, left + k]
        upper[k] = _cut(logits, up, i) * before + _cut(logits, up, j) * after
        lower[k] = _cut(logits, low, i) * before + _cut(logits, low, j) * after
    for k in range(n, np.uintp(SIDE)):
        upper[k], lower[k] = -np.float32(np.inf), -np.float32(np.inf)


@njit(error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _total(values: Any) -> Any:
    """The sum of `SIDE` values, which are lost."""
    step = np.uintp(SIDE // 2)
    while step > np.uintp(0):
        for k in range(step):
            values[k] += values[k + step]
        step = step // np.uintp(2)
    return float(values[0])


def measure(
    logits_data: Any,
    cells_data: Any,
    lines_data: Any,
    down_data: Any,
    columns_data: Any,
    across_data: Any,
    cuts: Any,
    work_data: Any,
    found_data: Any,
    h: int,
    w: int,
    bands: int,
    height: int,
    width: int,
) -> None:
    """Count a mask's pixels and sum their probabilities."""
    logits, cells = carray(logits_data, (h, w)), carray(cells_data, (bands + 1,))
    lines, down = carray(lines_data, (2, height)), carray(down_data, (2, height))
    columns, across = carray(columns_data, (2, width)), carray(across_data, (2, width))
    work, found = carray(work_data, (WORK, SIDE)), carray(found_data, (2,))
    side = np.uintp(SIDE)
    upper, lower, sums, counts = work[0], work[1], work[2], work[3]
    above, none, every = cuts[0], cuts[1], cuts[2]
    one, zero = np.float32(1), np.float32(0)
    count, total = 0.0, 0.0
    for left in range(np.uintp(0), np.uintp(width), side):
        n = min(side, np.uintp(width) - left)
        first, last = np.uintp(columns[0, left]), np.uintp(columns[1, left + n - np.uintp(1)])
        for cell in range(np.uintp(0), np.uintp(bands)):
            begin, end = np.uintp(cells[cell]), np.uintp(cells[cell + np.uintp(1)])
            up, low = np.uintp(lines[0, begin]), np.uintp(lines[1, begin])
            least, most = _range(logits, up, low, first, last)
            if most > none:
                bottom, top = zero, one
                if least > every:
                    bottom, top = _probability(least), _probability(most)
                if top - bottom <= EQUAL:
                    count += float((end - begin) * n)
                    total += float((end - begin) * n) * 0.5 * float(top + bottom)
                else:
                    _widen(logits, up, low, columns, across, left, n, work)
                    for k in range(side):
                        sums[k], counts[k] = zero, zero
                    for y in range(begin, end):
                        over, under = down[0, y], down[1, y]
                        for k in range(side):
                            z = upper[k] * over + lower[k] * under
                            inside = z > above
                            sums[k] += _probability(z) if inside else zero
                            counts[k] += one if inside else zero
                    count += _total(counts)
                    total += _total(sums)
    found[0], found[1] = count, total + 0.5 * count


def paint(
    logits_data: Any,
    cells_data: Any,
    lines_data: Any,
    down_data: Any,
    columns_data: Any,
    across_data: Any,
    cuts: Any,
    work_data: Any,
    canvas_data: Any,
    found_data: Any,
    h: int,
    w: int,
    bands: int,
    height: int,
    width: int,
    number: int,
) -> None:
    """Paint a mask's pixels where the canvas is 0, and count them."""
    logits, cells = carray(logits_data, (h, w)), carray(cells_data, (bands + 1,))
    lines, down = carray(lines_data, (2, height)), carray(down_data, (2, height))
    columns, across = carray(columns_data, (2, width)), carray(across_data, (2, width))
    work, canvas = carray(work_data, (WORK, SIDE)), carray(canvas_data, (height, width))
    colour = np.uint8(number)
    side = np.uintp(SIDE)
    upper, lower = work[0], work[1]
    above, none, every = cuts[0], cuts[1], cuts[2]
    free = np.uint8(0)
    count = np.int64(0)
    for left in range(np.uintp(0), np.uintp(width), side):
        n = min(side, np.uintp(width) - left)
        first, last = np.uintp(columns[0, left]), np.uintp(columns[1, left + n - np.uintp(1)])
        for cell in range(np.uintp(0), np.uintp(bands)):
            begin, end = np.uintp(cells[cell]), np.uintp(cells[cell + np.uintp(1)])
            up, low = np.uintp(lines[0, begin]), np.uintp(lines[1, begin])
            least, most = _range(logits, up, low, first, last)
            if least > every:
                for y in range(begin, end):
                    row, found = canvas[y, left : left + n], np.int32(0)
                    for k in range(n):
                        mine = row[k] == free
                        found += np.int32(1) if mine else np.int32(0)
                        row[k] = colour if mine else row[k]
                    count += found
            elif most > none:
                _widen(logits, up, low, columns, across, left, n, work)
                for y in range(begin, end):
                    over, under = down[0, y], down[1, y]
                    row, found = canvas[y, left : left + n], np.int32(0)
                    for k in range(n):
                        mine = (upper[k] * over + lower[k] * under > above) & (row[k] == free)
                        found += np.int32(1) if mine else np.int32(0)
                        row[k] = colour if mine else row[k]
                    count += found
    found_data[0] = count


def encode(
    logits_data: Any,
    cells_data: Any,
    lines_data: Any,
    down_data: Any,
    columns_data: Any,
    across_data: Any,
    cuts: Any,
    work_data: Any,
    ends_data: Any,
    found_data: Any,
    h: int,
    w: int,
    bands: int,
    height: int,
    width: int,
    space: int,
) -> None:
    """Find a mask's runs down the columns, from its logits transposed."""
    logits, cells = carray(logits_data, (h, w)), carray(cells_data, (bands + 1,))
    lines, down = carray(lines_data, (2, height)), carray(down_data, (2, height))
    columns, across = carray(columns_data, (2, width)), carray(across_data, (2, width))
    work, ends = carray(work_data, (w,)), carray(ends_data, (space,))
    u0, u1, room = np.uintp(0), np.uintp(1), np.uintp(space)
    above, none, every = cuts[0], cuts[1], cuts[2]
    tall, count = np.uintp(w), np.uintp(bands)
    runs, within, place = u0, False, np.int64(0)
    known, first, last = np.uintp(h), u0, u0
    start, stop = u0, u0
    for x in range(np.uintp(width)):
        i, j = np.uintp(columns[0, x]), np.uintp(columns[1, x])
        before, after = across[0, x], across[1, x]
        if i != known:
            known, first, last = i, tall, u0
            for k in range(tall):
                if max(_cut(logits, i, k), _cut(logits, j, k)) > none:
                    first, last = min(first, np.uintp(k)), np.uintp(k)
            # Only these cells may have pixels inside.
            start, stop = u0, u0
            if first < tall:
                while (start < count) and (np.uintp(lines[1, cells[start]]) < first):
                    start += u1
                stop = start
                while (stop < count) and (np.uintp(lines[0, cells[stop]]) <= last):
                    stop += u1
                first, last = first - min(first, u1), min(last + u1, tall - u1)
        if start < stop:
            for k in range(first, last + u1):
                work[k] = _cut(logits, i, k) * before + _cut(logits, j, k) * after
        if within & ((start == stop) | (cells[start] > 0)):
            if runs < room:
                ends[runs] = place
            runs, within = runs + u1, False
        for cell in range(start, stop):
            begin, end = np.uintp(cells[cell]), np.uintp(cells[cell + u1])
            a, b = work[np.uintp(lines[0, begin])], work[np.uintp(lines[1, begin])]
            if (min(a, b) > every) | ~(max(a, b) > none):
                if within != (a > every):
                    if runs < room:
                        ends[runs] = place + np.int64(begin)
                    runs, within = runs + u1, a > every
            else:
                for y in range(begin, end):
                    inside = a * down[0, y] + b * down[1, y] > above
                    if inside != within:
                        if runs < room:
                            ends[runs] = place + np.int64(y)
                        runs, within = runs + u1, inside
        if within & (start < stop) & (np.int64(cells[stop]) < np.int64(height)):
            if runs < room:
                ends[runs] = place + np.int64(cells[stop])
            runs, within = runs + u1, False
        place += np.int64(height)
    found_data[0] = np.int64(runs)
