"""Write images: the suffix decides the format, and a file is either whole or not there."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import InputError, MissingDependencyError, OutputError, PerpixelWarning
from perpixel.images.colour import is_srgb, profile_space
from perpixel.images.decode import checked_array
from perpixel.images.depth import Pixels, to_bits, to_float

__all__ = ["FORMATS", "Format", "check_output", "write_bytes", "write_image", "write_plane"]


@dataclass(frozen=True)
class Format:
    """What a file format holds.

    Attributes:
        name: as people call it.
        suffixes: lower case, the usual one first.
        bits: the bits a channel that can be asked for.
        alpha: whether it holds transparency.
        longest_side: the most pixels on a side.
    """

    name: str
    suffixes: tuple[str, ...]
    bits: tuple[int, ...]
    alpha: bool
    longest_side: int = 2**31 - 1


FORMATS = (
    Format("PNG", (".png",), (8, 16), alpha=True),
    Format("WebP", (".webp",), (8,), alpha=True, longest_side=16383),
    Format("TIFF", (".tiff", ".tif"), (8, 16, 32), alpha=True),
    Format("EXR", (".exr",), (16, 32), alpha=True),
    Format("JPEG", (".jpg", ".jpeg"), (8,), alpha=False, longest_side=65500),
    Format("BMP", (".bmp",), (8,), alpha=False, longest_side=32767),
)
"""Every format that `write_image` writes."""


def check_output(
    path: str | os.PathLike[str], *, alpha: bool = False, bits: int | None = None, overwrite: bool = True
) -> Format:
    """Check that `path` can be written, without writing; worth a call before a long computation.

    Args:
        path: the file to be; its suffix decides the format.
        alpha: whether the image will have transparency.
        bits: the bits a channel that will be asked for.
        overwrite: whether an existing file may be replaced.

    Returns:
        the format.

    Raises:
        InputError: a suffix that is not known, or a format that does not hold what is asked.
        OutputError: the folder does not exist or cannot be written, or the file exists and must not be replaced.
    """
    path = Path(path)
    found = [known for known in FORMATS if path.suffix.lower() in known.suffixes]
    if not found:
        given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        every = ", ".join(suffix for known in FORMATS for suffix in known.suffixes)
        raise InputError(f"{path} has {given}, and the format follows from it: use one of {every}")
    form = found[0]
    if alpha and not form.alpha:
        can = ", ".join(known.suffixes[0] for known in FORMATS if known.alpha)
        raise InputError(
            f"{path}: {form.name} holds no transparency: use a suffix that does ({can}), or put the subject on "
            "a background first"
        )
    if bits is not None and bits not in form.bits:
        can = ", ".join(known.suffixes[0] for known in FORMATS if bits in known.bits)
        raise InputError(
            f"{path}: {form.name} holds {_or(form.bits)} bits a channel, not {bits}: "
            + (f"use another suffix ({can}) or other bits" if can else "ask for other bits")
        )
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{path} cannot be written: the folder {folder} does not exist, make it first")
    if path.is_dir():
        raise OutputError(f"{path} cannot be written: it is a folder, add a file name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another name, or allow overwriting")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path} cannot be written: no right to write in {folder}, choose another folder")
    return form


def write_image(
    path: str | os.PathLike[str],
    pixels: NDArray[Any],
    *,
    icc_profile: bytes | None = None,
    bits: int | None = None,
    overwrite: bool = True,
) -> Path:
    """Write an image in the format of the path's suffix.

    PNG, TIFF and BMP are lossless. WebP is lossless for RGBA and grey, and of quality 95 for RGB. JPEG is of
    quality 95 without colour subsampling. EXR follows its own convention: RGB is taken as sRGB and becomes linear
    light, premultiplied with alpha; grey is data (a matte) and stays as it is.

    The image is written beside its goal under a temporary name and then renamed, so that a crash leaves the old
    file or none, never half of one.

    Args:
        path: the file; its folder must exist.
        pixels: (h, w), (h, w, 3) or (h, w, 4) with straight alpha; uint8, uint16, bool, or floats in [0, 1].
        icc_profile: embedded where format and colours allow it.
        bits: a channel, 8, 16 or 32 (floating point; EXR also has 16 bits floating point). By default as in
            `pixels`; for floats 32 where the format holds them and 8 elsewhere.
        overwrite: whether an existing file may be replaced.

    Returns:
        the path.

    Raises:
        InputError: an unknown suffix, an array that does not fit, or a format that does not hold what is asked.
        OutputError: the file cannot be written there.
        MissingDependencyError: EXR without the extra `exr`.
    """
    path = Path(path)
    image = checked_array(np.asarray(pixels), "image to write")
    form = check_output(path, alpha=image.shape[2:] == (4,), bits=bits, overwrite=overwrite)
    if max(image.shape[:2]) > form.longest_side:
        raise InputError(
            f"{path}: the image is {image.shape[1]}×{image.shape[0]} and {form.name} holds at most "
            f"{form.longest_side} pixels on a side: use .png or .tiff"
        )
    fits = profile_space(icc_profile) == ("grey" if image.ndim == 2 else "rgb")
    if form.name == "EXR":
        if icc_profile and fits and not is_srgb(icc_profile):
            warnings.warn(
                f"{path}: EXR holds no ICC profile, so the colours are taken as sRGB: convert the photograph to "
                "sRGB first for exact ones",
                PerpixelWarning,
                stacklevel=2,
            )
        write = _exr_writer(image, bits or (16 if image.dtype == np.uint8 else 32))
    else:
        encode = {"PNG": _png, "WebP": _webp, "TIFF": _tiff, "JPEG": _jpeg, "BMP": _bmp}[form.name]
        data = encode(to_bits(image, bits or _default_bits(image, form)), icc_profile if fits else None)

        def write(goal: Path) -> None:
            goal.write_bytes(data)

    _replace(path, write)
    return path


def write_plane(path: str | os.PathLike[str], values: NDArray[np.float32]) -> Path:
    """Write numbers of any range, such as depth, as they are; NaN and infinity too.

    Args:
        path: .tiff or .exr (one channel "Y" of 32 bits); its folder must exist.
        values: (h, w) float32.

    Returns:
        the path.

    Raises:
        InputError: another suffix.
        OutputError: the file cannot be written there.
        MissingDependencyError: EXR without the extra `exr`.
    """
    path = Path(path)
    form = check_output(path, bits=32)
    if form.name == "EXR":
        _replace(path, _exr_writer(values, 32))
    else:
        write_bytes(path, _tiff(values, None))
    return path


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file that is no image as `write_image` writes: whole or not at all.

    Args:
        path: the file; its folder must exist.
        data: what it shall hold.

    Returns:
        the path.

    Raises:
        OutputError: the file cannot be written there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: the folder {path.parent} does not exist, make it first")

    def write(goal: Path) -> None:
        goal.write_bytes(data)

    _replace(path, write)
    return path


def _default_bits(image: Pixels, form: Format) -> int:
    if image.dtype == np.float32:
        return 32 if 32 in form.bits else 8
    return 16 if image.dtype == np.uint16 and 16 in form.bits else 8


def _png(image: Pixels, icc: bytes | None) -> bytes:
    if image.dtype == np.uint8:
        return _pillow(image, "PNG", icc, compress_level=4)  # half the time of level 6, a tenth larger
    import cv2

    bgr = image if image.ndim == 2 else image[..., [2, 1, 0, 3][: image.shape[2]]]
    done, buffer = cv2.imencode(".png", np.ascontiguousarray(bgr))
    if not done:
        raise OutputError("OpenCV could not encode a 16-bit PNG: write .tiff instead")
    data = bytes(buffer)
    if icc is None:
        return data
    # PNG, third edition, 11.3.2.3: iCCP stands before the first IDAT; here right behind IHDR (8 + 25 bytes).
    body = b"iCCPICC Profile\0\0" + zlib.compress(icc)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def _webp(image: Pixels, icc: bytes | None) -> bytes:
    if image.ndim == 3 and image.shape[2] == 3:
        return _pillow(image, "WEBP", icc, quality=95)
    # exact keeps the colours under alpha 0; quality is effort here: 25 takes half the time of 75, 5 % larger.
    return _pillow(image, "WEBP", icc, lossless=True, exact=True, quality=25)


def _jpeg(image: Pixels, icc: bytes | None) -> bytes:
    return _pillow(image, "JPEG", icc, quality=95, subsampling=0)


def _bmp(image: Pixels, icc: bytes | None) -> bytes:
    return _pillow(image, "BMP", None)


def _pillow(image: Pixels, name: str, icc: bytes | None, **options: Any) -> bytes:
    stream = io.BytesIO()
    if icc is not None:
        options["icc_profile"] = icc
    Image.fromarray(image).save(stream, name, **options)
    return stream.getvalue()


def _tiff(image: Pixels, icc: bytes | None) -> bytes:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        image,
        photometric="minisblack" if image.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if image.shape[2:] == (4,) else None,
        compression="zlib",
        compressionargs={"level": 3},  # a third the time of level 6, a fifth larger
        predictor=image.dtype != np.float32,
        iccprofile=icc,
        software="perpixel",
        metadata=None,
    )
    return stream.getvalue()


def _exr_writer(image: Pixels, bits: int) -> Callable[[Path], None]:
    try:
        import OpenEXR
    except ImportError:
        raise MissingDependencyError('EXR needs the OpenEXR package: pip install "perpixel[exr]"') from None
    values = to_float(image)
    if values.ndim == 3:
        alpha = values[..., 3:]
        values = _linear(values[..., :3])
        if alpha.size:
            values = np.concatenate([values * alpha, alpha], axis=2)  # (h, w, 4)
    values = np.ascontiguousarray(values, np.float16 if bits == 16 else np.float32)
    name = "Y" if values.ndim == 2 else "RGBA"[: values.shape[2]]
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}

    def write(goal: Path) -> None:
        OpenEXR.File(header, {name: values}).write(str(goal))

    return write


def _linear(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light from sRGB values (IEC 61966-2-1)."""
    high = ((encoded + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(encoded <= np.float32(0.04045), encoded / np.float32(12.92), high)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the goal, then rename; a symbolic link is followed, as an ordinary write would."""
    goal = Path(os.path.realpath(path))
    temporary = goal.with_name(f".perpixel-{secrets.token_hex(6)}{goal.suffix}")
    try:
        write(temporary)
        if goal.exists():
            shutil.copymode(goal, temporary)
        temporary.replace(goal)
    except (OSError, RuntimeError) as error:  # RuntimeError is OpenEXR's word for a full disk
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path} cannot be written ({reason}): choose another folder or make room") from error
    finally:
        temporary.unlink(missing_ok=True)


def _or(numbers: tuple[int, ...]) -> str:
    return " or ".join(map(str, numbers))
