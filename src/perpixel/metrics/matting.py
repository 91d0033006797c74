"""The four measures of a matte, as "A Perceptually Motivated Online Benchmark for Image Matting" defines them.

(Rhemann, Rother, Wang, Gelautz, Kohli, Rott, CVPR 2009.) Matting papers since Deep Image Matting (Xu et al., 2017,
arXiv 1703.03872) report them over the unknown pixels of the trimap only; give the trimap for that.

| measure | papers print |
|---|---|
| SAD, gradient, connectivity | the sum divided by 1000, as it comes from here |
| MSE | the mean, as it comes from here, or 1000 times it |

All alphas are in [0, 1]. Lower is better.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = ["connectivity_error", "gradient_error", "mse", "sad"]

AnyArray = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

GRADIENT_SIGMA = 1.4
CONNECTIVITY_STEP = 0.1
CONNECTIVITY_THRESHOLD = 0.15


def sad(pred: AnyArray, true: AnyArray, trimap: AnyArray | None = None) -> float:
    """Sum of absolute differences, divided by 1000.

    Args:
        pred: (h, w) alpha in [0, 1], or uint8 in 0…255.
        true: (h, w) the same, the truth.
        trimap: (h, w) with 0 background, 128 unknown, 255 foreground: only unknown pixels count. All without it.

    Returns:
        0 or more; grows with the number of pixels.

    Raises:
        InputError: the sizes differ, a value is out of range, or no pixel of the trimap is unknown.

    Example:
        >>> sad(np.full((100, 100), 0.5), np.ones((100, 100)))
        5.0
    """
    alpha, truth, counted = _checked(pred, true, trimap)
    return float(np.abs(alpha - truth)[counted].sum() / 1000)


def mse(pred: AnyArray, true: AnyArray, trimap: AnyArray | None = None) -> float:
    """Mean squared difference. Arguments and errors as in `sad`.

    Returns:
        In [0, 1]; does not grow with the number of pixels.

    Example:
        >>> mse(np.full((100, 100), 0.5), np.ones((100, 100)))
        0.25
    """
    alpha, truth, counted = _checked(pred, true, trimap)
    return float(((alpha - truth) ** 2)[counted].mean())


def gradient_error(pred: AnyArray, true: AnyArray, trimap: AnyArray | None = None) -> float:
    """Sum of squared differences between the magnitudes of both gradients, divided by 1000.

    The gradients are those of a Gaussian with sigma 1.4, cut where it falls under 0.01 (9×9 pixels) and scaled to
    unit Euclidean norm, as in the benchmark's own programme. Arguments and errors as in `sad`.

    Example:
        >>> edge = np.ones((40, 40))
        >>> edge[:, :20] = 0
        >>> round(gradient_error(edge, np.ones((40, 40))), 3)
        0.784
    """
    alpha, truth, counted = _checked(pred, true, trimap)
    difference = _gradient_magnitude(alpha) - _gradient_magnitude(truth)
    return float((difference**2)[counted].sum() / 1000)


def connectivity_error(pred: AnyArray, true: AnyArray, trimap: AnyArray | None = None) -> float:
    """Sum of differences in how connected pixels are to the common opaque region, divided by 1000.

    The source region is the largest 4-connected region in which both alphas are 1. A pixel is connected up to the
    highest threshold, in steps of 0.1, at which its region of both alphas ≥ threshold reaches the largest one; what
    its alpha rises above that, if at least 0.15, takes from its connectivity. Arguments and errors as in `sad`.

    Example:
        >>> alpha = np.ones((100, 100))
        >>> alpha[:, 50] = 0  # cuts it in two; the left part is larger
        >>> connectivity_error(alpha, alpha)
        0.0
    """
    alpha, truth, counted = _checked(pred, true, trimap)
    levels = _connected_level(np.minimum(alpha, truth))
    difference = _connectivity(alpha, levels) - _connectivity(truth, levels)
    return float(np.abs(difference)[counted].sum() / 1000)


def _connected_level(lower: Double) -> Double:
    """For each pixel, the highest threshold up to which it stays in the largest region of `lower`."""
    steps = round(1 / CONNECTIVITY_STEP)
    levels = np.full(lower.shape, -1.0)
    for step in range(1, steps + 1):
        largest = _largest_region(lower >= step / steps)
        # A pixel that leaves the largest region at this step was connected up to the one before.
        levels[(levels < 0) & ~largest] = (step - 1) / steps
    levels[levels < 0] = 1
    return levels


def _largest_region(mask: Bool) -> Bool:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if len(stats) < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _connectivity(alpha: Double, levels: Double) -> Double:
    above = alpha - levels
    return np.asarray(1 - above * (above >= CONNECTIVITY_THRESHOLD))


def _gradient_magnitude(alpha: Double) -> Double:
    reach = math.ceil(GRADIENT_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * GRADIENT_SIGMA * 0.01)))
    at = np.arange(-reach, reach + 1, dtype=np.float64)
    smooth = np.exp(-(at**2) / (2 * GRADIENT_SIGMA**2)) / (GRADIENT_SIGMA * math.sqrt(2 * math.pi))
    slope = -at * smooth / GRADIENT_SIGMA**2
    # The norm of the outer product is the product of the norms.
    smooth, slope = smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)
    parts = [
        cv2.sepFilter2D(alpha, cv2.CV_64F, along_x, along_y, borderType=cv2.BORDER_REPLICATE)
        for along_x, along_y in ((slope, smooth), (smooth, slope))
    ]
    return np.asarray(np.hypot(*parts), np.float64).reshape(alpha.shape)


def _checked(pred: AnyArray, true: AnyArray, trimap: AnyArray | None) -> tuple[Double, Double, Bool]:
    alpha, truth = _alpha(pred, "pred"), _alpha(true, "true")
    if alpha.shape != truth.shape:
        raise InputError(
            f"pred is {_width_by_height(alpha)} but true is {_width_by_height(truth)} (width×height): "
            "compare mattes of the same image"
        )
    if trimap is None:
        return alpha, truth, np.ones(alpha.shape, np.bool_)
    trimap = np.asarray(trimap)
    if trimap.shape != alpha.shape:
        raise InputError(
            f"trimap is {_width_by_height(trimap)} but the mattes are {_width_by_height(alpha)} (width×height): "
            "pass the trimap of the same image"
        )
    counted = trimap == 128
    if not counted.any():
        raise InputError("no pixel of trimap is unknown (128): snap it with snap_trimap, or measure without it")
    return alpha, truth, counted


def _alpha(values: AnyArray, name: str) -> Double:
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"{name} has the shape {values.shape}, but (height, width) is needed: give one plane")
    if values.dtype == np.uint8:
        return values / 255.0
    alpha = values.astype(np.float64)
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # NaN fails too
        raise InputError(f"{name} lies in [{low:g}, {high:g}], but [0, 1] is needed: scale or clip it first")
    return alpha


def _width_by_height(array: AnyArray) -> str:
    return "×".join(str(side) for side in array.shape[1::-1])
