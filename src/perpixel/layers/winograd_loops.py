"""The loops of `perpixel.layers.winograd_kernel` as they are compiled: a map's tiles to 36 products and back.

Each one-dimensional step takes 6 values of a tile to 6 or 4 others. The numbers are those of Toom and Cook for the
points 0, 1, -1, 1/2, -2 and infinity, scaled so that all in the loops are exact in binary. This module imports numba,
so only `perpixel.layers.compiled` imports it, to compile it. What an argument means is said there where the loop is
called; each array comes as an address and its sizes, and memory to work in comes from the caller too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

# No rounding may be left out for being small, but products and sums may become one instruction.
FASTMATH = {"contract", "nsz"}


@njit(error_model="numpy", fastmath=FASTMATH, forceinline=True)  # type: ignore[untyped-decorator]
def _products(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> Any:
    """Six values of a tile, in one direction, at the points of the products."""
    a, b, c5, two = np.float32(0.5), np.float32(1.5), np.float32(2.5), np.float32(2)
    p, q = d3 - d1, d4 - d2
    return (
        d0 - d2 + q + b * p,
        d4 - d1 + a * d2 + c5 * d3,
        c5 * d2 - d1 - a * d3 - d4,
        two * p + q,
        two * q - p,
        d5 - d3 - p + b * q,
    )


def gather(
    x_data: Any,
    v_data: Any,
    scratch: Any,
    h: int,
    w: int,
    c: int,
    tiles: int,
    channels: int,
    top: int,
    left: int,
    columns: int,
    first: int,
    begin: int,
    end: int,
    place: int,
    relu: int,
) -> None:
    """As `perpixel.layers.winograd_kernel.Loops.gather`; `scratch` has room for (37, c)."""
    x, v = carray(x_data, (h, w, c)), carray(v_data, (36, tiles, channels))
    room = carray(scratch, (37, c))
    outside, half = room[36], room[:36]
    for k in range(c):
        outside[k] = 0
    low = np.float32(0)
    for t in range(begin, end):
        row = top + 4 * ((first + t) // columns) - 1
        column = left + 4 * ((first + t) % columns) - 1
        for j in range(column, column + 6):
            inside = (j >= 0) & (j < w)
            x0 = x[row, j] if inside & (row >= 0) & (row < h) else outside
            x1 = x[row + 1, j] if inside & (row + 1 >= 0) & (row + 1 < h) else outside
            x2 = x[row + 2, j] if inside & (row + 2 >= 0) & (row + 2 < h) else outside
            x3 = x[row + 3, j] if inside & (row + 3 >= 0) & (row + 3 < h) else outside
            x4 = x[row + 4, j] if inside & (row + 4 >= 0) & (row + 4 < h) else outside
            x5 = x[row + 5, j] if inside & (row + 5 >= 0) & (row + 5 < h) else outside
            i = j - column
            y0, y1, y2, y3, y4, y5 = half[i], half[6 + i], half[12 + i], half[18 + i], half[24 + i], half[30 + i]
            for k in range(c):
                d0, d1, d2, d3, d4, d5 = x0[k], x1[k], x2[k], x3[k], x4[k], x5[k]
                if relu:
                    d0, d1, d2 = max(d0, low), max(d1, low), max(d2, low)
                    d3, d4, d5 = max(d3, low), max(d4, low), max(d5, low)
                y0[k], y1[k], y2[k], y3[k], y4[k], y5[k] = _products(d0, d1, d2, d3, d4, d5)
        for i in range(6):
            z0, z1, z2 = half[6 * i], half[6 * i + 1], half[6 * i + 2]
            z3, z4, z5 = half[6 * i + 3], half[6 * i + 4], half[6 * i + 5]
            v0, v1 = v[6 * i, t, place : place + c], v[6 * i + 1, t, place : place + c]
            v2, v3 = v[6 * i + 2, t, place : place + c], v[6 * i + 3, t, place : place + c]
            v4, v5 = v[6 * i + 4, t, place : place + c], v[6 * i + 5, t, place : place + c]
            for k in range(c):
                d1, d2, d3, d4 = z1[k], z2[k], z3[k], z4[k]
                v0[k], v1[k], v2[k], v3[k], v4[k], v5[k] = _products(z0[k], d1, d2, d3, d4, z5[k])


def enlarge(
    x_data: Any,
    v_data: Any,
    scratch: Any,
    share_data: Any,
    h: int,
    w: int,
    c: int,
    tiles: int,
    channels: int,
    top: int,
    left: int,
    upper: int,
    lower: int,
    before: int,
    after: int,
    columns: int,
    first: int,
    begin: int,
    end: int,
    place: int,
) -> None:
    """As `perpixel.layers.winograd_kernel.Loops.enlarge`; `scratch` has room for (24, c), `share_data` for (2, 12).

    A tile reads 6×6 pixels of the enlargement, which come of 4×4 of x: those of the rows `upper` to `lower` and the
    columns `before` to `after`, both ends included.
    """
    x, v = carray(x_data, (h, w, c)), carray(v_data, (36, tiles, channels))
    half, shares = carray(scratch, (24, c)), carray(share_data, (2, 12))
    for t in range(begin, end):
        row, column = top + 4 * ((first + t) // columns), left + 4 * ((first + t) % columns)
        for axis in range(2):
            start, size = (row, 2 * h) if axis == 0 else (column, 2 * w)
            for k in range(6):
                inside = (start + k - 1 >= 0) & (start + k - 1 < size)
                near, far = (np.float32(0.75), np.float32(0.25)) if inside else (np.float32(0), np.float32(0))
                shares[axis, 2 * k] = near if k % 2 == 0 else far
                shares[axis, 2 * k + 1] = far if k % 2 == 0 else near
        a0, b0, a1, b1, a2, b2 = shares[0, 0], shares[0, 1], shares[0, 2], shares[0, 3], shares[0, 4], shares[0, 5]
        a3, b3, a4, b4, a5, b5 = shares[0, 6], shares[0, 7], shares[0, 8], shares[0, 9], shares[0, 10], shares[0, 11]
        for j in range(4):
            near_column = min(max(column // 2 - 1 + j, before), after)
            x0 = x[min(max(row // 2 - 1, upper), lower), near_column]
            x1 = x[min(max(row // 2, upper), lower), near_column]
            x2 = x[min(max(row // 2 + 1, upper), lower), near_column]
            x3 = x[min(max(row // 2 + 2, upper), lower), near_column]
            y0, y1, y2, y3, y4, y5 = half[j], half[4 + j], half[8 + j], half[12 + j], half[16 + j], half[20 + j]
            for k in range(c):
                e0, e1, e2, e3 = x0[k], x1[k], x2[k], x3[k]
                d0, d1, d2 = a0 * e0 + b0 * e1, a1 * e0 + b1 * e1, a2 * e1 + b2 * e2
                d3, d4, d5 = a3 * e1 + b3 * e2, a4 * e2 + b4 * e3, a5 * e2 + b5 * e3
                y0[k], y1[k], y2[k], y3[k], y4[k], y5[k] = _products(d0, d1, d2, d3, d4, d5)
        a0, b0, a1, b1, a2, b2 = shares[1, 0], shares[1, 1], shares[1, 2], shares[1, 3], shares[1, 4], shares[1, 5]
        a3, b3, a4, b4, a5, b5 = shares[1, 6], shares[1, 7], shares[1, 8], shares[1, 9], shares[1, 10], shares[1, 11]
        for i in range(6):
            z0, z1, z2, z3 = half[4 * i], half[4 * i + 1], half[4 * i + 2], half[4 * i + 3]
            v0, v1 = v[6 * i, t, place : place + c], v[6 * i + 1, t, place : place + c]
            v2, v3 = v[6 * i + 2, t, place : place + c], v[6 * i + 3, t, place : place + c]
            v4, v5 = v[6 * i + 4, t, place : place + c], v[6 * i + 5, t, place : place + c]
            for k in range(c):
                e0, e1, e2, e3 = z0[k], z1[k], z2[k], z3[k]
                d0, d1, d2 = a0 * e0 + b0 * e1, a1 * e0 + b1 * e1, a2 * e1 + b2 * e2
                d3, d4, d5 = a3 * e1 + b3 * e2, a4 * e2 + b4 * e3, a5 * e2 + b5 * e3
                v0[k], v1[k], v2[k], v3[k], v4[k], v5[k] = _products(d0, d1, d2, d3, d4, d5)


def scatter(
    m_data: Any,
    bias_data: Any,
    add_data: Any,
    out_data: Any,
    scratch: Any,
    tiles: int,
    h: int,
    w: int,
    c: int,
    columns: int,
    first: int,
    begin: int,
    end: int,
    top: int,
    bottom: int,
    left: int,
    right: int,
    up: int,
    over: int,
    relu: int,
    adds: int,
) -> None:
    """As `perpixel.layers.winograd_kernel.Loops.scatter`; `scratch` has room for (25, c), `add` counts if `adds`."""
    m, bias = carray(m_data, (36, tiles, c)), carray(bias_data, (c,))
    add, out = carray(add_data, (h, w, c)), carray(out_data, (h, w, c))
    room = carray(scratch, (25, c))
    half, spare = room[:24], room[24]
    a, two, quarter, low = np.float32(0.5), np.float32(2), np.float32(0.25), np.float32(0)
    eighth, four, eight = np.float32(0.125), np.float32(4), np.float32(8)
    for t in range(begin, end):
        row, column = top - up + 4 * ((first + t) // columns), left - over + 4 * ((first + t) % columns)
        for j in range(6):
            z0, z1, z2, z3, z4, z5 = m[j, t], m[6 + j, t], m[12 + j, t], m[18 + j, t], m[24 + j, t], m[30 + j, t]
            y0, y1, y2, y3 = half[j], half[6 + j], half[12 + j], half[18 + j]
            for k in range(c):
                s, d, e, f = z1[k] + z2[k], z1[k] - z2[k], z3[k], z4[k]
                y0[k] = z0[k] + s + e + f
                y1[k] = d + a * e - two * f
                y2[k] = s + quarter * e + four * f
                y3[k] = d + eighth * e - eight * f + z5[k]
        for i in range(max(0, top - row), min(4, bottom - row)):
            z0, z1, z2 = half[6 * i], half[6 * i + 1], half[6 * i + 2]
            z3, z4, z5 = half[6 * i + 3], half[6 * i + 4], half[6 * i + 5]
            o0 = out[row + i, column] if column >= left else spare
            o1 = out[row + i, column + 1] if column + 1 < right else spare
            o2 = out[row + i, column + 2] if column + 2 < right else spare
            o3 = out[row + i, column + 3] if column + 3 < right else spare
            for k in range(c):
                s, d, e, f, g = z1[k] + z2[k], z1[k] - z2[k], z3[k], z4[k], bias[k]
                r0 = z0[k] + s + e + f + g
                r1 = d + a * e - two * f + g
                r2 = s + quarter * e + four * f + g
                r3 = d + eighth * e - eight * f + z5[k] + g
                if relu:
                    r0, r1, r2, r3 = max(r0, low), max(r1, low), max(r2, low), max(r3, low)
                o0[k], o1[k], o2[k], o3[k] = r0, r1, r2, r3
            if adds:
                for j in range(max(column, left), min(column + 4, right)):
                    added, result = add[row + i, j], out[row + i, j]
                    for k in range(c):
                        result[k] += added[k]
