"""A supersampled drawing surface: coverage, and the shade of what lies on top."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

# OpenCV's drawing takes fixed-point coordinates with this many fractional bits.
_SHIFT = 4
# Strokes are drawn in a few groups of equal shade, because each shade is a call of its own.
_SHADES = 6
# Neutral shade on the canvas; 255 then stands for about twice the brightness.
_NEUTRAL = 128.0


@dataclass(frozen=True)
class Drawing:
    """What a matte generator returns.

    Attributes:
        alpha: (h, w) float32 in [0, 1], the share of each pixel that the foreground covers.
        shade: (h, w) float32 around 1, a factor for the foreground's brightness (strand by strand in
            hair and fur), or None where the foreground has no shading of its own.
        colour: (h, w, 3) float32 in [0, 1], the foreground's own colours (RGBA art), or None.
        strands: whether hair or fur dominates, so that a smooth colour suits it better than a photograph.
    """

    alpha: Array
    shade: Array | None = None
    colour: Array | None = None
    strands: bool = False


class Canvas:
    """A square canvas of `size` pixels a side, drawn `scale` times finer and averaged down.

    Coordinates are (x, y) in pixels of the result, the centre of the first pixel at (0.5, 0.5).
    """

    def __init__(self, size: int, scale: int = 3) -> None:
        self.size = size
        self.scale = scale
        self._pixels = np.zeros((size * scale, size * scale, 2), np.uint8)

    def _fixed(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
        fine = points * self.scale - 0.5
        # Far outside the canvas the fixed-point arithmetic of OpenCV would overflow.
        limit = 4.0 * self.size * self.scale + 1000.0
        fixed: npt.NDArray[np.int32] = np.round(np.clip(fine, -limit, limit) * (1 << _SHIFT)).astype(np.int32)
        return fixed

    def polygon(self, points: npt.NDArray[np.floating], shade: float = 1.0) -> None:
        """Fill one polygon, (n, 2) corners, with full coverage."""
        cv2.fillPoly(self._pixels, [self._fixed(points)], (255, self._grey(shade)), cv2.LINE_8, _SHIFT)

    def hole(self, points: npt.NDArray[np.floating]) -> None:
        """Take one polygon, (n, 2) corners, out again."""
        cv2.fillPoly(self._pixels, [self._fixed(points)], (0, 0), cv2.LINE_8, _SHIFT)

    def lines(
        self, paths: Iterable[npt.NDArray[np.floating]], width: float, shade: float = 1.0, *, erase: bool = False
    ) -> None:
        """Draw polylines, each (n, 2), of one width in pixels (fractions are kept to 1/scale)."""
        fixed = [self._fixed(path) for path in paths]
        colour = (0, 0) if erase else (255, self._grey(shade))
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self._pixels, fixed, False, colour, thickness, cv2.LINE_8, _SHIFT)

    def strokes(
        self,
        rng: np.random.Generator,
        paths: npt.NDArray[np.floating],
        width: float,
        *,
        taper: float = 1.0,
        contrast: float = 0.25,
    ) -> None:
        """Draw many strands, (n, k, 2), that thin out from `width` pixels to `width * (1 - taper)`.

        Strands get a shade near one, spread by `contrast` (darker ones lie below), and differ in width.
        """
        if len(paths) == 0:
            return
        fixed = self._fixed(paths)
        last = fixed.shape[1] - 1
        shades = np.sort(1.0 + contrast * np.clip(rng.standard_normal(_SHADES), -1.8, 1.8))
        # No two hairs are equally thick; drawn one by one, the groups keep neighbours apart.
        widths = width * rng.uniform(0.6, 1.4, _SHADES)
        for group, shade in enumerate(shades):
            strands = fixed[group::_SHADES]
            colour = (255, self._grey(float(shade)))
            start = max(1, round(widths[group] * self.scale))
            end = max(1, round(widths[group] * (1.0 - taper) * self.scale))
            pieces = min(last, abs(start - end) + 1, 5)
            cuts = np.round(np.linspace(0, last, pieces + 1)).astype(int)
            for piece in range(pieces):
                share = piece / max(1, pieces - 1)
                thickness = max(1, round(start + (end - start) * share))
                part = list(strands[:, cuts[piece] : cuts[piece + 1] + 1])
                if part:
                    cv2.polylines(self._pixels, part, False, colour, thickness, cv2.LINE_8, _SHIFT)

    def resolve(self) -> tuple[Array, Array]:
        """Average the canvas down: coverage in [0, 1] and shade around 1, both (size, size) float32."""
        if self.scale > 1:
            small = cv2.resize(self._pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)
        else:
            small = self._pixels
        coverage = small[..., 0].astype(np.float32)
        shade = small[..., 1].astype(np.float32) * (255.0 / _NEUTRAL) / np.maximum(coverage, 1.0)
        return coverage / np.float32(255.0), shade.astype(np.float32)

    @staticmethod
    def _grey(shade: float) -> int:
        return int(min(255, max(1, round(shade * _NEUTRAL))))


def smooth_noise(rng: np.random.Generator, size: int, cell: float) -> Array:
    """Draw smooth noise, (size, size) float32 in [0, 1], whose bumps are about `cell` pixels wide."""
    grid = max(2, math.ceil(size / max(cell, 1.0)) + 1)
    coarse = rng.random((grid, grid), dtype=np.float32)
    smooth: Array = np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)
    return smooth


def fractal_noise(rng: np.random.Generator, size: int, cell: float, octaves: int = 4) -> Array:
    """Add octaves of smooth noise, each half as wide and weaker; the result spans [0, 1]."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        width = cell / 2**octave
        if width < 1.5 and octave:
            break
        total += np.float32(weight) * smooth_noise(rng, size, width)
        weight *= float(rng.uniform(0.4, 0.65))
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def blob(
    rng: np.random.Generator, centre: tuple[float, float], radius: float, *, points: int = 96, rough: float = 0.2
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Draw a closed rounded outline: (points, 2) corners and the outward direction at each, in radians."""
    turn = np.linspace(0.0, 2.0 * np.pi, points, endpoint=False)
    waves = np.arange(1, 7)
    strength = rough * rng.standard_normal(6) / waves**0.8
    length = 1.0 + (strength[:, None] * np.cos(waves[:, None] * turn + rng.uniform(0, 6.3, (6, 1)))).sum(0)
    length = radius * np.clip(length, 0.25, 2.0)
    stretch = rng.uniform(0.7, 1.4)
    outline = np.stack([length * np.cos(turn) * stretch, length * np.sin(turn) / stretch], -1)
    angle = rng.uniform(0, 2 * np.pi)
    spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = outline @ spin
    tangent = np.roll(outline, -1, 0) - np.roll(outline, 1, 0)
    outward = np.arctan2(-tangent[:, 0], tangent[:, 1])
    return outline + np.asarray(centre), outward
