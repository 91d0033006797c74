import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.data.trimaps import draw_trimap


@settings(max_examples=25, deadline=None)
@given(size=st.integers(8, 60), seed=st.integers(0, 10_000))
def test_known_pixels_are_exact_for_any_matte(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = np.clip(rng.normal(0.5, 1.5, (size, size)), 0, 1).astype(np.float32)
    alpha[: size // 2] = np.round(rng.random())
    trimap = draw_trimap(rng, alpha)
    assert set(np.unique(trimap)) <= {0, 128, 255}
    assert (alpha[trimap == 0] == 0).all() and (alpha[trimap == 255] == 1).all()


def test_narrow_and_wide_bands_are_both_drawn() -> None:
    alpha = np.zeros((128, 128), np.float32)
    alpha[:, 64:] = 1
    widths = [(draw_trimap(np.random.default_rng(seed), alpha) == 128).mean() * 128 for seed in range(60)]
    assert min(widths) < 8 and max(widths) > 40


def test_a_step_without_fractions_is_still_unknown() -> None:
    alpha = np.zeros((64, 64), np.float32)
    alpha[:, 32:] = 1
    trimap = draw_trimap(np.random.default_rng(0), alpha)
    assert (trimap[:, 31:33] == 128).all()
