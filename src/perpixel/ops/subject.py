"""A mask of the subject from a box around it, or from a few clicks.

The pixels are told apart by GrabCut, which fits colour mixtures to both sides and cuts where they differ ("GrabCut:
Interactive Foreground Extraction using Iterated Graph Cuts", Rother, Kolmogorov, Blake, SIGGRAPH 2004; OpenCV's
implementation). It runs on a small copy; its outline is good to a few pixels, which is what `trimap_from_mask`
leaves open. No model is involved, so a subject in its background's colours needs a better hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = ["mask_from_box", "mask_from_points"]

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Point = Sequence[float]

# GrabCut's cost grows with the pixels, and more of them do not find another subject.
LONG_SIDE = 320
ITERATIONS = 5
# Parts and holes smaller than this share of the subject are taken for noise.
SPECK = 0.02
PINHOLE = 0.005
# A click stands for a disc of this share of the image's diagonal.
CLICK_RADIUS = 0.012
# Without a box, the subject is first looked for this far around the clicks, as a share of the diagonal.
CLICK_REACH = 0.25


def mask_from_box(rgb8: Image, box: Sequence[float]) -> Bool:
    """Find the subject in a box. What is outside the box is background.

    Args:
        rgb8: (h, w, 3) uint8.
        box: (x0, y0, x1, y1) in pixels, origin at the top left; x1 and y1 are exclusive, so the whole image is
            (0, 0, w, h). It should hold the subject with little around it.

    Returns:
        (h, w) bool, true on the subject; the same for the same input.

    Raises:
        InputError: the box is empty, outside, or covers the whole image, or no subject is found in it.

    Example:
        >>> image = np.full((40, 60, 3), 200, np.uint8)
        >>> image[10:30, 20:40] = (200, 30, 30)
        >>> int(mask_from_box(image, (15, 5, 45, 35)).sum())
        400
    """
    return _mask(rgb8, _checked_box(box, rgb8), [], [])


def mask_from_points(
    rgb8: Image,
    foreground: Sequence[Point],
    background: Sequence[Point] = (),
    box: Sequence[float] | None = None,
) -> Bool:
    """Find the subject under clicks.

    Without a box, the border of the image is taken for background, except near a foreground click.

    Args:
        rgb8: (h, w, 3) uint8.
        foreground: points (x, y) on the subject, in pixels, origin at the top left; at least one. Every part of
            the subject that is not joined with another needs one.
        background: points (x, y) beside the subject.
        box: around the subject, as in `mask_from_box`; it may cover the whole image if there are background
            points.

    Returns:
        (h, w) bool, true at every foreground point and false at every background point.

    Raises:
        InputError: no foreground point, a point outside the image or of both kinds, a bad box, or no subject.

    Example:
        >>> image = np.full((40, 60, 3), 200, np.uint8)
        >>> image[10:30, 20:40] = (200, 30, 30)
        >>> int(mask_from_points(image, [(30, 20)]).sum())
        400
    """
    front = _checked_points(foreground, rgb8, "foreground")
    back = _checked_points(background, rgb8, "background")
    if not front:
        raise InputError("no foreground point is given, but at least one is needed: click on the subject")
    both = set(front) & set(back)
    if both:
        raise InputError(f"point {min(both)} is both foreground and background: give it once")
    area = None if box is None else _checked_box(box, rgb8, may_cover=bool(back))
    if area is not None:
        for x, y in front:
            if not (area[0] <= x < area[2] and area[1] <= y < area[3]):
                raise InputError(
                    f"foreground point ({x}, {y}) is outside the box {area}: widen the box or move the point"
                )
    return _mask(rgb8, area, front, back)


Box = tuple[int, int, int, int]
Pixel = tuple[int, int]


def _checked_image(rgb8: Image) -> tuple[int, int]:
    if rgb8.ndim != 3 or rgb8.shape[2] != 3 or rgb8.dtype != np.uint8 or rgb8.size == 0:
        raise InputError(
            f"image has the shape {rgb8.shape} and type {rgb8.dtype}, but (height, width, 3) uint8 is needed: "
            "convert it to 8-bit RGB"
        )
    return rgb8.shape[0], rgb8.shape[1]


def _checked_box(box: Sequence[float], rgb8: Image, *, may_cover: bool = False) -> Box:
    height, width = _checked_image(rgb8)
    if len(box) != 4 or not np.isfinite(np.asarray(box, dtype=np.float64)).all():
        raise InputError(f"box is {tuple(box)}, but four numbers are needed: give x0, y0, x1, y1 in pixels")
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    if x1 <= x0 or y1 <= y0:
        raise InputError(
            f"box {x0},{y0},{x1},{y1} is empty: give the left, top, right and bottom edge, with x0 < x1 and y0 < y1"
        )
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise InputError(
            f"box {x0},{y0},{x1},{y1} is outside the image, which is {width}×{height} (width×height): "
            "give pixels from the top left corner"
        )
    inside = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if inside == (0, 0, width, height) and not may_cover:
        raise InputError(
            f"box {x0},{y0},{x1},{y1} covers the whole image of {width}×{height} (width×height), so that no "
            "background is known: draw it closer around the subject, or give points"
        )
    return inside


def _checked_points(points: Sequence[Point], rgb8: Image, name: str) -> list[Pixel]:
    height, width = _checked_image(rgb8)
    pixels = []
    for point in points:
        if len(point) != 2 or not np.isfinite(np.asarray(point, dtype=np.float64)).all():
            raise InputError(f"{name} point {tuple(point)} is no pair of numbers: give x, y in pixels")
        x, y = int(np.floor(point[0])), int(np.floor(point[1]))
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(
                f"{name} point ({x}, {y}) is outside the image, which is {width}×{height} (width×height): "
                f"give x from 0 to {width - 1} and y from 0 to {height - 1}"
            )
        pixels.append((x, y))
    return pixels


def _mask(rgb8: Image, box: Box | None, front: list[Pixel], back: list[Pixel]) -> Bool:
    height, width = rgb8.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = rgb8 if scale == 1 else cv2.resize(rgb8, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], 3)
    ratio = np.array([size[0] / width, size[1] / height])
    small_front = [_scaled(point, ratio) for point in front]
    small_back = [_scaled(point, ratio) for point in back]
    labels = _prior((size[1], size[0]), _scaled_box(box, ratio), small_front, small_back)
    clicked = int((labels == cv2.GC_FGD).sum())
    found = _tidied(_grab(small, labels), small_front)
    # Hardly more than the clicks themselves is no subject either.
    if not found.any() or found.all() or found.sum() < 1.5 * clicked:
        raise InputError(
            "no subject stands out from its background there: draw the box closer, add foreground and background "
            "points, or give a mask"
        )
    if scale < 1:
        # A cubic curve through the steps of the small mask, cut at its half, has no steps.
        grown = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        found = np.asarray(grown.reshape(height, width) > 0.5)
    for points, value in ((front, True), (back, False)):
        for x, y in points:
            found[y, x] = value
    return found


def _scaled(point: Pixel, ratio: npt.NDArray[Any]) -> Pixel:
    x, y = ((np.array(point) + 0.5) * ratio).astype(int).tolist()
    return x, y


def _scaled_box(box: Box | None, ratio: npt.NDArray[Any]) -> Box | None:
    if box is None:
        return None
    low, high = np.floor(np.array(box[:2]) * ratio), np.ceil(np.array(box[2:]) * ratio)
    x0, y0, x1, y1 = np.concatenate([low, high]).astype(int).tolist()
    return x0, y0, x1, y1


def _prior(shape: tuple[int, int], box: Box | None, front: list[Pixel], back: list[Pixel]) -> Labels:
    """What is known before any colour is looked at, as GrabCut's four labels (h, w)."""
    labels = np.full(shape, cv2.GC_PR_BGD, np.uint8)
    diagonal = float(np.hypot(*shape))
    if box is None:
        near = _distance(shape, front) < diagonal * CLICK_REACH
        labels[_border(shape) & (_distance(shape, front) > diagonal * 0.1)] = cv2.GC_BGD
    else:
        x0, y0, x1, y1 = box
        labels[:] = cv2.GC_BGD
        labels[y0:y1, x0:x1] = cv2.GC_PR_BGD
        # Subjects rarely fill the corners of their boxes: starting from the ellipse in the box finds more of them.
        down, right = np.ogrid[1 : 2 * shape[0] : 2, 1 : 2 * shape[1] : 2]  # twice the centres of the pixels
        x0, x1 = _beyond(x0, x1, shape[1])
        y0, y1 = _beyond(y0, y1, shape[0])
        near = np.asarray(((right - x0 - x1) / (x1 - x0)) ** 2 + ((down - y0 - y1) / (y1 - y0)) ** 2 <= 1)
    if front and back:
        near &= _distance(shape, front) < _distance(shape, back)
    labels[near & (labels == cv2.GC_PR_BGD)] = cv2.GC_PR_FGD
    radius = round(diagonal * CLICK_RADIUS)
    for points, value in ((back, cv2.GC_BGD), (front, cv2.GC_FGD)):
        others = front if points is back else back
        for x, y in points:
            room = min((np.hypot(x - u, y - v) for u, v in others), default=radius * 3)
            cv2.circle(labels, (x, y), min(radius, int(room / 3)), value, -1)
    return labels


def _beyond(first: int, last: int, length: int) -> tuple[int, int]:
    """The span of a box, mirrored at the side where it ends with the picture: there the frame cuts the subject."""
    edge = max(1, round(length * 0.01))
    at_start, at_end = first < edge, last > length - edge
    if at_start == at_end:
        return first, last
    return (2 * first - last, last) if at_start else (first, 2 * last - first)


def _distance(shape: tuple[int, int], points: list[Pixel]) -> npt.NDArray[np.float64]:
    """From each pixel to the nearest of the points."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.min([np.hypot(x - u, y - v) for u, v in points], axis=0))


def _border(shape: tuple[int, int]) -> Bool:
    band = max(1, round(min(shape) * 0.02))
    border = np.ones(shape, np.bool_)
    border[band:-band, band:-band] = False
    return border


def _grab(small: Image, labels: Labels) -> Bool:
    if not (np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any() and np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).any()):
        return np.asarray(labels % 2 == 1)
    # The mixtures start from k-means with random centres.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    # Fur and cloth hold more colours than five Gaussians can: without the fine texture, fewer holes remain.
    smooth = cv2.bilateralFilter(np.ascontiguousarray(small), 7, 30, 5)
    cv2.grabCut(smooth, labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return np.asarray(labels % 2 == 1)  # GC_FGD is 1 and GC_PR_FGD is 3


def _tidied(found: Bool, clicked: list[Pixel]) -> Bool:
    """Without specks and pinholes. With clicks, only parts that were clicked on stay."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    if count < 2:
        return found
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = areas >= SPECK * areas[1:].max()
    if clicked:
        kept[:] = False
        kept[[parts[y, x] for x, y in clicked]] = True
    kept[0] = False
    found = np.asarray(kept[parts])
    _, holes, stats, _ = cv2.connectedComponentsWithStats((~found).astype(np.uint8), connectivity=4)
    pinholes = stats[:, cv2.CC_STAT_AREA] < PINHOLE * found.sum()
    pinholes[0] = False
    return np.asarray(found | pinholes[holes])
