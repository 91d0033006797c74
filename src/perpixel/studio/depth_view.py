"""What the page shows of depth: at a size that answers a slider at once, and as points for the 3-D view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.images.depth import to_uint8
from perpixel.images.read import Photo
from perpixel.ops.bokeh import bokeh as blur
from perpixel.ops.depth import coloured, to_codes
from perpixel.results.depth import DepthMap
from perpixel.tasks.bokeh import bokeh

Picture = NDArray[np.uint8]

# The longer side of the pictures on the page, and of the blurred one, which is made anew while its slider moves.
PAGE_SIDE, BLUR_SIDE = 1000, 640
# So many points turn smoothly on a phone, and are sent in 3 MB.
MOST_POINTS = 200_000
# The depth under a click is the median so far around it, as a share of the longer side.
REACH = 0.006

Wanted: TypeAlias = Literal["png", "npy", "ply", "colour", "bokeh"]
NAMES: dict[Wanted, str] = {
    "png": "depth.png",
    "npy": "depth.npy",
    "ply": "points.ply",
    "colour": "depth-colours.png",
    "bokeh": "bokeh.png",
}


@dataclass(frozen=True, eq=False)
class DepthView:
    """Depth as the page shows it.

    Attributes:
        depth: at the photograph's own size, with the photograph.
        near: (h, w) float32 at the page's size, 1 at the nearest pixel and 0 at the farthest.
        valid: (h, w) bool, the known pixels of it.
        small: (h', w', 3) uint8, the photograph at the size of the blurred picture.
        small_near: (h', w') float32.

    >>> known = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    >>> view = open_depth(DepthMap(known, image=np.zeros((3, 4, 3), np.uint8)))
    >>> view.colours("grey")[:, :, 0].max(), view.near_at(639, 479)
    (np.uint8(255), 1.0)
    """

    depth: DepthMap
    near: NDArray[np.float32]
    valid: NDArray[np.bool_]
    small: Picture
    small_near: NDArray[np.float32]

    def colours(self, map: str) -> Picture:
        """(h, w, 3) uint8, the depth in the colours of a map, near at its bright end."""
        return coloured(self.near, self.valid, map)

    def blurred(self, focus: float, aperture: float) -> Picture:
        """The photograph with blur, at the reduced size; in it the blur is as wide as in the whole one.

        Args:
            focus: what is sharp, from 0, the farthest, to 1, the nearest.
            aperture: as in `perpixel.bokeh`.

        Returns:
            (h', w', 3) uint8.
        """
        if not self.small_near.any():
            return self.small
        return np.asarray(blur(self.small, self.small_near, focus, aperture), np.uint8)

    def near_at(self, x: float, y: float) -> float:
        """How near the blurred picture is at a pixel of it, from 0 to 1: the focus that makes it sharp."""
        height, width = self.small_near.shape
        column, row = int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))
        reach = max(1, round(REACH * max(height, width)))
        around = self.small_near[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        return float(np.median(around)) if min(height, width) > 2 * reach else float(self.small_near[row, column])


def open_depth(depth: DepthMap) -> DepthView:
    """The view of a depth that has its photograph."""
    assert depth.image is not None  # perpixel.depth gives it
    near = depth.normalized()
    page, small = _size(depth, PAGE_SIDE), _size(depth, BLUR_SIDE)
    image = _resized(to_uint8(depth.image), small)
    valid = cv2.resize(depth.valid.astype(np.uint8), page, interpolation=cv2.INTER_NEAREST_EXACT)
    return DepthView(
        depth,
        _plane(near, page),
        np.asarray(valid, np.bool_).reshape(page[1], page[0]),
        np.asarray(image, np.uint8).reshape(small[1], small[0], 3),
        _plane(near, small),
    )


def middle_focus(view: DepthView) -> float:
    """The focus, from 0 to 1, on what is in the middle of the picture, where a subject often is."""
    rows, columns = view.small_near.shape
    return round(view.near_at(columns / 2, rows / 2), 2)


def fewer_points(depth: DepthMap, most: int = MOST_POINTS) -> DepthMap:
    """The depth with at most so many pixels. None is a mean over an edge, which would hang in the air.

    Args:
        depth: with or without photograph.
        most: the number of pixels.
    """
    factor = (most / (depth.width * depth.height)) ** 0.5
    if factor >= 1:
        return depth
    size = max(1, int(depth.width * factor)), max(1, int(depth.height * factor))
    values = cv2.resize(depth.values, size, interpolation=cv2.INTER_NEAREST_EXACT).reshape(size[::-1])
    valid = cv2.resize(depth.valid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    valid = np.asarray(valid, np.bool_).reshape(size[::-1])
    if not valid.any():
        return depth
    image = None
    if depth.image is not None:
        resized = cv2.resize(to_uint8(depth.image), size, interpolation=cv2.INTER_AREA)
        image = np.asarray(resized, np.uint8).reshape(size[1], size[0], 3)
    return DepthMap(values, kind=depth.kind, valid=valid, image=image)


def write_depth(
    view: DepthView,
    wanted: Wanted,
    folder: Path,
    name: str,
    *,
    map: str,
    focus: float,
    aperture: float,
    fov: float,
    far: float,
) -> Path:
    """Write one of the files, at the photograph's own size.

    Args:
        view: what is shown.
        wanted: "png", the depth in whole numbers of 16 bits; "npy", its numbers; "ply", the points; "colour", the
            picture in colours; or "bokeh", the blurred photograph.
        folder: where to; it must exist.
        name: that of the photograph, without a suffix.
        map: the colours of "colour".
        focus: of "bokeh", from 0 to 1.
        aperture: of "bokeh".
        fov: of "ply", see `DepthMap.point_cloud`.
        far: of "ply".

    Returns:
        the file.

    Raises:
        OutputError: it cannot be written there.
    """
    path = folder / f"{name}-{NAMES[wanted]}"
    depth = view.depth
    if wanted == "bokeh":
        assert depth.image is not None
        photo = Photo(depth.image, icc_profile=depth.icc_profile)
        return bokeh(photo, depth=depth, focus=focus, aperture=aperture).save(path)
    if wanted == "ply":
        return depth.point_cloud(fov=fov, far=far).save(path)
    return depth.save(path, "colour", map=map) if wanted == "colour" else depth.save(path)


def about_depth(view: DepthView) -> str:
    """A line of Markdown: what the numbers in the files mean."""
    depth = view.depth
    known = depth.values[depth.valid]
    low, high = float(known.min()), float(known.max())
    _, scale, shift = to_codes(depth.values, depth.valid, 16)
    back = f"depth = {scale:.6g} · number{f' + {shift:.6g}' if shift > 0 else f' − {-shift:.6g}' if shift else ''}"
    unknown = "" if bool(depth.valid.all()) else " 0 and NaN mark unknown pixels."
    if depth.kind == "metric":
        return f"Distances from {low:.3g} to {high:.3g} metres. NPY holds them; in the 16-bit PNG {back}.{unknown}"
    return (
        f"Inverse depth without a unit, from {low:.3g} (far) to {high:.3g} (near). NPY holds it; in the 16-bit PNG "
        f"{back}.{unknown}"
    )


def _size(depth: DepthMap, longest: int) -> tuple[int, int]:
    scale = longest / max(depth.size)
    return max(1, round(depth.width * scale)), max(1, round(depth.height * scale))


def _plane(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(_resized(plane, size), np.float32).reshape(size[1], size[0])


def _resized(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    smaller = size[0] < plane.shape[1]
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR))
