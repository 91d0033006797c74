"""Points in space with their colours, as a depth map and a camera give them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError

SUFFIXES = (".ply", ".glb")


class PointCloud:
    """Points in space.

    Attributes:
        points: (n, 3) float32: x right, y up, z towards the viewer, so the scene has negative z. The camera is at
            the origin. `points * (1, -1, -1)` gives OpenCV's axes.
        colours: (n, 3) uint8, sRGB; or None.
        unit: "m" for metres, None where the scale is not known.

    >>> cloud = PointCloud(np.zeros((4, 3), np.float32), unit="m")
    >>> cloud, len(cloud)
    (PointCloud(4 points in m), 4)
    """

    def __init__(
        self, points: NDArray[np.float32], colours: NDArray[np.uint8] | None = None, *, unit: str | None = None
    ) -> None:
        """Join points and their colours.

        Raises:
            InputError: shapes or dtypes that do not fit together, or coordinates that are not finite.
        """
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind != "f":
            raise InputError(f"the points are {points.dtype} of shape {points.shape}, and floats (n, 3) are needed")
        if not np.isfinite(points).all():
            raise InputError("the points have NaN or infinite coordinates: leave those out")
        if colours is not None and (colours.shape != points.shape or colours.dtype != np.uint8):
            raise InputError(
                f"the colours are {colours.dtype} of shape {colours.shape}, and uint8 {points.shape} is needed"
            )
        self.points: NDArray[np.float32] = np.ascontiguousarray(points, np.float32)
        self.colours = colours
        self.unit = unit

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as .ply (binary; MeshLab, CloudCompare, Blender, Open3D) or .glb (glTF 2.0; browsers, phones).

        A GLB is in metres by definition; points without unit are written as they are.

        Returns:
            the path.

        Raises:
            InputError: another suffix, or no points for a GLB.
            OutputError: the file cannot be written there.
        """
        from perpixel.images.write import write_bytes
        from perpixel.ops.geometry import glb_bytes, ply_bytes

        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path} has the suffix {path.suffix!r}: point clouds are saved as {' or '.join(SUFFIXES)}"
            )
        if path.suffix.lower() == ".glb":
            return write_bytes(path, glb_bytes(self.points, self.colours))
        unit = "metres" if self.unit == "m" else "of unknown scale"
        return write_bytes(path, ply_bytes(self.points, self.colours, f"perpixel, x right, y up, {unit}"))

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"PointCloud({len(self):,} points" + (f" in {self.unit})" if self.unit else ", without unit)")
