"""Read photographs, masks and trimaps from files, bytes, Pillow images, NumPy arrays and torch tensors."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import PerpixelWarning
from perpixel.images.decode import ImageLike, decode
from perpixel.images.deep import Decoded
from perpixel.images.depth import to_float, to_uint8, to_uint16
from perpixel.images.files import MAX_PIXELS

__all__ = ["MAX_PIXELS", "ImageLike", "Photo", "read_mask", "read_photo", "read_trimap"]

# ITU-R BT.601, as Pillow's "L" and most editors weigh colours.
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False, repr=False)
class Photo:
    """A photograph as a viewer shows it: upright, in RGB.

    Attributes:
        pixels: (h, w, 3), uint8, or uint16 where the source has more than 8 bits; RGB under `icc_profile`.
        alpha: (h, w), float32 in [0, 1], straight; None where the source is opaque.
        icc_profile: the RGB profile that came with the pixels; None means sRGB.
        path: the file it was read from, or None.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    alpha: NDArray[np.float32] | None = None
    icc_profile: bytes | None = None
    path: Path | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def rgb8(self) -> NDArray[np.uint8]:
        """(h, w, 3), uint8."""
        return to_uint8(self.pixels)

    @property
    def rgb_float(self) -> NDArray[np.float32]:
        """(h, w, 3), float32 in [0, 1]."""
        return to_float(self.pixels)

    def __repr__(self) -> str:
        bits = 8 * self.pixels.dtype.itemsize
        parts = [f"{self.width}×{self.height}", f"{bits}-bit"]
        parts += ["with alpha"] if self.alpha is not None else []
        parts += ["with ICC profile"] if self.icc_profile else []
        parts += [str(self.path)] if self.path else []
        return f"Photo({', '.join(parts)})"


def read_photo(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read an image as a viewer shows it.

    EXIF orientation is applied. Greyscale, palette, 1-bit, YCbCr, CMYK and CIELAB become RGB: CMYK through
    its own ICC profile. Animated files give their first frame. 16-bit PNG and TIFF and floating-point
    TIFF keep their precision as uint16. Alpha, also that of palettes and colour keys, comes separately.

    Args:
        source: a path, the bytes of a file, a Pillow image, a NumPy array (h, w), (h, w, 1), (h, w, 3) or
            (h, w, 4), or a torch tensor (h, w) or (1, 3 or 4, h, w); arrays and tensors are uint8, uint16,
            bool, or floats in [0, 1].
        max_pixels: larger files are refused before they are decoded.

    Raises:
        InputError: missing, a folder, empty, truncated, damaged, too large, no image, or an array that does
            not fit; the message says which, and what to do.

    >>> photo = read_photo(np.zeros((2, 3), np.uint8))
    >>> photo.pixels.shape, photo.rgb_float.dtype
    ((2, 3, 3), dtype('float32'))
    """
    decoded = decode(source, max_pixels=max_pixels, managed=True)
    pixels: Any = decoded.pixels
    if pixels.dtype == np.float32:
        pixels = to_uint16(pixels)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)  # (h, w, 3)
    alpha = None if decoded.alpha is None else to_float(decoded.alpha)
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    return Photo(np.ascontiguousarray(pixels), alpha, decoded.icc_profile, path)


def read_mask(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """Read a mask, 1 for the subject.

    Args:
        source: as for `read_photo`. An image with transparency gives its alpha, any other its luminance.
            Integer masks whose largest value is 1 are taken as 0 and 1, with a warning.
        max_pixels: larger files are refused before they are decoded.

    Returns:
        (h, w), float32 in [0, 1].

    Raises:
        InputError: as for `read_photo`.

    >>> read_mask(np.array([[False, True]]))
    array([[0., 1.]], dtype=float32)
    """
    decoded = decode(source, max_pixels=max_pixels, managed=False, what="mask")
    if decoded.alpha is not None:
        return to_float(decoded.alpha)
    if decoded.pixels.dtype != np.float32 and int(decoded.pixels.max()) == 1:
        warnings.warn(
            "the mask's largest value is 1, so it is taken as 0 and 1: pass bool, or 0 and 255, to be sure",
            PerpixelWarning,
            stacklevel=2,
        )
        return _grey(Decoded(decoded.pixels.astype(np.float32)))
    return _grey(decoded)


def read_trimap(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a trimap's grey values as they are; `perpixel.ops.trimap` gives them their meaning.

    Args:
        source: as for `read_photo`; an alpha channel is left aside. Floats in [0, 1] and 16-bit values are
            brought to 0 to 255. A 16-bit trimap with no value above 255 keeps its values, with a warning.
        max_pixels: larger files are refused before they are decoded.

    Returns:
        (h, w), uint8.

    Raises:
        InputError: as for `read_photo`.

    >>> read_trimap(np.array([[0.0, 0.5, 1.0]]))
    array([[  0, 128, 255]], dtype=uint8)
    """
    decoded = decode(source, max_pixels=max_pixels, managed=False, what="trimap")
    pixels = decoded.pixels
    if pixels.dtype == np.uint16 and 1 < int(pixels.max()) <= 255:
        warnings.warn(
            "the trimap is 16-bit with no value above 255, so these are taken as 8-bit: save it as 8-bit",
            PerpixelWarning,
            stacklevel=2,
        )
        decoded = Decoded(pixels.astype(np.uint8))
    if decoded.pixels.dtype == np.uint8 and decoded.pixels.ndim == 2:
        return np.ascontiguousarray(decoded.pixels)
    return to_uint8(_grey(decoded))


def _grey(decoded: Decoded) -> NDArray[np.float32]:
    """(h, w) in [0, 1]; grey stored as RGB stays exact."""
    pixels = decoded.pixels
    if pixels.ndim == 2:
        return to_float(pixels)
    red = pixels[..., 0]
    if np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2]):
        return to_float(red)
    return np.asarray(to_float(pixels) @ np.array(_LUMINANCE, np.float32), np.float32).clip(0, 1)
