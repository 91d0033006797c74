"""The losses of depth: worked by hand, beside NumPy's least squares, and with every kind of hole in the labels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import ConfigError, InputError
from perpixel.models.dpt.loss import (
    depth_loss,
    gradient_matching_loss,
    scale_and_shift,
    scale_and_shift_invariant_loss,
    silog_loss,
)

KINDS = ["relative", "metric"]
INVALID = [0.0, -1.0, math.nan, math.inf, -math.inf]


def maps(*shape, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=random, dtype=dtype) + 0.5


def with_gradient(kind, prediction, labels, mask=None):
    prediction = prediction.detach().clone().requires_grad_()
    loss = depth_loss(kind, prediction, labels, mask)
    loss.backward()
    return loss.detach(), prediction.grad


# Scale and shift


def test_the_scale_and_shift_of_numpys_least_squares():
    prediction, target, mask = maps(3, 5, 7), maps(3, 5, 7, seed=1), maps(3, 5, 7, seed=2) > 0.8
    scale, shift = scale_and_shift(prediction, target, mask)
    for i in range(3):
        x, y = prediction[i][mask[i]].numpy(), target[i][mask[i]].numpy()
        solution = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]
        np.testing.assert_allclose([scale[i], shift[i]], solution, rtol=1e-10)


def test_a_small_spread_beside_a_large_mean_keeps_its_digits():
    prediction = (1000 + maps(1, 6, 6)).float()
    target = 3 * (prediction.double() - 1000) + 2
    scale, shift = scale_and_shift(prediction, target)
    np.testing.assert_allclose((scale * prediction + shift).numpy(), target.numpy(), atol=2e-3)
    assert scale.item() == pytest.approx(3, abs=1e-3)


def test_the_data_term_by_hand():
    # The best line through (0, 0), (1, 3), (2, 0) is y = 1: residuals 1, -2, 1, half their mean square is 1.
    prediction, target = torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[[0.0, 3.0, 0.0]]])
    assert scale_and_shift_invariant_loss(prediction, target, gradient_weight=0).item() == pytest.approx(1)
    # With the gradients: steps of -3 and 3 in three pixels, then 0 to 0 in two pixels, 0.5 · 6 / 3 more.
    assert scale_and_shift_invariant_loss(prediction, target).item() == pytest.approx(1 + 0.5 * 2)


def test_every_valid_pixel_of_the_batch_weighs_the_same():
    prediction = torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, 1.0, 5.0]]])
    target = torch.tensor([[[0.0, 3.0, 0.0]], [[0.0, 1.0, 9.0]]])
    mask = torch.tensor([[[True, True, True]], [[True, True, False]]])
    # The squares of the first image, 1 + 4 + 1, over twice the five valid pixels; the second fits.
    loss = scale_and_shift_invariant_loss(prediction, target, mask, gradient_weight=0)
    assert loss.item() == pytest.approx(6 / 10)


def test_gradients_by_hand():
    difference = torch.tensor([[[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, True]]])
    # Across: 1 (the next is not valid), 0, 0. Down: 2, 1. Five valid pixels. At half the size: 0 and not valid.
    assert gradient_matching_loss(difference, torch.zeros(1, 2, 3), mask).item() == pytest.approx(4 / 5)
    # All valid: across 1 + 4, down 2 + 1 + 3, six pixels; at half the size 0 and 5, two pixels.
    assert gradient_matching_loss(difference, torch.zeros(1, 2, 3)).item() == pytest.approx(11 / 6 + 5 / 2)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 40.0])
def test_neither_scale_nor_shift_nor_the_unit_of_the_labels_matters(factor):
    prediction, labels = maps(2, 6, 5), maps(2, 6, 5, seed=1)
    expected = depth_loss("relative", prediction, labels)
    torch.testing.assert_close(depth_loss("relative", factor * prediction + 7, labels), expected)
    torch.testing.assert_close(depth_loss("relative", prediction, factor * labels), expected)


def test_labels_are_scaled_to_0_and_1_by_their_valid_pixels():
    prediction = torch.tensor([[[0.0, 1.0, 2.0, 50.0]]])
    labels = torch.tensor([[[10.0, 40.0, 40.0, 0.0]]])  # as 0, 1, 1, whose best line is x / 2 + 1 / 6
    loss = depth_loss("relative", prediction, labels)
    # The residuals are 1/6, -1/3, 1/6, with steps of a half. The second scale reads two equal ones of them.
    assert loss.item() == pytest.approx(1 / 36 + 0.5 * 1 / 3)


def test_an_inverted_prediction_is_turned_round():
    target = maps(1, 6, 6)
    upright = {}
    for keep_order in (True, False):
        prediction = (-target + 0.1 * maps(1, 6, 6, seed=3)).requires_grad_()
        optimiser = torch.optim.Adam([prediction], lr=0.05)
        for _ in range(150):
            optimiser.zero_grad()
            scale_and_shift_invariant_loss(prediction, target, keep_order=keep_order).backward()
            optimiser.step()
        upright[keep_order] = scale_and_shift(prediction.detach(), target)[0].item() > 0
    assert upright == {True: True, False: False}


def test_keeping_the_order_changes_nothing_for_a_prediction_that_follows_its_target():
    for share, same in ((0.7, True), (0.0, False), (-0.7, False)):
        target = maps(2, 8, 8)
        prediction = share * target + 0.5 * maps(2, 8, 8, seed=1)
        losses = [scale_and_shift_invariant_loss(prediction, target, keep_order=keep) for keep in (True, False)]
        assert torch.equal(*losses) is same and losses[0] >= losses[1]


# Logarithms


def test_silog_by_hand():
    # Logarithms of the ratios: 0 and 2, mean 1, mean square 2.
    prediction, target = torch.tensor([[[1.0, math.e**2]]]), torch.ones(1, 1, 2)
    assert silog_loss(prediction, target).item() == pytest.approx(10 * math.sqrt(2 - 0.85))
    assert silog_loss(prediction, target, variance_focus=0).item() == pytest.approx(10 * math.sqrt(2))
    assert silog_loss(5 * prediction, target, variance_focus=1).item() == pytest.approx(10)


def test_silog_is_the_mean_over_images_with_valid_pixels():
    prediction = torch.tensor([[[1.0, math.e**2]], [[3.0, 4.0]], [[math.e, 9.0]]])
    target = torch.tensor([[[1.0, 1.0]], [[0.0, math.nan]], [[1.0, 0.0]]])
    expected = 10 * (math.sqrt(2 - 0.85) + math.sqrt(1 - 0.85)) / 2
    assert silog_loss(prediction, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-30])
def test_metric_predictions_of_0_and_less_are_pulled_up(value):
    prediction = torch.full((1, 2, 2), value)
    prediction[0, 0, 0] = 1.0
    loss, gradient = with_gradient("metric", prediction, torch.ones(1, 2, 2))
    assert loss.isfinite() and gradient.isfinite().all()
    assert (gradient[prediction == value] < 0).all()


# Pixels that were not measured


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", INVALID, ids=str)
def test_what_was_not_measured_has_no_part(kind, value):
    prediction, labels = maps(2, 6, 7), maps(2, 6, 7, seed=1)
    mask = maps(2, 6, 7, seed=2) > 0.75
    expected, gradient = with_gradient(kind, prediction, labels, mask)
    assert expected > 0 and (gradient != 0).any()
    holed, wild = torch.where(mask, labels, value), torch.where(mask, prediction, math.nan)
    for inputs in ((prediction, holed), (wild, holed), (wild, labels, mask), (wild, labels, mask.int())):
        loss, found = with_gradient(kind, *inputs)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(found, gradient)
    assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_a_measured_pixel_adds_nothing(kind):
    prediction, labels = maps(3, 4, 5), maps(3, 4, 5, seed=1)
    expected, gradient = with_gradient(kind, prediction[:2], labels[:2])
    labels[2] = torch.tensor(INVALID)
    loss, found = with_gradient(kind, prediction, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found[:2], gradient)
    assert (found[2] == 0).all()
    loss, found = with_gradient(kind, prediction[2:], labels[2:])
    assert loss == 0 and (found == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_constant_maps(kind, dtype):
    varied, constant = maps(2, 4, 5).to(dtype), torch.full((2, 4, 5), 0.7, dtype=dtype)
    for prediction, labels in ((varied, constant), (constant, varied), (constant, constant)):
        loss, gradient = with_gradient(kind, prediction, labels)
        assert loss.isfinite() and loss.dtype == torch.float32
        assert gradient.isfinite().all() and gradient.dtype == dtype
    assert loss == 0 and (gradient == 0).all()


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), kind=st.sampled_from(KINDS), share=st.sampled_from([0, 0.5, 1])
)
@settings(max_examples=25, deadline=None)
def test_any_size(height, width, kind, share):
    prediction, labels = maps(2, height, width), maps(2, height, width, seed=height)
    labels[maps(2, height, width, seed=width) < 0.5 + share] = 0
    loss, gradient = with_gradient(kind, prediction, labels)
    assert loss.isfinite() and loss >= 0 and gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_are_those_of_the_loss(kind):
    labels = maps(2, 5, 4, seed=1)
    labels[0, 1:3, 1] = torch.tensor([0.0, math.nan])
    # One image runs with its labels and one against them.
    prediction = torch.stack([labels[0].nan_to_num(1.0), 2 - labels[1]]) + 0.3 * maps(2, 5, 4, seed=2)
    assert torch.autograd.gradcheck(lambda x: depth_loss(kind, x, labels), prediction.requires_grad_())


def test_labels_of_other_types():
    metres = torch.tensor([[[1, 2], [0, 4]]])
    for dtype in (torch.int32, torch.float64, torch.float16):
        assert depth_loss("metric", metres.float(), metres.to(dtype)).item() == 0
    # Infinite in float32, which the loss is computed in.
    assert depth_loss("metric", torch.ones(1, 1, 2), torch.tensor([[[1.0, 1e300]]], dtype=torch.float64)).item() == 0


def test_what_does_not_fit():
    ones = torch.ones(1, 4, 4)
    with pytest.raises(InputError, match=r"labels have the shape \(1, 1, 4, 4\)"):
        depth_loss("relative", ones, ones[None])
    with pytest.raises(InputError, match=r"mask have the shape \(1, 2, 4\)"):
        depth_loss("metric", ones, ones, torch.ones(1, 2, 4))
    with pytest.raises(InputError, match=r"has to be \(b, h, w\)"):
        depth_loss("metric", ones[0], ones[0])
    with pytest.raises(ConfigError, match="'relative' or 'metric'"):
        depth_loss("inverse", ones, ones)
    with pytest.raises(ConfigError, match="variance_focus"):
        silog_loss(ones, ones, variance_focus=2)
