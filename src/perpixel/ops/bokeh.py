"""Portrait blur: what is out of focus spreads into discs, as behind a wide lens.

A thin lens spreads a point at depth z over a disc whose radius grows with |1/z − 1/z_focus|: linearly in inverse
depth, so the scale of inverse depth is all one with the lens's aperture. The picture is taken apart into layers of
equal disc, from the farthest to the nearest. Each layer's light is spread over its disc and laid over what lies
behind it with the cover

    spread(own) / (spread(own) + spread(all that is farther)).

Pixels of nearer things take no part, so the sharp subject's colours never bleed into the blurred background, nor the
background over the subject. On a slanted surface, whose layers are thin strips, these covers add up to the plain
mean over the disc, and no seam shows. Where a near blurred thing turns translucent at its rim, what lies behind it was
never photographed; it is filled in from around. All light is added up as linear light.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.images.depth import Pixels, to_bits, to_float
from perpixel.ops.light import linear_to_srgb, srgb_to_linear

__all__ = ["bokeh"]

Float = npt.NDArray[np.float32]

LARGEST_APERTURE = 20.0
# Neighbouring layers differ by half a pixel of radius, or by a sixth where that is more: the eye sees no step.
LEAST_STEP, STEP = 0.5, 1 / 6
# Larger discs are spread on a smaller picture: a disc of 3 pixels is still round enough.
WIDE = 6.0
# Where less of a disc than this is behind a layer, its colour is not trusted.
LEAST_COVER = 1e-3
# A depth map's outline of the subject is off by about this share of the longer side.
DEPTH_MARGIN = 0.01
FOCUS_REACH = 0.004  # the depth at the focus is the median so far around it, as a share of the longer side


def bokeh(
    image: Pixels,
    depth: npt.NDArray[Any],
    focus: tuple[float, float] | float,
    aperture: float = 2.0,
    *,
    alpha: npt.NDArray[Any] | None = None,
    foreground: npt.NDArray[Any] | None = None,
) -> Pixels:
    """Blur what is out of focus.

    Args:
        image: (h, w, 3), uint8, uint16, or float32 in [0, 1], sRGB.
        depth: (h, w), inverse depth of any scale: larger is nearer. `DepthMap.normalized()` is right for both kinds.
        focus: the pixel (x, y) to be sharp, from the top left; or a number from 0, the farthest depth, to 1, the
            nearest.
        aperture: the radius of the disc, in percent of the longer side, into which a point spreads that is as far
            out of focus as the nearest pixel is from the farthest. 1 is gentle, 2 a portrait lens, 5 extreme; 0 to 20.
        alpha: (h, w), floats in [0, 1], a matte of the subject. If the focus is on the subject (or is a number),
            all of it stays sharp, hair too, whatever the depth says; otherwise it is blurred as one plane.
        foreground: (h, w, 3), floats in [0, 1], the subject's own colours; needed with `alpha`.

    Returns:
        the blurred image, of the image's shape and dtype. Where everything within reach is in focus it is exactly
        the image.

    Raises:
        InputError: shapes that do not fit together, a focus outside the image, or an aperture out of range.

    Example:
        A light near and a light far, and the left half in focus.

        >>> image = np.zeros((5, 9, 3), np.uint8)
        >>> image[2, [2, 7]] = 255
        >>> depth = np.repeat(np.float32([[1, 1, 1, 1, 1, 0, 0, 0, 0]]), 5, axis=0)
        >>> blurred = bokeh(image, depth, focus=(2, 2), aperture=12)[2, :, 0]
        >>> blurred[:6].tolist(), blurred[6:].all()
        ([0, 0, 255, 0, 0, 0], np.True_)
    """
    near = _checked(image, depth, alpha, foreground)
    height, width = near.shape
    if not 0 <= aperture <= LARGEST_APERTURE:
        raise InputError(
            f"the aperture is {aperture}, and a percentage from 0 to {LARGEST_APERTURE:g} of the longer side is "
            "needed: 2 is a portrait lens"
        )
    sharp, pixel = _focus(near, focus)
    radius = aperture / 100 * max(height, width)
    if radius * max(abs(float(near.max()) - sharp), abs(float(near.min()) - sharp)) <= 0.5:
        return image.copy()
    encoded = to_float(image)
    if alpha is None or foreground is None:
        blurred = linear_to_srgb(_layered(srgb_to_linear(encoded), (near - sharp) * radius))
    else:
        cover, colours = np.asarray(alpha, np.float32), np.asarray(foreground, np.float32)
        on_subject = pixel is None or bool(cover[pixel] >= 0.5)
        blurred = _with_subject(encoded, near, sharp, radius, cover, colours, on_subject)
    return to_bits(np.clip(blurred, 0, 1), 8 * image.dtype.itemsize)


def _with_subject(
    encoded: Float, near: Float, sharp: float, radius: float, alpha: Float, foreground: Float, on_subject: bool
) -> Float:
    """Blur the surroundings by themselves, and put the subject among their layers."""
    place = 0.0
    if not on_subject and (alpha >= 0.5).any():
        place = (float(np.median(near[alpha >= 0.5])) - sharp) * radius
    rest: Float = np.asarray(1 - alpha, np.float32)
    reach = max(1, round(DEPTH_MARGIN * max(near.shape)))
    # The depth at the outline may be the subject's; what lies a little farther off has the background's for sure.
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    touched = cv2.dilate((alpha > 0.02).astype(np.uint8), window).reshape(alpha.shape) > 0
    if not touched.all():
        clear = (~touched).astype(np.float32)
        near = np.where(touched, _filled(near[..., None], clear)[..., 0], near).astype(np.float32)
    signed = (near - sharp) * radius
    # image = alpha · foreground + (1 − alpha) · surroundings, in the space that the matte was estimated in.
    behind = np.clip((encoded - alpha[..., None] * foreground) / np.maximum(rest, 0.05)[..., None], 0, 1)
    light = srgb_to_linear(behind)
    # What shines faintly through the hair is mostly the division's noise.
    sure = np.clip((rest - 0.1) / 0.4, 0, 1).astype(np.float32)
    light = _filled(light, sure) if sure.any() else light
    return linear_to_srgb(_layered(light, signed, rest, (alpha, foreground, place)))


def _layered(
    light: Float, signed: Float, weight: Float | None = None, subject: tuple[Float, Float, float] | None = None
) -> Float:
    """Spread linear light, (h, w, 3), and lay it together.

    Args:
        light: (h, w, 3).
        signed: (h, w), the radius of each pixel's disc, below 0 behind the focus.
        weight: (h, w) in [0, 1], how much of each pixel this light fills; the subject fills the rest.
        subject: its alpha, its encoded colours and its signed radius.
    """
    radii = _radii(float(signed.min()), float(signed.max()))
    place = np.interp(signed, radii, np.arange(len(radii))).astype(np.float32)
    out, cover = np.zeros_like(light), np.zeros_like(signed)
    farther = np.zeros_like(signed)
    complete = False
    for number, radius in enumerate(radii):
        if subject is not None and radius > subject[2]:
            _complete(out, cover)
            out, farther = _subject_over(out, farther, *subject)
            subject, complete = None, True
        if radius > 0 and not complete:
            _complete(out, cover)
            complete = True
        own = np.maximum(1 - np.abs(place - number), 0)
        own = own if weight is None else own * weight
        farther += own
        found = _window(own, abs(radius))
        if found is None:
            continue
        window, goal, inner = found
        mine = np.dstack([light[window] * own[window][..., None], own[window]])  # (rows, columns, 4)
        behind = _spread(farther[window], abs(radius))[inner]
        share = np.divide(1, behind, out=np.zeros_like(behind), where=behind > LEAST_COVER)
        layer = _spread(mine, abs(radius))[inner] * share[..., None]
        part = np.clip(layer[..., 3], 0, 1)
        out[goal] += layer[..., :3] - out[goal] * part[..., None]
        cover[goal] += (1 - cover[goal]) * part
    _complete(out, cover)
    return out if subject is None else _subject_over(out, farther, *subject)[0]


def _subject_over(out: Float, farther: Float, alpha: Float, foreground: Float, radius: float) -> tuple[Float, Float]:
    """Lay the subject over what is behind it; it becomes part of what is farther than the following layers."""
    part = alpha[..., None]
    if abs(radius) <= LEAST_STEP:
        # Not in linear light: mixed as the matte was taken apart, so that hair looks as it did in the photograph.
        return srgb_to_linear(part * foreground + (1 - part) * linear_to_srgb(out)), farther + alpha
    spread = _spread(np.dstack([srgb_to_linear(foreground) * part, alpha]), abs(radius))
    farther = farther + alpha
    behind = _spread(farther, abs(radius))
    spread *= np.divide(1, behind, out=np.zeros_like(behind), where=behind > LEAST_COVER)[..., None]
    return spread[..., :3] + out * (1 - np.clip(spread[..., 3:], 0, 1)), farther


def _radii(low: float, high: float) -> list[float]:
    """The signed radii of the layers, from the farthest to the nearest, that enclose those of the pixels."""

    def side(limit: float) -> list[float]:
        found: list[float] = []
        while limit > 0 and (not found or found[-1] < limit):
            # A disc of radius 0.5 is one pixel, so the first that blurs at all has 1.
            found.append(found[-1] + max(LEAST_STEP, STEP * found[-1]) if found else 1.0)
        return found

    return [*(-radius for radius in reversed(side(-low))), 0.0, *side(high)]


def _window(own: Float, radius: float) -> tuple[Any, Any, Any] | None:
    """Where a layer has to be computed.

    Returns:
        three pairs of slices, or None for an empty layer: what its discs take in, where they reach in the picture, and
        the latter within the former.
    """
    left, top, columns, rows = cv2.boundingRect((own > 0).astype(np.uint8))
    if not columns:
        return None
    reach = math.ceil(radius) + 1
    height, width = own.shape

    def span(start: int, length: int, by: int, end: int) -> slice:
        return slice(max(0, start - by), min(end, start + length + by))

    window = span(top, rows, 2 * reach, height), span(left, columns, 2 * reach, width)
    goal = span(top, rows, reach, height), span(left, columns, reach, width)
    inner = tuple(
        slice(part.start - whole.start, part.stop - whole.start) for whole, part in zip(window, goal, strict=True)
    )
    return window, goal, inner


def _spread(values: Float, radius: float) -> Float:
    """Spread (h, w) or (h, w, c) over discs; nothing comes in from outside."""
    if radius <= 0.5:
        return values
    height, width = values.shape[:2]
    factor = 1
    while radius / factor > WIDE:
        factor *= 2
    if factor > 1:
        small = _padded(values, factor)
        rows, columns = small.shape[:2]
        small = cv2.resize(small, (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)
        spread = cv2.filter2D(small, -1, _disc(radius / factor), borderType=cv2.BORDER_CONSTANT)
        spread = cv2.resize(spread, (columns, rows), interpolation=cv2.INTER_LINEAR)
    else:
        spread = cv2.filter2D(values, -1, _disc(radius), borderType=cv2.BORDER_CONSTANT)
    # The transform that OpenCV takes for large discs leaves traces below zero.
    result: Float = np.maximum(spread, 0).reshape(spread.shape[0], spread.shape[1], *values.shape[2:])
    return result[:height, :width]


def _padded(values: Float, factor: int) -> Float:
    """With zeros below and to the right, to a multiple of `factor`."""
    below, right = (-side % factor for side in values.shape[:2])
    padding = [(0, below), (0, right), (0, 0)][: values.ndim]
    return np.pad(values, padding)


def _disc(radius: float) -> Float:
    """A disc with smooth rim, (k, k), of sum 1."""
    reach = math.ceil(radius)
    at = np.arange(-reach, reach + 1, dtype=np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(at[:, None], at[None]), 0, 1)
    return np.asarray(disc / disc.sum(), np.float32)


def _complete(out: Float, cover: Float) -> None:
    """Fill in, in place, what no layer has covered wholly."""
    if cover.min() < 1 and cover.max() > 0:
        colours: Float = np.asarray(out / np.maximum(cover, LEAST_COVER)[..., None], np.float32)
        out[:] = _filled(colours, cover * (cover > LEAST_COVER).astype(np.float32))
        cover[:] = 1


def _filled(values: Float, weight: Float) -> Float:
    """Continue values into where their weight is 0, from coarse to fine ("pull-push", Gortler et al., 1996).

    Args:
        values: (h, w, c).
        weight: (h, w) in [0, 1]; at 1 a value stays.

    Returns:
        (h, w, c); zeros if there is no weight at all.
    """
    height, width, channels = values.shape
    if height == width == 1 or weight.min() >= 1:
        return values * np.where(weight > 0, 1, 0)[..., None].astype(np.float32)
    half = (width + 1) // 2, (height + 1) // 2
    share = cv2.resize(weight, half, interpolation=cv2.INTER_AREA).reshape(half[::-1])
    sums = cv2.resize(values * weight[..., None], half, interpolation=cv2.INTER_AREA).reshape(*half[::-1], channels)
    means = np.divide(sums, share[..., None], out=np.zeros_like(sums), where=share[..., None] > 1e-6)
    # A coarse pixel with one sure fine pixel is sure.
    sure: Float = np.where(share > 1e-6, np.minimum(4 * share, 1), 0).astype(np.float32)
    coarse = _filled(np.asarray(means, np.float32), sure)
    enlarged = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(values.shape)
    return np.asarray(enlarged + (values - enlarged) * weight[..., None], np.float32)


def _focus(near: Float, focus: Any) -> tuple[float, tuple[int, int] | None]:
    """The normalised depth that is sharp, and the pixel (row, column) that asked for it."""
    if np.ndim(focus) == 0:
        if not 0 <= float(focus) <= 1:
            raise InputError(f"the focus is {focus}: give a pixel (x, y), or a number from 0 (farthest) to 1 (nearest)")
        return float(focus), None
    if np.shape(focus) != (2,):
        raise InputError(f"the focus is {focus!r}: give a pixel (x, y), or a number from 0 (farthest) to 1 (nearest)")
    height, width = near.shape
    x, y = float(focus[0]), float(focus[1])
    if not (0 <= x < width and 0 <= y < height):  # NaN fails too
        raise InputError(f"the focus ({x:g}, {y:g}) is outside the image, which is {width}×{height} (width×height)")
    row, column, reach = int(y), int(x), round(FOCUS_REACH * max(height, width))
    around = near[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    return float(np.median(around)), (row, column)


def _checked(
    image: Any, depth: npt.NDArray[Any], alpha: npt.NDArray[Any] | None, foreground: npt.NDArray[Any] | None
) -> Float:
    """Check what belongs together, and stretch the depth to [0, 1]."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"the image has the shape {np.shape(image)}, and (height, width, 3) is needed: convert it to RGB"
        )
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"the image is {image.dtype}, and uint8, uint16 or float32 in [0, 1] is needed")
    size = image.shape[:2]
    wanted = [("depth", depth, size), ("alpha", alpha, size), ("foreground", foreground, image.shape)]
    for name, plane, shape in wanted:
        if plane is None:
            continue
        if np.shape(plane) != shape:
            raise InputError(f"{name} has the shape {np.shape(plane)} and {shape} is needed: make it from this image")
        if not np.isfinite(plane).all():
            raise InputError(f"{name} has NaN or infinite values: replace them; DepthMap.normalized() has none")
        if name != "depth" and not (np.min(plane) >= 0 and np.max(plane) <= 1):
            raise InputError(f"{name} lies outside 0 to 1: clip it")
    if (alpha is None) != (foreground is None):
        raise InputError("alpha and foreground belong together: give both, as a Matte has them")
    stretched = depth.astype(np.float64) - float(depth.min())
    span = float(stretched.max())
    return np.asarray(stretched / span if span else stretched, np.float32)
