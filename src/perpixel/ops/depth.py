"""Depth as arrays: its two kinds, the fit to metres, whole numbers for files, and colours to look at.

Most networks predict *inverse* depth up to an unknown scale and shift ("Towards Robust Monocular Depth Estimation",
Ranftl, Lasinger, Hafner, Schindler, Koltun, 2020, arXiv 1907.01341): 1 / metres = scale · value + shift. So every
fit here is made in inverse depth, where that is a straight line. Two facts are worth knowing: inverse depth is
linear in stereo disparity, and a plane in the world is a plane in inverse depth.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = [
    "COLOUR_MAPS",
    "KINDS",
    "Kind",
    "align_tile",
    "checked_depth",
    "coloured",
    "fit_scale",
    "fit_scale_shift",
    "from_codes",
    "metres",
    "normalised",
    "reciprocal",
    "to_codes",
]

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Kind: TypeAlias = Literal["inverse", "metric"]

KINDS = ("inverse", "metric")
# What is wider than this standard deviation, in pixels of the whole image's depth, is taken from there.
RESOLVED = 2.0
COLOUR_MAPS = {
    "grey": None,
    "inferno": cv2.COLORMAP_INFERNO,
    "magma": cv2.COLORMAP_MAGMA,
    "plasma": cv2.COLORMAP_PLASMA,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "turbo": cv2.COLORMAP_TURBO,
    "jet": cv2.COLORMAP_JET,
}
"""The colour maps by name. The first six grow steadily brighter; turbo and jet tell more steps apart."""

UNKNOWN_GREY = 128  # no other pixel of the maps but "grey" has this colour
# Farther than a thousand times the moon: no distance any more, only rounding on its way through zero.
LEAST_INVERSE = 1e-12


def checked_depth(values: npt.NDArray[Any], kind: Kind, valid: npt.NDArray[Any] | None = None) -> tuple[Float, Bool]:
    """Bring depth into one form: finite numbers, and a mask of the pixels where they mean something.

    Args:
        values: (h, w), numbers. NaN and infinity mark unknown pixels, and in metres 0 does too.
        kind: "inverse" or "metric".
        valid: (h, w) bool, false for further unknown pixels.

    Returns:
        (h, w) float32, 0 at unknown pixels, and (h, w) bool, true at known ones.

    Raises:
        InputError: another shape, no numbers, negative metres, or no known pixel.

    Example:
        >>> checked_depth(np.array([[2, np.nan, 0]]), "metric")
        (array([[2., 0., 0.]], dtype=float32), array([[ True, False, False]]))
    """
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is no kind of depth: use one of {', '.join(KINDS)}")
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"the depth is {array.dtype} of shape {array.shape}, and numbers of shape (height, width) are needed: "
            "give one plane"
        )
    with np.errstate(over="ignore"):
        plane: Float = np.array(array, np.float32, order="C")
    known = np.isfinite(plane)
    if kind == "metric":
        if bool((plane[known] < 0).any()):
            raise InputError(
                f"the depth has negative metres, down to {float(plane[known].min()):g}: mark unknown pixels by 0 or "
                'NaN, or say kind="inverse" if it grows towards the camera'
            )
        known &= plane > 0
    if valid is not None:
        if np.shape(valid) != plane.shape or np.asarray(valid).dtype != np.bool_:
            raise InputError(
                f"valid is {np.asarray(valid).dtype} of shape {np.shape(valid)}, and bool of the depth's shape "
                f"{plane.shape} is needed"
            )
        known &= valid
    if not known.any():
        raise InputError("no pixel of the depth is known: all are NaN, infinite, masked, or 0 metres")
    plane[~known] = 0
    return plane, known


def reciprocal(values: npt.NDArray[Any], valid: Bool) -> Double:
    """1 / values, (h, w) float64; 0 where `valid` is false. It turns metres into inverse depth and back."""
    result: Double = np.zeros(values.shape, np.float64)
    np.divide(1.0, values, out=result, where=valid)
    return result


def fit_scale_shift(values: npt.NDArray[Any], inverse: npt.NDArray[Any]) -> tuple[float, float]:
    """The scale and shift with the least sum of (scale · value + shift − inverse)².

    Args:
        values: (n,), inverse depth without unit.
        inverse: (n,), the true inverse depth, 1 / metres.

    Returns:
        scale and shift. Where all values are the same, scale is 0 and shift the mean.

    Raises:
        InputError: nothing to fit to.

    Example:
        >>> fit_scale_shift(np.array([1, 2, 3]), np.array([0.5, 0.75, 1]))
        (0.25, 0.25)
    """
    x, y = _pairs(values, inverse)
    middle, level = float(x.mean()), float(y.mean())
    spread = float(np.square(x - middle).sum())
    # Below this only the rounding of float32 differs.
    if spread <= len(x) * (1e-7 * float(np.abs(x).max())) ** 2:
        return 0.0, level
    scale = float(((x - middle) * (y - level)).sum()) / spread
    return scale, level - scale * middle


def fit_scale(values: npt.NDArray[Any], inverse: npt.NDArray[Any]) -> float:
    """The scale with the least sum of (scale · value − inverse)²; arguments and errors as in `fit_scale_shift`.

    >>> fit_scale(np.array([1, 2]), np.array([0.5, 1]))
    0.5
    """
    x, y = _pairs(values, inverse)
    power = float(np.square(x).sum())
    return float((x * y).sum()) / power if power else 0.0


def align_tile(fine: Float, coarse: Float, cell: int) -> Float:
    """Bring a tile's depth to that of the whole image, by least squares of scale and shift.

    A tile shows a part of the scene, whose slant and bend a model guesses less well than those of the whole. What is
    left over after the fit is therefore taken off where it is as coarse as the whole image's depth resolves well; the
    tile gives what is finer than that.

    Args:
        fine: (h, w), the tile's own depth, of any scale and shift.
        coarse: (h, w), the whole image's depth there.
        cell: the side in pixels of what `coarse` resolves; both are compared as means over such squares, since detail
            that only `fine` has would make its scale come out too small.

    Returns:
        (h, w); `coarse` itself where `fine` is constant, runs against it or is not finite.

    Example:
        >>> coarse = np.float32([[1, 2], [3, 4]])
        >>> align_tile(10 * coarse + 5, coarse, 1)
        array([[1., 2.],
               [3., 4.]], dtype=float32)
    """
    if not (np.isfinite(fine).all() and np.isfinite(coarse).all()):
        return coarse
    cells = max(1, fine.shape[1] // cell), max(1, fine.shape[0] // cell)
    means = [cv2.resize(plane, cells, interpolation=cv2.INTER_AREA) for plane in (fine, coarse)]
    scale, shift = fit_scale_shift(means[0].ravel(), means[1].ravel())
    if scale <= 0:
        return coarse
    left = np.asarray(means[1] - (scale * means[0] + shift), np.float32)
    left = cv2.GaussianBlur(left, (0, 0), RESOLVED, borderType=cv2.BORDER_REPLICATE)
    bend = cv2.resize(left, (fine.shape[1], fine.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(scale * fine + shift + bend, np.float32)


def metres(inverse: npt.NDArray[Any], valid: Bool, farthest: float | None = None) -> Float:
    """Metres from inverse depth that has its scale and shift.

    Args:
        inverse: (h, w), 1 / metres.
        valid: (h, w) bool, the known pixels.
        farthest: what lies farther, or behind infinity, is put there; in metres.

    Returns:
        (h, w) float32, 0 at unknown pixels.

    Raises:
        InputError: pixels with zero or negative inverse depth, and no `farthest`; or a `farthest` that is no distance.
    """
    if farthest is not None and not 0 < farthest < np.inf:
        raise InputError(f"farthest is {farthest}, and a distance in metres above 0 is needed")
    if farthest is None:
        beyond = int(np.count_nonzero(inverse[valid] < LEAST_INVERSE))
        if beyond:
            share = 100 * beyond / int(np.count_nonzero(valid))
            raise InputError(
                f"{beyond} pixels ({share:.2g} %) come out at zero or negative inverse depth, behind infinity: give "
                "a known distance farther away, or farthest=… in metres to put them there"
            )
        return reciprocal(inverse, valid).astype(np.float32)
    return reciprocal(np.maximum(inverse, 1 / farthest), valid).astype(np.float32)


def normalised(inverse: npt.NDArray[Any], valid: Bool) -> Float:
    """Stretch inverse depth to 0 for the farthest and 1 for the nearest known pixel.

    Args:
        inverse: (h, w), any scale.
        valid: (h, w) bool, the known pixels; at least one.

    Returns:
        (h, w) float32 in [0, 1]; 0 at unknown pixels, and everywhere if the depth is constant.
    """
    known = inverse[valid]
    low, high = float(known.min()), float(known.max())
    if high <= low:
        return np.zeros(inverse.shape, np.float32)
    stretched = (inverse.astype(np.float64) - low) / (high - low)
    return np.where(valid, np.clip(stretched, 0, 1), 0).astype(np.float32)


def coloured(near: Float, valid: Bool, map: str = "inferno") -> npt.NDArray[np.uint8]:
    """Paint normalised depth.

    Args:
        near: (h, w) in [0, 1], 1 for the nearest.
        valid: (h, w) bool; unknown pixels become mid-grey.
        map: one of `COLOUR_MAPS`.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        InputError: another map.

    Example:
        >>> coloured(np.array([[0, 1]], np.float32), np.array([[True, True]]), "grey").tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    if map not in COLOUR_MAPS:
        raise InputError(f"map={map!r} is no colour map: use one of {', '.join(COLOUR_MAPS)}")
    steps = np.rint(near * 255).astype(np.uint8)
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    number = COLOUR_MAPS[map]
    table = np.repeat(ramp, 3, axis=1) if number is None else cv2.applyColorMap(ramp, number)[:, 0, ::-1]
    picture: npt.NDArray[np.uint8] = np.ascontiguousarray(table)[steps]  # (h, w, 3)
    picture[~valid] = UNKNOWN_GREY
    return picture


def to_codes(values: Float, valid: Bool, bits: int) -> tuple[npt.NDArray[Any], float, float]:
    """Whole numbers for a picture file: value = scale · code + shift.

    Args:
        values: (h, w) float32.
        valid: (h, w) bool. Where any pixel is unknown, the code 0 is kept for those.
        bits: 8 or 16.

    Returns:
        (h, w) uint8 or uint16, growing with the value; scale; shift. Restored values are off by at most half a scale
        (and the rounding of float32).

    Example:
        >>> codes, scale, shift = to_codes(np.array([[2, 4]], np.float32), np.array([[True, True]]), 8)
        >>> codes.tolist(), shift
        ([[0, 255]], 2.0)
    """
    whole = bool(valid.all())
    known = values if whole else values[valid]
    low, high = float(known.min()), float(known.max())
    first = 0 if whole else 1
    scale = (high - low) / (2**bits - 1 - first)
    steps = values.astype(np.float64)
    steps -= low
    if scale:
        steps /= scale
        np.rint(steps, out=steps)
    else:
        steps[:] = 0
    steps += first
    if not whole:
        steps[~valid] = 0
    return steps.astype(np.uint8 if bits == 8 else np.uint16), scale, low - scale * first


def from_codes(codes: npt.NDArray[Any], scale: float, shift: float) -> Float:
    """The values of `to_codes` again, (h, w) float32."""
    return (codes.astype(np.float64) * scale + shift).astype(np.float32)


def _pairs(values: npt.NDArray[Any], inverse: npt.NDArray[Any]) -> tuple[Double, Double]:
    x, y = np.asarray(values, np.float64), np.asarray(inverse, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not x.size:
        raise InputError(
            f"values have shape {x.shape} and inverse {y.shape}: give two lists of equal length, not empty"
        )
    return x, y
