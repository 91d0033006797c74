"""Photographs and their depth in plain folders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perpixel.data.folders import Part, Reader, find_parts, one_kind, read_pixels, same_size
from perpixel.data.samples import DepthSample, LabelKind
from perpixel.errors import ConfigError
from perpixel.images.planes import PLANES, read_plane

__all__ = ["DepthFolder", "FilePairs", "to_metres"]

Float = npt.NDArray[np.float32]

MILLIMETRES = 1000.0


class FilePairs(Reader[DepthSample]):
    """Photographs and files of depth that are paired already.

    Args:
        names: the samples' names.
        images: the photographs' files, one a name.
        depths: the files of depth, one a name.
        scale: units of the files per metre; by default 1000 (millimetres) for whole numbers and 1 for floats.
        invalid: numbers in the files that say that nothing was measured, besides 0, negative and infinite ones.
    """

    def __init__(
        self,
        names: Iterable[str],
        images: Iterable[Path],
        depths: Iterable[Path],
        scale: float | None = None,
        invalid: float | Iterable[float] = (),
    ) -> None:
        super().__init__("depth", names)
        self._images, self._depths = tuple(images), tuple(depths)
        self._scale, self._invalid = _checked_scale(scale), _checked_numbers(invalid)

    def read(self, place: int) -> DepthSample:
        """Read a photograph and its depth."""
        path, depth_path = self._images[place], self._depths[place]
        image, numbers = read_pixels(path), read_plane(depth_path)
        same_size(image, numbers.shape, path, "depth", depth_path)
        return DepthSample(name=self.names[place], image=image, depth=to_metres(numbers, self._scale, self._invalid))


class DepthFolder(FilePairs):
    """Photographs in one folder, their depth in another, paired by name.

    Read are `images/NAME.*` (or image, rgb, color) and `depths/NAME.*` (or depth): PNG with 8 or 16 bits, TIFF, NPY,
    PFM or EXR. The folders lie in `root` or in `root/SPLIT`, or hold a folder for each split.

    Args:
        root: the folder.
        split: "train", "validation", "test", "all", or the name of a folder.
        kind: "depth" or None.
        scale: units of the files per metre, such as 256 for KITTI's PNGs; by default 1000 (millimetres) for whole
            numbers and 1 for floats.
        invalid: a number, or some, that say that nothing was measured, such as 65535. Zero, negative numbers, NaN and
            infinity always do.
        image_suffix: what the names of photographs end in, such as ".color.jpg"; with `depth_suffix` all files may lie
            in one folder, as `frame-1.color.jpg` and `frame-1.depth.png` do.
        depth_suffix: the same for depth, such as ".depth.png".

    Raises:
        ConfigError: `scale` or `invalid` is no such number.
        InputError: a folder is missing or a file has no partner; when it is read, an unreadable file or depth of
            another size.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        scale: float | None = None,
        invalid: float | Iterable[float] = (),
        image_suffix: str | None = None,
        depth_suffix: str | None = None,
    ) -> None:
        one_kind(kind, "depth", "depth-folder")
        parts = (
            Part("image", ("images", "image", "rgb", "color"), ending=image_suffix),
            Part("depth", ("depths", "depth"), suffixes=frozenset(PLANES), ending=depth_suffix),
        )
        found = find_parts(Path(root), parts, split, "images/NAME.jpg and depths/NAME.png, .npy, .tiff, .exr or .pfm")
        super().__init__(found.names, found.paths["image"], found.paths["depth"], scale, invalid)


def to_metres(numbers: npt.NDArray[Any], scale: float | None = None, invalid: Iterable[float] = ()) -> Float:
    """Depth in metres from the numbers of a file.

    Args:
        numbers: (h, w), whole numbers or floats.
        scale: how many of them are a metre; by default 1000 for whole numbers and 1 for floats.
        invalid: numbers that stand for nothing measured, besides 0, negative and infinite ones.

    Returns:
        (h, w) float32, 0 where nothing was measured.

    >>> to_metres(np.array([[0, 1500, 65535]], np.uint16), invalid=[65535])
    array([[0. , 1.5, 0. ]], dtype=float32)
    """
    if scale is None:
        scale = 1.0 if numbers.dtype.kind == "f" else MILLIMETRES
    with np.errstate(over="ignore"):  # a depth beyond float32 becomes infinite
        metres: Float = np.divide(numbers, np.float32(scale), dtype=np.float32)
    unmeasured = ~(metres > 0) | (metres == np.inf)
    for number in invalid:
        unmeasured |= numbers == number
    metres[unmeasured] = 0
    return metres


def _checked_scale(scale: float | None) -> float | None:
    if scale is None:
        return None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale is {scale!r}: it must be the units per metre, such as 1000 for millimetres")
    return float(scale)


def _checked_numbers(invalid: float | Iterable[float]) -> tuple[float, ...]:
    numbers = (invalid,) if isinstance(invalid, int | float) else tuple(invalid)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ConfigError(f"invalid is {invalid!r}: it must be a number or a list of numbers, such as 65535")
    return numbers
