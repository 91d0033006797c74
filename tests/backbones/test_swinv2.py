"""Swin v2: configuration, sizes, biases, training, errors. What it computes is compared in tests/parity."""

import math

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.swin import Windows
from perpixel.backbones.swinv2 import Swinv2Backbone, Swinv2Config, Swinv2Model, relative_coordinates
from perpixel.errors import ConfigError, InputError

SHAPE = {"image_size": 32, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}


def tiny(cls=Swinv2Model, **changes):
    model = cls(Swinv2Config(**SHAPE | changes)).eval()
    randomise(model)
    return model


def test_defaults_are_those_of_transformers():
    theirs = transformers.Swinv2Config().to_dict()
    ours = Swinv2Config().to_dict()
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: theirs.get(name) for name in names}
    assert Swinv2Config.from_dict(theirs) == Swinv2Config()
    assert transformers.Swinv2Config(**ours).to_dict() == theirs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_heads": [3, 4]}, "num_heads has 3 for a stage 8 wide: the heads must divide the width"),
        ({"depths": [2]}, r"depths is \[2\] and num_heads is \[2, 4\]"),
        ({"pretrained_window_sizes": [4]}, r"pretrained_window_sizes is \[4\] but there are 2 stages: give a number"),
        ({"pretrained_window_sizes": [4, -1]}, r"pretrained_window_sizes is \[4, -1\]"),
        ({"pretrained_window_size": [4, 4]}, "did you mean 'pretrained_window_sizes'"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Swinv2Config(**SHAPE | wrong)


def test_windows_follow_the_configured_image_and_not_the_given_one():
    config = Swinv2Config(image_size=256, window_size=16)
    assert (config.windows, config.shifts) == ([16, 16, 16, 8], [8, 8, 0, 0])
    config = Swinv2Config(image_size=8, window_size=3)
    assert (config.windows, config.shifts) == ([2, 1, 1, 1], [0, 0, 0, 0])
    model = tiny(Swinv2Model, image_size=8, depths=[2, 2, 1], num_heads=[2, 2, 2])
    assert model(torch.randn(1, 3, 40, 40)).last_hidden_state.shape == (1, 9, 32)


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 2), window=st.integers(1, 5))
@torch.no_grad()
def test_maps_of_every_size(height, width, batch, window):
    backbone = Swinv2Backbone(Swinv2Config(**SHAPE | {"window_size": window}, out_indices=[0, 1, 2])).eval()
    h, w = -(-height // 4), -(-width // 4)
    output = backbone(torch.randn(batch, 3, height, width), output_hidden_states=True)
    sizes = [(batch, 8, h, w), (batch, 8, h, w), (batch, 16, -(-h // 2), -(-w // 2))]
    assert [tuple(part.shape) for part in output.feature_maps] == sizes
    assert all(part.isfinite().all() for part in output.feature_maps)
    assert [part.shape[1] for part in output.hidden_states] == [height * width for _, _, height, width in sizes]


@torch.no_grad()
def test_a_batch_equals_its_images_alone_and_inputs_stay():
    backbone = tiny(Swinv2Backbone, out_indices=[0, 1, 2])
    pixels = torch.randn(2, 3, 30, 41)
    kept = pixels.clone()
    together = backbone(pixels).feature_maps
    assert torch.equal(pixels, kept)
    for i in range(2):
        for alone, part in zip(backbone(pixels[i : i + 1]).feature_maps, together, strict=True):
            assert (alone - part[i]).abs().max() < 1e-4


@torch.no_grad()
def test_bands_of_the_feed_forward_part_change_nothing(monkeypatch):
    backbone = tiny(Swinv2Backbone, out_indices=[0, 1, 2])
    pixels = torch.randn(2, 3, 30, 41)
    whole = backbone(pixels).feature_maps
    monkeypatch.setattr("perpixel.backbones.swin.MLP_TOKENS", 50)
    with torch.enable_grad():
        trained = backbone(pixels).feature_maps
    for band, one, other in zip(backbone(pixels).feature_maps, whole, trained, strict=True):
        assert (band - one).abs().max() < 1e-4 and (band - other).abs().max() < 1e-4


@torch.no_grad()
def test_shifted_windows_see_beyond_their_borders_and_not_around_the_image():
    backbone = tiny(Swinv2Backbone, depths=[2], num_heads=[2], image_size=64)
    pixels = torch.randn(1, 3, 64, 64)
    changed = pixels.clone()
    changed[..., :4, :4] += 1  # the first of 16×16 tokens
    moved = (backbone(pixels).feature_maps[0] != backbone(changed).feature_maps[0]).any(1)[0]
    # Its window of 4, and then the shifted windows that overlap it: those that begin at 2 end at 6.
    assert moved[:6, :6].all()
    assert not moved[6:].any() and not moved[:, 6:].any()


@torch.no_grad()
def test_the_length_of_queries_and_keys_does_not_count():
    model = tiny(qkv_bias=False)
    pixels = torch.randn(1, 3, 32, 32)
    before = model(pixels).last_hidden_state
    for name, parameter in model.named_parameters():
        if ".query." in name or ".key." in name:
            parameter.mul_(7)
    torch.testing.assert_close(model(pixels).last_hidden_state, before, atol=1e-4, rtol=0)
    for name, parameter in model.named_parameters():
        if name.endswith("logit_scale"):
            parameter.fill_(math.log(100))
    largest = model(pixels).last_hidden_state
    for name, parameter in model.named_parameters():
        if name.endswith("logit_scale"):
            parameter.fill_(20)
    torch.testing.assert_close(model(pixels).last_hidden_state, largest, atol=1e-4, rtol=0)
    assert (largest - before).abs().max() > 1e-3


def test_coordinates_of_the_paper():
    at_home = relative_coordinates(8, 0, torch.zeros(1)).reshape(15, 15, 2)
    assert torch.equal(at_home[..., 0], at_home[..., 1].T)
    assert at_home[0, 0, 0].item() == pytest.approx(-math.log(9, 8))
    assert at_home[7, 7].tolist() == [0, 0]
    # Windows of 16 after a training with those of 8: the trained offsets keep their places.
    abroad = relative_coordinates(16, 8, torch.zeros(1)).reshape(31, 31, 2)
    assert torch.allclose(abroad[8:23, 8:23], at_home)
    assert abroad.max().item() == pytest.approx(math.log(8 * 15 / 7 + 1, 8))
    assert relative_coordinates(1, 0, torch.zeros(1)).tolist() == [[0, 0]]
    assert relative_coordinates(3, 1, torch.zeros(1, dtype=torch.bfloat16)).isfinite().all()


@torch.no_grad()
def test_absolute_positions():
    model = tiny(use_absolute_embeddings=True)
    assert model(torch.randn(1, 3, 32, 32)).last_hidden_state.shape == (1, 16, 16)
    with pytest.raises(InputError, match="interpolate_pos_encoding=True"):
        model(torch.randn(1, 3, 32, 16))
    assert model(torch.randn(1, 3, 33, 47), interpolate_pos_encoding=True).last_hidden_state.shape == (1, 30, 16)
    backbone = tiny(Swinv2Backbone, use_absolute_embeddings=True)
    assert backbone(torch.randn(1, 3, 33, 47)).feature_maps[0].shape == (1, 16, 5, 6)


def test_stochastic_depth_drops_both_parts_of_a_block():
    model = tiny(drop_path_rate=0.999).train()
    block = model.encoder.layers[1].blocks[1]
    tokens = torch.randn(4, 4, 4, 16)
    torch.manual_seed(0)
    assert torch.equal(block(tokens, Windows(4))[0], tokens)
    rates = [block.drop_rate for stage in model.encoder.layers for block in stage.blocks]
    assert rates == pytest.approx([0, 0.333, 0.666, 0.999])


def test_gradients_reach_everything_and_checkpointing_changes_none():
    model = tiny(drop_path_rate=0.0, image_size=64).train()
    pixels = torch.randn(2, 3, 34, 60)
    gradients = []
    for enabled in (False, True):
        if enabled:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(pixels).pooler_output.square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, name
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-6), name


def test_new_weights():
    model = Swinv2Model(Swinv2Config(**SHAPE))
    attention = model.encoder.layers[0].blocks[0].attention.self
    assert attention.logit_scale.exp().flatten().tolist() == pytest.approx([10, 10])
    assert attention.key.bias is None
    assert 0.015 < attention.continuous_position_bias_mlp[0].weight.std() < 0.025


@torch.no_grad()
def test_tuples_names_and_types(tmp_path):
    backbone = tiny(Swinv2Backbone, out_features=["stage1"])
    pixels = torch.randn(1, 3, 16, 16)
    output = backbone(pixels, output_hidden_states=True, output_attentions=True, return_dict=False)
    assert [len(part) for part in output] == [1, 3, 2]
    assert output[2][0].shape == (1, 2, 16, 16)
    backbone.save_pretrained(tmp_path)
    loaded = AutoBackbone.from_pretrained(tmp_path, out_indices=[0, 2], dtype="bfloat16")
    assert loaded.channels == [8, 16]
    assert loaded(pixels).feature_maps[1].dtype == torch.bfloat16
    assert len(tiny(Swinv2Model)(pixels, return_dict=False)) == 2
    assert Swinv2Model(Swinv2Config(**SHAPE), add_pooling_layer=False)(pixels).pooler_output is None


@pytest.mark.parametrize("pixels", [torch.zeros(1, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 0)])
def test_bad_pixels(pixels):
    with pytest.raises(InputError, match=r"it has to be \(b, 3, H, W\)"):
        tiny()(pixels)


def test_patches_cannot_be_masked_without_a_mask_token():
    with pytest.raises(InputError, match="bool_masked_pos needs a mask token"):
        tiny()(torch.zeros(1, 3, 16, 16), torch.zeros(1, 16))
