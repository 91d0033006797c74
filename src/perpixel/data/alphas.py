"""Procedural alpha mattes: a new one for every draw."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.data import shapes, strands
from perpixel.data.canvas import Array, Drawing, smooth_noise

Generator = Callable[[np.random.Generator, int], Drawing]

#: Every family and how often it is drawn (weights need no sum of one).
FAMILIES: tuple[tuple[str, Generator, float], ...] = (
    ("fur", strands.fur, 24.0),
    ("hair", strands.hair, 22.0),
    ("lone_strands", strands.lone_strands, 5.0),
    ("grass", strands.grass, 5.0),
    ("feather", strands.feather, 5.0),
    ("solid", shapes.solid, 10.0),
    ("plant", shapes.plant, 8.0),
    ("net", shapes.net, 10.0),
    ("wires", shapes.wires, 4.0),
    ("smoke", shapes.smoke, 3.0),
    ("glass", shapes.glass, 4.0),
)


def draw_alpha(rng: np.random.Generator, size: int, family: str | None = None) -> Drawing:
    """Draw one matte of size × size pixels: a family by weight (or by name), then lens and motion blur.

    Raises:
        KeyError: if no family has that name.

    Examples:
        >>> drawing = draw_alpha(np.random.default_rng(0), 64, "fur")
        >>> drawing.alpha.shape, drawing.alpha.dtype
        ((64, 64), dtype('float32'))
    """
    if family is None:
        weights = np.array([weight for _, _, weight in FAMILIES])
        make = FAMILIES[int(rng.choice(len(FAMILIES), p=weights / weights.sum()))][1]
    else:
        make = {name: generator for name, generator, _ in FAMILIES}[family]
    drawing = make(rng, size)
    alpha, shade = lens(rng, drawing.alpha, drawing.shade)
    return Drawing(alpha, shade, drawing.colour, drawing.strands)


def lens(rng: np.random.Generator, alpha: Array, shade: Array | None = None) -> tuple[Array, Array | None]:
    """Blur a matte as a camera does: nearly always a little, now and then defocused or moved.

    The shade goes through the same blur, weighed by coverage, as light does.
    """
    choice = rng.random()
    if choice < 0.2:
        return alpha, shade
    light = alpha if shade is None else np.stack([alpha, alpha * shade], -1)
    if choice < 0.75:
        light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 1.0)))
    elif choice < 0.85:
        light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(1.0, 5.0)))
    elif choice < 0.93:
        # Part in focus, part not, as depth changes across the picture.
        soft = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(1.0, 4.0)))
        share = np.clip(2.5 * smooth_noise(rng, len(alpha), len(alpha) * 0.5) - 0.75, 0, 1)
        light = light + (share if shade is None else share[..., None]) * (soft - light)
    else:
        light = cv2.filter2D(light, -1, motion_kernel(rng))
    if shade is None:
        return light, None
    return np.ascontiguousarray(light[..., 0]), light[..., 1] / np.maximum(light[..., 0], 1e-3)


def motion_kernel(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw the kernel of a straight motion blur, 3 to 15 pixels long; it sums to one."""
    length = int(rng.integers(1, 8))
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    angle = rng.uniform(0, np.pi)
    end = length * np.array([np.cos(angle), np.sin(angle)])
    first, second = np.round(length - end).astype(int), np.round(length + end).astype(int)
    cv2.line(kernel, (int(first[0]), int(first[1])), (int(second[0]), int(second[1])), 1.0)
    whole: npt.NDArray[np.float32] = kernel / kernel.sum()
    return whole
