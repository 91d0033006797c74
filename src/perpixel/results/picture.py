"""A finished picture: pixels of the photograph's size, depth and colour profile."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import InputError
from perpixel.images.depth import to_uint8

_THUMBNAIL = 1024  # the longer side of the picture in a notebook


class Picture:
    """A picture that a task made of a photograph.

    Attributes:
        pixels: (h, w, 3), uint8 or uint16, RGB under `icc_profile`.
        icc_profile: the photograph's RGB profile; None means sRGB. `save` embeds it.

    >>> Picture(np.zeros((2, 3, 3), np.uint8))
    Picture(3×2, 8-bit)
    """

    def __init__(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], *, icc_profile: bytes | None = None) -> None:
        """Take the pixels.

        Raises:
            InputError: another shape or dtype.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"the picture is {pixels.dtype} of shape {pixels.shape}, and uint8 or uint16 (height, width, 3) is "
                "needed"
            )
        self.pixels: NDArray[Any] = pixels
        self.icc_profile = icc_profile

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width, self.height

    def to_pil(self) -> Image.Image:
        """As a Pillow image of 8 bits a channel."""
        return Image.fromarray(to_uint8(self.pixels))

    def save(self, path: str | os.PathLike[str], *, bits: int | None = None) -> Path:
        """Save in the format of the path's suffix, with the photograph's ICC profile.

        Args:
            path: .png, .webp, .tiff, .exr, .jpg or .bmp.
            bits: a channel; by default those of the photograph where the format holds them.

        Returns:
            the path.

        Raises:
            InputError: a format that is not known or does not hold what is asked.
            OutputError: the file cannot be written there.
            MissingDependencyError: .exr without the extra `exr`.
        """
        from perpixel.images.write import write_image

        return write_image(path, self.pixels, icc_profile=self.icc_profile, bits=bits)

    def __repr__(self) -> str:
        return f"Picture({self.width}×{self.height}, {8 * self.pixels.dtype.itemsize}-bit)"

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        picture = self.to_pil()
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()
