"""Closed-form refinement: what it must leave alone, and that it sharpens a blurred alpha."""

import cv2
import numpy as np
import pytest
from skimage import data

from perpixel.errors import InputError
from perpixel.ops.refine import refine_closed_form


def scene(size=96):
    """A composite with known alpha: a disc with spikes, orange over blue-green texture."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = np.where(np.arange(60) % 2, 0.42, 0.25) * size
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] + size / 2
    large = np.zeros((size * 4, size * 4), np.uint8)
    cv2.fillPoly(large, [np.round(points * 4).astype(np.int32)], 255)
    alpha = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    back = data.coffee()[:size, :size].astype(np.float32) / 255 * (0.2, 0.5, 0.9)
    image = alpha[..., None] * np.float32([0.95, 0.55, 0.1]) + (1 - alpha[..., None]) * back
    distance = np.hypot(*(np.indices((size, size)) - size / 2))
    trimap = np.full((size, size), 128, np.uint8)
    trimap[distance < 0.2 * size], trimap[distance > 0.46 * size] = 255, 0
    return image.astype(np.float32), alpha, trimap


@pytest.mark.slow  # PyMatting compiles its kernels once
def test_a_blurred_estimate_comes_out_sharp():
    image, alpha, trimap = scene()
    blurred = cv2.GaussianBlur(alpha, (0, 0), 3)
    refined = refine_closed_form(image, blurred, trimap)
    unknown = trimap == 128
    assert refined.dtype == np.float32
    before, after = (np.abs(guess - alpha)[unknown].mean() for guess in (blurred, refined))
    assert after < 0.65 * before
    assert (refined[trimap == 255] == 1).all()
    assert (refined[trimap == 0] == 0).all()


def test_nothing_unknown_is_the_trimap():
    image, alpha, trimap = scene(32)
    trimap[trimap == 128] = 0
    assert (refine_closed_form(image, alpha, trimap) == trimap / 255).all()


def test_bad_arguments():
    image, alpha, trimap = scene(32)
    with pytest.raises(InputError, match="one size"):
        refine_closed_form(image, alpha[1:], trimap)
    with pytest.raises(InputError, match="above 0"):
        refine_closed_form(image, alpha, trimap, trust=0)
