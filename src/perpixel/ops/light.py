"""Between the numbers of an sRGB file and linear light, in which light adds up (IEC 61966-2-1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["linear_to_srgb", "srgb_to_linear"]

Float = npt.NDArray[np.float32]


def srgb_to_linear(encoded: npt.NDArray[Any]) -> Float:
    """Linear light from sRGB values.

    Args:
        encoded: any shape, floats in [0, 1].

    Returns:
        the same shape, float32 in [0, 1].

    Example:
        >>> srgb_to_linear(np.array([0, 0.5, 1])).round(3)
        array([0.   , 0.214, 1.   ], dtype=float32)
    """
    values = np.asarray(encoded, np.float32)
    high = ((np.maximum(values, 0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(values <= np.float32(0.04045), values / np.float32(12.92), high)


def linear_to_srgb(linear: npt.NDArray[Any]) -> Float:
    """sRGB values from linear light; back from `srgb_to_linear` they are off by less than a 16-bit step.

    Args:
        linear: any shape, floats in [0, 1].

    Returns:
        the same shape, float32 in [0, 1].
    """
    values = np.asarray(linear, np.float32)
    high = np.float32(1.055) * np.maximum(values, 0) ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(values <= np.float32(0.0031308), values * np.float32(12.92), high)
