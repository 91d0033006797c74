"""VitDet against transformers: the same random weights, odd grids, batches, hidden states, attentions."""

import pytest
import torch
import transformers

import perpixel as px
from parity.randomise import randomise

SHAPE = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": 128,
    "pretrain_image_size": 112,
    "patch_size": 16,
    "num_channels": 4,
    "window_size": 3,
    "window_block_indices": [0, 2],
    "residual_block_indices": [1, 3],
    "use_relative_position_embeddings": True,
    "out_features": ["stem", "stage2", "stage4"],
}


def pair(**changes):
    ours = px.VitDetBackbone(px.VitDetConfig(**SHAPE | changes)).eval()
    randomise(ours)
    theirs = transformers.VitDetBackbone(transformers.VitDetConfig(**SHAPE | changes)).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (128, 128), (112, 112), (160, 80), (496, 400)])
@torch.no_grad()
def test_feature_maps_and_hidden_states_equal_transformers(size):
    ours, theirs = pair()
    pixels = torch.randn(2, 4, *size)
    a = ours(pixels, output_hidden_states=True)
    b = theirs(pixels, output_hidden_states=True)
    assert len(a.hidden_states) == len(b.hidden_states) == 5
    for x, y in zip(a.feature_maps + a.hidden_states, tuple(b.feature_maps) + tuple(b.hidden_states), strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() <= 1e-4


@torch.no_grad()
def test_attentions_equal_transformers():
    ours, theirs = pair()
    pixels = torch.randn(2, 4, 96, 64)
    a = ours(pixels, output_attentions=True)
    b = theirs(pixels, output_attentions=True)
    assert len(a.attentions) == len(b.attentions) == 4
    for x, y in zip(a.attentions, b.attentions, strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() <= 1e-5
    assert (a.feature_maps[-1] - b.feature_maps[-1]).abs().max() <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"use_relative_position_embeddings": False},
        {"qkv_bias": False, "hidden_act": "relu"},
        {"window_block_indices": [], "residual_block_indices": []},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(changes):
    ours, theirs = pair(**changes)
    pixels = torch.randn(1, 4, 80, 112)
    assert (ours(pixels).feature_maps[-1] - theirs(pixels).feature_maps[-1]).abs().max() <= 1e-4


@torch.no_grad()
def test_model_equals_transformers():
    shape = {k: v for k, v in SHAPE.items() if k != "out_features"}
    ours = px.VitDetModel(px.VitDetConfig(**shape)).eval()
    randomise(ours)
    theirs = transformers.VitDetModel(transformers.VitDetConfig(**shape)).eval()
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.randn(2, 4, 64, 96)
    a, b = (m(pixels, output_hidden_states=True, output_attentions=True) for m in (ours, theirs))
    assert (a.last_hidden_state - b.last_hidden_state).abs().max() <= 1e-4
    assert len(a.hidden_states) == len(b.hidden_states)
    assert len(a.attentions) == len(b.attentions)


def test_gradients_through_blocked_attention_equal_transformers():
    ours, theirs = pair(window_block_indices=[])
    pixels = torch.randn(1, 4, 400, 368)  # 575 tokens: more than the fused short path takes
    for model in (ours, theirs):
        model.train()
        model(pixels).feature_maps[-1].square().mean().backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = named[name].grad
        scale = expected.abs().max().clamp(min=1e-6)
        assert ((parameter.grad - expected).abs().max() / scale) < 1e-3, name
