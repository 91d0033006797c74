"""How much results flicker from frame to frame of a film.

`flicker` needs no truth: along the flow what does not change should stay the same. `dtssd` compares with the truth:
"Perceptually Motivated Benchmark for Video Matting" (Erofeev, Gitman, Vatolin, Fedorov, Wang, BMVC 2015) found that
people's judgement of steadiness follows the difference of the changes in time. Its figure is a root of a sum of squares
for each pair of frames; as papers on video matting since Robust Video Matting (Lin et al., 2021, arXiv 2108.11515)
print it, the sum is a mean over the pixels, and the figure 100 times that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.ops.flow import warp

__all__ = ["dtssd", "flicker"]

AnyArray = NDArray[Any]


def flicker(before: AnyArray, after: AnyArray, back: NDArray[np.float32], where: AnyArray | None = None) -> float:
    """The mean absolute difference of two results along the flow.

    Args:
        before: (h, w) floats, the result of a frame.
        after: (h, w), that of the next.
        back: (h, w, 2) float32, where each pixel of the later frame was; see `perpixel.ops.flow`.
        where: (h, w) bool, the pixels that count, such as those where the flow is right; all if not given.

    Returns:
        0 or more, in the unit of the results; 0 where no pixel counts.

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> still = np.zeros((4, 6, 2), np.float32)
        >>> flicker(np.zeros((4, 6)), np.full((4, 6), 0.25), still)
        0.25
    """
    first, second = _pair(before, after)
    if back.shape != (*first.shape, 2):
        raise InputError(
            f"the flow has the shape {back.shape}, and {(*first.shape, 2)} is needed: give that of a frame"
        )
    change = np.abs(second - warp(first.astype(np.float32), back).astype(np.float64))
    if where is None:
        return float(change.mean())
    if where.shape != first.shape or where.dtype != np.bool_:
        raise InputError(f"where is {where.dtype} {where.shape}, and bool {first.shape} is needed: give a mask")
    return float(change[where].mean()) if where.any() else 0.0


def dtssd(pred_before: AnyArray, pred: AnyArray, true_before: AnyArray, true: AnyArray) -> float:
    """How differently two alphas change from a frame to the next.

    Args:
        pred_before: (h, w) alpha in [0, 1], of a frame.
        pred: (h, w), of the next.
        true_before: (h, w), the truth for the first.
        true: (h, w), the truth for the next.

    Returns:
        the root of the mean squared difference of the changes; papers print 100 times it, as a mean over all pairs of
        frames. An error that stays the same counts nothing.

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> dtssd(np.zeros((2, 2)), np.full((2, 2), 0.5), np.zeros((2, 2)), np.zeros((2, 2)))
        0.5
    """
    first, second = _pair(pred_before, pred)
    first_true, second_true = _pair(true_before, true)
    if first.shape != first_true.shape:
        raise InputError(f"the results are {first.shape} and the truths {first_true.shape}: give the same size")
    return float(np.sqrt(np.square((second - first) - (second_true - first_true)).mean()))


def _pair(first: AnyArray, second: AnyArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise InputError(f"the frames have the shapes {one.shape} and {other.shape}: give two of (h, w)")
    return one, other
