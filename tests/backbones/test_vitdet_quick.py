"""Inference copies of ViTDet: windows after the projections, and a last layer where it is needed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.vitmatte.tiny import tiny_model
from parity.randomise import randomise
from perpixel.backbones import vitdet_quick
from perpixel.backbones.vitdet import Region, VitDetBackbone, VitDetConfig
from perpixel.layers import attention

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 64,
    "pretrain_image_size": 64,
    "window_size": 3,
    "window_block_indices": [0, 1],
    "residual_block_indices": [1, 2],
    "use_relative_position_embeddings": True,
}


def pair(**changes):
    torch.manual_seed(0)
    model = VitDetBackbone(VitDetConfig(**SHAPE | changes)).eval()
    randomise(model)
    return model, model.optimize()


def pixels(b, rows, columns):
    return torch.randn(b, 3, 16 * rows, 16 * columns, generator=torch.Generator().manual_seed(rows * 10 + columns))


SIDES = st.integers(1, 8)


@settings(max_examples=20, deadline=None)
@given(
    b=st.integers(1, 2),
    rows=SIDES,
    columns=SIDES,
    window=st.integers(1, 4),
    biased=st.booleans(),
    bands=st.sampled_from([1, 7, 8192]),
)
@torch.no_grad()
def test_windows_give_what_they_gave(b, rows, columns, window, biased, bands):
    model, quick = pair(window_size=window, qkv_bias=biased)
    x = pixels(b, rows, columns)
    expected = model(x).feature_maps[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vitdet_quick, "MLP_TOKENS", bands)
        torch.testing.assert_close(quick(x).feature_maps[0], expected, atol=2e-5, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    b=st.integers(1, 2),
    rows=SIDES,
    columns=SIDES,
    residual=st.booleans(),
    part=st.booleans(),
    block=st.sampled_from([1, 20]),
    share=st.sampled_from([0, 0.05, 0.5, 1]),
)
@torch.no_grad()
def test_the_last_layer_is_right_where_it_is_wanted(b, rows, columns, residual, part, block, share):
    model, quick = pair(residual_block_indices=[2] if residual else [])
    x = pixels(b, rows, columns)
    region = Region(1, 2, rows + 1, columns + 4) if part else None
    wanted = torch.rand(b, rows, columns, generator=torch.Generator().manual_seed(rows)) < share
    expected = model(x, region=region).feature_maps[0].permute(0, 2, 3, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK_SCORES", block * rows * columns)
        got = quick(x, region=region, wanted=wanted).feature_maps[0].permute(0, 2, 3, 1)
    torch.testing.assert_close(got[wanted], expected[wanted], atol=2e-5, rtol=1e-4)
    assert not got[~wanted].any()


@torch.no_grad()
def test_layers_that_nothing_can_be_left_out_of():
    x, wanted = pixels(1, 4, 5), torch.zeros(1, 4, 5, dtype=torch.bool)
    for changes in ({"window_block_indices": [0, 1, 2]}, {"use_relative_position_embeddings": False}):
        model, quick = pair(**changes)
        torch.testing.assert_close(
            quick(x, wanted=wanted).feature_maps[0], model(x).feature_maps[0], atol=2e-5, rtol=1e-4
        )
    model, quick = pair()
    states = quick(x, wanted=wanted, output_attentions=True)
    torch.testing.assert_close(states.feature_maps[0], model(x).feature_maps[0], atol=2e-5, rtol=1e-4)
    assert len(states.attentions) == 3


def test_with_gradients_every_token_counts():
    model, quick = pair()
    x, wanted = pixels(1, 4, 5).requires_grad_(), torch.zeros(1, 4, 5, dtype=torch.bool)
    out = quick(x, wanted=wanted).feature_maps[0]
    torch.testing.assert_close(out, model(x).feature_maps[0], atol=2e-5, rtol=1e-4)
    assert torch.autograd.grad(out.sum(), x)[0].any()


@torch.no_grad()
def test_a_matting_model_leaves_tokens_out_and_keeps_its_alphas():
    model = tiny_model()
    quick = model.optimize()
    x = torch.randn(1, 4, 320, 256, generator=torch.Generator().manual_seed(0))
    needed = torch.zeros(1, 1, 320, 256, dtype=torch.bool)
    needed[..., 200:203, 40:60] = True
    counts = []
    last = quick.backbone.encoder.layer[1].mlp
    last.register_forward_pre_hook(lambda mlp, given: counts.append(given[0].numel() // 16))
    expected = model(x).alphas
    assert (quick(x, needed=needed).alphas - expected)[needed].abs().max() < 1e-5
    assert 0 < sum(counts) < 100
    quick(x, needed=needed, output_hidden_states=True)
    assert sum(counts) > 320
