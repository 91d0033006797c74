"""Colour, light and the camera: what happens to a picture on the way to a file."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.data.canvas import Array, smooth_noise


def soften(picture: Array, sigma: float) -> Array:
    """Blur a square picture, (s, s) or (s, s, c), by a Gaussian of `sigma` pixels.

    Wide blurs are done on a smaller picture: many times faster, and no eye sees the difference.
    """
    factor = int(max(1, sigma // 2))
    size = len(picture)
    blurred: Array
    if factor == 1:
        blurred = cv2.GaussianBlur(picture, (0, 0), max(sigma, 0.1))
        return blurred
    small = cv2.resize(picture, (max(2, size // factor),) * 2, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    blurred = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(blurred, 0.0, 1.0)


def jitter(rng: np.random.Generator, picture: Array, strength: float) -> Array:
    """Change white balance, saturation and brightness of (h, w, 3) in [0, 1]; now and then make it dark."""
    gain = (1.0 + strength * 0.12 * rng.standard_normal(3)) * np.exp(strength * 0.3 * rng.standard_normal())
    if rng.random() < 0.15 * strength:
        gain = gain * rng.uniform(0.15, 0.6)
    saturation = np.clip(1.0 + strength * 0.35 * rng.standard_normal(), 0.0, 1.8)
    # Grey is one third of each channel here; then the gains: together one 3×3 matrix.
    mix = saturation * np.eye(3) + (1.0 - saturation) / 3.0
    mixed: Array = cv2.transform(picture, (mix * gain[:, None]).astype(np.float32))
    return np.clip(mixed, 0.0, 1.0)


def rim_light(rng: np.random.Generator, colour: Array, alpha: Array) -> Array:
    """Lighten or darken a foreground where it grows thin, as light from behind or from the front does."""
    thin = 1.0 - soften(alpha, float(rng.uniform(2.0, 12.0)))
    tint = 1.0 + 0.1 * rng.standard_normal(3).astype(np.float32)
    return colour + np.float32(rng.uniform(-0.3, 0.5)) * thin[..., None] * tint


def cast_shadow(rng: np.random.Generator, background: Array, alpha: Array) -> Array:
    """Darken the background beside the object; a shadow is no part of the matte."""
    size = len(alpha)
    shift = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    shift[:, 2] = rng.normal(0, 0.06, 2) * size
    moved = cv2.warpAffine(alpha, shift, (size, size), borderMode=cv2.BORDER_REPLICATE)
    shadow = soften(moved, float(rng.uniform(0.01, 0.08)) * size)
    return background * (1.0 - np.float32(rng.uniform(0.2, 0.8)) * shadow[..., None])


def studio(rng: np.random.Generator, size: int) -> Array:
    """Draw a plain or graded backdrop, (size, size, 3) float32 in [0, 1]."""
    first, second = rng.random((2, 3)).astype(np.float32)
    if rng.random() < 0.5:
        second = np.clip(first + 0.15 * rng.standard_normal(3), 0, 1).astype(np.float32)
    share = smooth_noise(rng, size, size * rng.uniform(0.5, 2.0))[..., None]
    backdrop: Array = first + share * (second - first)
    return backdrop


def mix(rng: np.random.Generator, foreground: Array, background: Array, alpha: Array) -> Array:
    """Lay (h, w, 3) over (h, w, 3), both in [0, 1], by (h, w) alpha: mostly as light does, now and then as a program.

    A lens adds light, and a file holds about its 1/2.2th power: half of white over black is 0.73 in a photograph,
    and 0.5 in most retouchers' layers.
    """
    share = alpha[..., None]
    mixed: Array = background + share * (foreground - background)
    if rng.random() < 0.8:
        gamma = np.float32(rng.uniform(1.8, 2.4))
        through = (alpha > 0.0) & (alpha < 1.0)
        front, back = (np.clip(side[through], 0.0, 1.0) ** gamma for side in (foreground, background))
        light = back + share[through] * (front - back)
        mixed[through] = light ** (1 / gamma)
    return mixed


def camera(rng: np.random.Generator, image: Array) -> npt.NDArray[np.uint8]:
    """Finish a composite, (h, w, 3) in [0, 1], as a camera would: exposure, noise, eight bits, JPEG."""
    if rng.random() < 0.4:
        image = np.clip(image, 0.0, 1.0) ** np.float32(rng.uniform(0.7, 1.4))
    image = (image - 0.5) * np.float32(rng.uniform(0.8, 1.15)) + np.float32(0.5 + rng.normal(0, 0.03))
    if rng.random() < 0.5:
        # The difference of two random bytes, scaled to unit deviation: near enough to Gaussian, ten times faster.
        first, second = rng.integers(0, 256, (2, *image.shape), np.uint8).astype(np.float32)
        noise = (first - second) / np.float32(104.5)
        if rng.random() < 0.4:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.7)
        image = image + np.float32(rng.exponential(0.01)) * noise
    pixels = np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    if rng.random() < 0.35:
        quality = int(rng.integers(55, 98))
        _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return pixels
