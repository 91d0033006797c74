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

What papers add to that, each named by an argument:

- **align**, one fit an image, over the pixels that count. `"none"` for metric models. `"median"` multiplies the
  predicted metres by the ratio of both medians (Zhou, Brown, Snavely, Lowe, 2017, arXiv 1704.07813, and all
  self-supervised work since). `"scale_shift"` fits scale and shift by least squares in inverse depth, as MiDaS does
  (Ranftl and others, 2020, arXiv 1907.01341, section 6); `"scale"` the scale alone. What comes out behind infinity is
  put at `farthest`.
- **nearest** and **farthest**, the caps: only pixels whose true depth is strictly between them count, and predictions
  are cut to them. Usual are 0.001 and 10 m for NYUv2, 0.001 and 80 m for KITTI.
- **crop**, what part of the image counts; see `CROPS`.

Each image is measured by itself, and a data set's figure is the mean over images (`DepthMeter`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.metrics.meter import ExactSum
from perpixel.ops.depth import fit_scale, fit_scale_shift

__all__ = ["CROPS", "Align", "Crop", "DepthMeter", "counted_pixels", "depth_errors", "paired_depths"]

AnyArray = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Align: TypeAlias = Literal["none", "median", "scale", "scale_shift"]
Crop: TypeAlias = Literal["eigen", "garg", "eigen_nyu"]

CROPS: Mapping[Crop, tuple[float, float, float, float]] = MappingProxyType(
    {
        # Fractions of the height and the width, as the programmes of Monodepth and of all after it have them.
        "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
        "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
        # Rows 45 to 471 and columns 41 to 601 of 480×640 pixels.
        "eigen_nyu": (45 / 480, 471 / 480, 41 / 640, 601 / 640),
    }
)
"""Top, bottom, left and right of what counts, as fractions: "garg" (Garg and others, 2016) and "eigen" (Eigen and
others, 2014) for KITTI, and "eigen_nyu" for NYUv2, all rounded down to whole pixels."""

MEASURES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3")
DELTA = 1.25


def counted_pixels(
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    nearest: float | None = None,
    farthest: float | None = None,
    crop: Crop | None = None,
) -> Bool:
    """The pixels that a measure looks at.

    Args:
        true: (h, w), or with no crop any shape: metres; 0, negative, NaN and infinite mean unknown.
        mask: the same shape, bool: only where it is true.
        nearest: in metres; only truths above it count.
        farthest: in metres; only truths below it count.
        crop: one of `CROPS`.

    Returns:
        bool of the same shape.

    Raises:
        InputError: another mask, caps that are no distances or the wrong way round, or another crop.

    Example:
        >>> counted_pixels(np.array([[0, 1, 5, 80]]), farthest=80).tolist()
        [[False, True, True, False]]
    """
    truth = np.asarray(true, np.float64)
    for name, cap in (("nearest", nearest), ("farthest", farthest)):
        if cap is not None and not 0 < cap < np.inf:
            raise InputError(f"{name} is {cap}, and a distance in metres above 0 is needed")
    low, high = 0.0 if nearest is None else nearest, np.inf if farthest is None else farthest
    if low >= high:
        raise InputError(f"nearest is {nearest} and farthest {farthest}: nearest must be less")
    counted: Bool = (truth > low) & (truth < high)
    if crop is not None:
        counted &= _cropped(truth.shape, crop)
    if mask is not None:
        if np.shape(mask) != truth.shape or np.asarray(mask).dtype != np.bool_:
            raise InputError(
                f"mask is {np.asarray(mask).dtype} of shape {np.shape(mask)}, and bool of shape {truth.shape} is needed"
            )
        counted &= mask
    return counted


def paired_depths(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    nearest: float | None = None,
    farthest: float | None = None,
    crop: Crop | None = None,
) -> tuple[Double, Double]:
    """The depths to compare, in metres, after alignment. All measures here start with it.

    Args:
        pred: (h, w), or with no crop any shape: metres above 0, or with `inverse=True` inverse depth.
        true: the same shape, metres; 0, negative, NaN and infinite mean unknown.
        mask: the same shape, bool: only where it is true.
        align: "none", "median", "scale" or "scale_shift"; see the top of this module.
        inverse: whether `pred` is inverse depth; as `DepthMap.kind` says.
        nearest: in metres; truths not above it do not count, and predictions are cut there.
        farthest: in metres; truths not below it do not count, and predictions are cut there. Without it, aligned
            predictions are cut at the largest truth that counts, and others are not cut.
        crop: "eigen", "garg" or "eigen_nyu", see `CROPS`.

    Returns:
        predicted and true metres at the n pixels that count, (n,) float64 each.

    Raises:
        InputError: shapes that differ, no pixel to compare, a prediction that is not finite there, or one that is no
            depth (0 or negative) and that neither the alignment nor a cap puts right.
    """
    if align not in get_args(Align):
        raise InputError(f"align={align!r} is not known: use one of {', '.join(get_args(Align))}")
    guess, truth = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    if guess.shape != truth.shape:
        raise InputError(f"pred has the shape {guess.shape} and true {truth.shape}: compare depths of the same image")
    counted = counted_pixels(truth, mask, nearest=nearest, farthest=farthest, crop=crop)
    guess, truth = guess[counted], truth[counted]
    if not len(truth):
        raise InputError(
            "no pixel of true is known (above 0 and finite, in the mask, the crop and between the caps): "
            "there is nothing to compare"
        )
    if not np.isfinite(guess).all():
        raise InputError("pred has NaN or infinite values where true is known: mask them out, or mend the model")
    fitted = align in ("scale", "scale_shift")
    # A cap puts what is no depth right, unless it has to be inverted for the fit first.
    mended = (fitted or align == "median" or farthest is not None) if inverse else (nearest is not None and not fitted)
    if guess.min() <= 0 and not mended:
        what, mend = ("inverse depth", 'farthest=… or align="scale_shift"') if inverse else ("metres", "nearest=…")
        raise InputError(
            f"pred has {what} down to {guess.min():g}, and above 0 is needed: mask them out, or {mend} puts them right"
            + ("" if inverse else "; or say inverse=True")
        )
    if align != "none" and farthest is None:
        farthest = float(truth.max())
    if fitted:
        plane = guess if inverse else 1 / guess
        scale, shift = fit_scale_shift(plane, 1 / truth) if align == "scale_shift" else (fit_scale(plane, 1 / truth), 0)
        plane = scale * plane + shift
    else:
        plane = guess
    metres = _reciprocal(plane) if inverse or fitted else plane
    if align == "median":
        middle = float(np.median(metres))
        if not 0 < middle < np.inf:
            raise InputError(
                f"the median of pred is {middle:g} metres, and the medians' ratio needs one above 0 and finite: "
                'use align="scale_shift"'
            )
        metres = metres * (float(np.median(truth)) / middle)
    if nearest is not None or farthest is not None:
        metres = np.clip(metres, nearest, farthest)
    return metres, truth


def depth_errors(
    pred: AnyArray,
    true: AnyArray,
    mask: AnyArray | None = None,
    *,
    align: Align = "none",
    inverse: bool = False,
    nearest: float | None = None,
    farthest: float | None = None,
    crop: Crop | None = None,
) -> dict[str, float]:
    """All measures of one image, aligned once, by their names; arguments and errors as in `paired_depths`.

    Example:
        >>> errors = depth_errors(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0]]))
        >>> errors["abs_rel"], errors["delta1"]
        (0.25, 0.5)
    """
    guess, truth = paired_depths(
        pred, true, mask, align=align, inverse=inverse, nearest=nearest, farthest=farthest, crop=crop
    )
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


class DepthMeter:
    """The measures of depth over many images: the mean of each image's, as papers report; a `Meter`.

    It keeps one exact sum a measure, so it does not grow with the images and merges to the digit. An image without a
    pixel that counts is left out of the mean; `skipped` says how many were.

    Args:
        align: "none", "median", "scale" or "scale_shift", for each image by itself.
        inverse: whether predictions are inverse depth.
        nearest: the lower cap, in metres.
        farthest: the upper cap, in metres.
        crop: "eigen", "garg" or "eigen_nyu".

    Raises:
        InputError: a setting that is not known, or caps that are no distances.

    Example:
        >>> meter = DepthMeter(nearest=0.001, farthest=80)
        >>> meter.update(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0]]))["abs_rel"]
        0.25
        >>> meter.update(np.array([[9.0, 3.0]]), np.array([[0.0, 3.0]]))["abs_rel"]
        0.0
        >>> meter.compute()["abs_rel"]
        0.125
    """

    def __init__(
        self,
        *,
        align: Align = "none",
        inverse: bool = False,
        nearest: float | None = None,
        farthest: float | None = None,
        crop: Crop | None = None,
    ) -> None:
        if align not in get_args(Align):
            raise InputError(f"align={align!r} is not known: use one of {', '.join(get_args(Align))}")
        counted_pixels(np.ones((1, 1)), nearest=nearest, farthest=farthest, crop=crop)  # its errors, at once
        self.align, self.inverse, self.crop = align, inverse, crop
        self.nearest, self.farthest = nearest, farthest
        self.sums = {name: ExactSum() for name in MEASURES}
        self.skipped = 0

    def update(self, pred: AnyArray, true: AnyArray, mask: AnyArray | None = None) -> dict[str, float]:
        """Add an image; arguments and errors as in `paired_depths`.

        Returns:
            The measures of this image; all NaN if no pixel of it counts.
        """
        caps: dict[str, Any] = {"nearest": self.nearest, "farthest": self.farthest, "crop": self.crop}
        if np.shape(pred) == np.shape(true) and not counted_pixels(true, mask, **caps).any():
            self.skipped += 1
            return dict.fromkeys(MEASURES, math.nan)
        errors = depth_errors(pred, true, mask, align=self.align, inverse=self.inverse, **caps)
        for name, total in self.sums.items():
            total.add(errors[name])
        return errors

    def merge(self, other: Self) -> None:
        """Take in what another meter has seen; one of other settings is an InputError."""
        if self._settings() != other._settings():
            raise InputError(
                f"the meters measure differently ({self._settings()} and {other._settings()}): merge those of one run"
            )
        for name, total in self.sums.items():
            total.merge(other.sums[name])
        self.skipped += other.skipped

    def compute(self) -> dict[str, float]:
        """The mean of each measure over the images; NaN without any."""
        return {name: total.mean for name, total in self.sums.items()}

    def _settings(self) -> tuple[object, ...]:
        return self.align, self.inverse, self.nearest, self.farthest, self.crop


def _cropped(shape: tuple[int, ...], crop: Crop) -> Bool:
    if crop not in CROPS:
        raise InputError(f"crop={crop!r} is not known: use one of {', '.join(CROPS)}")
    if len(shape) != 2:
        raise InputError(f"the depth has the shape {shape}, and a crop needs (height, width): give one plane")
    height, width = shape
    # A whole pixel that floating point puts just below itself, as 471 / 480 * 480 may be, stays whole.
    top, bottom, left, right = (
        math.floor(part * side + 1e-9) for part, side in zip(CROPS[crop], (height, height, width, width), strict=True)
    )
    inside: Bool = np.zeros(shape, np.bool_)
    inside[top:bottom, left:right] = True
    return inside


def _reciprocal(inverse: Double) -> Double:
    """1 / inverse; infinity from zero on."""
    return np.asarray(np.divide(1.0, inverse, out=np.full(inverse.shape, np.inf), where=inverse > 0), np.float64)
