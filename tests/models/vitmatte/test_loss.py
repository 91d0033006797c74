"""The terms of the matting loss against numbers worked out by hand and against NumPy."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate, correlate1d

from perpixel.models.vitmatte.loss import gradient_penalty, laplacian_loss, matting_loss


def plane(rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]  # (1, 1, h, w)


def test_known_and_unknown_are_means_over_their_own_pixels():
    alphas = plane([[0.5, 1.0, 0.0], [0.2, 0.0, 1.0]])
    labels = plane([[0.0, 0.4, 0.0], [0.3, 0.0, 0.0]])
    unknown = plane([[1, 1, 0], [1, 0, 0]]).bool()
    terms = matting_loss(alphas, labels, unknown)
    assert list(terms) == ["known", "unknown", "laplacian", "gradient"]
    assert terms["unknown"].item() == pytest.approx((0.5 + 0.6 + 0.1) / 3)
    assert terms["known"].item() == pytest.approx((0 + 0 + 1) / 3)


def test_nothing_unknown_or_nothing_known():
    alphas, labels = torch.full((2, 1, 8, 8), 0.75), torch.zeros(2, 1, 8, 8)
    everything = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    terms = matting_loss(alphas, labels, ~everything)
    assert terms["unknown"] == 0 and terms["known"] == 0.75 and terms["gradient"] == 0
    terms = matting_loss(alphas, labels, everything)
    assert terms["unknown"] == 0.75 and terms["known"] == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (33, 47), (64, 64)])
def test_equal_mattes_cost_nothing_but_their_edges(size):
    alphas = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    terms = matting_loss(alphas, alphas.clone(), alphas > 0.5)
    assert terms["known"] == terms["unknown"] == terms["laplacian"] == 0
    # What is left is the pull towards flat alphas: a hundredth of the gradient.
    if size == (1, 1):
        assert terms["gradient"].item() == pytest.approx(0, abs=1e-8)
    else:
        steeper = matting_loss(alphas * 2, alphas * 2, alphas > 0.5)["gradient"]
        assert steeper.item() == pytest.approx(2 * terms["gradient"].item(), rel=1e-5)


def test_gradient_of_a_step():
    step, flat = plane([[0, 0, 1, 1]] * 4), torch.zeros(1, 1, 4, 4)
    everywhere = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    # Sobel gives 1 + 2 + 1 in the two columns beside the step and 0 in the other direction: 8 of 16 pixels cost 4.
    assert gradient_penalty(step, flat, everywhere).item() == pytest.approx(2 * 1.01)
    assert gradient_penalty(flat, step, everywhere).item() == pytest.approx(2)
    assert gradient_penalty(step, step, everywhere).item() == pytest.approx(2 * 0.01)
    beside = plane([[1, 0, 0, 1]] * 4).bool()
    assert gradient_penalty(step, flat, beside) == 0
    assert gradient_penalty(step.mT, flat, everywhere).item() == pytest.approx(2 * 1.01)


def test_laplacian_does_not_see_a_constant():
    labels = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0)) / 2
    assert laplacian_loss(labels + 0.25, labels).item() == pytest.approx(0, abs=1e-6)


def laplacian_in_numpy(difference):
    """The pyramid of one image with SciPy's filter and OpenCV's enlargement."""
    taps = np.array([1, 4, 6, 4, 1]) / 16
    total, current = 0.0, difference.astype(np.float64)
    for level in range(5):
        if min(current.shape) < 2:
            break
        current = np.pad(current, [(0, side % 2) for side in current.shape], mode="edge")
        mode = "mirror" if min(current.shape) > 2 else "nearest"
        blurred = correlate1d(correlate1d(current, taps, axis=0, mode=mode), taps, axis=1, mode=mode)
        smaller = blurred[::2, ::2]
        restored = cv2.resize(smaller, current.shape[::-1], interpolation=cv2.INTER_LINEAR)
        total += 2**level * np.abs(current - restored).mean()
        current = smaller
    return total / 5


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_the_pyramid_and_the_gradient_follow_their_definitions(height, width):
    random = np.random.default_rng(height * 50 + width)
    alphas, labels = random.random((2, height, width), np.float32)
    unknown = random.random((height, width)) < 0.5
    tensors = [torch.from_numpy(array)[None, None] for array in (alphas, labels, unknown)]
    expected = laplacian_in_numpy(alphas - labels)
    assert laplacian_loss(*tensors[:2]).item() == pytest.approx(expected, abs=1e-5)
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    cost = np.zeros((height, width))
    for kernel in (sobel, sobel.T):
        own, true = (correlate(x.astype(np.float64), kernel, mode="nearest") for x in (alphas, labels))
        cost += np.abs(own - true) + 0.01 * np.abs(own)
    expected = cost[unknown].mean() if unknown.any() else 0
    assert gradient_penalty(*tensors).item() == pytest.approx(expected, abs=1e-5)


def test_half_precision_is_compared_in_single():
    alphas = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    terms = matting_loss(alphas, torch.zeros(1, 1, 16, 16), alphas > 0.5)
    assert {term.dtype for term in terms.values()} == {torch.float32}
