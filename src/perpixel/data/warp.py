"""One geometric change for all planes of a sample: resize, turn, mirror, and cut a window out, padded where needed.

A plane of numbers (labels, trimaps, depth, masks) is read at the nearest pixel, so nothing is ever mixed. Pictures and
alphas are averaged over the pixels that fall together, as Pillow does, and are turned bilinearly by kornia. Both follow
the same map, from the middle of each pixel of the result to a point of the source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from perpixel.errors import MissingDependencyError

__all__ = ["Warp"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Plane = npt.NDArray[Any]
Window = tuple[int, int, int, int]  # upper, left, lower, right


@dataclass(frozen=True)
class Warp:
    """From a picture of `source` pixels to one of `size` pixels; all pairs are (height, width) or (row, column).

    Attributes:
        source: the size of the picture that comes in.
        scaled: the size that it is resized to.
        angle: then it is turned about its middle, counter-clockwise in degrees; the frame keeps its size.
        mirror: then left and right are exchanged.
        corner: then a window with this upper left corner is cut out, which may reach over the picture's edges …
        size: … and is so large.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    angle: float = 0.0
    mirror: bool = False
    corner: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (1, 1)

    def place(self, row: float, column: float) -> tuple[float, float]:
        """Where a point of the source lies once resized, turned and mirrored; (0, 0) is the first pixel's middle."""
        y = (row + 0.5) * self.scaled[0] / self.source[0] - 0.5
        x = (column + 0.5) * self.scaled[1] / self.source[1] - 0.5
        if self.angle:
            (middle_y, middle_x), (sine, cosine) = self._pivot
            down, across = y - middle_y, x - middle_x
            y, x = middle_y + cosine * down - sine * across, middle_x + sine * down + cosine * across
        return y, self.scaled[1] - 1 - x if self.mirror else x

    def nearest(self, plane: Plane, outside: float) -> Plane:
        """Read a plane of numbers at the nearest pixels.

        Args:
            plane: (h, w, …) of the source's size.
            outside: the value where the window reaches over the picture.

        Returns:
            The same dtype, of the window's size; every value is one of the plane's or `outside`.
        """
        rows, columns = self._nearest
        # Whole rows first: a third of the time of looking every pixel up.
        found = plane[rows, columns] if self.angle else plane[rows[:, 0]][:, columns[0]]
        return self.fill(found, outside)

    def linear(self, plane: Plane, outside: float) -> Plane:
        """Resample a picture, or an alpha.

        Args:
            plane: (h, w) or (h, w, 3) uint8, or (h, w) float32, of the source's size.
            outside: the value where the window reaches over the picture.

        Returns:
            The same dtype, of the window's size; no value leaves the range of the plane's.
        """
        if self.scaled == self.source and not self.angle:
            return self.nearest(plane, outside)  # whole pixels are moved, so none is mixed
        return self.fill(self._turned(plane) if self.angle else self._resized(plane), outside)

    def fill(self, plane: Plane, outside: float) -> Plane:
        """Overwrite a plane of the window's size where the window reaches over the picture."""
        if not self.inside.all():
            plane[~self.inside] = outside
        return plane

    @cached_property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Which pixels of the window lie on the picture: (height, width)."""
        rows, columns = self._map
        within = (rows >= -0.5) & (rows < self.scaled[0] - 0.5) & (columns >= -0.5) & (columns < self.scaled[1] - 0.5)
        return np.asarray(within)

    @cached_property
    def _pivot(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The middle of the resized picture, and the sine and cosine of the angle."""
        radians = math.radians(self.angle)
        return ((self.scaled[0] - 1) / 2, (self.scaled[1] - 1) / 2), (math.sin(radians), math.cos(radians))

    @cached_property
    def _map(self) -> tuple[Floats, Floats]:
        """Where each pixel of the window lies in the resized picture; (h, 1) and (1, w), or (h, w) where turned."""
        rows = np.arange(self.size[0], dtype=np.float64)[:, None] + self.corner[0]  # (h, 1)
        columns = np.arange(self.size[1], dtype=np.float64)[None] + self.corner[1]  # (1, w)
        if self.mirror:
            columns = self.scaled[1] - 1 - columns
        if not self.angle:
            return rows, columns
        (middle_y, middle_x), (sine, cosine) = self._pivot
        down, across = rows - middle_y, columns - middle_x
        return middle_y + cosine * down + sine * across, middle_x - sine * down + cosine * across  # (h, w)

    @cached_property
    def _nearest(self) -> tuple[Indices, Indices]:
        return tuple(  # type: ignore[return-value]
            np.clip(np.floor((places + 0.5) * (source / scaled)).astype(np.intp), 0, source - 1)
            for places, source, scaled in zip(self._map, self.source, self.scaled, strict=True)
        )

    def _resized(self, plane: Plane) -> Plane:
        """Resize only what the window shows."""
        left = self.scaled[1] - self.corner[1] - self.size[1] if self.mirror else self.corner[1]
        upper, lower = max(0, self.corner[0]), min(self.scaled[0], self.corner[0] + self.size[0])
        first, last = max(0, left), min(self.scaled[1], left + self.size[1])
        result = np.zeros((*self.size, *plane.shape[2:]), plane.dtype)
        if upper < lower and first < last:
            part = _resize(plane, self.scaled, (upper, first, lower, last))
            row, column = upper - self.corner[0], first - left
            result[row : row + part.shape[0], column : column + part.shape[1]] = part
        return np.ascontiguousarray(result[:, ::-1]) if self.mirror else result

    def _turned(self, plane: Plane) -> Plane:
        import torch

        try:
            from kornia.geometry.transform import remap
        except ImportError as error:
            raise MissingDependencyError(
                'turning samples needs kornia: pip install "perpixel[train]", or set augment.rotate to 0'
            ) from error

        # Shrinking averages first. Enlarging needs no picture of the larger size: the points lie closer together.
        basis = tuple(min(pair) for pair in zip(self.source, self.scaled, strict=True))
        places = [
            np.clip((places + 0.5) * (side / scaled) - 0.5, 0, side - 1)
            for places, side, scaled in zip(self._map, basis, self.scaled, strict=True)
        ]
        upper, left = (int(part.min()) for part in places)
        lower, right = (int(part.max()) + 2 for part in places)
        window = (upper, left, min(lower, basis[0]), min(right, basis[1]))
        part = _resize(plane, (basis[0], basis[1]), window)
        tensor = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(part).transpose(2, 0, 1))[None])  # (1, c, h, w)
        rows, columns = (
            torch.from_numpy((part - first).astype(np.float32))[None]
            for part, first in zip(places, (upper, left), strict=True)
        )  # (1, h, w)
        turned = remap(tensor.float(), columns, rows, padding_mode="border", align_corners=True)[0]  # (c, h, w)
        result = turned.numpy().transpose(1, 2, 0).reshape(*self.size, *plane.shape[2:])
        return np.rint(result).astype(np.uint8) if plane.dtype == np.uint8 else np.ascontiguousarray(result)


def _resize(plane: Plane, size: tuple[int, int], window: Window) -> Plane:
    """The window of a plane that was resized to `size`, without making the rest of it."""
    upper, left, lower, right = window
    if plane.shape[:2] == size:
        return np.ascontiguousarray(plane[upper:lower, left:right])
    down, across = plane.shape[0] / size[0], plane.shape[1] / size[1]
    # Rounding must not carry the box over the edge, which Pillow refuses.
    box = (left * across, upper * down, min(right * across, plane.shape[1]), min(lower * down, plane.shape[0]))
    picture = Image.fromarray(plane).resize((right - left, lower - upper), Image.Resampling.BILINEAR, box=box)
    return np.array(picture, plane.dtype)
