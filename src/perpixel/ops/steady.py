"""Carry the results of one frame of a film to the next, and steady what flickers.

All of it follows `perpixel.ops.flow.Motions`: nothing is carried over a cut, nor to pixels that are not trusted, such
as those that were hidden a frame ago. The numbers were chosen on films with a known alpha, see docs/films.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.ops.flow import Motion, Motions, followed_on, warp
from perpixel.ops.trimap import BACKGROUND, FOREGROUND, UNKNOWN, trimap_from_alpha

__all__ = ["agreed_trimap", "body_trimap", "mixed", "reach_of", "steadied", "subject_motion"]

Float = NDArray[np.float32]
Grey = NDArray[np.uint8]
# A frame's alpha and the motions between it and the frame before; none where a scene begins.
Instant = tuple[Float, Motions | None]

# The frames beside each that are looked at, two before and two after, and the weights of itself, the next and the one
# after that.
WEIGHTS = (1, 2 / 3, 1 / 3)
# A share of the body below it is taken for none, and one as near to 1 for all: it is a model's doubt, not a hair.
FAINT = 0.1
# The unknown band beyond what is neither 0 nor 1, as a share of the subject's size, and in pixels.
BAND, LEAST_BAND = 0.02, 4.0
# Below this, a pixel's way is not known: it becomes unknown where it is this many bands from the subject's outline.
DOUBT, DOUBT_REACH = 0.3, 2.0
# The subject's motion: one affine motion, the body's, to whose slopes this much of none is mixed, for coordinates of 1
# over width and height together;
STIFFNESS = 1e-3
# and what the body does besides, spread over its surroundings with a Gaussian of this share of the hair's reach, and at
# least so many pixels, fading out where there is less than about this share of body;
SPREAD, LEAST_SPREAD, FADING = 0.7, 10.0, 3e-3
# and then the flow of the hair itself where it differs by about so many pixels at the most, or that share of the reach.
HAIR_SPREAD, LEAST_HAIR_SPREAD, HAIR_FADING = 0.25, 10.0, 0.05
OWN, OWN_SHARE = 1.0, 0.01
# A body of fewer pixels has no motion of its own.
LEAST_BODY = 16
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


class Beside(NamedTuple):
    """What a frame beside another one says of it."""

    distance: int
    alpha: Float
    trust: Float


def steadied(alphas: Iterable[Instant]) -> Iterator[Float]:
    """Take the flicker out of the alphas of a film, along the motion of its subject.

    First each pixel takes the median of the two frames before, its own and the two after, which drops the errors of one
    or two frames and blurs nothing; then their mean, with the weights 1, 2, 3, 2, 1. Both look as far ahead as back, so
    that nothing lags, and neither looks over the ends of a scene.

    Args:
        alphas: each frame's (h, w) float32 alpha, with the motions between it and the frame before; without these a
            scene begins. It is read four frames ahead.

    Yields:
        (h, w) float32, for every frame; where no motion is trusted, the alpha itself.

    >>> still = Motion(np.zeros((2, 2, 2), np.float32), np.ones((2, 2), np.float32), False)
    >>> alphas = [np.full((2, 2), value, np.float32) for value in (0, 0, 0, 1, 1, 0, 0, 0)]
    >>> moves = [None, *[Motions(still, still)] * 7]
    >>> [float(each[0, 0]) for each in steadied(zip(alphas, moves, strict=True))]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    for alpha, _ in _filtered(_filtered(alphas, _median), _mean):
        yield alpha


def subject_motion(body: Float, move: Motion, reach: float) -> Motion:
    """The motion of the subject, also where its hair lies over a background that moves otherwise.

    An optical flow follows one of the two there, and mostly the background. The alpha belongs to the subject: beside
    its body it moves as the body does, that is by one affine motion and what the body beside it does besides. Where the
    flow of the hair is nearly that, it is the hair's own, and corrects it.

    Args:
        body: (h, w) in [0, 1], where the subject is in the other frame.
        move: from this frame to the other.
        reach: how far beside the body, in pixels.

    Returns:
        the same motion but in the subject's surroundings, where it is fully trusted.
    """
    moved = warp(body, move.shift)
    sure = np.where(moved > 1 - FAINT, move.trust, 0).astype(np.float32)
    if float(sure.sum()) < LEAST_BODY:
        return move
    own = _affine(sure, move.shift)
    own += _spread(sure, move.shift - own, max(SPREAD * reach, LEAST_SPREAD), FADING)
    away = move.shift - own
    near = np.square(away).sum(axis=2) / max(OWN, OWN_SHARE * reach) ** 2
    likely = np.asarray(moved * move.trust / (1 + near**2), np.float32)
    own += _spread(likely, away, max(HAIR_SPREAD * reach, LEAST_HAIR_SPREAD), HAIR_FADING)
    beside = (moved <= 1 - FAINT) & _near(moved > 0.5, 2 * reach)
    shift = np.where(beside[..., None], own, move.shift).astype(np.float32)
    return Motion(shift, np.where(beside, 1, move.trust).astype(np.float32), move.cut)


def reach_of(trimap: Grey, alpha: Float) -> float:
    """How far from the subject's body a first trimap has unknown pixels, in pixels: how long its hair may be.

    Args:
        trimap: (h, w) of 0, 128 and 255.
        alpha: (h, w), what was found with it.
    """
    body = alpha > 0.5
    least = max(LEAST_BAND, BAND * math.sqrt(float(np.count_nonzero(body))))
    outside = (trimap == UNKNOWN) & ~body
    if not body.any() or not outside.any():
        return 2 * least
    away = np.asarray(cv2.distanceTransform((~body).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    return max(float(np.percentile(away[outside], 99)), 2 * least)


def body_trimap(body: Float, band: NDArray[np.bool_], move: Motion, reach: float) -> Grey:
    """The trimap of a frame from where the subject is believed to be.

    Unknown is what is neither surely subject nor surely background, with a band around it, so that it follows hair and
    neither dries out nor spreads; and what has come into sight beside the subject's outline.

    Args:
        body: (h, w) in [0, 1], the subject in the frames before, warped to this one.
        band: (h, w) bool, what else is unknown.
        move: from this frame back to the one before.
        reach: farther than this from the body nothing is unknown, in pixels; see `reach_of`.

    Returns:
        (h, w) uint8 of 0, 128 and 255; all 0 where there is no subject any more.
    """
    sure = np.where(body < FAINT, 0, np.where(body > 1 - FAINT, 1, body)).astype(np.float32)
    sure = _joined(sure)
    if not sure.any():
        return np.full(body.shape, BACKGROUND, np.uint8)
    width = max(LEAST_BAND, BAND * math.sqrt(float(sure.sum(dtype=np.float64))))
    trimap = trimap_from_alpha(sure, band=width)
    trimap[band] = UNKNOWN
    outline = cv2.morphologyEx((sure > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    if outline.any():
        away = cv2.distanceTransform(1 - outline, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        trimap[(move.trust < DOUBT) & (np.asarray(away) < DOUBT_REACH * width)] = UNKNOWN
    trimap[(trimap == UNKNOWN) & ~_near(sure > 0.5, reach)] = BACKGROUND
    return trimap


def agreed_trimap(first: Grey, second: Grey) -> Grey:
    """What two trimaps of a frame both know; unknown where they differ.

    >>> agreed_trimap(np.uint8([[0, 0, 255, 128]]), np.uint8([[0, 255, 255, 0]])).tolist()
    [[0, 128, 255, 128]]
    """
    known: NDArray[Any] = (first == second) & ((first == BACKGROUND) | (first == FOREGROUND))
    return np.where(known, first, np.uint8(UNKNOWN)).astype(np.uint8)


def _filtered(alphas: Iterable[Instant], how: Callable[[Float, Sequence[Beside]], Float]) -> Iterator[Instant]:
    """Every frame filtered with the frames around it, brought to its place; two frames late."""
    around = len(WEIGHTS) - 1
    scene: list[Instant] = []  # the last frames of a scene
    here = 0  # the one of them that comes out next

    def done(rest: int) -> Iterator[Instant]:
        nonlocal here
        while len(scene) - here > rest:
            yield how(scene[here][0], _around(scene, here)), scene[here][1]
            here += 1

    for instant in alphas:
        if instant[1] is None:
            yield from done(0)
            scene, here = [], 0
        scene.append(instant)
        yield from done(around)
        if here > around:
            del scene[0]
            here -= 1
    yield from done(0)


def _around(scene: Sequence[Instant], here: int) -> list[Beside]:
    found = []
    for step in (-1, 1):
        way: Motion | None = None
        for distance in range(1, len(WEIGHTS)):
            there = here + step * distance
            if not 0 <= there < len(scene):
                break
            moves = scene[max(there, there - step)][1]
            assert moves is not None  # within a scene
            leg = moves.back if step < 0 else moves.ahead
            way = leg if way is None else followed_on(way, leg)
            found.append(Beside(distance, np.asarray(warp(scene[there][0], way.shift)), way.trust))
    return found


def _median(now: Float, beside: Sequence[Beside]) -> Float:
    """The median in time; a frame says this one's own alpha as far as it is not trusted."""
    values = np.stack([now, *(mixed(now, each.alpha, each.trust, 1) for each in beside)])
    differ = values.min(axis=0) < values.max(axis=0)
    result = now.copy()
    result[differ] = np.median(values[:, differ], axis=0)
    return result


def _mean(now: Float, beside: Sequence[Beside]) -> Float:
    """The mean in time, of each frame as far as it is trusted."""
    total, weight = WEIGHTS[0] * now, np.full(now.shape, WEIGHTS[0], np.float32)
    for each in beside:
        share = np.float32(WEIGHTS[each.distance]) * each.trust
        total, weight = total + share * each.alpha, weight + share
    return np.asarray(total / weight, np.float32)


def _affine(weight: Float, shift: Float) -> Float:
    """The affine motion, (h, w, 2), that is nearest to a shift where it has weight."""
    height, width = weight.shape
    total = float(weight.sum(dtype=np.float64))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = ((each - float((weight * each).sum(dtype=np.float64)) / total) / (width + height) for each in (y, x))
    places = np.stack([np.ones_like(x), x, y], axis=2)
    weighted = places * weight[..., None]
    moments = np.tensordot(weighted, places, ((0, 1), (0, 1))) / total
    goal = np.tensordot(weighted, shift, ((0, 1), (0, 1))) / total
    return np.asarray(places @ np.linalg.solve(moments + np.diag([0, STIFFNESS, STIFFNESS]), goal), np.float32)


def _spread(weight: Float, values: Float, sigma: float, fading: float) -> Float:
    """The weighted mean of (h, w, 2) values over a Gaussian's surroundings, fading to 0 where there is no weight."""
    # What is as smooth is found on a coarser grid, in a fraction of the time.
    step = max(1, int(sigma / 4))
    height, width = weight.shape
    small = max(1, width // step), max(1, height // step)
    weighted = np.dstack([weight, values * weight[..., None]])  # (h, w, 3)
    coarse = cv2.resize(weighted, small, interpolation=cv2.INTER_AREA).reshape(small[1], small[0], 3)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
    spread = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)
    return np.asarray(spread[..., 1:] / (spread[..., :1] + fading), np.float32)


def _near(body: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    if not body.any():
        return np.ones(body.shape, np.bool_)
    away = cv2.distanceTransform((~body).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.asarray(away) <= reach)


def _joined(alpha: Float) -> Float:
    """Without the specks beside the subject: bright edges of the background that a model took for hair."""
    _, parts, figures, _ = cv2.connectedComponentsWithStats((alpha > JOINED).astype(np.uint8), connectivity=8)
    solid = np.unique(parts[alpha == 1])
    areas = figures[:, cv2.CC_STAT_AREA]
    kept = [int(part) for part in solid if part and areas[part] >= SMALLEST_PART * max(areas[solid[solid > 0]])]
    near = cv2.dilate(np.isin(parts, kept).astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.where(near > 0, alpha, 0).astype(np.float32)
