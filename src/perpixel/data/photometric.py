"""Change the light, the colours and the sharpness of a training picture at random."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from perpixel.errors import MissingDependencyError

if TYPE_CHECKING:
    from perpixel.data.augment import AugmentRecipe

__all__ = ["recolour"]

Picture = npt.NDArray[np.uint8]

# From here on, a JPEG differs from the picture by less than a camera's noise.
BEST_JPEG = 95


def recolour(image: Picture, recipe: AugmentRecipe, rng: np.random.Generator) -> Picture:
    """Brightness, contrast, saturation, hue, blur, noise and JPEG, each at the recipe's chance, in this order.

    Args:
        image: (h, w, 3) uint8, RGB.
        recipe: how strong each may be; 0 leaves it out.
        rng: decides everything. As many numbers are drawn whatever the strengths, so that one more change does not
            change the others.

    Returns:
        (h, w, 3) uint8; the very picture where nothing is done.

    Raises:
        MissingDependencyError: without kornia.
    """
    chances, amounts = rng.random(7), rng.random(7)
    noise_seed = int(rng.integers(2**63))
    strengths = (recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue, recipe.blur, recipe.noise)
    done = [bool(strength) and chance < recipe.chance for strength, chance in zip(strengths, chances, strict=False)]
    if any(done):
        image = _in_colours(image, strengths, done, amounts, noise_seed)
    if recipe.jpeg and chances[6] < recipe.chance:
        worst = min(recipe.jpeg, BEST_JPEG)
        image = _as_jpeg(image, worst + int(amounts[6] * (BEST_JPEG + 1 - worst)))
    return image


def _in_colours(
    image: Picture,
    strengths: tuple[float, ...],
    done: list[bool],
    amounts: npt.NDArray[np.float64],
    noise_seed: int,
) -> Picture:
    import torch

    try:
        from kornia import enhance
        from kornia.filters import gaussian_blur2d
    except ImportError as error:
        raise MissingDependencyError(
            'changing colours needs kornia: pip install "perpixel[train]", or set the colours of augment to 0'
        ) from error

    pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)[None]  # (1, 3, h, w)
    # Strengths of the first four go both ways; blur and noise are only ever added.
    both = [strength * (2 * float(amount) - 1) for strength, amount in zip(strengths, amounts, strict=False)]
    if done[0]:
        pixels = enhance.adjust_brightness_accumulative(pixels, 1 + both[0])
    if done[1]:
        pixels = enhance.adjust_contrast_with_mean_subtraction(pixels, 1 + both[1])
    if done[2]:
        pixels = enhance.adjust_saturation_with_gray_subtraction(pixels, 1 + both[2])
    if done[3]:
        pixels = enhance.adjust_hue(pixels, 2 * torch.pi * both[3])
    sigma = strengths[4] * float(amounts[4])
    radius = int(np.ceil(3 * sigma))
    # Reflecting at the edges takes more pixels than the radius, so tiny pictures are blurred less.
    radius = min(radius, image.shape[0] - 1, image.shape[1] - 1)
    if done[4] and radius > 0:
        side = 2 * radius + 1
        pixels = gaussian_blur2d(pixels, (side, side), (sigma, sigma))
    if done[5]:
        generator = torch.Generator().manual_seed(noise_seed)
        pixels = pixels + torch.randn(pixels.shape, generator=generator) * (strengths[5] * float(amounts[5]))
    values = pixels[0].numpy().transpose(1, 2, 0)  # (h, w, 3)
    return np.ascontiguousarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))


def _as_jpeg(image: Picture, quality: int) -> Picture:
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.array(Image.open(stored), np.uint8)
