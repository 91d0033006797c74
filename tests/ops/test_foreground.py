from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.ops import foreground
from perpixel.ops.foreground import estimate_foreground

MATTES = Path(__file__).parents[2] / "../shared/data/matting/alphamatting"


def photograph(name: str, size: tuple[int, int]) -> np.ndarray:
    import cv2
    from skimage import data

    return cv2.resize(getattr(data, name)(), size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def hair(size: int, seed: int = 0) -> np.ndarray:
    """A disc with strands that leave it, in 8-bit steps as files hold them: (size, size) float32 in [0, 1]."""
    import cv2

    rng = np.random.default_rng(seed)
    alpha = np.zeros((size, size), np.uint8)
    centre, radius = np.array([size / 2, size * 0.6]), size / 5
    cv2.circle(alpha, centre.astype(int).tolist(), int(radius), 255, -1, cv2.LINE_AA)
    for turn in rng.uniform(0, 2 * np.pi, 150):
        way = np.array([np.cos(turn), np.sin(turn)])
        bend = np.array([-way[1], way[0]]) * rng.normal(0, 0.3)
        steps = np.linspace(0.9, 2.2, 12)[:, None]
        strand = centre + radius * (steps * way + (steps - 0.9) ** 2 * bend)
        layer = np.zeros_like(alpha)
        cv2.polylines(layer, [(strand * 8).astype(np.int32)], False, 220, 1, cv2.LINE_AA, 3)
        alpha = np.maximum(alpha, layer)
    return cv2.GaussianBlur(alpha, (0, 0), 0.7).astype(np.float32) / 255


def composite(alpha: np.ndarray, fore: str, back: str) -> tuple[np.ndarray, np.ndarray]:
    true = photograph(fore, alpha.shape)
    image = alpha[..., None] * true + (1 - alpha[..., None]) * photograph(back, alpha.shape)
    return image, true


def colour_error(estimate: np.ndarray, true: np.ndarray, alpha: np.ndarray) -> float:
    mixed = (alpha > 0) & (alpha < 1)
    return float(np.abs(estimate[mixed] - true[mixed]).mean())


def test_not_worse_than_pymatting_on_hair() -> None:
    from pymatting import estimate_foreground_ml

    alpha = hair(192)
    errors = []
    for fore, back in (("astronaut", "coffee"), ("chelsea", "rocket")):
        image, true = composite(alpha, fore, back)
        errors.append(
            [
                colour_error(method(image, alpha), true, alpha)
                for method in (estimate_foreground, estimate_foreground_ml)
            ]
        )
    ours, theirs = np.mean(errors, axis=0)
    assert ours <= 1.1 * theirs


@pytest.mark.slow
@pytest.mark.skipif(not MATTES.is_dir(), reason="the measured mattes are not here")
def test_not_worse_than_pymatting_on_measured_mattes() -> None:
    import cv2
    from pymatting import estimate_foreground_ml

    names = ["astronaut", "chelsea", "coffee", "rocket"]
    errors = []
    for number, path in enumerate(sorted(MATTES.glob("*_alpha.png"))):
        alpha = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        image, true = composite(alpha, names[number % 4], names[(number + 1 + number // 4) % 4])
        errors.append(
            [
                colour_error(method(image, alpha), true, alpha)
                for method in (estimate_foreground, estimate_foreground_ml)
            ]
        )
    ours, theirs = np.mean(errors, axis=0)
    assert ours <= 1.1 * theirs


@pytest.mark.slow
def test_five_times_as_fast_as_pymatting() -> None:
    import cv2
    from pymatting import estimate_foreground_ml

    alpha = hair(1024)
    image, _ = composite(alpha, "astronaut", "coffee")
    estimate_foreground_ml(image[:8, :8], alpha[:8, :8])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as PyMatting has
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    try:
        for _ in range(5):
            for name, method in (("ours", estimate_foreground), ("theirs", estimate_foreground_ml)):
                # The processor's time in this process: what other programs take from the machine does not count.
                start = time.process_time()
                method(image, alpha)
                times[name].append(time.process_time() - start)
    finally:
        cv2.setNumThreads(threads)
    assert min(times["theirs"]) >= 5 * min(times["ours"])


def test_no_background_bleeds_into_flat_colours() -> None:
    alpha = hair(128)
    green, blue = np.float32([0.2, 0.8, 0.1]), np.float32([0.1, 0.2, 0.9])
    image = alpha[..., None] * green + (1 - alpha[..., None]) * blue
    estimate = estimate_foreground(image, alpha)
    assert np.abs(estimate - green).max() < 0.01  # also where alpha is 0


def test_full_alpha_gives_exactly_the_image() -> None:
    image = np.random.default_rng(0).random((31, 45, 3), dtype=np.float32)
    alpha = np.zeros((31, 45), np.float32)
    alpha[5:20, 7:30] = 1
    alpha[20, 7:30] = 0.5
    estimate = estimate_foreground(image, alpha)
    np.testing.assert_array_equal(estimate[alpha == 1], image[alpha == 1])
    np.testing.assert_array_equal(estimate_foreground(image, np.ones_like(alpha)), image)


def test_the_only_sure_pixel_is_found_wherever_it_is() -> None:
    image = np.zeros((9, 9, 3), np.float32)
    image[3, 5] = [1, 0.5, 0]
    alpha = np.zeros((9, 9), np.float32)
    alpha[3, 5] = 1
    np.testing.assert_allclose(estimate_foreground(image, alpha)[0, 0], [1, 0.5, 0], atol=0.01)


def test_only_faint_alpha_keeps_its_colour() -> None:
    alpha = np.zeros((64, 64), np.float32)
    alpha[16:48, 16:48] = 0.2
    red, white = np.float32([0.9, 0.1, 0.1]), np.float32([0.8, 0.8, 0.8])
    image = alpha[..., None] * red + (1 - alpha[..., None]) * white
    estimate = estimate_foreground(image, alpha)[32, 32]
    assert estimate[0] - estimate[1] > 0.05  # redder than the grey around it, although nothing is sure


def test_pieces_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = hair(97)
    image, _ = composite(alpha, "astronaut", "coffee")
    whole = estimate_foreground(image, alpha)
    monkeypatch.setattr(foreground, "PIECE_PIXELS", 97 * 8)
    monkeypatch.setattr(foreground, "LEAST_ROWS", 8)
    monkeypatch.setattr(foreground, "COLUMN_WIDTH", 16)
    np.testing.assert_allclose(estimate_foreground(image, alpha), whole, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    low=st.sampled_from([0.0, 0.3, 1e-7]),
    high=st.sampled_from([1.0, 0.6, 1e-7]),
    sharpness=st.sampled_from([1, 50]),
    seed=st.integers(0, 99),
)
def test_any_size_and_alpha_gives_finite_colours_in_range(
    height: int, width: int, low: float, high: float, sharpness: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((height, width, 3), dtype=np.float32)
    alpha = (0.5 + sharpness * (rng.random((height, width)) - 0.5)).clip(min(low, high), high).astype(np.float32)
    kept = image.copy(), alpha.copy()
    estimate = estimate_foreground(image, alpha)
    assert estimate.shape == image.shape
    assert estimate.dtype == np.float32
    assert estimate.min() >= 0  # NaN fails too
    assert estimate.max() <= 1
    np.testing.assert_array_equal(image, kept[0])  # the arguments are not written to
    np.testing.assert_array_equal(alpha, kept[1])


def test_without_any_foreground_the_image_comes_back() -> None:
    image = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
    np.testing.assert_array_equal(estimate_foreground(image, np.zeros((5, 6), np.float32)), image)


@pytest.mark.parametrize(
    ("image", "alpha", "words"),
    [
        (np.zeros((4, 5)), np.zeros((4, 5)), "RGB"),
        (np.zeros((4, 5, 3)), np.zeros((5, 4)), "resize alpha"),
        (np.zeros((0, 5, 3)), np.zeros((0, 5)), "empty"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)), "divide"),
        (np.full((4, 5, 3), np.nan), np.zeros((4, 5)), "NaN"),
        (np.zeros((4, 5, 3)), np.full((4, 5), np.inf), "infinite"),
        (np.zeros((4, 5, 3)), np.full((4, 5), 255.0), "scale"),
    ],
)
def test_bad_input_is_refused(image: np.ndarray, alpha: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        estimate_foreground(image, alpha)
