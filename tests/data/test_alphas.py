import numpy as np
import pytest

from perpixel.data.alphas import FAMILIES, draw_alpha, lens, motion_kernel


@pytest.mark.parametrize("family", [name for name, _, _ in FAMILIES])
def test_every_family_draws_mattes_in_range_with_something_to_see(family: str) -> None:
    seen = 0
    for seed in range(4):
        drawing = draw_alpha(np.random.default_rng(seed), 96, family)
        assert drawing.alpha.shape == (96, 96) and drawing.alpha.dtype == np.float32
        assert drawing.alpha.min() >= -1e-4 and drawing.alpha.max() <= 1 + 1e-4
        if drawing.shade is not None:
            assert drawing.shade.shape == (96, 96) and np.isfinite(drawing.shade).all()
        seen += bool(((drawing.alpha > 0.05) & (drawing.alpha < 0.95)).any())
    assert seen >= 3


def test_hair_is_finer_than_a_pixel() -> None:
    """Single hairs must show as partial coverage, not as steps from 0 to 1."""
    alpha = draw_alpha(np.random.default_rng(2), 128, "hair").alpha
    assert len(np.unique(np.round(alpha, 3))) > 8


def test_the_same_generator_state_draws_the_same_matte() -> None:
    first = draw_alpha(np.random.default_rng(9), 64)
    second = draw_alpha(np.random.default_rng(9), 64)
    np.testing.assert_array_equal(first.alpha, second.alpha)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(KeyError):
        draw_alpha(np.random.default_rng(0), 64, "beard")


def test_a_blur_keeps_a_solid_matte_solid_and_the_light_it_carries() -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        alpha, shade = lens(rng, np.ones((40, 40), np.float32), np.full((40, 40), 1.3, np.float32))
        np.testing.assert_allclose(alpha, 1.0, atol=1e-5)
        np.testing.assert_allclose(shade, 1.3, atol=1e-5)


def test_a_motion_kernel_keeps_the_sum() -> None:
    for seed in range(5):
        assert motion_kernel(np.random.default_rng(seed)).sum() == pytest.approx(1.0, abs=1e-6)
