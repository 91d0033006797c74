"""RGBA art as foreground: placed at random, sometimes with fur grown along its outline."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.data.alphas import lens
from perpixel.data.canvas import Canvas, Drawing
from perpixel.data.strands import grow


def place_art(rng: np.random.Generator, art: npt.NDArray[np.uint8], size: int) -> Drawing:
    """Turn, scale and place straight RGBA art, (h, w, 4) uint8, on a size × size canvas with its own colours."""
    height, width = art.shape[:2]
    scale = size * rng.uniform(0.5, 1.6) / max(height, width)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 40)), scale)
    turn[:, 2] += size / 2 - np.array([width, height]) / 2 + rng.normal(0, 0.15, 2) * size
    if rng.random() < 0.5:
        art = np.ascontiguousarray(art[:, ::-1])
    # Colours are spread under the transparent part, so that no dark rim is left by the interpolation.
    premultiplied = art.astype(np.float32) / 255.0
    premultiplied[..., :3] *= premultiplied[..., 3:]
    placed = cv2.warpAffine(premultiplied, turn, (size, size), flags=cv2.INTER_LINEAR)
    alpha = np.clip(placed[..., 3], 0.0, 1.0)
    around = placed
    if rng.random() < 0.35:
        alpha = np.maximum(alpha, _fringe(rng, alpha))
        wide = cv2.blur(placed, (2 * (size // 24) + 1,) * 2)
        around = placed + (1.0 - placed[..., 3:]) * wide
    colour = around[..., :3] / np.maximum(around[..., 3:], 1e-3)
    return Drawing(lens(rng, alpha)[0], colour=np.clip(colour, 0.0, 1.0))


def _fringe(rng: np.random.Generator, alpha: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    size = len(alpha)
    canvas = Canvas(size)
    contours, _ = cv2.findContours((alpha > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    length = size * rng.uniform(0.02, 0.1)
    width = float(rng.choice([0.34, 0.67, 1.0, 2.0]))
    lean = rng.normal(0, 0.4)
    for contour in contours:
        outline = contour[:, 0].astype(np.float64) + 0.5
        if len(outline) < 12:
            continue
        tangent = np.roll(outline, -4, 0) - np.roll(outline, 4, 0)
        # OpenCV runs along an outer contour with the inside on the left hand of a y-down picture.
        outward = np.arctan2(tangent[:, 0], -tangent[:, 1])
        pick = np.sort(rng.integers(0, len(outline), int(min(900, len(outline) * rng.uniform(0.4, 1.5)))))
        angles = outward[pick] + lean + rng.normal(0, 0.3, len(pick))
        inside = 3.0 * np.stack([np.cos(outward[pick]), np.sin(outward[pick])], -1)
        paths = grow(
            rng,
            outline[pick] - inside,
            angles,
            length * rng.uniform(0.4, 1.2, len(pick)),
            points=8,
            curl=0.6,
            clumps=max(1, len(pick) // int(rng.integers(4, 20))),
        )
        canvas.strokes(rng, paths, width, taper=0.9)
    return canvas.resolve()[0]
