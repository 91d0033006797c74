"""The plain vision transformer: sizes, stages, errors, training."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.backbones import AutoBackbone
from perpixel.backbones.vit import ViTBackbone, ViTConfig, ViTModel
from perpixel.errors import ConfigError, InputError, PerpixelWarning

PRETRAINED = Path(__file__).parents[2] / ".." / "shared" / "data" / "pretrained" / "vit-tiny-patch16-224"
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 4,
}


@settings(max_examples=10, deadline=None)
@given(height=st.integers(4, 40), width=st.integers(4, 40), batch=st.integers(1, 3))
def test_maps_of_every_size(height, width, batch):
    backbone = ViTBackbone(ViTConfig(**TINY, out_features=["stem", "stage2"])).eval()
    maps = backbone(torch.randn(batch, 3, height, width)).feature_maps
    assert [tuple(part.shape) for part in maps] == [(batch, 16, height // 4, width // 4)] * 2
    assert all(part.isfinite().all() for part in maps)


@torch.no_grad()
def test_a_batch_equals_its_images_alone():
    backbone = ViTBackbone(ViTConfig(**TINY)).eval()
    pixels = torch.randn(3, 3, 20, 28)
    together = backbone(pixels).feature_maps[0]
    for i in range(3):
        assert (backbone(pixels[i : i + 1]).feature_maps[0] - together[i]).abs().max() < 1e-5


@torch.no_grad()
def test_stages_are_the_hidden_states_with_or_without_the_norm():
    plain = ViTBackbone(ViTConfig(**TINY, out_indices=[0, 1, 2], apply_layernorm=False)).eval()
    output = plain(torch.randn(1, 3, 12, 20), output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == 3
    assert [tuple(weights.shape) for weights in output.attentions] == [(1, 2, 16, 16)] * 2
    for part, tokens in zip(output.feature_maps, output.hidden_states, strict=True):
        # Row 1, column 2 of a 3×5 grid is token 1 + 1·5 + 2.
        assert torch.equal(part[0, :, 1, 2], tokens[0, 8])
    pixels = torch.randn(1, 3, 12, 20)
    before = plain(pixels).feature_maps[1]
    plain.config.apply_layernorm = True
    expected = plain.layernorm(before.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(plain(pixels).feature_maps[1], expected, atol=1e-6)


def test_the_trained_grid_needs_no_resampling_even_if_not_square():
    model = ViTModel(ViTConfig(**TINY | {"image_size": [8, 20]})).eval()
    assert model.embeddings.positions(2, 5) is model.embeddings.position_embeddings
    assert model(torch.randn(1, 3, 8, 20)).last_hidden_state.shape == (1, 11, 16)
    assert model.embeddings.positions(4, 3).shape == (1, 13, 16)


def test_tuples_where_asked_for():
    model = ViTModel(ViTConfig(**TINY)).eval()
    pixels = torch.randn(1, 3, 16, 16)
    assert len(model(pixels, return_dict=False)) == 2
    assert len(model(pixels, return_dict=False, output_hidden_states=True, output_attentions=True)) == 4
    assert model(pixels)[1].shape == (1, 16)
    plain = ViTModel(ViTConfig(**TINY), add_pooling_layer=False).eval()
    assert plain(pixels).pooler_output is None


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 20, 16), r"4×5 patches \(width×height\) but the position embeddings 4×4"),
        (torch.zeros(1, 4, 16, 16), r"has to be \(b, 3, H, W\)"),
        (torch.zeros(3, 16, 16), r"has to be \(b, 3, H, W\)"),
        (torch.zeros(1, 3, 3, 16), r"16×3 \(width×height\), smaller than one 4×4 patch"),
    ],
)
def test_bad_pixels(pixels, message):
    with pytest.raises(InputError, match=message):
        ViTModel(ViTConfig(**TINY))(pixels)


def test_bad_configs_and_masks():
    with pytest.raises(ConfigError, match="has to be a multiple"):
        ViTConfig(hidden_size=10, num_attention_heads=3)
    with pytest.raises(ConfigError, match="smaller than one patch"):
        ViTConfig(image_size=8, patch_size=16)
    with pytest.raises(ConfigError, match="patch_size is"):
        ViTConfig(patch_size=[16, 16, 16])
    with pytest.raises(ConfigError, match="hidden_act is 'gleu'"):
        ViTModel(ViTConfig(**TINY, hidden_act="gleu"))
    with pytest.raises(InputError, match="use_mask_token=True"):
        ViTModel(ViTConfig(**TINY))(torch.zeros(1, 3, 16, 16), bool_masked_pos=torch.zeros(1, 16))


def test_gradients_reach_everything_and_checkpointing_changes_none():
    model = ViTModel(ViTConfig(**TINY)).train()
    pixels = torch.randn(2, 3, 16, 16)
    gradients = []
    for enable in (model.gradient_checkpointing_disable, model.gradient_checkpointing_enable):
        enable()
        model.zero_grad()
        model(pixels).pooler_output.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name
        if not name.endswith("key.bias"):  # softmax does not see a shift of all keys
            assert gradient.abs().sum() > 0, name


@pytest.mark.skipif(not PRETRAINED.is_dir(), reason="the pretrained weights are not on this machine")
def test_a_real_classifier():
    with pytest.warns(PerpixelWarning, match=r"pooler\.dense\.weight"):
        model = ViTModel.from_pretrained(PRETRAINED)
    backbone = AutoBackbone.from_pretrained(PRETRAINED, out_indices=[6, 12])
    assert backbone.channels == [192, 192]
    assert torch.equal(backbone.encoder.layer[3].output.dense.weight, model.encoder.layer[3].output.dense.weight)
