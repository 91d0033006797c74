"""Colour, light and the camera: tested through what they do to simple pictures."""

from __future__ import annotations

import numpy as np

from perpixel.data.light import mix


def test_most_mixtures_add_light_and_some_add_values_of_the_file() -> None:
    white, black = np.ones((1, 1, 3), np.float32), np.zeros((1, 1, 3), np.float32)
    half = np.full((1, 1), 0.5, np.float32)
    rng = np.random.default_rng(0)
    values = np.array([mix(rng, white, black, half)[0, 0, 0] for _ in range(400)])
    plain = values == 0.5
    assert 0.12 < plain.mean() < 0.28
    # 0.5 to the power of 1/1.8 to 1/2.4.
    assert (values[~plain] > 0.68).all() and (values[~plain] < 0.75).all()


def test_only_mixed_pixels_change() -> None:
    rng = np.random.default_rng(0)
    front, back = rng.random((2, 9, 7, 3), dtype=np.float32)
    alpha = np.zeros((9, 7), np.float32)
    alpha[:, 3:] = 1.0
    for _ in range(8):
        mixed = mix(rng, front, back, alpha)
        assert np.allclose(mixed[:, :3], back[:, :3]) and np.allclose(mixed[:, 3:], front[:, 3:])


def test_a_thing_before_its_own_colour_is_not_to_be_seen() -> None:
    rng = np.random.default_rng(0)
    colour = rng.random((5, 5, 3), dtype=np.float32)
    alpha = rng.random((5, 5), dtype=np.float32)
    assert np.allclose(mix(rng, colour, colour, alpha), colour, atol=1e-5)
