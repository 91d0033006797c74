"""The measures of depth that papers report.

As "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network" (Eigen, Puhrsch, Fergus, 2014, arXiv
1406.2283) defines them, with p the predicted and t the true depth in metres, over the pixels whose truth is known:

| measure | definition | better |
|---|---|---|
| abs_rel | mean of \\|p − t\\| / t | lower |
| sq_rel | mean of (p − t)² / t, in metres | lower |
| rmse | root of the mean of (p − t)², in metres | lower |
| rmse_log | root of the mean of (ln p − ln t)² | lower |
| log10 | mean of \\|log10 p − log10 t\\| | lower |
| silog | 100 times the standard deviation of ln p − ln t, as KITTI's benchmark prints it | lower |
| delta1, delta2, delta3 | share of pixels where max(p / t, t / p) is below 1.25, 1.25², 1.25³ | higher |

Relative models have to be aligned first. `align="scale_shift"` fits both by least squares in inverse depth over the
known pixels, as MiDaS does (arXiv 1907.01341, section 6); `align="scale"` the scale alone. What comes out behind
infinity is then put at `farthest`. Each image is aligned by itself, and a data set's figure is the mean over images.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.ops.depth import fit_scale, fit_scale_shift

__all__ = [
    "Align",
    "abs_rel",
    "delta1",
    "delta2",
    "delta3",
    "depth_errors",
    "log10",
    "paired_depths",
    "rmse",
    "rmse_log",
    "silog",
    "sq_rel",
]

AnyArray = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Align: TypeAlias = Literal["none", "scale", "scale_shift"]

DELTA = 1.25


def paired_depths(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> tuple[Double, Double]:
    """The depths to compare, in metres, after alignment. All measures here start with it.

    Args:
        pred: (h, w), or any shape: metres above 0, or with `inverse=True` inverse depth.
        true: the same shape, metres; 0, negative, NaN and infinite mean unknown.
        mask: the same shape, bool: only where it is true.
        align: "none", "scale" or "scale_shift".
        inverse: whether `pred` is inverse depth; as `DepthMap.kind` says.
        farthest: in metres; aligned depths are cut there. By default the largest true depth.

    Returns:
        predicted and true metres at the n pixels that count, (n,) float64 each.

    Raises:
        InputError: shapes that differ, no pixel to compare, a prediction that is not finite there, or one that is no
            depth (0 or negative) and not aligned.
    """
    guess, truth = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    if guess.shape != truth.shape:
        raise InputError(f"pred has the shape {guess.shape} and true {truth.shape}: compare depths of the same image")
    if align not in get_args(Align):
        raise InputError(f"align={align!r} is not known: use one of {', '.join(get_args(Align))}")
    if farthest is not None and not 0 < farthest < np.inf:
        raise InputError(f"farthest is {farthest}, and a distance in metres above 0 is needed")
    counted: Bool = np.isfinite(truth) & (truth > 0)
    if mask is not None:
        if np.shape(mask) != truth.shape or np.asarray(mask).dtype != np.bool_:
            raise InputError(
                f"mask is {np.asarray(mask).dtype} of shape {np.shape(mask)}, and bool of shape {truth.shape} is needed"
            )
        counted &= mask
    guess, truth = guess[counted], truth[counted]
    if not len(truth):
        raise InputError("no pixel of true is known (above 0 and finite, and in the mask): there is nothing to compare")
    if not np.isfinite(guess).all():
        raise InputError("pred has NaN or infinite values where true is known: mask them out, or mend the model")
    if not (inverse and align != "none") and guess.min() <= 0:
        mend = 'align="scale_shift" puts them right' if inverse else "mask them out, or say inverse=True"
        what = "inverse depth" if inverse else "metres"
        raise InputError(f"pred has {what} down to {guess.min():g}, and above 0 is needed: {mend}")
    if align == "none":
        return (1 / guess if inverse else guess), truth
    plane = guess if inverse else 1 / guess
    if align == "scale":
        plane = plane * fit_scale(plane, 1 / truth)
    else:
        scale, shift = fit_scale_shift(plane, 1 / truth)
        plane = scale * plane + shift
    return 1 / np.maximum(plane, 1 / (truth.max() if farthest is None else farthest)), truth


def depth_errors(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> dict[str, float]:
    """All measures at once, aligned once, by their names; arguments and errors as in `paired_depths`.

    Example:
        >>> errors = depth_errors(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0]]))
        >>> errors["abs_rel"], errors["delta1"]
        (0.25, 0.5)
    """
    guess, truth = paired_depths(pred, true, mask, align=align, inverse=inverse, farthest=farthest)
    apart = guess - truth
    logs = np.log(guess) - np.log(truth)
    ratio = np.maximum(guess / truth, truth / guess)
    return {
        "abs_rel": float((np.abs(apart) / truth).mean()),
        "sq_rel": float((apart**2 / truth).mean()),
        "rmse": float(np.sqrt((apart**2).mean())),
        "rmse_log": float(np.sqrt((logs**2).mean())),
        "log10": float(np.abs(logs).mean() / np.log(10)),
        # The standard deviation is the root of mean(d²) − mean(d)², without its cancellation below zero.
        "silog": 100 * float(logs.std()),
        **{f"delta{power}": float((ratio < DELTA**power).mean()) for power in (1, 2, 3)},
    }


def abs_rel(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Mean of |p − t| / t. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["abs_rel"]


def sq_rel(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Mean of (p − t)² / t, in metres. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["sq_rel"]


def rmse(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Root of the mean squared difference, in metres. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["rmse"]


def rmse_log(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Root of the mean squared difference of natural logarithms. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["rmse_log"]


def log10(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Mean difference of decimal logarithms. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["log10"]


def silog(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """100 times the standard deviation of the difference of logarithms. Arguments and errors as in `paired_depths`.

    A wrong scale of the whole depth does not change it.
    """
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["silog"]


def delta1(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Share of pixels less than a factor of 1.25 off. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["delta1"]


def delta2(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Share of pixels less than a factor of 1.25² off. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["delta2"]


def delta3(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    farthest: float | None = None,
) -> float:
    """Share of pixels less than a factor of 1.25³ off. Arguments and errors as in `paired_depths`."""
    return depth_errors(pred, true, mask, align=align, inverse=inverse, farthest=farthest)["delta3"]
