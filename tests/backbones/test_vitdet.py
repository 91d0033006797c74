"""ViTDet: configuration, windows, stochastic depth, positions. What it computes is compared in tests/parity."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones.vitdet import Region, VitDetBackbone, VitDetConfig, VitDetModel
from perpixel.errors import ConfigError, InputError

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 64,
    "pretrain_image_size": 64,
    "window_size": 2,
    "window_block_indices": [0, 1],
    "residual_block_indices": [1],
    "use_relative_position_embeddings": True,
}


def tiny(cls=VitDetBackbone, **changes):
    model = cls(VitDetConfig(**SHAPE | changes)).eval()
    randomise(model)
    return model


def test_defaults_are_those_of_transformers():
    theirs = transformers.VitDetConfig().to_dict()
    ours = VitDetConfig().to_dict()
    assert ours.keys() <= theirs.keys() | {"out_features", "out_indices"}
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: theirs.get(name) for name in names}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_hidden_layer": 2}, "no argument 'num_hidden_layer': did you mean 'num_hidden_layers'"),
        ({"num_attention_heads": 3}, "hidden_size is 16 and num_attention_heads is 3: the first has to be a multiple"),
        ({"window_block_indices": [3]}, "window_block_indices names layer 3 of a backbone of 3 layers: use 0 to 2"),
        ({"residual_block_indices": [-1]}, "residual_block_indices names layer -1"),
        ({"window_size": 0}, r"window_block_indices is \[0, 1\] but window_size is 0"),
        ({"hidden_size": 16.5}, "hidden_size=16.5.*int"),
        ({"out_features": ["stage4"]}, r"\['stage4'\] are no stages"),
        ({"patch_size": (16, 16, 16)}, r"patch_size is \[16, 16, 16\]: give one positive number"),
        ({"image_size": [64]}, r"image_size is \[64\]"),
        ({"pretrain_image_size": 0}, "pretrain_image_size is 0"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0: it has to be at least 0 and below 1"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        VitDetConfig(**SHAPE | wrong)


def test_unknown_activation():
    with pytest.raises(ConfigError, match=r"hidden_act is 'geluu': use one of .*gelu"):
        VitDetBackbone(VitDetConfig(**SHAPE | {"hidden_act": "geluu"}))


@torch.no_grad()
def test_pairs_as_sizes():
    square = tiny()
    pair = VitDetBackbone(VitDetConfig(**SHAPE | {"image_size": (64, 64), "patch_size": [16, 16]})).eval()
    pair.load_state_dict(square.state_dict())
    pixels = torch.randn(1, 3, 48, 32)
    assert torch.equal(pair(pixels).feature_maps[0], square(pixels).feature_maps[0])


# Stochastic depth


def test_drop_rates_grow_linearly_with_the_depth():
    model = tiny(drop_path_rate=0.4)
    assert [layer.drop_rate for layer in model.encoder.layer] == pytest.approx([0, 0.2, 0.4])
    one = VitDetBackbone(VitDetConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1, drop_path_rate=0.4))
    assert one.encoder.layer[0].drop_rate == 0


def test_dropout_acts_in_training_only():
    model = tiny(dropout_prob=0.5)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(pixels).feature_maps[0], model(pixels).feature_maps[0])
        model.train()
        assert not torch.equal(model(pixels).feature_maps[0], model(pixels).feature_maps[0])


# Positions and starting weights


@torch.no_grad()
def test_without_absolute_positions():
    # transformers raises AttributeError when such a model is built.
    model = tiny(use_absolute_position_embeddings=False)
    assert "embeddings.position_embeddings" not in model.state_dict()
    pixels = torch.randn(1, 3, 48, 80)
    with_zeros = tiny()
    with_zeros.load_state_dict(model.state_dict() | {"embeddings.position_embeddings": torch.zeros(1, 17, 16)})
    assert torch.equal(model(pixels).feature_maps[0], with_zeros(pixels).feature_maps[0])


@torch.no_grad()
def test_without_positions_a_shift_by_a_window_shifts_the_result():
    model = tiny(use_absolute_position_embeddings=False, use_relative_position_embeddings=False)
    for layer in model.encoder.layer:
        layer.residual = None
    pixels = torch.randn(1, 3, 64, 64)
    out = model(pixels).feature_maps[0]
    rolled = model(pixels.roll(32, -1)).feature_maps[0]
    assert (out.roll(2, -1) - rolled).abs().max() < 1e-5


def test_positions_that_are_no_square():
    model = VitDetBackbone(VitDetConfig(**SHAPE | {"pretrain_image_size": [64, 32]}))
    with pytest.raises(ConfigError, match="8 absolute positions are no square: pretrain_image_size"):
        model(torch.zeros(1, 3, 64, 32))


def test_starting_weights():
    torch.manual_seed(0)
    model = VitDetBackbone(VitDetConfig(**SHAPE | {"hidden_size": 64, "initializer_range": 0.05}))
    layer = model.encoder.layer[1]
    for weight in (layer.mlp.fc1.weight, model.embeddings.position_embeddings, layer.attention.qkv.weight):
        assert weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert not layer.mlp.fc1.bias.any() and layer.attention.rel_pos_h.any()
    # A residual block starts as the identity.
    tokens = torch.randn(1, 3, 4, 64)
    assert torch.equal(layer.residual(tokens), tokens)


# Parts of an image

PARTS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=15, deadline=None)
@given(part=PARTS, window=st.integers(1, 3), rows=st.integers(7, 9), columns=st.integers(7, 9))
@torch.no_grad()
def test_a_tile_is_seen_as_in_its_place(part, window, rows, columns):
    # With windows in all layers and no convolutions, whole windows of a tile are those of the whole image.
    model = tiny(window_size=window, window_block_indices=[0, 1, 2], residual_block_indices=[])
    pixels = torch.randn(1, 3, 16 * rows, 16 * columns)
    top, left, height, width = part[0] * window, part[1] * window, part[2], part[3]
    height, width = min(height, rows - top), min(width, columns - left)
    tile = pixels[:, :, 16 * top : 16 * (top + height), 16 * left : 16 * (left + width)]
    seen = model(tile, region=Region(top, left, rows, columns)).feature_maps[0]
    whole = model(pixels).feature_maps[0][:, :, top : top + height, left : left + width]
    # A window that the tile cuts through has fewer tokens; at the image's border both do.
    full_h = height if top + height == rows else height // window * window
    full_w = width if left + width == columns else width // window * window
    seen, whole = seen[:, :, :full_h, :full_w], whole[:, :, :full_h, :full_w]
    torch.testing.assert_close(seen, whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_tile_with_attentions_is_the_tile_without():
    model = tiny()
    pixels = torch.randn(1, 3, 32, 48)
    region = Region(2, 2, 8, 9)
    output = model(pixels, output_attentions=True, region=region)
    assert (output.feature_maps[0] - model(pixels, region=region).feature_maps[0]).abs().max() < 1e-5
    assert (output.feature_maps[0] - model(pixels).feature_maps[0]).abs().max() > 1e-3


# Outputs and inputs


@torch.no_grad()
def test_stages_by_name_and_by_index():
    pixels = torch.randn(1, 3, 32, 48)
    model = tiny(out_features=["stem", "stage2"])
    by_index = tiny(out_indices=[0, 2])
    assert model.channels == [16, 16] and by_index.out_features == ["stem", "stage2"]
    output = model(pixels, output_hidden_states=True)
    states = (output.hidden_states[0], output.hidden_states[2])
    for own, other, state in zip(output.feature_maps, by_index(pixels).feature_maps, states, strict=True):
        assert torch.equal(own, other) and torch.equal(own, state)
    maps, states, attentions = model(pixels, True, True, False)
    assert len(maps) == 2 and len(states) == 4 and len(attentions) == 3


@torch.no_grad()
def test_the_model_is_the_backbone_without_a_choice():
    model, backbone = tiny(VitDetModel), tiny()
    pixels = torch.randn(2, 3, 40, 50)  # what the patch does not divide is left out
    assert torch.equal(model(pixels).last_hidden_state, backbone(pixels[:, :, :32, :48]).feature_maps[0])
    (last,) = model(pixels, return_dict=False)
    assert last.shape == (2, 16, 2, 3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 32, 32), r"\(1, 4, 32, 32\): this backbone needs \(batch, 3, height, width\)"),
        ((3, 32, 32), r"\(3, 32, 32\)"),
        ((1, 3, 32, 15), "pixel_values is 15×32 .width×height., smaller than one 16×16 patch"),
    ],
)
def test_pixels_that_do_not_fit(shape, message):
    with pytest.raises(InputError, match=message):
        tiny()(torch.zeros(shape))
