"""Portable float maps (PFM), the format of stereo benchmarks: one plane of float32.

A header of three lines ("Pf", "width height", a scale whose minus sign says little-endian), then the rows from the
bottom to the top (Debevec's definition, as Middlebury's stereo benchmark uses it; unknown pixels are infinite there).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.files import MAX_PIXELS, Source, check_size

_HEADER = re.compile(rb"Pf\s+([0-9]{1,9})\s+([0-9]{1,9})\s+([-+0-9.eE]{1,24})[ \t]*\r?\n?")


def pfm_bytes(plane: NDArray[np.float32]) -> bytes:
    """Encode a plane.

    Args:
        plane: (h, w) float32, any values.

    Returns:
        a whole file.
    """
    height, width = plane.shape
    return f"Pf\n{width} {height}\n-1.0\n".encode() + plane[::-1].astype("<f4").tobytes()


def decode_pfm(source: Source, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """Decode a plane.

    Args:
        source: an opened file.
        max_pixels: larger planes are refused.

    Returns:
        (h, w) float32, top row first, as stored: the scale's size is for photographs and left alone.

    Raises:
        InputError: no grey PFM, too large or truncated.
    """
    data = source.read()
    header = _HEADER.match(data)
    if header is None:
        kind = "a PFM in colour" if data.startswith(b"PF") else "no PFM"
        raise InputError(f'{source.label} is {kind}, and a depth map is a grey PFM, which begins with "Pf"')
    width, height = int(header[1]), int(header[2])
    check_size(width, height, max_pixels, source.label)
    body = data[header.end() :]
    if width * height == 0 or len(body) < 4 * width * height:
        raise InputError(
            f"{source.label} is damaged: its header says {width}×{height} pixels and {len(body)} bytes follow: copy "
            "or download it again"
        )
    order = "<f4" if header[3].startswith(b"-") else ">f4"
    plane = np.frombuffer(body, order, width * height).reshape(height, width)
    return np.ascontiguousarray(plane[::-1], np.float32)
