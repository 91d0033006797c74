"""Swin against transformers: the same random weights, odd sizes, batches, hidden states, attentions, saved files."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.swin import SwinBackbone, SwinConfig, SwinModel

SHAPE = {
    "image_size": 64,
    "embed_dim": 12,
    "depths": [2, 1, 3],
    "num_heads": [2, 3, 4],
    "window_size": 3,
    "out_features": ["stem", "stage1", "stage3"],
}


def pair(folder, ours_class=SwinBackbone, **changes):
    ours = ours_class(SwinConfig(**SHAPE | changes)).eval()
    randomise(ours)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, ours_class.__name__).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    # What their backbone has and never uses
    assert {key for keys in report.values() for key in keys} <= {"swin.layernorm.weight", "swin.layernorm.bias"}
    return ours, theirs.eval()


def distance(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("window", [3, 4])
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (65, 40), (1, 1), (1, 90), (120, 28)])
@torch.no_grad()
def test_a_backbone_equals_transformers(tmp_path, size, window):
    ours, theirs = pair(tmp_path, window_size=window)
    pixels = torch.randn(2, 3, *size)
    options = {"output_hidden_states": True, "output_attentions": True}
    a, b = ours(pixels, **options), theirs(pixels, **options)
    assert list(a.keys()) == list(b.keys())
    for name in list(a.keys()):
        for one, other in zip(a[name], b[name], strict=True):
            assert distance(one, other) <= 1e-4
    fused = ours(pixels)  # the way that keeps no weights
    assert list(fused.keys()) == ["feature_maps"]
    for one, other in zip(fused.feature_maps, b.feature_maps, strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("window", [3, 2])
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (65, 40), (48, 100)])
@torch.no_grad()
def test_a_model_equals_transformers(tmp_path, size, window):
    ours, theirs = pair(tmp_path, SwinModel, window_size=window)
    pixels = torch.randn(2, 3, *size)
    options = {"output_hidden_states": True, "output_attentions": True}
    a, b = ours(pixels, **options), theirs(pixels, **options)
    assert list(a.keys()) == list(b.keys())
    assert len(a.hidden_states) == len(a.reshaped_hidden_states) == 4
    assert len(a.attentions) == 3
    assert distance(a.last_hidden_state, b.last_hidden_state) <= 1e-4
    assert distance(a.pooler_output, b.pooler_output) <= 1e-4
    for name in ("hidden_states", "attentions", "reshaped_hidden_states"):
        for one, other in zip(a[name], b[name], strict=True):
            assert distance(one, other) <= 1e-4
    for one, other in zip(ours(pixels, return_dict=False), theirs(pixels, return_dict=False), strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"qkv_bias": False, "hidden_act": "relu", "mlp_ratio": 2.5},
        {"num_channels": 4, "patch_size": [2, 4], "layer_norm_eps": 1e-2},
        {"window_size": 1},
        {"use_absolute_embeddings": True},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, changes):
    for ours_class in (SwinBackbone, SwinModel):
        ours, theirs = pair(tmp_path / ours_class.__name__, ours_class, **changes)
        pixels = torch.randn(1, changes.get("num_channels", 3), 64, 64)
        a, b = ours(pixels, output_hidden_states=True), theirs(pixels, output_hidden_states=True)
        for one, other in zip(a.hidden_states, b.hidden_states, strict=True):
            assert distance(one, other) <= 1e-4


@torch.no_grad()
def test_masks_and_resampled_positions_equal_transformers(tmp_path):
    config = SwinConfig(**SHAPE, use_absolute_embeddings=True)
    ours = SwinModel(config, use_mask_token=True).eval()
    randomise(ours)
    ours.save_pretrained(tmp_path)
    theirs = transformers.SwinModel.from_pretrained(tmp_path, use_mask_token=True).eval()
    pixels, masked = torch.randn(2, 3, 72, 48), torch.rand(2, 216) < 0.4
    a, b = (
        model(pixels, bool_masked_pos=masked, interpolate_pos_encoding=True).last_hidden_state
        for model in (ours, theirs)
    )
    assert distance(a, b) <= 1e-4
    assert distance(a, ours(pixels, interpolate_pos_encoding=True).last_hidden_state) > 1e-2


@pytest.mark.parametrize("name", ["SwinModel", "SwinBackbone", "SwinForImageClassification"])
@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path, name):
    theirs = getattr(transformers, name)(transformers.SwinConfig(**SHAPE)).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    # The names that transformers 5 has in memory
    torch.save(theirs.state_dict(), tmp_path / "memory.pth")
    pixels = torch.randn(1, 3, 33, 47)
    if name == "SwinBackbone":
        expected = theirs(pixels).feature_maps
        for ours in (AutoBackbone.from_pretrained(tmp_path), SwinBackbone.from_pretrained(tmp_path / "memory.pth")):
            for one, other in zip(ours(pixels).feature_maps, expected, strict=True):
                assert distance(one, other) <= 1e-4
    else:
        expected = getattr(theirs, "swin", theirs)(pixels).last_hidden_state
        for source in (tmp_path, tmp_path / "memory.pth"):
            assert distance(SwinModel.from_pretrained(source)(pixels).last_hidden_state, expected) <= 1e-4


def test_gradients_equal_transformers(tmp_path):
    ours, theirs = pair(tmp_path, SwinModel, drop_path_rate=0.0)
    pixels = torch.randn(2, 3, 33, 47)
    expected = {}
    for model in (ours, theirs):
        model.train()
        model(pixels).pooler_output.square().mean().backward()
    theirs.save_pretrained(tmp_path / "gradients", state_dict={k: p.grad for k, p in theirs.named_parameters()})
    expected = SwinModel.from_pretrained(tmp_path / "gradients").state_dict()
    for name, parameter in ours.named_parameters():
        scale = expected[name].abs().max().clamp(min=1e-6)
        assert ((parameter.grad - expected[name]).abs().max() / scale) < 1e-3 or name.endswith("key.bias"), name
