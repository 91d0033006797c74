"""Carry the results of one frame of a film to the next, and steady what flickers.

All of it follows `perpixel.ops.flow.Motion`: nothing is carried over a cut, nor to pixels that are not trusted, such as
those that were hidden a frame ago. The numbers were chosen on films with a known alpha, see docs/films.md.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.ops.flow import Motion
from perpixel.ops.trimap import BACKGROUND, FOREGROUND, UNKNOWN, trimap_from_alpha

__all__ = ["agreed_trimap", "body_trimap", "mixed"]

Float = NDArray[np.float32]
Grey = NDArray[np.uint8]

# A share of the body below it is taken for none, and one as near to 1 for all: it is a model's doubt, not a hair.
FAINT = 0.1
# The unknown band beyond what is neither 0 nor 1, as a share of the subject's size, and in pixels.
BAND, LEAST_BAND = 0.02, 4.0
# Below this, a pixel's way is not known: it becomes unknown where it is this many bands from the subject's outline.
DOUBT, DOUBT_REACH = 0.3, 2.0
# What does not hang together with a part of the subject through pixels above the first number is no part of it; a part
# has at least the second number of the largest part's area.
JOINED, SMALLEST_PART = 0.2, 0.05


def mixed(now: Float, carried: Float, trust: Float, share: float) -> Float:
    """Mix a result with what was carried from the frame before.

    Args:
        now: (h, w), the result of this frame alone.
        carried: (h, w), the mixed result of the frame before, warped to this one.
        trust: (h, w) in [0, 1], see `Motion`.
        share: how much of a trusted pixel is what was carried there, from 0 to 1.

    Returns:
        (h, w) float32, between `now` and `carried`.

    >>> now, before, trust = np.float32([[1, 1]]), np.float32([[0, 0]]), np.float32([[1, 0]])
    >>> mixed(now, before, trust, 0.75).tolist()
    [[0.25, 1.0]]
    """
    return np.asarray(now + np.float32(share) * trust * (carried - now), np.float32)


def body_trimap(body: Float, move: Motion) -> Grey:
    """The trimap of a frame from where the subject is believed to be.

    Unknown is what is neither surely subject nor surely background, with a band around it, so that it follows hair and
    neither dries out nor spreads; and what has come into sight beside the subject's outline.

    Args:
        body: (h, w) in [0, 1], the subject in the frames before, warped to this one.
        move: from this frame back to the one before.

    Returns:
        (h, w) uint8 of 0, 128 and 255; all 0 where there is no subject any more.
    """
    sure = np.where(body < FAINT, 0, np.where(body > 1 - FAINT, 1, body)).astype(np.float32)
    sure = _joined(sure)
    if not sure.any():
        return np.full(body.shape, BACKGROUND, np.uint8)
    band = max(LEAST_BAND, BAND * math.sqrt(float(sure.sum(dtype=np.float64))))
    trimap = trimap_from_alpha(sure, band=band)
    outline = cv2.morphologyEx((sure > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    if outline.any():
        away = cv2.distanceTransform(1 - outline, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        trimap[(move.trust < DOUBT) & (np.asarray(away) < DOUBT_REACH * band)] = UNKNOWN
    return trimap


def agreed_trimap(first: Grey, second: Grey) -> Grey:
    """What two trimaps of a frame both know; unknown where they differ.

    >>> agreed_trimap(np.uint8([[0, 0, 255, 128]]), np.uint8([[0, 255, 255, 0]])).tolist()
    [[0, 128, 255, 128]]
    """
    known: NDArray[Any] = (first == second) & ((first == BACKGROUND) | (first == FOREGROUND))
    return np.where(known, first, np.uint8(UNKNOWN)).astype(np.uint8)


def _joined(alpha: Float) -> Float:
    """Without the specks beside the subject: bright edges of the background that a model took for hair."""
    _, parts, figures, _ = cv2.connectedComponentsWithStats((alpha > JOINED).astype(np.uint8), connectivity=8)
    solid = np.unique(parts[alpha == 1])
    areas = figures[:, cv2.CC_STAT_AREA]
    kept = [int(part) for part in solid if part and areas[part] >= SMALLEST_PART * max(areas[solid[solid > 0]])]
    near = cv2.dilate(np.isin(parts, kept).astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.where(near > 0, alpha, 0).astype(np.float32)
