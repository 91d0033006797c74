"""Any accepted image, file or array, to `Decoded` pixels: its own depth, grey or RGB, straight alpha."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from perpixel.errors import InputError
from perpixel.images.colour import grey_to_srgb, profile_space, to_srgb
from perpixel.images.deep import Decoded, decode_png16, decode_tiff, png_bit_depth
from perpixel.images.depth import Pixels, full_value
from perpixel.images.files import Source, check_size, damaged, identify, open_source, unrecognised

if TYPE_CHECKING:
    import torch

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[Any] | torch.Tensor"
"""What every function here reads: a path, a file's bytes, a Pillow image, a NumPy array or a torch tensor."""

_ORIENTATION_TAG = 0x0112
_BITS_TAG = 258


def decode(source: ImageLike, *, max_pixels: int, managed: bool, what: str = "image") -> Decoded:
    """Decode anything that is accepted as an image, upright.

    Args:
        source: see `ImageLike`.
        max_pixels: files and Pillow images with more pixels are refused before they are decoded.
        managed: whether grey under a grey profile is brought to sRGB; no for masks, whose greys are data.
        what: the word for the source in messages about arrays.

    Raises:
        InputError: anything that keeps it from being read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode_file(open_source(bytes(source)), max_pixels, managed)
    if isinstance(source, (str, os.PathLike)):
        opened = open_source(source)
        with opened.stream:
            return _decode_file(opened, max_pixels, managed)
    if isinstance(source, Image.Image):
        label = getattr(source, "filename", "") or f"the Pillow {what}"
        check_size(*source.size, max_pixels, str(label))
        try:
            source.load()
        except Exception as error:  # nearly anything, as below
            raise InputError(f"{label} cannot be decoded ({error}): pass the file's path for details") from error
        return _upright(_from_pillow(source, str(label), managed))
    if isinstance(source, np.ndarray):
        return _from_array(source, what)
    if "torch" in sys.modules and isinstance(source, sys.modules["torch"].Tensor):
        return _from_array(_tensor_to_array(source, what), what)
    raise InputError(
        f"the {what} is a {type(source).__name__}: pass a path, the bytes of a file, a Pillow image, "
        "a NumPy array (h, w[, channels]) or a torch tensor ([channels,] h, w)"
    )


def unit_range(values: NDArray[Any], what: str) -> NDArray[np.float32]:
    """float32 in [0, 1] from floats that should lie there.

    Raises:
        InputError: NaN, infinite, or outside by more than rounding.
    """
    if not np.isfinite(values).all():
        raise InputError(f"the {what} has NaN or infinite values: replace them, for instance by np.nan_to_num")
    low, high = float(values.min()), float(values.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(
            f"the {what} is floating point with values from {low:g} to {high:g}, and 0 to 1 is needed: "
            + ("divide it by 255" if low >= 0 and 1 < high <= 255 else "scale it to 0 to 1")
        )
    return np.clip(values.astype(np.float32), 0, 1)


def _decode_file(source: Source, max_pixels: int, managed: bool) -> Decoded:
    image = identify(source)
    if image is None:
        deep = decode_tiff(source, max_pixels) if source.is_tiff else None
        if deep is None:
            raise unrecognised(source)
        return _upright(_finish(deep, source.label, managed))
    check_size(*image.size, max_pixels, source.label)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and max(image.tag_v2.get(_BITS_TAG, (1,))) > 8:
        deep = decode_tiff(source, max_pixels)
        if deep is not None:
            return _upright(_finish(deep, source.label, managed))
    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{source.label} is larger than Pillow decodes as TIFF: raise PIL.Image.MAX_IMAGE_PIXELS too"
        ) from error
    except Exception as error:  # forty decoders raise nearly anything on hostile bytes
        raise damaged(source, error) from error
    decoded = None
    if image.format == "PNG" and image.mode in ("RGB", "RGBA") and png_bit_depth(source) == 16:
        deep = decode_png16(source)
        if deep is not None:
            plain = Decoded(deep.pixels, deep.alpha, image.info.get("icc_profile"), _orientation(image))
            decoded = _finish(plain, source.label, managed)
    return _upright(decoded or _from_pillow(image, source.label, managed))


def _from_pillow(image: Image.Image, label: str, managed: bool) -> Decoded:
    """Take a loaded Pillow image apart by its mode."""
    mode, icc = image.mode, image.info.get("icc_profile")
    orientation = _orientation(image)
    keyed = image.info.get("transparency") is not None
    keyed_palette = image.palette is not None and image.palette.mode == "RGBA"
    if (mode in ("1", "L", "RGB", "P") and (keyed or keyed_palette)) or mode in ("PA", "RGBa"):
        image = image.convert("RGBA")
    elif mode == "La":
        image = image.convert("LA")
    elif mode == "1":
        image = image.convert("L")
    elif mode in ("CMYK", "LAB"):
        image = _print_to_rgb(image, icc, label)
        icc = None
    elif mode.startswith("I"):
        grey = _sixteen_bit(np.asarray(image), label)
        alpha = np.where(grey == image.info["transparency"], 0, 65535).astype(np.uint16) if keyed else None
        return _finish(Decoded(grey, alpha, icc, orientation), label, managed)
    elif mode not in ("L", "LA", "RGB", "RGBA", "F"):
        try:
            image = image.convert("RGB")  # P, RGBX, YCbCr, HSV
        except ValueError as error:
            raise InputError(f"{label} has Pillow mode {mode}: convert it to RGB first") from error
    array = np.asarray(image)
    if image.mode == "LA":
        return _finish(Decoded(array[..., 0], array[..., 1], icc, orientation), label, managed)
    alpha = array[..., 3] if image.mode == "RGBA" else None
    return _finish(Decoded(array if array.ndim == 2 else array[..., :3], alpha, icc, orientation), label, managed)


def _finish(decoded: Decoded, label: str, managed: bool) -> Decoded:
    """Check floats, drop an alpha that is opaque all over, and settle the profile."""
    pixels, alpha, icc = decoded.pixels, decoded.alpha, decoded.icc_profile
    if pixels.dtype == np.float32:
        pixels = unit_range(pixels, f"picture in {label}")
        alpha = None if alpha is None else unit_range(alpha, f"alpha in {label}")
    if alpha is not None and bool((alpha >= full_value(alpha)).all()):
        alpha = None
    if icc and profile_space(icc) != "rgb":
        if managed and pixels.ndim == 2 and profile_space(icc) == "grey":
            pixels = grey_to_srgb(pixels, icc)
        icc = None  # the pixels become RGB, which such a profile cannot describe
    return Decoded(pixels, alpha, icc, decoded.orientation)


def _print_to_rgb(image: Image.Image, icc: bytes | None, label: str) -> Image.Image:
    fits = profile_space(icc) == "cmyk" if image.mode == "CMYK" else True
    converted = to_srgb(image, icc if image.mode == "CMYK" else None) if fits else None
    if converted is None and image.mode == "LAB":
        raise InputError(f"{label} is CIELAB, which this Pillow cannot convert: save it as RGB")
    return converted if converted is not None else image.convert("RGB")


def _sixteen_bit(values: NDArray[Any], label: str) -> NDArray[np.uint16]:
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 65535):
        raise InputError(
            f"{label} holds 32-bit integers from {values.min()} to {values.max()}, and only 0 to "
            "65535 is read: save it as 16-bit"
        )
    return values.astype(np.uint16)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # nearly anything, and broken EXIF says nothing about the picture: it stays as it lies
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(decoded: Decoded) -> Decoded:
    """Apply the EXIF orientation (Exif 2.32, tag 274)."""
    if decoded.orientation == 1:
        return decoded

    def turn(array: Any) -> Any:
        across = array.swapaxes(0, 1)
        turned = {
            2: array[:, ::-1],
            3: array[::-1, ::-1],
            4: array[::-1],
            5: across,
            6: across[:, ::-1],
            7: across[::-1, ::-1],
            8: across[::-1],
        }[decoded.orientation]
        return np.ascontiguousarray(turned)

    alpha = None if decoded.alpha is None else turn(decoded.alpha)
    return Decoded(turn(decoded.pixels), alpha, decoded.icc_profile)


def _tensor_to_array(tensor: torch.Tensor, what: str) -> NDArray[Any]:
    if tensor.ndim == 4:
        raise InputError(f"the {what} is a batch of shape {tuple(tensor.shape)}: pass one image, such as batch[0]")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    if tensor.ndim == 3:
        if tensor.shape[0] not in (1, 3, 4):
            raise InputError(
                f"the {what} is a tensor of shape {tuple(tensor.shape)}, and (channels, h, w) with 1, 3 or 4 "
                "channels is needed" + (": permute(2, 0, 1) it" if tensor.shape[2] in (1, 3, 4) else "")
            )
        tensor = tensor.permute(1, 2, 0)  # (h, w, c)
    array: NDArray[Any] = tensor.numpy()
    return array


def checked_array(array: NDArray[Any], what: str) -> Pixels:
    """(h, w), (h, w, 3) or (h, w, 4) as uint8, uint16, or float32 in [0, 1], never the caller's own memory.

    Raises:
        InputError: another shape or dtype, no pixel, or floats outside [0, 1].
    """
    shape = "×".join(map(str, array.shape))
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        moved = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        mend = "move its channels last with np.moveaxis(array, 0, -1)" if moved else "pass one image"
        raise InputError(f"the {what} has shape {shape}, and (h, w) or (h, w, 1, 3 or 4) is needed: {mend}")
    if array.size == 0:
        raise InputError(f"the {what} has shape {shape}: an image needs at least one pixel")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]  # (h, w)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        return unit_range(array, what)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return np.array(array, dtype=array.dtype.newbyteorder("="))
    raise InputError(
        f"the {what} is an array of {array.dtype}, and uint8, uint16, bool or floats from 0 to 1 are "
        "needed: convert it, for instance by .astype(np.uint8) for values from 0 to 255"
    )


def _from_array(array: NDArray[Any], what: str) -> Decoded:
    pixels = checked_array(array, what)
    alpha = pixels[..., 3] if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    if alpha is not None and bool((alpha >= full_value(alpha)).all()):
        alpha = None
    return Decoded(pixels if pixels.ndim == 2 else pixels[..., :3], alpha)
