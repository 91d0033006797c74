"""Trimaps: what is surely foreground (255), surely background (0), and unknown (128).

A matting model only has to decide about the unknown pixels, so a good trimap is certain where it is certain, and
unknown wherever hair, blur or glass may mix both. Trimaps come from a file, from a mask, from scribbles or from a
known alpha.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError, PerpixelWarning

__all__ = [
    "BACKGROUND",
    "FOREGROUND",
    "UNKNOWN",
    "check_trimap",
    "has_unknown",
    "snap_trimap",
    "trimap_from_alpha",
    "trimap_from_mask",
    "trimap_from_scribbles",
]

Grey = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

# Values this near to 0, 128 or 255 are taken for them without a word: 127, or the noise of a good JPEG.
NEAR = 5
# Other values up to this distance from 0 and from 255 are still taken for known, with a warning.
LENIENT = 32
# The unknown band beside a mask's outline, as a share of the object's size, where none is asked for.
RELATIVE_BAND = 0.04
SMALLEST_BAND = 4.0


def snap_trimap(trimap: AnyArray) -> Grey:
    """Give every pixel of a trimap one of the values 0, 128 and 255.

    Args:
        trimap: (h, w), or (h, w, 1 or 3) with equal channels: bool, integers in 0…255 or 0…65535, or floats in
            [0, 1] or in [0, 255]. Exactly three grey values in the order dark, middle, bright (0/102/255) are
            background, unknown and foreground. Labels are understood too: 0/1 and 0/1/2 in the same order, and
            1/2/3 as in the Oxford-IIIT Pet data set (foreground, background, unknown).

    Returns:
        (h, w) uint8, a new array.

    Raises:
        InputError: the shape or type is none of these, or most values are far from those of a trimap.

    Warns:
        PerpixelWarning: labels, or values that are not near 0, 128 and 255; it says what was made of them.

    Example:
        >>> snap_trimap(np.array([[0, 3, 127, 128, 255]], np.uint8)).tolist()
        [[0, 0, 128, 128, 255]]
    """
    grey = _as_grey8(_single_channel(trimap, "trimap"), "trimap")
    counts = np.bincount(grey.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    table = np.full(256, UNKNOWN, np.uint8)
    labels = _label_meaning(values)
    if labels is not None:
        meaning, words = labels
        table[list(meaning)] = list(meaning.values())
        _warn(f"trimap holds the labels {_list(values)}, taken as {words}: save it with 0, 128 and 255 if not so")
        return table[grey]
    near = np.minimum(np.abs(values - UNKNOWN), np.minimum(values, 255 - values)) <= NEAR
    spread = len(values) == 3 and values[0] < 64 <= values[1] < 192 <= values[2]
    if spread:
        table[values[0]], table[values[2]] = BACKGROUND, FOREGROUND
        if values[0] > NEAR or values[2] < 255 - NEAR:
            _warn(f"trimap holds the values {_list(values)}, taken as background, unknown and foreground")
        return table[grey]
    odd = int(counts[values[~near]].sum())
    if 2 * odd > grey.size:
        raise InputError(
            f"trimap holds {len(values)} grey values, and {100 * odd / grey.size:.0f} % of its pixels are far from "
            "0, 128 and 255: give a trimap (0 background, 128 unknown, 255 foreground), or give this image as mask"
        )
    reach = LENIENT if odd else NEAR
    table[: reach + 1], table[255 - reach :] = BACKGROUND, FOREGROUND
    if odd:
        _warn(
            f"trimap holds {int((~near).sum())} values other than 0, 128 and 255 ({100 * odd / grey.size:.2g} % of "
            f"its pixels): those up to {LENIENT} became background, from {255 - LENIENT} foreground, all others "
            "unknown; save trimaps as PNG and resize them without smoothing"
        )
    return table[grey]


def check_trimap(trimap: Grey, size: tuple[int, int]) -> None:
    """Refuse a trimap that does not fit the image or says too little.

    A trimap without unknown pixels is fine, see `has_unknown`.

    Args:
        trimap: (h, w) uint8 with the values 0, 128 and 255, as `snap_trimap` returns it.
        size: height and width of the image.

    Raises:
        InputError: another size, no foreground, or no background.

    Example:
        >>> check_trimap(np.array([[0, 128, 255]], np.uint8), (1, 3))
    """
    if trimap.shape != tuple(size):
        needed = f"{size[1]}×{size[0]}"
        raise InputError(
            f"trimap is {_width_by_height(trimap)} but the image is {needed} (width×height): "
            f"resize the trimap to {needed} or pass its own image"
        )
    for value, name, colour in ((FOREGROUND, "foreground", "white"), (BACKGROUND, "background", "black")):
        if not (trimap == value).any():
            raise InputError(
                f"trimap has no {name}, but at least one pixel of it is needed: "
                f"paint a part that is surely {name} {colour} ({value})"
            )


def has_unknown(trimap: Grey) -> bool:
    """Tell whether any pixel is unknown; if not, alpha is simply trimap / 255.

    Example:
        >>> has_unknown(np.array([[0, 255]], np.uint8))
        False
    """
    return bool((trimap == UNKNOWN).any())


def trimap_from_mask(mask: AnyArray, *, band: float | None = None, relative_band: float | None = None) -> Grey:
    """Make a trimap from a mask: unknown beside its outline, known elsewhere.

    The distances are Euclidean, between centres of pixels. The border of the image is no outline. A pixel of the
    foreground never becomes background, nor the other way round.

    Args:
        mask: (h, w), or (h, w, 1 or 3) with equal channels: bool, 0/1, integers in 0…255 or 0…65535, or floats in
            [0, 1]. Values in between are unknown.
        band: how far the unknown reaches to each side of the outline, in pixels, 0 or more.
        relative_band: the same as a share of the object's size, the square root of its area in pixels. Without
            either, 0.04, and at least 4 pixels.

    Returns:
        (h, w) uint8: 0, 128 and 255.

    Raises:
        InputError: a mask without foreground or without background, or both bands given.

    Warns:
        PerpixelWarning: the band asked for would leave no known foreground or background, so it is narrower
            there. (The default band is narrowed without a word.)

    Example:
        >>> mask = np.zeros((1, 9), bool)
        >>> mask[:, :5] = True
        >>> trimap_from_mask(mask, band=1).tolist()
        [[255, 255, 255, 255, 128, 128, 0, 0, 0]]
    """
    if band is not None and relative_band is not None:
        raise InputError(f"band={band} and relative_band={relative_band} are both given: give one of them")
    for name, value in (("band", band), ("relative_band", relative_band)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value}, but a number from 0 is needed: give the width in a form such as 10")
    grey = _as_grey8(_single_channel(mask, "mask"), "mask", labels=True)
    sure, clear = grey >= 255 - NEAR, grey <= NEAR
    if not sure.any():
        raise InputError(
            f"mask has no foreground, its brightest value is {int(grey.max())} of 255: "
            "give a mask that is white on the subject"
        )
    if not clear.any():
        raise InputError(
            f"mask covers the whole image, its darkest value is {int(grey.min())} of 255: "
            "give a mask that is black on the background"
        )
    size = math.sqrt(float(grey.sum(dtype=np.float64)) / 255)
    if band is None:
        reach = max(RELATIVE_BAND * size, SMALLEST_BAND) if relative_band is None else relative_band * size
    else:
        reach = band
    asked = band is not None or relative_band is not None
    trimap = np.full(grey.shape, UNKNOWN, np.uint8)
    trimap[_inner(sure, reach, "foreground", warn=asked)] = FOREGROUND
    trimap[_inner(clear, reach, "background", warn=asked)] = BACKGROUND
    return trimap


def trimap_from_scribbles(foreground: AnyArray, background: AnyArray) -> Grey:
    """Make a trimap from painted strokes: known where one of them is, unknown elsewhere.

    Args:
        foreground: (h, w) bool or any mask, see `trimap_from_mask`; from half its range on, a pixel is painted.
        background: the same, of the same size. Pixels painted by both are unknown.

    Returns:
        (h, w) uint8: 0, 128 and 255.

    Raises:
        InputError: the sizes differ, or one of them paints nothing that the other does not.

    Example:
        >>> trimap_from_scribbles(np.array([[1, 0, 0]]), np.array([[0, 0, 1]])).tolist()
        [[255, 128, 0]]
    """
    front = _as_grey8(_single_channel(foreground, "foreground"), "foreground", labels=True) > 127
    back = _as_grey8(_single_channel(background, "background"), "background", labels=True) > 127
    if front.shape != back.shape:
        raise InputError(
            f"foreground scribbles are {_width_by_height(front)} but background scribbles are "
            f"{_width_by_height(back)} (width×height): paint both over the same image"
        )
    trimap = np.full(front.shape, UNKNOWN, np.uint8)
    trimap[front & ~back] = FOREGROUND
    trimap[back & ~front] = BACKGROUND
    for value, name in ((FOREGROUND, "foreground"), (BACKGROUND, "background")):
        if not (trimap == value).any():
            raise InputError(f"no pixel is painted as {name} only: paint a stroke over the {name}")
    return trimap


def trimap_from_alpha(alpha: AnyArray, *, band: float = 10.0) -> Grey:
    """Make a trimap from a known alpha, as for training and for measuring.

    Args:
        alpha: (h, w), floats in [0, 1] or integers in 0…255 or 0…65535. It need not hold 0 or 1 anywhere.
        band: how far the unknown reaches beyond the fractional pixels (and to each side of hard edges), in
            pixels, 0 or more. If no known foreground or background would be left, it is narrower there.

    Returns:
        (h, w) uint8: 255 only where alpha is 1, 0 only where it is 0 (in steps of 1/255), else 128.

    Raises:
        InputError: a shape, type or value that is no alpha, or a negative band.

    Example:
        >>> trimap_from_alpha(np.array([[0, 0, 0, 0.5, 1, 1, 1]]), band=1).tolist()
        [[0, 0, 128, 128, 128, 255, 255]]
    """
    if not (math.isfinite(band) and band >= 0):
        raise InputError(f"band is {band}, but a number of pixels from 0 is needed: give one such as 10")
    values = _single_channel(alpha, "alpha")
    if np.issubdtype(values.dtype, np.floating) and values.size and values.max() > 1:
        raise InputError(
            f"alpha reaches {values.max():g}, but floats in [0, 1] are needed: divide by the largest value"
        )
    grey = _as_grey8(values, "alpha", labels=True)
    trimap = np.full(grey.shape, UNKNOWN, np.uint8)
    for value in (FOREGROUND, BACKGROUND):
        known = grey == value
        if known.all():
            trimap[:] = value
        elif known.any():
            trimap[_inner(known, band, "", warn=False)] = value
    return trimap


def _inner(region: Bool, reach: float, name: str, *, warn: bool) -> Bool:
    """The pixels of `region` farther than `reach` from all others, or the inner half if there are none."""
    distance = cv2.distanceTransform(region.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    deepest = float(distance.max())
    if deepest > reach:
        return np.asarray(distance > reach)
    # The largest distance is at least 1, so half of it always leaves a pixel.
    if warn:
        _warn(
            f"a band of {reach:.4g} pixels leaves no known {name}, which is {deepest:.4g} pixels deep at most: "
            f"narrowed to {deepest / 2:.4g} there; give a smaller band"
        )
    return np.asarray(distance > deepest / 2)


def _label_meaning(values: npt.NDArray[np.intp]) -> tuple[dict[int, int], str] | None:
    match values.tolist():
        case [0, 1]:
            return {0: BACKGROUND, 1: FOREGROUND}, "background and foreground"
        case [0, 1, 2]:
            return {0: BACKGROUND, 1: UNKNOWN, 2: FOREGROUND}, "background, unknown and foreground"
        case [1, 2, 3]:
            return {1: FOREGROUND, 2: BACKGROUND, 3: UNKNOWN}, "foreground, background and unknown (Oxford-IIIT Pet)"
    return None


def _single_channel(values: AnyArray, name: str) -> AnyArray:
    values = np.asarray(values)
    if values.ndim == 3 and values.shape[2] in (1, 3):
        if values.shape[2] == 3 and not (values == values[..., :1]).all():
            raise InputError(f"{name} is coloured, but grey values are needed: give a greyscale image")
        values = values[..., 0]
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"{name} has the shape {values.shape}, but (height, width) is needed: give one plane")
    return values


def _as_grey8(values: AnyArray, name: str, *, labels: bool = False) -> Grey:
    """Any mask-like array in 0…255; with `labels`, integers 0 and 1 are false and true."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    whole = np.issubdtype(values.dtype, np.integer)
    if not whole and not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name} has the type {values.dtype}, but bool, integers or floats are needed: convert it")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= (65535 if whole else 255)):  # NaN fails too
        raise InputError(
            f"{name} holds values from {low:g} to {high:g}, but {'0…255 or 0…65535' if whole else '[0, 1]'} "
            "is needed: scale or clip it first"
        )
    if whole and high <= 1 and labels:
        scale = 255.0
    elif whole:
        scale = 1.0 if high <= 255 else 1 / 257
    else:
        scale = 255.0 if high <= 1 else 1.0
    if scale == 1 and whole:
        return values.astype(np.uint8)
    return np.rint(values * scale).astype(np.uint8)


def _width_by_height(array: AnyArray) -> str:
    return "×".join(str(side) for side in array.shape[1::-1])


def _list(values: npt.NDArray[np.intp]) -> str:
    return ", ".join(map(str, values.tolist()))


def _warn(message: str) -> None:
    warnings.warn(message, PerpixelWarning, stacklevel=3)
