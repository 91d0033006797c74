"""The result of depth estimation: a distance for every pixel, in metres or up to scale and shift."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import InputError

if TYPE_CHECKING:
    from perpixel.images.read import ImageLike
    from perpixel.ops.depth import Kind
    from perpixel.results.point_cloud import PointCloud

What: TypeAlias = Literal["depth", "colour", "relief"]

DEFAULT_FOV = 60.0  # degrees; between a phone's main camera (about 70) and a normal lens (about 45)
UNITLESS_FAR = 10.0
_GAP = 8  # between the two pictures of a relief, in pixels
_THUMBNAIL = 1024  # the longer side of the picture in a notebook


class DepthMap:
    """Depth for every pixel of a photograph.

    There are two kinds. "inverse" is what most models give: it grows towards the camera, and 1 / metres is
    scale · value + shift with a scale and a shift that nobody knows; `align` finds them from known distances.
    "metric" is the distance in metres along the view axis.

    Attributes:
        values: (h, w) float32, always finite; 0 at unknown pixels.
        valid: (h, w) bool, false at unknown pixels: NaN and infinite ones of the input, and those of 0 metres.
        kind: "inverse" or "metric".
        image: (h, w, 3), uint8 or uint16, the photograph in RGB; or None.
        icc_profile: the photograph's RGB profile; None means sRGB.

    >>> depth = DepthMap(np.array([[1, 2], [3, 5]], np.float32))
    >>> depth
    DepthMap(2×2, inverse depth 1 to 5)
    >>> depth.align({(0, 0): 10, (1, 1): 2}).values.round(2)
    array([[10.  ,  5.  ],
           [ 3.33,  2.  ]], dtype=float32)
    """

    def __init__(
        self,
        values: NDArray[Any],
        *,
        kind: Kind = "inverse",
        valid: NDArray[np.bool_] | None = None,
        image: NDArray[np.uint8] | NDArray[np.uint16] | None = None,
        icc_profile: bytes | None = None,
    ) -> None:
        """Join depth and its photograph.

        Args:
            values: (h, w), numbers; NaN and infinity mark unknown pixels, in metres 0 does too.
            kind: "inverse" or "metric".
            valid: (h, w) bool, false for further unknown pixels.
            image: (h, w, 3), uint8 or uint16.
            icc_profile: the photograph's RGB profile.

        Raises:
            InputError: parts that do not fit together, negative metres, or no known pixel at all.
        """
        from perpixel.ops.depth import checked_depth

        self.values: NDArray[np.float32]
        self.valid: NDArray[np.bool_]
        self.values, self.valid = checked_depth(values, kind, valid)
        self.kind: Kind = kind
        self.image: NDArray[Any] | None = None if image is None else _checked_image(image, self.values.shape)
        self.icc_profile = icc_profile

    @property
    def unit(self) -> Literal["m"] | None:
        """The unit of `values`: "m" for metric depth, None for inverse depth, whose scale is not known."""
        return "m" if self.kind == "metric" else None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width, self.height

    @property
    def inverse(self) -> NDArray[np.float64]:
        """(h, w) float64: `values` for inverse depth, 1 / metres for metric depth; 0 at unknown pixels."""
        from perpixel.ops.depth import reciprocal

        return self.values.astype(np.float64) if self.kind == "inverse" else reciprocal(self.values, self.valid)

    def normalized(self) -> NDArray[np.float32]:
        """How near each pixel is, for looking at and for effects.

        Returns:
            (h, w) float32: 1 at the nearest pixel, 0 at the farthest, in between linear in inverse depth, whatever
            the kind. 0 at unknown pixels, and everywhere if the depth is constant.
        """
        from perpixel.ops.depth import normalised

        return normalised(self.inverse, self.valid)

    def colour(self, map: str = "inferno") -> NDArray[np.uint8]:
        """A picture of the depth: near is at the bright end of the map, unknown is mid-grey.

        Args:
            map: "grey", "inferno", "magma", "plasma", "viridis", "cividis", "turbo" or "jet".

        Returns:
            (h, w, 3), uint8 RGB.

        Raises:
            InputError: another map.
        """
        from perpixel.ops.depth import coloured

        return coloured(self.normalized(), self.valid, map)

    def relief(self, image: ImageLike | None = None, *, map: str = "inferno") -> NDArray[np.uint8]:
        """The photograph and its depth, side by side.

        Args:
            image: the photograph, of this size; by default the one that the depth was made from.
            map: as for `colour`.

        Returns:
            (h, 2 w + 8, 3), uint8 RGB.

        Raises:
            InputError: no photograph, or one of another size.
        """
        from perpixel.images.depth import to_uint8

        if image is not None:
            from perpixel.images.read import read_photo

            photo = _checked_image(read_photo(image).pixels, self.values.shape)
        elif self.image is not None:
            photo = self.image
        else:
            raise InputError("this depth has no photograph: give it, as in depth.relief('room.jpg')")
        gap = np.full((self.height, _GAP, 3), 255, np.uint8)
        return np.concatenate([to_uint8(photo), gap, self.colour(map)], axis=1)  # (h, 2 w + gap, 3)

    def align(self, known: Mapping[tuple[float, float], float], *, farthest: float | None = None) -> DepthMap:
        """Turn it into metres by known distances: least squares of scale and shift in inverse depth.

        Args:
            known: the distance in metres at some pixels, such as {(120, 80): 1.5, (400, 60): 4.0}; at least two, at
                different depths, the farther apart in depth the better. (x, y) counts from the top left. Distances are
                along the view axis.
            farthest: in metres; what comes out farther, or behind infinity, is put there. The sky often needs it.

        Returns:
            the metric depth.

        Raises:
            InputError: too few points, all at one depth, outside the image or at an unknown pixel; distances that are
                not above 0 or run against the depth; or pixels behind infinity without `farthest`.
        """
        from perpixel.ops.depth import metres
        from perpixel.results.depth_alignment import aligned_to_points

        return self._metric(metres(aligned_to_points(self, known), self.valid, farthest))

    def align_to(
        self,
        reference: DepthMap | NDArray[Any],
        mask: NDArray[np.bool_] | None = None,
        *,
        farthest: float | None = None,
    ) -> DepthMap:
        """Turn it into metres by a whole measured depth, to be compared with it.

        Args:
            reference: metric depth of the same size, as a `DepthMap` or as (h, w) metres with 0 or NaN for unknown.
            mask: (h, w) bool, the pixels to fit; by default all that are known in both.
            farthest: in metres, as for `align`; by default the largest of the reference under the mask.

        Returns:
            the metric depth. Where one of the two is constant, so is the result.

        Raises:
            InputError: another size, a reference without metres, or no pixel in common.
        """
        from perpixel.ops.depth import metres
        from perpixel.results.depth_alignment import aligned_to_reference

        truth = reference if isinstance(reference, DepthMap) else DepthMap(reference, kind="metric")
        inverse, largest = aligned_to_reference(self, truth, mask)
        return self._metric(metres(inverse, self.valid, largest if farthest is None else farthest))

    def point_cloud(
        self,
        *,
        fov: float | None = None,
        focal_length: float | None = None,
        principal_point: tuple[float, float] | None = None,
        edge: float | None = 0.05,
        far: float = UNITLESS_FAR,
    ) -> PointCloud:
        """The points in space that the pixels show, with the photograph's colours.

        Args:
            fov: the angle in degrees that the longer side spans; 60 if neither it nor `focal_length` is given.
            focal_length: in pixels.
            principal_point: (x, y) in pixels; by default the middle.
            edge: pixels where the depth jumps by more than this share within a pixel or so lie between two surfaces and
                are dropped; None keeps them.
            far: for inverse depth only, which has no unit: the nearest pixel is put at distance 1, the farthest here.

        Returns:
            the points, in metres for metric depth; unknown pixels are left out.

        Raises:
            InputError: both `fov` and `focal_length`, numbers out of range, or no point left.
        """
        from perpixel.images.depth import to_uint8
        from perpixel.ops.depth import reciprocal
        from perpixel.ops.geometry import depth_edges, focal_from_fov, unproject
        from perpixel.results.point_cloud import PointCloud

        if fov is not None and focal_length is not None:
            raise InputError("fov and focal_length are both given: one says all, leave the other out")
        if focal_length is None:
            focal_length = focal_from_fov(DEFAULT_FOV if fov is None else fov, self.width, self.height)
        if not 1 < far < math.inf:
            raise InputError(f"far is {far}, and the farthest point needs more than 1, the distance of the nearest")
        z: NDArray[Any] = self.values
        if self.kind == "inverse":
            z = reciprocal(1 / far + (1 - 1 / far) * self.normalized().astype(np.float64), self.valid)
        keep = self.valid if edge is None else self.valid & ~depth_edges(z, self.valid, edge)
        if not keep.any():
            raise InputError(f"every pixel is at an edge of more than {edge:g} in depth: raise edge, or pass edge=None")
        points = unproject(z, focal_length, principal_point)[keep]
        colours = None if self.image is None else to_uint8(self.image)[keep]
        return PointCloud(points, colours, unit=self.unit)

    def save(
        self,
        path: str | os.PathLike[str],
        what: What = "depth",
        *,
        bits: int | None = None,
        map: str = "inferno",
        fov: float | None = None,
        focal_length: float | None = None,
    ) -> Path:
        """Save in the format of the path's suffix.

        Numbers go, by `what="depth"`, to .png (whole numbers), .tiff, .npy, .pfm, .exr (float32, exact), and a small
        JSON file with kind, unit, scale and shift is written beside them, so that `DepthMap.load` restores the values.
        The PNG grows with the values: near is white for inverse depth, far is white for metres. It is off by at most
        half its scale: 1/131070 of the range in 16 bits, 1/510 in 8. Unknown pixels are 0 there, NaN in floats and
        infinite in PFM. A point cloud goes to .ply or .glb.

        Args:
            path: `room.png` has its JSON in `room.png.json`.
            what: "depth"; or "colour" or "relief" for pictures to look at, to any picture format.
            bits: of a PNG, 8 or 16 (the default).
            map: the colours of "colour" and "relief".
            fov: of a point cloud, see `point_cloud`.
            focal_length: of a point cloud.

        Returns:
            the path.

        Raises:
            InputError: a suffix that does not hold what is asked.
            OutputError: the file cannot be written there.
            MissingDependencyError: .exr without the extra `exr`.
        """
        from perpixel.results import depth_files

        return depth_files.save(self, path, what, bits=bits, map=map, fov=fov, focal_length=focal_length)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        kind: Kind | None = None,
        scale: float | None = None,
        shift: float = 0.0,
        image: NDArray[np.uint8] | NDArray[np.uint16] | None = None,
    ) -> DepthMap:
        """Load what `save` wrote, or depth from elsewhere.

        Args:
            path: .png, .tiff, .npy, .pfm or .exr.
            kind: for a file without its JSON: what it holds.
            scale: for such a file: value = scale · number + shift; 0.001 for millimetres. PNG needs it, and 0 is
                unknown there.
            shift: see `scale`.
            image: (h, w, 3), the photograph.

        Raises:
            InputError: missing, damaged, another suffix, or a file without JSON and without `kind`.
            MissingDependencyError: .exr without the extra `exr`.
        """
        from perpixel.results import depth_files

        values, valid, known_kind = depth_files.load(path, kind, scale, shift)
        return cls(values, kind=known_kind, valid=valid, image=image)

    def to_pil(self, map: str = "inferno") -> Image.Image:
        """`colour` as a Pillow image."""
        return Image.fromarray(self.colour(map))

    def __repr__(self) -> str:
        known = self.values[self.valid]
        words = "metric depth" if self.kind == "metric" else "inverse depth"
        unknown = 100 - 100 * float(self.valid.mean())
        return (
            f"DepthMap({self.width}×{self.height}, {words} {known.min():.4g} to {known.max():.4g}"
            + (f" {self.unit}" if self.unit else "")
            + (f", {unknown:.1f} % unknown)" if unknown else ")")
        )

    def _repr_png_(self) -> bytes:
        """The coloured depth, for notebooks."""
        picture = self.to_pil()
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    def _metric(self, values: NDArray[np.float32]) -> DepthMap:
        return DepthMap(values, kind="metric", valid=self.valid, image=self.image, icc_profile=self.icc_profile)


def _checked_image(image: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    fits = isinstance(image, np.ndarray) and image.shape == (*shape, 3) and image.dtype in (np.uint8, np.uint16)
    if not fits:
        given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(
            f"the image is {given}, and uint8 or uint16 {(*shape, 3)} is needed: give the photograph of this depth"
        )
    picture: NDArray[Any] = image
    return picture
