"""One decoded frame of a film as pixels: in RGB, with the file's matrix and range, and upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# H.273's numbers of matrices, in swscale's.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_NARROW, _FULL = 1, 2
# Rows from which a film that names no matrix is taken as HD.
_HD_ROWS = 720


def rgb(frame: Any, bits: int) -> NDArray[Any]:
    """(h, w, 3), as the file has it, not yet upright."""
    from av.video.reformatter import Interpolation

    name = frame.format.name
    full = frame.color_range == _FULL or name.startswith("yuvj") or not frame.format.components[0].is_luma
    matrix = _MATRICES.get(int(frame.colorspace), 1 if frame.height >= _HD_ROWS else 5)
    return np.ascontiguousarray(
        frame.to_ndarray(
            format="rgb24" if bits == 8 else "rgb48le",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=_FULL if full else _NARROW,
            dst_color_range=_FULL,
            interpolation=Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND,
        )
    )


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """What the display matrix asks for: rows and columns exchanged, then rows and then columns reversed."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


class Turning:
    """`orientation` of the frames of a film, one after the other.

    PyAV ties a frame whose side data is asked for into a ring, and until Python's collector comes by, it keeps its
    buffer and swscale's threads: hundreds of frames in memory. So it is asked for only where the rotation changes,
    which ties nothing.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._found = (False, False, False)

    def of(self, frame: Any) -> tuple[bool, bool, bool]:
        """That of the next frame."""
        if frame.rotation != self._rotation:
            self._rotation, self._found = frame.rotation, orientation(frame)
        return self._found


def upright(pixels: NDArray[Any], turned: tuple[bool, bool, bool]) -> NDArray[Any]:
    """The pixels as a viewer sees them; `turned` is what `orientation` gave."""
    swapped, rows, columns = turned
    if swapped:
        pixels = pixels.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])
