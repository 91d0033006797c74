"""Sine positions against transformers' and against the formula, with and without a mask."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

from perpixel.layers.position import sine_position_embedding

SIDES = st.integers(1, 9)


@settings(max_examples=25, deadline=None)
@given(height=SIDES, width=SIDES, quarter=st.integers(1, 5), normalize=st.booleans())
def test_equal_to_transformers(height, width, quarter, normalize):
    theirs = Mask2FormerSinePositionEmbedding(2 * quarter, normalize=normalize)
    expected = theirs(torch.Size((1, 1, height, width)), "cpu", torch.float32)
    ours = sine_position_embedding(height, width, 4 * quarter, normalize=normalize)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= 1e-5
    assert ours.flatten(2).transpose(1, 2).is_contiguous()


@settings(max_examples=15, deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 99))
def test_masked_equal_to_transformers(height, width, seed):
    mask = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed)) < 0.7
    expected = Mask2FormerSinePositionEmbedding(4, normalize=True)(mask[:, None].shape, "cpu", torch.float32, mask)
    assert (sine_position_embedding(height, width, 8, mask=mask) - expected).abs().max() <= 1e-5


def test_the_formula_by_hand():
    out = sine_position_embedding(4, 2, 8, temperature=100.0, scale=1.0)[0]
    row, column = 3 / 4, 1 / 2  # the third row, the first column, counted from 1
    expected = [f(place / period) for place in (row, column) for period in (1, 10) for f in (math.sin, math.cos)]
    assert torch.allclose(out[:, 2, 0], torch.tensor(expected), atol=1e-6)


def test_a_whole_mask_is_no_mask_and_what_is_hidden_does_not_count():
    whole = torch.ones(1, 5, 7, dtype=torch.bool)
    assert torch.allclose(sine_position_embedding(5, 7, 8, mask=whole), sine_position_embedding(5, 7, 8))
    whole[:, 3:] = whole[:, :, 4:] = False
    part = sine_position_embedding(5, 7, 8, mask=whole)[:, :, :3, :4]
    assert torch.allclose(part, sine_position_embedding(3, 4, 8), atol=1e-6)


def test_half_precision_is_only_the_result():
    exact = sine_position_embedding(40, 30, 16)
    half = sine_position_embedding(40, 30, 16, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.bfloat16())
