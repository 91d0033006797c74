"""Pixel values at 8 bits, 16 bits and as floats, and the exact ways between them."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
"""uint8, uint16, or float32 in [0, 1]."""

Whole = TypeVar("Whole", np.uint8, np.uint16)

# Values that are converted at once.
BLOCK = 1 << 16


def full_value(pixels: Pixels) -> int:
    """The value of white, or of an opaque alpha: 255, 65535, or 1 for floats."""
    return {"uint8": 255, "uint16": 65535}.get(pixels.dtype.name, 1)


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """float32 in [0, 1]; the integers come back exactly by `to_uint8` and `to_uint16`."""
    if pixels.dtype == np.float32:
        return np.ascontiguousarray(pixels, np.float32)
    return np.divide(pixels, np.float32(full_value(pixels)), dtype=np.float32)


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """The nearest 8-bit values, halves upwards.

    >>> to_uint8(np.array([0, 128, 129, 65535], np.uint16))
    array([  0,   0,   1, 255], dtype=uint8)
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    if pixels.dtype == np.uint16:
        return np.asarray((pixels.astype(np.uint32) + 128) // 257, np.uint8)
    return _rounded(pixels, np.uint8)


def to_uint16(pixels: Pixels) -> NDArray[np.uint16]:
    """The nearest 16-bit values, halves upwards.

    >>> to_uint16(np.array([0, 1, 255], np.uint8))
    array([    0,   257, 65535], dtype=uint16)
    """
    if pixels.dtype == np.uint16:
        return np.asarray(pixels, np.uint16)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    return _rounded(pixels, np.uint16)


def to_bits(pixels: Pixels, bits: int) -> Pixels:
    """uint8, uint16 or float32 for 8, 16 or 32 bits."""
    if bits == 32:
        return to_float(pixels)
    return to_uint8(pixels) if bits == 8 else to_uint16(pixels)


def _rounded(pixels: Any, kind: type[Whole]) -> NDArray[Whole]:
    values = np.ascontiguousarray(pixels, np.float32).reshape(-1)
    whole = np.empty(values.shape, kind)
    # In blocks that stay in the processor's cache: a large image needs no memory but the result's.
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK] * np.float32(np.iinfo(kind).max)
        block += np.float32(0.5)
        whole[start : start + BLOCK] = np.floor(block, out=block)
    return whole.reshape(np.shape(pixels))
