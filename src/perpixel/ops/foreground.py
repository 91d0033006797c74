"""The colour of the foreground alone, without the background that shines through it.

A photograph mixes both: `image = alpha · foreground + (1 − alpha) · background`. A cut-out that keeps the mixed
colour carries a halo of its old background. The estimate here works from coarse to fine, as "Fast Multi-Level
Foreground Estimation" (Germer, Uelwer, Conrad, Harmeling, 2020, arXiv 2006.14970) does, and smooths as "Approximate
Fast Foreground Colour Estimation" (Forte, 2021) does. Every level takes the colours of the next coarser one, shares
what the mixing equation leaves over (the residual) between both colours by least squares, and then twice averages
each colour over 3×3 pixels, weighted so that sure pixels overrule mixed ones, and shares the new residual. The finest
level, which would cost most, comes from the one a quarter its size and only shares the residual; the one between
them is left out.

`tests/ops/test_foreground.py` compares with PyMatting's `estimate_foreground_ml` on composites with known foreground:
the mean absolute colour error over 0 < alpha < 1 is smaller, at more than five times the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = ["estimate_foreground"]

Float = npt.NDArray[np.float32]

# The weight of a pixel that has none of the colour to be averaged: its colour, carried over from the coarser level,
# only counts among its like.
LEAST_WEIGHT = 1e-4
# How often a level averages.
TURNS = 2
# The finest level's pixels a side for one of the next, which is the third finest of a pyramid of halves.
LAST_STEP = 4
# Large levels are worked on in pieces of about this many pixels: one array of colours is 800 KB, so that the few that a
# step needs stay in the processor's cache.
PIECE_PIXELS = 1 << 16
# A piece has at least this many rows, where the image has: flat ones would be rim mostly. A multiple of LAST_STEP.
LEAST_ROWS = 32
# Where nothing is mixed there is less to do. That is looked for in columns of this width. A multiple of LAST_STEP.
COLUMN_WIDTH = 256


class _Weights(NamedTuple):
    """What the sharing of a residual multiplies with, each (h, w, 3)."""

    alpha: Float
    to_fore: Float
    to_back: Float


class _Means(NamedTuple):
    """What a weighted mean multiplies with before and after the sum, each (h, w, 3)."""

    weight: Float
    per_total: Float


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
    if matte.max() == 0 or matte.min() == 1:
        return photo.copy()
    levels = [(_thinned(photo, LAST_STEP), _thinned(matte, LAST_STEP))]
    few, share = levels[0]
    if share.max() == 0 or share.min() == 1:
        few, share = photo, matte
    fore, back = _mean_colour(few, share), _mean_colour(few, 1 - share)
    while max(levels[-1][1].shape) > 2:
        image, alpha = levels[-1]
        levels.append((_thinned(image, 2), _thinned(alpha, 2)))
    for image, alpha in reversed(levels):
        fore, back = _level(image, alpha, fore, back)
    return _finest(photo, matte, fore, np.subtract(fore, back, out=back))


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
        low, high = _range(values)
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


def _range(values: Float) -> tuple[float, float]:
    """Least and greatest value; one NaN makes both of them NaN."""
    flat = values.reshape(-1)
    # In blocks, the second look at them finds them in the cache.
    blocks = (flat[start : start + PIECE_PIXELS] for start in range(0, flat.size, PIECE_PIXELS))
    ranges = np.array([(block.min(), block.max()) for block in blocks])
    return float(ranges[:, 0].min()), float(ranges[:, 1].max())


def _thinned(values: Float, step: int) -> Float:
    """Every `step`-th pixel of every `step`-th row, contiguous."""
    part = values[::step, ::step]
    if values.ndim == 2:
        return np.ascontiguousarray(part)
    # Channel by channel, because NumPy copies threes of floats several times slower.
    return np.asarray(cv2.merge([np.ascontiguousarray(part[..., channel]) for channel in range(3)]))


def _mean_colour(image: Float, weight: Float) -> Float:
    """(1, 1, 3): a start, where no better colour is near."""
    total = np.array([[cv2.sumElems(image * _thrice(weight))[:3]]])
    return np.asarray(total / weight.sum(), np.float32)


def _level(image: Float, alpha: Float, fore: Float, back: Float) -> tuple[Float, Float]:
    """Both colours of a level from those of the next coarser one."""
    height, width = alpha.shape
    result = np.empty_like(image), np.empty_like(image)
    step = max(LEAST_ROWS, PIECE_PIXELS // width)

    def work(top: int) -> None:
        # A mean reaches one row further, so the rows at the rim of a piece are worked out for both its neighbours.
        rows = slice(max(top - TURNS, 0), min(top + step + TURNS, height))
        colours = [_enlarged(colour, 2, rows, slice(0, width)) for colour in (fore, back)]
        _average(image[rows], alpha[rows], colours)
        for whole, part in zip(result, colours, strict=True):
            whole[top : top + step] = part[top - rows.start :][:step]

    _spread(work, range(0, height, step))
    return result


def _average(image: Float, alpha: Float, colours: list[Float]) -> None:
    """Replace the colours, [foreground, background]: share the residual, and after each mean again."""
    weights = _weights(alpha)
    _share_residual(image, weights, *colours)
    means = [_means(share) for share in (alpha, 1 - alpha)]
    for _ in range(TURNS):
        colours[:] = [_mean(colour, mean) for colour, mean in zip(colours, means, strict=True)]
        _share_residual(image, weights, *colours)


def _means(share: Float) -> _Means:
    """For the mean over 3×3 pixels, weighted by share⁴."""
    weight = share * share
    weight *= weight
    weight += np.float32(LEAST_WEIGHT)
    return _Means(_thrice(weight), _thrice(np.reciprocal(_blurred(weight))))


def _mean(colour: Float, means: _Means) -> Float:
    """`colour` is overwritten."""
    colour *= means.weight
    mean = _blurred(colour)
    mean *= means.per_total
    return mean


def _weights(alpha: Float) -> _Weights:
    """Least squares: a colour takes of the residual its share in the mixture over the squares of both."""
    rest = 1 - alpha
    squares = _squares(alpha, rest)
    return _Weights(_thrice(alpha), _thrice(alpha / squares), _thrice(rest / squares))


def _squares(alpha: Float, rest: Float) -> Float:
    """alpha² + rest², of two that add up to 1."""
    squares = alpha * rest
    squares *= -2
    squares += 1
    return squares


def _share_residual(image: Float, weights: _Weights, fore: Float, back: Float) -> None:
    """Change both colours, in place, by the least that makes their mixture the image."""
    residual = image - back
    # It adds a product in place, in one pass: all of them must be contiguous.
    cv2.accumulateProduct(back - fore, weights.alpha, residual)
    cv2.accumulateProduct(residual, weights.to_fore, fore)
    cv2.accumulateProduct(residual, weights.to_back, back)
    np.clip(fore, 0, 1, out=fore)
    np.clip(back, 0, 1, out=back)


def _finest(photo: Float, matte: Float, fore: Float, gap: Float) -> Float:
    """Enlarge the foreground to full size and give it its share of the residual; `gap` is foreground - background."""
    height, width = matte.shape
    result = np.empty_like(photo)
    step = max(LEAST_ROWS, PIECE_PIXELS // width // LAST_STEP * LAST_STEP)

    def work(top: int) -> None:
        rows = slice(top, min(top + step, height))
        for columns, mixed in _runs(matte[rows], max(COLUMN_WIDTH, PIECE_PIXELS // step)):
            image, alpha, out = photo[rows, columns], matte[rows, columns], result[rows, columns]
            if not mixed and alpha.min() == 1:
                out[:] = image
                continue
            colour = _enlarged(fore, LAST_STEP, rows, columns)
            if mixed:
                _correct(colour, image, alpha, _enlarged(gap, LAST_STEP, rows, columns))
            np.clip(colour, 0, 1, out=out)
            # Exactly the image, and not up to rounding.
            cv2.copyTo(image, (alpha == 1).view(np.uint8), out)

    _spread(work, range(0, height, step))
    return result


def _runs(alpha: Float, widest: int) -> list[tuple[slice, bool]]:
    """Columns side by side that are alike, and whether they are mixed somewhere; about `widest` at most in a run."""
    width = alpha.shape[1]
    starts = range(0, width, COLUMN_WIDTH)
    mixed = np.logical_or.reduceat(((alpha > 0) & (alpha < 1)).any(axis=0), starts).tolist()
    runs: list[tuple[slice, bool]] = []
    for start, is_mixed in zip(starts, mixed, strict=True):
        end = min(start + COLUMN_WIDTH, width)
        if runs and runs[-1][1] == is_mixed and end - runs[-1][0].start <= widest:
            runs[-1] = slice(runs[-1][0].start, end), is_mixed
        else:
            runs.append((slice(start, end), is_mixed))
    return runs


def _correct(fore: Float, image: Float, alpha: Float, gap: Float) -> None:
    """Add its share of the residual to `fore`, in place."""
    # A copy for a part of the columns: its rows, far apart, take every step below twice as long.
    alpha = np.ascontiguousarray(alpha)
    rest = 1 - alpha
    residual = image - fore
    cv2.accumulateProduct(gap, _thrice(rest), residual)
    cv2.accumulateProduct(residual, _thrice(alpha / _squares(alpha, rest)), fore)


def _spread(work: Callable[[int], None], tops: range) -> None:
    """Call `work` for all of `tops`, in as many threads as OpenCV takes."""
    threads = min(cv2.getNumThreads(), len(tops))
    if threads <= 1:
        for top in tops:
            work(top)
        return
    with ThreadPoolExecutor(threads) as pool:
        # list() so that an error in a thread is raised here.
        list(pool.map(work, tops))


def _enlarged(values: Float, times: int, rows: slice, columns: slice) -> Float:
    """These rows and columns of `values` enlarged bilinearly, as of the whole, without making the whole; contiguous."""
    pieces, inner = [], []
    for part, size in zip((rows, columns), values.shape[:2], strict=True):
        # One pixel more on either side, which the interpolation at the rim takes.
        first = max(part.start // times - 1, 0)
        pieces.append(slice(first, min((part.stop - 1) // times + 2, size)))
        inner.append(slice(part.start - times * first, part.stop - times * first))
    few = values[tuple(pieces)]
    large: Float = cv2.resize(few, (times * few.shape[1], times * few.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[tuple(inner)])


def _blurred(values: Float) -> Float:
    """Mean over 3×3 pixels."""
    return np.asarray(cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE))


def _thrice(values: Float) -> Float:
    """(h, w) repeated for three channels, (h, w, 3): products of equal shapes are several times as fast."""
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_GRAY2RGB))
