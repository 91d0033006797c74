"""DINOv2, with registers and without: sizes, stages, training, errors. What it computes is compared in tests/parity."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.dinov2 import Dinov2Backbone, Dinov2Config, Dinov2Model
from perpixel.backbones.dinov2_with_registers import (
    Dinov2WithRegistersBackbone,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)
from perpixel.errors import CheckpointError, ConfigError, InputError, PerpixelWarning

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12, "patch_size": 4}
BACKBONES = [Dinov2Backbone, Dinov2WithRegistersBackbone]
MODELS = [Dinov2Model, Dinov2WithRegistersModel]


def tiny(cls=Dinov2Model, **changes):
    model = cls(cls.config_class(**SHAPE | changes)).eval()
    randomise(model)
    return model


@settings(max_examples=10, deadline=None)
@given(height=st.integers(4, 30), width=st.integers(4, 30), batch=st.integers(1, 2), cls=st.sampled_from(BACKBONES))
@torch.no_grad()
def test_maps_of_every_size(height, width, batch, cls):
    maps = tiny(cls, out_features=["stem", "stage2"])(torch.randn(batch, 3, height, width)).feature_maps
    assert [tuple(part.shape) for part in maps] == [(batch, 16, height // 4, width // 4)] * 2
    assert all(part.isfinite().all() for part in maps)


@pytest.mark.parametrize("cls", BACKBONES)
@torch.no_grad()
def test_a_batch_equals_its_images_alone(cls):
    backbone = tiny(cls)
    pixels = torch.randn(3, 3, 8, 20)
    together = backbone(pixels).feature_maps[0]
    for i in range(3):
        assert (backbone(pixels[i : i + 1]).feature_maps[0] - together[i]).abs().max() < 1e-5


@pytest.mark.parametrize(("cls", "registers"), [(Dinov2Backbone, 0), (Dinov2WithRegistersBackbone, 4)])
@torch.no_grad()
def test_maps_are_the_patches_in_their_places(cls, registers):
    backbone = tiny(cls, apply_layernorm=False, out_indices=[1, 2])
    pixels = torch.randn(1, 3, 8, 20)
    output = backbone(pixels, output_hidden_states=True)
    backbone.config.reshape_hidden_states = False
    tokens = backbone(pixels).feature_maps
    assert tokens[0].shape == (1, 1 + registers + 10, 16)
    for part, all_tokens, hidden in zip(output.feature_maps, tokens, output.hidden_states[1:], strict=True):
        assert torch.equal(all_tokens, hidden)
        # Row 1, column 2 of a 2×5 grid
        assert torch.equal(part[0, :, 1, 2], hidden[0, 1 + registers + 7])


@torch.no_grad()
def test_trained_sizes_and_patches_that_are_not_square():
    for cls in MODELS:
        model = tiny(cls, image_size=[8, 24], patch_size=[4, 6])
        extra = model(torch.randn(1, 3, 8, 24)).last_hidden_state.shape[1] - 8
        assert model(torch.randn(1, 3, 12, 13)).last_hidden_state.shape == (1, 6 + extra, 16)


@torch.no_grad()
def test_any_ratio():
    assert tiny(mlp_ratio=2.5).encoder.layer[0].mlp.fc1.weight.shape == (40, 16)


@torch.no_grad()
def test_masks():
    for cls in MODELS:
        model = tiny(cls)
        pixels, masked = torch.randn(1, 3, 8, 8), torch.tensor([[1, 0, 0, 1]])
        changed = pixels.clone()
        changed[..., :4, :4] += 1
        a, b = (model(part, bool_masked_pos=masked).last_hidden_state for part in (pixels, changed))
        assert torch.equal(a, b)
        seen = torch.ones(a.shape[:2])
        seen[:, -4] = 0  # the first patch
        a, b = (model(part, attention_mask=seen).last_hidden_state for part in (pixels, changed))
        assert torch.equal(a[:, -3:], b[:, -3:])
        assert not torch.equal(a[:, -4], b[:, -4])


@pytest.mark.parametrize("cls", BACKBONES)
@pytest.mark.parametrize("swiglu", [False, True])
def test_gradients_reach_everything_and_checkpointing_changes_none(cls, swiglu):
    backbone = tiny(cls, use_swiglu_ffn=swiglu).train()
    pixels = torch.randn(2, 3, 8, 20)
    gradients = []
    for enable in (backbone.gradient_checkpointing_disable, backbone.gradient_checkpointing_enable):
        enable()
        backbone.zero_grad()
        backbone(pixels).feature_maps[0].square().sum().backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if "mask_token" not in name})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name
        if not name.endswith("key.bias"):  # softmax does not see a shift of all keys
            assert gradient.abs().sum() > 0, name


def test_stochastic_depth_is_the_same_in_every_layer():
    layer = tiny(drop_path_rate=0.999).train().encoder.layer[0]
    tokens = torch.randn(4, 5, 16)
    torch.manual_seed(0)
    assert torch.equal(layer(tokens)[0], tokens)
    assert not torch.equal(layer.eval()(tokens)[0], tokens)


@torch.no_grad()
def test_half_precision():
    rough = tiny(Dinov2Backbone).to(torch.bfloat16)
    pixels = torch.randn(1, 3, 8, 20)
    result = rough(pixels).feature_maps[0]
    assert result.dtype == torch.bfloat16
    assert (result.float() - tiny(Dinov2Backbone)(pixels).feature_maps[0]).abs().mean() < 0.05


def test_files(tmp_path):
    tiny(mlp_ratio=4.0, layerscale_value=1).save_pretrained(tmp_path)
    # transformers takes no other types
    values = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert [type(values[name]) for name in ("mlp_ratio", "layerscale_value")] == [int, float]
    backbone = AutoBackbone.from_pretrained(tmp_path, use_mask_token=False, out_indices=[1, 2])
    assert (type(backbone), backbone.channels) == (Dinov2Backbone, [16, 16])
    backbone.save_pretrained(tmp_path / "maskless")
    with pytest.warns(PerpixelWarning, match=r"1 missing \(embeddings\.mask_token\)"):
        Dinov2Model.from_pretrained(tmp_path / "maskless", use_mask_token=True)
    with pytest.raises(CheckpointError, match=r"embeddings\.register_tokens"):
        config = Dinov2WithRegistersConfig(**SHAPE)
        Dinov2WithRegistersModel.from_pretrained(tmp_path, config=config)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_attention_heads": 3}, "the first has to be a multiple of the second"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
        ({"image_size": 3}, "smaller than one patch"),
        ({"patch_size": [4, 4, 4]}, r"patch_size is \[4, 4, 4\]"),
        ({"use_swiglu": True}, "no argument 'use_swiglu'"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    for config in (Dinov2Config, Dinov2WithRegistersConfig):
        with pytest.raises(ConfigError, match=message):
            config(**SHAPE | wrong)


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="num_register_tokens is -1"):
        Dinov2WithRegistersConfig(num_register_tokens=-1)
    with pytest.raises(ConfigError, match="no argument 'use_mask_token'"):
        Dinov2WithRegistersConfig(use_mask_token=True)
    pixels = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InputError, match="use_mask_token=True"):
        tiny(use_mask_token=False)(pixels, bool_masked_pos=torch.zeros(1, 4))
    with pytest.raises(InputError, match=r"bool_masked_pos is \(1, 5\) but the images have 4 patches"):
        tiny()(pixels, bool_masked_pos=torch.zeros(1, 5))
    with pytest.raises(InputError, match=r"attention_mask is \(1, 4\): there are 5 tokens"):
        tiny()(pixels, attention_mask=torch.ones(1, 4))
    with pytest.raises(InputError, match=r"8×3 \(width×height\), smaller than one 4×4 patch"):
        tiny()(pixels[:, :, :3])
