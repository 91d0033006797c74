"""Images and trimaps for the tests of ViTMatte."""

import numpy as np
from hypothesis import strategies as st

SIDES = st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)


def picture(height=5, width=7, seed=0):
    """An image and a trimap of random bytes."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, 3), np.uint8), random.choice(
        np.array([0, 128, 255], np.uint8), (height, width)
    )


def expected_planes(image, trimap, mean=0.5, std=0.5):
    """The definition: the image normalised, the trimap only rescaled. (4, h, w)."""
    colours = (image / 255 - mean) / std
    return np.concatenate([colours, trimap[..., None] / 255], axis=2).transpose(2, 0, 1)
