"""Images of more than 8 bits a channel: the 16-bit PNG and the 16-bit and floating-point TIFF.

Pillow opens 16-bit colour as 8-bit and refuses floating-point colour. PNG goes through OpenCV here. TIFF goes
through tifffile, which knows every layout; OpenCV steps in for its compressions (LZW above all) that tifffile
has only with the large imagecodecs package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.depth import Pixels
from perpixel.images.files import Source, check_size, damaged

_MINISWHITE, _MINISBLACK, _RGB = 0, 1, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2


@dataclass(frozen=True)
class Decoded:
    """Pixels as the file holds them.

    Attributes:
        pixels: (h, w) grey or (h, w, 3) RGB; uint8, uint16, or float32 in [0, 1] (not yet checked).
        alpha: (h, w), the same dtype, straight; or None.
        icc_profile: the profile of `pixels`, or None.
        orientation: EXIF orientation still to apply, 1 to 8.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc_profile: bytes | None = None
    orientation: int = 1


def png_bit_depth(source: Source) -> int:
    """The bits a channel of a PNG, from its IHDR chunk."""
    source.stream.seek(24)
    return int(source.stream.read(1)[0])


def decode_png16(source: Source) -> Decoded | None:
    """Decode a 16-bit PNG whose data Pillow has already read through; None if OpenCV cannot.

    Raises:
        InputError: a chunk is longer than the file.
    """
    array = cv2.imdecode(np.frombuffer(_bare_png(source), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        return None
    return _split(_from_bgr(array))


def _bare_png(source: Source) -> bytes:
    """The chunks that make the first picture, and no other.

    OpenCV reserves whatever length a chunk claims, gigabytes for a byte turned over, and reads animations whole.
    """
    data = source.read()
    kept, place = [data[:8]], 8
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(data):
            raise damaged(source, EOFError("a chunk is truncated"))
        if kind in (b"IHDR", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[place:end])
        if kind == b"IEND":
            break
        place = end
    return b"".join(kept)


def decode_tiff(source: Source, max_pixels: int) -> Decoded | None:
    """Decode the first page of a TIFF at its full depth.

    Returns:
        grey or RGB with or without alpha; None where the page is better left to Pillow: 8 bits or fewer,
        palettes, CMYK, YCbCr and other colour.

    Raises:
        InputError: too large, truncated or damaged.
    """
    source.stream.seek(0)
    try:
        with tifffile.TiffFile(source.stream, name="image.tif") as tiff:
            page: Any = tiff.pages.first
            if page.bitspersample <= 8 or page.photometric not in (_MINISWHITE, _MINISBLACK, _RGB):
                return None
            check_size(page.imagewidth, page.imagelength, max_pixels, source.label)
            if page.imagedepth != 1 or page.samplesperpixel > 8:
                return None
            return _decode_page(source, page)
    except InputError:
        raise
    except Exception as error:  # a hostile TIFF can make its reader raise nearly anything
        raise damaged(source, error) from error


def _decode_page(source: Source, page: Any) -> Decoded | None:
    grey = page.photometric != _RGB
    colours = 1 if grey else 3
    extra = [int(kind) for kind in page.extrasamples]
    orientation = int(page.tags.valueof(274, default=1))
    array = _page_array(page)
    if array is None:  # a compression that only OpenCV has; it turns the picture upright by itself
        if page.planarconfig != 1 or page.samplesperpixel not in (1, 3, 4) or page.samplesperpixel < colours:
            return None
        array = cv2.imdecode(np.frombuffer(source.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        if array is None:
            return None
        array, orientation = _from_bgr(array), 1
    array = _to_unit(array, page)
    pixels = array[..., 0] if grey and array.ndim == 3 else array[..., :colours] if not grey else array
    if page.photometric == _MINISWHITE:
        pixels = (65535 - pixels) if pixels.dtype == np.uint16 else (1 - pixels)
    alpha = array[..., colours] if extra and extra[0] in (_ASSOCIATED, _UNASSOCIATED) else None
    if alpha is not None and extra[0] == _ASSOCIATED:
        pixels = _unpremultiply(pixels, alpha)
    icc = page.tags.valueof(34675)
    return Decoded(pixels, alpha, bytes(icc) if icc is not None else None, orientation)


def _page_array(page: Any) -> NDArray[Any] | None:
    """(h, w) or (h, w, samples); None if tifffile lacks the compression."""
    try:
        array: NDArray[Any] = page.asarray()
    except ValueError as error:
        if "imagecodecs" in str(error):
            return None
        raise
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if samples > 1 and page.planarconfig == 2:
        return np.moveaxis(array.reshape(samples, height, width), 0, -1)
    return array.reshape(height, width, samples) if samples > 1 else array.reshape(height, width)


def _to_unit(array: NDArray[Any], page: Any) -> Pixels:
    """uint16 or float32 from what the page holds."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind == "u":
        # 10-, 12- and 14-bit samples come in uint16, 32-bit ones in uint32: all use the whole of their range.
        top = 2**page.bitspersample - 1
        return array if top == 65535 else np.rint(array * (65535.0 / top)).astype(np.uint16)
    raise ValueError(f"signed {page.bitspersample}-bit samples")


def _unpremultiply(pixels: Pixels, alpha: Pixels) -> Pixels:
    top = 65535.0 if alpha.dtype == np.uint16 else 1.0
    part = (alpha / top)[..., None] if pixels.ndim == 3 else alpha / top
    straight = np.divide(pixels, part, out=np.zeros(pixels.shape, np.float64), where=part > 0).clip(0, top)
    return np.rint(straight).astype(np.uint16) if alpha.dtype == np.uint16 else straight.astype(np.float32)


def _from_bgr(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 2:
        return array
    return array[..., [2, 1, 0, 3][: array.shape[2]]]


def _split(array: NDArray[Any]) -> Decoded:
    if array.ndim == 2:
        return Decoded(array)
    return Decoded(array[..., :3], array[..., 3] if array.shape[2] == 4 else None)
