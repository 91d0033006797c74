"""Planes of numbers, such as depth, from PNG, TIFF, NPY, PFM and EXR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from perpixel.errors import InputError, MissingDependencyError
from perpixel.images.decode import decode
from perpixel.images.deep import decode_tiff
from perpixel.images.files import MAX_PIXELS, Source, check_size, damaged, open_source
from perpixel.images.pfm import decode_pfm

__all__ = ["PLANES", "read_plane"]

PLANES = (".png", ".tiff", ".tif", ".npy", ".pfm", ".exr")
"""The suffixes of files that hold planes."""

_DEPTH_CHANNELS = ("Y", "Z", "V", "R")  # where programmes put depth in an EXR, the likeliest first


def read_plane(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Read one plane of numbers as the file holds it.

    Args:
        path: a file with one of the suffixes in `PLANES`; PNG has 8 or 16 bits, the others floats too.
        max_pixels: larger planes are refused before they are decoded.

    Returns:
        (h, w) uint8, uint16 or float32.

    Raises:
        InputError: missing, damaged, too large, in colour, or of another suffix.
        MissingDependencyError: an EXR without the OpenEXR package.
    """
    suffix = Path(path).suffix.lower()
    source = open_source(path)
    with source.stream:
        if suffix == ".pfm":
            return decode_pfm(source, max_pixels)
        if suffix == ".npy":
            return _read_npy(Path(path), max_pixels)
        if suffix == ".exr":
            return _read_exr(Path(path), max_pixels)
        if suffix not in PLANES:
            raise InputError(f"{source.label} has the suffix {suffix!r}: numbers are read from {', '.join(PLANES)}")
        tiff = suffix != ".png" and source.is_tiff
        if tiff:
            _refuse_scaled(source)
        deep = decode_tiff(source, max_pixels) if tiff else None
    numbers: NDArray[Any] = (deep or decode(path, max_pixels=max_pixels, managed=False)).pixels
    if numbers.ndim != 2:
        raise InputError(f"{source.label} is a picture in colour, and one grey plane is needed: give the numbers' file")
    return numbers


def _refuse_scaled(source: Source) -> None:
    """Refuse whole numbers that a picture's decoder would scale to 16 bits."""
    source.stream.seek(0)
    try:
        with tifffile.TiffFile(source.stream, name="plane.tif") as tiff:
            page: Any = tiff.pages.first
            bits, whole = int(page.bitspersample), page.sampleformat in (1, 2)
    except Exception as error:  # a hostile TIFF can make its reader raise nearly anything
        raise damaged(source, error) from error
    if whole and bits not in (1, 8, 16):
        raise InputError(f"{source.label} has {bits}-bit whole numbers: save it as 16-bit or as 32-bit floats")


def _read_npy(path: Path, max_pixels: int) -> NDArray[Any]:
    try:
        # Mapped, an array that claims more than its file holds is refused before memory is taken for it.
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, OverflowError) as error:
        raise InputError(f"{path} is damaged or no NumPy array ({error}): save it again") from error
    if not isinstance(numbers, np.ndarray) or numbers.ndim != 2 or numbers.dtype.kind not in "fiu":
        raise InputError(f"{path} holds no plane of numbers (height, width)")
    check_size(numbers.shape[1], numbers.shape[0], max_pixels, str(path))
    return np.array(numbers, numbers.dtype if numbers.dtype in (np.uint8, np.uint16) else np.float32)


def _read_exr(path: Path, max_pixels: int) -> NDArray[Any]:
    try:
        import OpenEXR
    except ImportError:
        raise MissingDependencyError('EXR needs the OpenEXR package: pip install "perpixel[exr]"') from None
    try:
        low, high = OpenEXR.File(str(path), header_only=True).header()["dataWindow"]
        width, height = (int(last) - int(first) + 1 for first, last in zip(low, high, strict=True))
        check_size(width, height, max_pixels, str(path))
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
    except InputError:
        raise
    except Exception as error:  # it raises plain RuntimeError, and more on hostile bytes
        raise InputError(f"{path} is damaged or no EXR ({error}): save it again") from error
    for name in _DEPTH_CHANNELS:
        if name in channels:
            return np.asarray(channels[name].pixels, np.float32)
    raise InputError(f"{path} has the channels {', '.join(channels)}, and depth is looked for in Y, Z, V or R")
