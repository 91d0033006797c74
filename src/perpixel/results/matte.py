"""The result of matting: an alpha and the photograph it belongs to."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from perpixel.errors import InputError
from perpixel.images.depth import to_bits, to_float, to_uint8

if TYPE_CHECKING:
    from perpixel.images.read import ImageLike

What: TypeAlias = Literal["cutout", "alpha", "foreground", "preview"]
Background: TypeAlias = "str | tuple[int, int, int] | ImageLike | None"

_WHATS = ("cutout", "alpha", "foreground", "preview")
_LIGHT, _DARK = 1.0, 0.8  # the checkerboard's greys
_THUMBNAIL = 1024  # the longer side of the picture in a notebook


class Matte:
    """An alpha matte and the photograph it belongs to.

    Attributes:
        alpha: (h, w), float32 in [0, 1], 1 for the subject.
        image: (h, w, 3), uint8 or uint16, the photograph in RGB.
        icc_profile: the photograph's RGB profile; None means sRGB. `save` embeds it.
        trimap: (h, w), uint8 of 0, 128 and 255, the hint that the matte was made with, or None.

    >>> image = np.full((2, 2, 3), 200, np.uint8)
    >>> matte = Matte(np.array([[0, 1], [1, 0]], np.float32), image)
    >>> matte
    Matte(2×2, 8-bit, 50.0 % subject)
    >>> matte.composite("black")[..., 0]
    array([[  0, 200],
           [200,   0]], dtype=uint8)
    """

    def __init__(
        self,
        alpha: NDArray[np.float32],
        image: NDArray[np.uint8] | NDArray[np.uint16],
        *,
        foreground: NDArray[np.float32] | None = None,
        icc_profile: bytes | None = None,
        trimap: NDArray[np.uint8] | None = None,
    ) -> None:
        """Join an alpha and its photograph.

        Args:
            alpha: (h, w), floats in [0, 1].
            image: (h, w, 3), uint8 or uint16.
            foreground: (h, w, 3), floats in [0, 1], the subject's own colours; by default they are estimated when
                they are first asked for.
            icc_profile: the photograph's RGB profile.
            trimap: (h, w), uint8.

        Raises:
            InputError: shapes or dtypes that do not fit together.
        """
        size = np.shape(image)[:2]
        self.image: NDArray[Any] = _checked(image, (*size, 3), ("uint8", "uint16"), "image")
        self.alpha: NDArray[np.float32] = _checked_unit(alpha, size, "alpha")
        self.trimap = None if trimap is None else _checked(trimap, size, ("uint8",), "trimap")
        self.icc_profile = icc_profile
        self._foreground = None if foreground is None else _checked_unit(foreground, (*size, 3), "foreground")

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.alpha.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.alpha.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width, self.height

    @property
    def foreground(self) -> NDArray[np.float32]:
        """(h, w, 3), float32 in [0, 1]: the subject's own colours, with no background shining through.

        Estimated when first asked for, see `perpixel.ops.foreground`.
        """
        if self._foreground is None:
            from perpixel.ops.foreground import estimate_foreground

            self._foreground = estimate_foreground(to_float(self.image), self.alpha)
        return self._foreground

    def cutout(self) -> NDArray[Any]:
        """The subject with transparency around it.

        Returns:
            (h, w, 4), RGBA with straight alpha, of the image's dtype. The colours are `foreground`.
        """
        return self._cutout(self._bits)

    def composite(self, background: Background) -> NDArray[Any]:
        """The subject on another background, blended in the photograph's own colour space as editors do.

        Args:
            background: a colour ("white", "#2080ff", "rgb(0, 128, 255)", (0, 128, 255)); an image, which is scaled
                to cover the photograph and cropped around its middle; or None or "transparent" for `cutout()`.

        Returns:
            (h, w, 3), RGB of the image's dtype; (h, w, 4) without a background.

        Raises:
            InputError: neither a colour nor a readable image.
        """
        if background is None or (isinstance(background, str) and background.lower() == "transparent"):
            return self.cutout()
        return to_bits(self._over(self._background(background)), self._bits)

    def preview(self, square: int = 16) -> NDArray[np.uint8]:
        """The subject on a checkerboard.

        Args:
            square: the side of a square, in pixels.

        Returns:
            (h, w, 3), uint8 RGB.
        """
        return to_uint8(self._over(self._checkerboard(square)))

    def to_pil(self, what: What = "cutout") -> Image.Image:
        """As a Pillow image of 8 bits a channel: "cutout" (RGBA), "alpha" (L), "foreground" or "preview" (RGB)."""
        return Image.fromarray(self._picture(what, 8))

    def save(self, path: str | os.PathLike[str], what: What = "cutout", *, bits: int | None = None) -> Path:
        """Save in the format of the path's suffix, with the photograph's ICC profile.

        Args:
            path: .png, .webp, .tiff and .exr hold every part, .jpg and .bmp all but the cut-out.
            what: "cutout" (RGBA), "alpha" (grey), "foreground" or "preview" (RGB).
            bits: a channel, 8, 16 or 32; by default those of the photograph where the format holds them.

        Returns:
            the path.

        Raises:
            InputError: a format that does not hold what is asked.
            OutputError: the file cannot be written there.
            MissingDependencyError: .exr without the extra `exr`.
        """
        from perpixel.images.write import check_output, write_image

        _known(what)
        # Before the foreground is estimated: a wrong name should not cost the wait.
        form = check_output(path, alpha=what == "cutout", bits=bits)
        if form.name == "EXR":
            bits = bits or (16 if self._bits == 8 else 32)
        else:
            bits = bits or (self._bits if self._bits in form.bits else 8)
        profile = None if what == "alpha" else self.icc_profile
        picture = self._picture(what, 32 if form.name == "EXR" else bits)
        return write_image(path, picture, icc_profile=profile, bits=bits)

    def __repr__(self) -> str:
        share = 100 * float(self.alpha.mean())
        return f"Matte({self.width}×{self.height}, {self._bits}-bit, {share:.1f} % subject)"

    def _repr_png_(self) -> bytes:
        """The preview, for notebooks."""
        picture = Image.fromarray(self.preview())
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    @property
    def _bits(self) -> int:
        return 8 * int(self.image.dtype.itemsize)

    def _cutout(self, bits: int) -> NDArray[Any]:
        import cv2

        colours, alpha = to_bits(self.foreground, bits), to_bits(self.alpha, bits)
        return np.asarray(cv2.merge([*cv2.split(colours), alpha]))  # (h, w, 4)

    def _picture(self, what: What, bits: int) -> NDArray[Any]:
        """The preview has always 8 bits."""
        _known(what)
        if what == "preview":
            return self.preview()
        if what == "cutout":
            return self._cutout(bits)
        return to_bits(self.alpha if what == "alpha" else self.foreground, bits)

    def _over(self, background: NDArray[np.float32]) -> NDArray[np.float32]:
        part = self.alpha[..., None]
        mixed = background + (self.foreground - background) * part  # (h, w, 3)
        return np.clip(mixed, 0, 1)

    def _checkerboard(self, square: int) -> NDArray[np.float32]:
        if square < 1:
            raise InputError(f"the checkerboard's square is {square} pixels: give at least 1")
        rows, columns = np.arange(self.height) // square, np.arange(self.width) // square
        odd = (rows[:, None] + columns[None]) % 2 == 1
        return np.where(odd, np.float32(_DARK), np.float32(_LIGHT))[..., None].astype(np.float32)

    def _background(self, background: Any) -> NDArray[np.float32]:
        colour = _colour(background)
        if colour is not None:
            return np.array(colour, np.float32) / np.float32(255)
        from perpixel.images.read import read_photo

        photo = read_photo(background)
        colours = photo.rgb_float
        if photo.alpha is not None:
            colours = 1 + (colours - 1) * photo.alpha[..., None]  # on white, as a page shows it
        return _cover(colours, self.height, self.width)


def _colour(background: Any) -> tuple[int, int, int] | None:
    """RGB from 0 to 255, or None for what is no colour and so should be an image."""
    if isinstance(background, str):
        try:
            colour = ImageColor.getrgb(background)
        except ValueError:
            if not Path(background).suffix and not Path(background).exists():
                raise InputError(
                    f"background {background!r} is neither a colour nor an image file: give a colour such as "
                    "white, #2080ff or rgb(32,128,255), or the path of an image"
                ) from None
            return None
        if len(colour) == 4 and colour[3] != 255:
            raise InputError(
                f"background {background!r} is see-through, and a background is opaque: leave its alpha out, or "
                "use transparent"
            )
        return colour[:3]
    if not isinstance(background, (tuple, list)):
        return None
    numbers = [value for value in background if isinstance(value, (int, np.integer)) and 0 <= value <= 255]
    if len(background) != 3 or len(numbers) != 3:
        raise InputError(f"background {background!r} is no colour: give three whole numbers from 0 to 255")
    red, green, blue = (int(value) for value in numbers)
    return red, green, blue


def _cover(colours: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Scale to cover (height, width) and crop around the middle."""
    import cv2

    rows, columns = colours.shape[:2]
    scale = max(height / rows, width / columns)
    # First the crop, then the scale: a wide panorama behind a portrait is not scaled as a whole.
    crop_rows, crop_columns = max(1, round(height / scale)), max(1, round(width / scale))
    top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
    crop = np.ascontiguousarray(colours[top : top + crop_rows, left : left + crop_columns])
    if crop.shape[:2] == (height, width):
        return crop
    # Cubic only when enlarging: when shrinking, area averaging is what avoids moiré.
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized: NDArray[Any] = cv2.resize(crop, (width, height), interpolation=how)
    return np.asarray(np.clip(resized, 0, 1), np.float32)


def _known(what: str) -> None:
    if what not in _WHATS:
        raise InputError(f"what={what!r} is not a part of a matte: use one of {', '.join(_WHATS)}")


def _checked(array: Any, shape: tuple[int, ...], dtypes: tuple[str, ...], what: str) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.name not in dtypes or not array.size:
        given = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"the {what} is {given}, and {' or '.join(dtypes)} of shape {shape} is needed")
    return array


def _checked_unit(array: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    checked = _checked(array, shape, ("float32", "float64", "float16"), what)
    if not np.isfinite(checked).all() or checked.min() < 0 or checked.max() > 1:
        raise InputError(f"the {what} has values outside 0 to 1: clip it, and mind NaN")
    return np.ascontiguousarray(checked, np.float32)
