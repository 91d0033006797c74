"""Where pixels go from one frame of a film to the next, and what may be carried along.

The flow is DIS ("Fast Optical Flow using Dense Inverse Search", Kroeger, Timofte, Dai, Van Gool, ECCV 2016, arXiv
1603.03590) as OpenCV has it, both ways. It is trusted where going there and back ends at the start, with the tolerance
of Sundaram, Brox, Keutzer ("Dense point trajectories by GPU-accelerated large displacement optical flow", ECCV 2010),
and where the two photographs agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.images.depth import to_uint8

__all__ = ["Motion", "Motions", "consistent", "flow", "followed_on", "inside", "motions", "warp", "warp_nearest"]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

# Frames with a longer side are made smaller first: the flow's detail is that of DIS's patches anyway.
LONGEST = 960
# Sundaram et al., eq. 5: how far there and back may miss, as a share of the squared lengths and in squared pixels.
SHARE, SLACK = 0.01, 0.5
# Colours that differ by this much, of 1, are half trusted; noise and compression differ by some hundredths.
COLOUR_TOLERANCE = 0.06
# A cut: less than this share of the pixels is trusted, and the colours after following the flow differ by so much.
CUT_SURE, CUT_COLOUR = 0.45, 0.08
# Colours are compared over windows of this side, since one pixel of noise says little.
WINDOW = 5


@dataclass(frozen=True, eq=False)
class Motion:
    """From a frame to the one before it or after it.

    Attributes:
        shift: (h, w, 2) float32: where each pixel of the frame is in the other one, as x and y in pixels to add to its
            own place.
        trust: (h, w) float32 in [0, 1]: how far what is there may be taken for what is here.
        cut: whether the two frames show different scenes, so that nothing may be carried over.
    """

    shift: Float
    trust: Float
    cut: bool


class Motions(NamedTuple):
    """Between a frame and the next, both ways.

    Attributes:
        back: from the later frame to the earlier.
        ahead: from the earlier frame to the later.
    """

    back: Motion
    ahead: Motion

    @property
    def cut(self) -> bool:
        """Whether there is a cut between the two."""
        return self.back.cut


def motions(before: NDArray[Any], after: NDArray[Any]) -> Motions:
    """Find how the pixels of two frames that follow each other moved.

    Args:
        before: (h, w, 3) RGB, uint8 or uint16, the earlier frame.
        after: the same, the later frame.

    Returns:
        The motion back and ahead; see `Motion`. A cut is one both ways.

    Example:
        >>> scene = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
        >>> scene = cv2.GaussianBlur(scene, (0, 0), 3)
        >>> found = motions(scene[:, :80], scene[:, 2:82])
        >>> np.median(found.back.shift, axis=(0, 1)).round().tolist(), found.cut
        ([2.0, 0.0], False)
    """
    first, second = to_uint8(before), to_uint8(after)
    back = flow(second, first)
    there = flow(first, second)
    trust, difference = _trusted(second, first, back, there)
    cut = float(trust.mean()) < CUT_SURE and difference > CUT_COLOUR
    return Motions(Motion(back, trust, cut), Motion(there, _trusted(first, second, there, back)[0], cut))


def flow(start: NDArray[np.uint8], goal: NDArray[np.uint8]) -> Float:
    """Dense optical flow.

    Args:
        start: (h, w, 3) RGB or (h, w) grey.
        goal: the same, another frame.

    Returns:
        (h, w, 2) float32: where each pixel of `start` is found in `goal`, as x and y to add.
    """
    height, width = start.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    small = max(round(width * scale), 1), max(round(height * scale), 1)
    grey = [_grey(each, small) for each in (start, goal)]
    # DIS builds a pyramid of patches of 8 pixels; less than two of them make none.
    margin = [(0, max(0, 32 - grey[0].shape[0])), (0, max(0, 32 - grey[0].shape[1]))]
    padded = [np.pad(each, margin, mode="edge") for each in grey]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = np.asarray(search.calc(padded[0], padded[1], None))[: small[1], : small[0]]
    if small != (width, height):
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
        found = found * np.array([width / small[0], height / small[1]], np.float32)
    return np.ascontiguousarray(found, np.float32)


def consistent(back: Float, there: Float) -> Bool:
    """Where going along one flow and back along the other ends at the start.

    Args:
        back: (h, w, 2), from the frame in question to the other.
        there: (h, w, 2), from the other frame to this one.

    Returns:
        (h, w) bool; false too where `back` leaves the picture.

    >>> step = np.full((4, 6, 2), (1, 0), np.float32)
    >>> consistent(step, -step)[0].tolist()
    [True, True, True, True, True, False]
    """
    returned = warp(there, back)
    miss = np.square(back + returned).sum(axis=2)
    lengths = np.square(back).sum(axis=2) + np.square(returned).sum(axis=2)
    return np.asarray(inside(back) & (miss <= SHARE * lengths + SLACK))


def inside(shift: Float) -> Bool:
    """Where a flow, (h, w, 2), points into the picture: (h, w) bool.

    >>> inside(np.full((1, 4, 2), (2, 0), np.float32)).tolist()
    [[True, True, False, False]]
    """
    height, width = shift.shape[:2]
    x, y = _places(shift)
    return np.asarray((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5))


def followed_on(first: Motion, second: Motion) -> Motion:
    """Two motions one after the other.

    Args:
        first: from a frame to a second one.
        second: from the second to a third one.

    Returns:
        from the first frame to the third, trusted as far as both are.

    >>> step = Motion(np.full((1, 6, 2), (2, 0), np.float32), np.full((1, 6), 0.5, np.float32), False)
    >>> both = followed_on(step, step)
    >>> both.shift[0, 0].tolist(), both.trust[0, 0].item()
    ([4.0, 0.0], 0.25)
    """
    x, y = _places(first.shift)
    shift, trust = (
        cv2.remap(each, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(each.shape)
        for each in (second.shift, second.trust)
    )
    return Motion(first.shift + shift, first.trust * trust, first.cut or second.cut)


def warp(values: NDArray[Any], back: Float) -> NDArray[Any]:
    """Fetch values from where the flow points.

    Args:
        values: (h, w) or (h, w, c), uint8 or float32, of the frame that the flow points into.
        back: (h, w, 2).

    Returns:
        of the shape and dtype of `values`, by cubic interpolation, which keeps hair sharp over many steps; floats are
        kept between the least and the largest of the values around. Outside the picture its border goes on.
    """
    x, y = _places(back)
    fetched = cv2.remap(values, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if values.dtype == np.float32 and values.ndim == 2:
        # Beside an edge cubic interpolation overshoots, and what is carried on would ring more with every frame.
        kernel = np.ones((3, 3), np.uint8)
        low, high = cv2.erode(values, kernel), cv2.dilate(values, kernel)
        bounds = [cv2.remap(each, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) for each in (low, high)]
        fetched = np.clip(fetched, *bounds)
    return np.asarray(fetched, values.dtype).reshape(values.shape)


def warp_nearest(values: NDArray[Any], back: Float) -> NDArray[Any]:
    """The same for values that cannot be mixed, such as ids: (h, w) uint8, int16 or float32."""
    x, y = _places(back)
    fetched = cv2.remap(values, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(fetched, values.dtype).reshape(values.shape)


def _trusted(here: NDArray[np.uint8], other: NDArray[np.uint8], shift: Float, returning: Float) -> tuple[Float, float]:
    """(h, w) in [0, 1], how far a shift may be trusted, and the mean difference of colours that remains along it."""
    same = consistent(shift, returning)
    difference = np.abs(warp(other, shift).astype(np.float32) - here).mean(axis=2) / np.float32(255)
    difference = cv2.blur(difference, (WINDOW, WINDOW), borderType=cv2.BORDER_REPLICATE)
    agreement = 1 / (1 + (difference / np.float32(COLOUR_TOLERANCE)) ** 4)
    return np.where(same, agreement, 0).astype(np.float32), float(difference.mean())


def _places(back: Float) -> tuple[Float, Float]:
    height, width = back.shape[:2]
    x = back[..., 0] + np.arange(width, dtype=np.float32)[None]
    y = back[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return x, y


def _grey(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if size != (grey.shape[1], grey.shape[0]):
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)
