"""The colour of the foreground alone, without the background that shines through it.

A photograph mixes both: `image = alpha · foreground + (1 − alpha) · background`. A cut-out that keeps the mixed
colour carries a halo of its old background. The estimate here works from coarse to fine, as "Fast Multi-Level
Foreground Estimation" (Germer, Uelwer, Conrad, Harmeling, 2020, arXiv 2006.14970) does, and smooths as "Approximate
Fast Foreground Colour Estimation" (Forte, 2021) does. Every level takes the colours of the next coarser one, shares
what the mixing equation leaves over (the residual) between both colours by least squares, averages each colour over
3×3 pixels, weighted so that sure pixels overrule mixed ones, and shares the new residual again. The coarse levels
do that twice, the third finest once. The two finest, which cost most, only share the residual, the last one in bands of
rows that stay in the processor's cache.

`tests/ops/test_foreground.py` compares with PyMatting's `estimate_foreground_ml` on composites with known foreground:
the mean absolute colour error over 0 < alpha < 1 is smaller, at more than five times the speed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = ["estimate_foreground"]

Float = npt.NDArray[np.float32]

# The weight of a pixel that has none of the colour to be averaged: its colour, carried over from the coarser level,
# only counts among its like.
LEAST_WEIGHT = 1e-4
# Rows are worked on in bands of about this many pixels: some 3 MB of temporaries.
BAND_PIXELS = 1 << 16


def estimate_foreground(image: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> Float:
    """Estimate the foreground colour of every pixel.

    Args:
        image: (h, w, 3) float in [0, 1], the photograph, in the colour space of the file.
        alpha: (h, w) float in [0, 1], 1 = foreground.

    Returns:
        (h, w, 3) float32 in [0, 1]. Where alpha is 1 it is exactly the image, where alpha is 0 it is the colour of
        the foreground nearby, continued smoothly. Nowhere NaN. If alpha is 0 everywhere there is no foreground
        to estimate, and the image comes back.

    Raises:
        InputError: the shapes do not fit together, or the values are not finite.

    Example:
        A red thing, half transparent in its middle column, before blue.

        >>> import numpy as np
        >>> alpha = np.array([[1, 1, 0.5, 0, 0]] * 5, dtype=np.float32)
        >>> red, blue = np.float32([1, 0, 0]), np.float32([0, 0, 1])
        >>> image = alpha[..., None] * red + (1 - alpha[..., None]) * blue
        >>> estimate_foreground(image, alpha)[2].round(2).tolist()[2]
        [1.0, 0.0, 0.0]
    """
    photo, matte = _checked(image, alpha)
    if not matte.any() or matte.min() == 1:
        return photo.copy()
    levels = [(photo, matte)]
    while max(levels[-1][1].shape) > 1:
        image, alpha = levels[-1]
        levels.append((np.ascontiguousarray(image[::2, ::2]), np.ascontiguousarray(alpha[::2, ::2])))
    fore, back = _mean_colours(levels)
    for number in range(len(levels) - 1, 0, -1):
        image, alpha = levels[number]
        fore, back = _enlarge(fore, alpha.shape), _enlarge(back, alpha.shape)
        _share_residual(image, alpha, fore, back)
        for _ in range(min(number - 1, 2)):
            fore, back = _blur_sure(fore, alpha), _blur_sure(back, 1 - alpha)
            _share_residual(image, alpha, fore, back)
    return _finest(photo, matte, fore, fore - back)


def _checked(image: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> tuple[Float, Float]:
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"image has the shape {image.shape}, but an RGB image (height, width, 3) is needed: convert it to RGB"
        )
    if alpha.shape != image.shape[:2]:
        raise InputError(
            f"alpha has the shape {alpha.shape} but the image is {image.shape[:2]} (height, width): "
            "resize alpha to the image's size"
        )
    if 0 in alpha.shape:
        raise InputError(f"the image is empty, shape {image.shape}: give at least one pixel")
    for name, values in (("image", image), ("alpha", alpha)):
        if not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"{name} is {values.dtype}, but floats in [0, 1] are needed: divide by the largest value")
    photo = np.ascontiguousarray(image, dtype=np.float32)
    matte = np.ascontiguousarray(alpha, dtype=np.float32)
    for name, values in (("image", photo), ("alpha", matte)):
        # One NaN makes both of them NaN.
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(high - low):
            raise InputError(f"{name} holds NaN or infinite values: replace them before the estimate")
        if low < -1e-3 or high > 1 + 1e-3:
            raise InputError(f"{name} lies in [{low:g}, {high:g}], but [0, 1] is needed: scale or clip it first")
        if low < 0 or high > 1:
            values = values.clip(0, 1)
        if name == "image":
            photo = values
        else:
            matte = values
    return photo, matte


def _mean_colours(levels: list[tuple[Float, Float]]) -> tuple[Float, Float]:
    """Mean colours of foreground and background, each (1, 1, 3): a start, where no better colour is near."""
    # One pixel in 16 is enough, unless those have no foreground or no background.
    few, share = levels[min(2, len(levels) - 1)]
    if not share.any() or share.min() == 1:
        few, share = levels[0]
    means = []
    for weight in (share, 1 - share):
        colour = np.einsum("hwc,hw->c", few, weight) / weight.sum()
        means.append(colour.astype(np.float32)[None, None])
    return means[0], means[1]


def _blur_sure(colour: Float, share: Float) -> Float:
    """Mean over 3×3 pixels, weighted by share⁴; `colour` is overwritten."""
    weight = share * share
    weight *= weight
    weight += np.float32(LEAST_WEIGHT)
    colour *= _thrice(weight)
    blurred: Float = cv2.blur(colour, (3, 3), borderType=cv2.BORDER_REPLICATE).reshape(colour.shape)
    total = cv2.blur(weight, (3, 3), borderType=cv2.BORDER_REPLICATE).reshape(weight.shape)
    blurred *= _thrice(1 / total)
    return blurred


def _share_residual(image: Float, alpha: Float, fore: Float, back: Float) -> None:
    """Change both colours, in place, by the least that makes their mixture the image."""
    alpha3 = _thrice(alpha)
    residual = fore - back
    residual *= alpha3
    residual += back
    np.subtract(image, residual, out=residual)
    residual *= _thrice(np.reciprocal(_norm(alpha)))
    # Least squares add alpha times it to `fore` and 1 - alpha times it to `back`.
    back += residual
    alpha3 *= residual
    fore += alpha3
    back -= alpha3
    np.clip(fore, 0, 1, out=fore)
    np.clip(back, 0, 1, out=back)


def _norm(alpha: Float) -> Float:
    """alpha² + (1 - alpha)²."""
    return np.asarray(1 - 2 * (alpha - alpha * alpha))


def _thrice(values: Float) -> Float:
    """(h, w) repeated for three channels, (h, w, 3): products of equal shapes are several times as fast."""
    return np.asarray(cv2.merge([values] * 3)).reshape(*values.shape, 3)


def _finest(photo: Float, matte: Float, fore: Float, gap: Float) -> Float:
    """Enlarge the foreground to full size and give it its share of the residual; `gap` is foreground - background."""
    height, width = matte.shape
    result = np.empty_like(photo)

    def work(top: int) -> None:
        rows = slice(top, min(top + step, height))
        image, alpha, out = photo[rows], matte[rows], result[rows]
        out[:] = _enlarge_rows(fore, rows, width)
        if ((alpha > 0) & (alpha < 1)).any():
            _correct(out, image, alpha, _enlarge_rows(gap, rows, width))
        cv2.copyTo(image, (alpha == 1).view(np.uint8), out)

    step = _band_rows(width)
    with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
        # list() so that an error in a thread is raised here.
        list(pool.map(work, range(0, height, step)))
    return result


def _correct(fore: Float, image: Float, alpha: Float, gap: Float) -> None:
    """Add its share of the residual to `fore`, in place; `gap` is overwritten."""
    residual = np.multiply(gap, _thrice(1 - alpha), out=gap)
    residual += image
    residual -= fore
    residual *= _thrice(alpha / _norm(alpha))
    fore += residual
    np.clip(fore, 0, 1, out=fore)


def _band_rows(width: int) -> int:
    """An even number of rows, so that a band starts where a row of the coarser level does."""
    return max(2, BAND_PIXELS // width // 2 * 2)


def _enlarge(values: Float, shape: tuple[int, ...]) -> Float:
    """Twice the size, bilinearly, cropped to `shape` (h, w); a copy if that is its size already."""
    if values.shape[:2] == shape[:2]:
        return values.copy()
    return np.ascontiguousarray(_double(values)[: shape[0], : shape[1]])


def _enlarge_rows(values: Float, rows: slice, width: int) -> Float:
    """Rows `rows` (an even start) of `values` at twice the size: as of the whole, without making the whole."""
    first, last = rows.start // 2, (rows.stop + 1) // 2
    above, below = max(first - 1, 0), min(last + 1, values.shape[0])
    start = rows.start - 2 * above
    return _double(values[above:below])[start : start + rows.stop - rows.start, :width]


def _double(values: Float) -> Float:
    height, width, channels = values.shape
    large: Float = cv2.resize(values, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return large.reshape(2 * height, 2 * width, channels)
