"""Random trimaps of a known matte, narrow and wide, neat and careless, as people draw them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.data.canvas import Array, smooth_noise

UNKNOWN = 128


def draw_trimap(rng: np.random.Generator, alpha: Array) -> npt.NDArray[np.uint8]:
    """Draw a trimap, (h, w) uint8 in {0, 128, 255}, for a square matte with exact 0 and 1 outside its edges.

    Every pixel with 0 < alpha < 1 is unknown, and so is a band around it whose width is drawn anew for
    each side: 1 to 5, 5 to 15 or 15 to 45 pixels.

    Examples:
        >>> alpha = np.zeros((32, 32), np.float32)
        >>> alpha[:, 16:] = 1
        >>> sorted(int(value) for value in np.unique(draw_trimap(np.random.default_rng(1), alpha)))
        [0, 128, 255]
    """
    size = len(alpha)
    edge = edges(alpha)
    low, high = ((1.0, 5.0), (5.0, 15.0), (15.0, 45.0))[int(rng.choice(3, p=[0.36, 0.34, 0.3]))]
    band = rng.uniform(low, high)
    inner, outer = band * rng.uniform(0.4, 1.3, 2)
    away = _distance(edge)
    solid = alpha > 0.5
    reach: Array | np.floating
    reach = np.where(solid, np.float32(inner), np.float32(outer))
    style = rng.random()
    if style < 0.35:
        # A careless hand: the band swells and shrinks along the outline.
        reach = reach * (0.25 + 1.5 * smooth_noise(rng, size, rng.uniform(10, 60)))
    unknown = edge | (away < reach)
    if style > 0.85 and band > 5:
        # A fat brush: coarse strokes over all that is not certain.
        cell = int(rng.integers(8, 25))
        grid = max(2, size // cell)
        coarse = cv2.resize(unknown.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
        unknown |= cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) > rng.uniform(0.05, 0.3)
    elif style > 0.6 and band > 3:
        # Small certain islands between strands are rarely marked by hand.
        side = int(rng.integers(3, 12)) | 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        unknown |= cv2.morphologyEx(unknown.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    share = float(unknown.mean())
    if share > 0.92:
        unknown = edge | (away < 1.5)
    elif share < 0.03:
        unknown = away <= np.quantile(away, rng.uniform(0.04, 0.12))
    trimap = np.where(solid, np.uint8(255), np.uint8(0))
    trimap[unknown] = UNKNOWN
    return trimap


def dilate_trimap(alpha: Array, inner: int, outer: int) -> npt.NDArray[np.uint8]:
    """The trimap of a matte whose fractional part is widened, as matting models are trained since Deep Image Matting.

    (Xu et al., 2017, arXiv 1703.03872, section 4.1: "dilated by random size".)

    Args:
        alpha: (h, w) float32 in [0, 1].
        inner: by how many pixels into the foreground.
        outer: by how many pixels into the background.

    Returns:
        (h, w) uint8 in {0, 128, 255}; every pixel with 0 < alpha < 1 is unknown, and so are both sides of a step.

    Examples:
        >>> dilate_trimap(np.array([[0, 0, 0, 0, 1, 1, 1, 1]], np.float32), 2, 1).tolist()
        [[0, 0, 0, 128, 128, 128, 255, 255]]
    """
    fractional = (alpha > 0.0) & (alpha < 1.0)
    solid = alpha >= 1.0
    trimap = np.where(solid, np.uint8(255), np.uint8(0))
    # Distances to what is not foreground, and to what is not background.
    trimap[fractional | (solid & (_distance(~solid) <= inner)) | (~solid & (_distance(alpha > 0.0) <= outer))] = UNKNOWN
    return trimap


def edges(alpha: Array) -> npt.NDArray[np.bool_]:
    """Mark what no trimap may call certain: fractional pixels, and both sides of a step from 0 to 1."""
    fractional = (alpha > 0.0) & (alpha < 1.0)
    solid = (alpha >= 1.0).astype(np.uint8)
    around = np.ones((3, 3), np.uint8)
    marked: npt.NDArray[np.bool_] = fractional | (cv2.dilate(solid, around) != cv2.erode(solid, around))
    return marked


def _distance(mask: npt.NDArray[np.bool_]) -> Array:
    if not mask.any():
        return np.full(mask.shape, 1e6, np.float32)
    distance: Array = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return distance
