"""The four measures of a matte, as "A Perceptually Motivated Online Benchmark for Image Matting" defines them.

(Rhemann, Rother, Wang, Gelautz, Kohli, Rott, CVPR 2009.) Matting papers since Deep Image Matting (Xu et al., 2017,
arXiv 1703.03872) report them over the unknown pixels of the trimap only; give the trimap for that.

| measure | here | papers print |
|---|---|---|
| sad, grad, conn | the sum over the pixels that count, divided by 1000 | the same |
| mse | the mean over the pixels that count | 1000 times it ("MSE (10⁻³)"); see `PRINTED` |

A data set's figure is the mean of its images' (`MattingMeter`). So are the tables of ViTMatte (Yao, Wang, Yang, Wang,
2023, arXiv 2305.15272), on Composition-1k and Distinctions-646, over the unknown pixels. Names that end in `_whole`
are the same measures over all pixels; they are other numbers, never to be put beside those.

All alphas are in [0, 1], and predictions are measured as they are: what a trimap says of the known pixels is not put
into them. Lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.metrics.meter import ExactSum

__all__ = ["PRINTED", "MattingMeter", "connectivity_error", "gradient_error", "mse", "sad"]

AnyArray = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

GRADIENT_SIGMA = 1.4
CONNECTIVITY_STEP = 0.1
CONNECTIVITY_THRESHOLD = 0.15

WHOLE = "_whole"
PRINTED: Mapping[str, float] = MappingProxyType(
    {"sad": 1, "mse": 1000, "grad": 1, "conn": 1, "sad_whole": 1, "mse_whole": 1000, "grad_whole": 1, "conn_whole": 1}
)
"""How many times what a `MattingMeter` computes is what the papers' tables print, by the names of all its measures."""


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
    return _thousands(np.abs(alpha - truth)[counted])


def mse(pred: AnyArray, true: AnyArray, trimap: AnyArray | None = None) -> float:
    """Mean squared difference. Arguments and errors as in `sad`.

    Returns:
        In [0, 1]; does not grow with the number of pixels.

    Example:
        >>> mse(np.full((100, 100), 0.5), np.ones((100, 100)))
        0.25
    """
    alpha, truth, counted = _checked(pred, true, trimap)
    return _mean_square(np.abs(alpha - truth)[counted])


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
    return _thousands(_gradient_apart(alpha, truth)[counted])


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
    return _thousands(_connectivity_apart(alpha, truth)[counted])


class MattingMeter:
    """The four measures over many images: the mean of each image's, as papers report; a `Meter`.

    It keeps one exact sum a measure, so it does not grow with the images and merges to the digit.

    Example:
        >>> meter = MattingMeter()
        >>> alpha, true = np.full((100, 100), 0.5), np.ones((100, 100))
        >>> trimap = np.full((100, 100), 255, np.uint8)
        >>> trimap[:50] = 128
        >>> image = meter.update(alpha, true, trimap)
        >>> image["sad"], image["sad_whole"], image["mse"]
        (2.5, 5.0, 0.25)
        >>> {name: meter.compute()[name] * PRINTED[name] for name in ("sad", "mse")}
        {'sad': 2.5, 'mse': 250.0}
    """

    def __init__(self) -> None:
        self.sums = {name: ExactSum() for name in PRINTED}

    def update(self, pred: AnyArray, true: AnyArray, trimap: AnyArray | None = None) -> dict[str, float]:
        """Add an image.

        Args:
            pred: (h, w) alpha in [0, 1], or uint8 in 0…255.
            true: (h, w) the same, the truth.
            trimap: (h, w), 128 where unknown. Without one, or with no unknown pixel in it, the image counts for the
                measures of the whole image only, and the others of this image are NaN.

        Returns:
            sad, mse, grad and conn of this image over its unknown pixels, and each with `_whole` over all pixels.

        Raises:
            InputError: the sizes differ, or a value is out of range.
        """
        alpha, truth, counted = _checked(pred, true, trimap, any_unknown=False)
        apart = np.abs(alpha - truth)
        planes = {"grad": _gradient_apart(alpha, truth), "conn": _connectivity_apart(alpha, truth)}
        found = dict.fromkeys(PRINTED, math.nan)
        regions: dict[str, Any] = {WHOLE: np.s_[:, :]}
        if trimap is not None and counted.any():
            regions[""] = counted
        for suffix, region in regions.items():
            found |= {f"sad{suffix}": _thousands(apart[region]), f"mse{suffix}": _mean_square(apart[region])}
            found |= {f"{name}{suffix}": _thousands(plane[region]) for name, plane in planes.items()}
            for name in planes.keys() | {"sad", "mse"}:
                self.sums[name + suffix].add(found[name + suffix])
        return found

    def merge(self, other: Self) -> None:
        """Take in what another meter has seen."""
        for name, total in self.sums.items():
            total.merge(other.sums[name])

    def compute(self) -> dict[str, float]:
        """The mean of each measure over the images that say it, by the names in `PRINTED`; NaN without any."""
        return {name: total.mean for name, total in self.sums.items()}


def _thousands(apart: Double) -> float:
    return float(apart.sum() / 1000)


def _mean_square(apart: Double) -> float:
    return float((apart**2).mean())


def _gradient_apart(alpha: Double, truth: Double) -> Double:
    return np.asarray((_gradient_magnitude(alpha) - _gradient_magnitude(truth)) ** 2)


def _connectivity_apart(alpha: Double, truth: Double) -> Double:
    levels = _connected_level(np.minimum(alpha, truth))
    return np.asarray(np.abs(_connectivity(alpha, levels) - _connectivity(truth, levels)))


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


def _checked(
    pred: AnyArray, true: AnyArray, trimap: AnyArray | None, *, any_unknown: bool = True
) -> tuple[Double, Double, Bool]:
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
    if any_unknown and not counted.any():
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
