"""How much results flicker from frame to frame of a film.

`flicker` needs no truth: along the flow what does not change should stay the same. The others compare with the truth,
after "Perceptually Motivated Benchmark for Video Matting" (Erofeev, Gitman, Vatolin, Fedorov, Wang, BMVC 2015): `dtssd`
is the difference of the changes at fixed places, a root of a sum of squares for each pair of frames, and `messddt` the
change of the squared error along the motion. As papers on video matting since Robust Video Matting (Lin et al., 2021,
arXiv 2108.11515) print dtSSD, sums are means over the pixels here. `dtssd_along` is dtSSD along the motion: an error
that goes with the subject counts in every frame at fixed places, and nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.ops.flow import inside, warp

__all__ = ["dtssd", "dtssd_along", "flicker", "messddt"]

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
    _check_flow(back, first.shape)
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
    before, after = _errors(pred_before, pred, true_before, true)
    return float(np.sqrt(np.square(after - before).mean()))


def dtssd_along(
    pred_before: AnyArray, pred: AnyArray, true_before: AnyArray, true: AnyArray, back: NDArray[np.float32]
) -> float:
    """How much the error of an alpha changes from a frame to the next along the motion.

    Args:
        pred_before: (h, w) alpha in [0, 1], of a frame.
        pred: (h, w), of the next.
        true_before: (h, w), the truth for the first.
        true: (h, w), the truth for the next.
        back: (h, w, 2) float32, where each pixel of the later frame was.

    Returns:
        the root of the mean squared change, over the pixels that were in the picture; 0 where none was.

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> before, after = np.float32([[0.5, 0, 0, 0]]), np.float32([[0, 0.5, 0, 0]])
        >>> right, none = np.full((1, 4, 2), (-1, 0), np.float32), np.zeros((1, 4))
        >>> dtssd_along(before, after, none, none, right)
        0.0
    """
    first, second = _errors(pred_before, pred, true_before, true)
    return float(np.sqrt(_mean_along(np.square, first, second, back)))


def messddt(
    pred_before: AnyArray, pred: AnyArray, true_before: AnyArray, true: AnyArray, back: NDArray[np.float32]
) -> float:
    """How much the squared error of an alpha changes from a frame to the next along the motion.

    Args:
        pred_before: as for `dtssd_along`.
        pred: as for `dtssd_along`.
        true_before: as for `dtssd_along`.
        true: as for `dtssd_along`.
        back: as for `dtssd_along`.

    Returns:
        the mean absolute change of the squares, over the pixels that were in the picture; 0 where none was.

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> none = np.zeros((2, 2))
        >>> messddt(none, np.full((2, 2), 0.5), none, none, np.zeros((2, 2, 2), np.float32))
        0.25
    """
    first, second = _errors(pred_before, pred, true_before, true)
    return _mean_along(np.abs, np.square(first), np.square(second), back)


def _errors(
    pred_before: AnyArray, pred: AnyArray, true_before: AnyArray, true: AnyArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = _pair(pred_before, pred)
    first_true, second_true = _pair(true_before, true)
    if first.shape != first_true.shape:
        raise InputError(f"the results are {first.shape} and the truths {first_true.shape}: give the same size")
    return first - first_true, second - second_true


def _mean_along(
    size: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    back: NDArray[np.float32],
) -> float:
    """The mean size of the change along the motion, where this comes from within the picture."""
    _check_flow(back, before.shape)
    change = after - warp(before.astype(np.float32), back).astype(np.float64)
    there = inside(back)
    return float(size(change[there]).mean()) if there.any() else 0.0


def _check_flow(back: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if back.shape != (*shape, 2):
        raise InputError(f"the flow has the shape {back.shape}, and {(*shape, 2)} is needed: give that of a frame")


def _pair(first: AnyArray, second: AnyArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise InputError(f"the frames have the shapes {one.shape} and {other.shape}: give two of (h, w)")
    return one, other
