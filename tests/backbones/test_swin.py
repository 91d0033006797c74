"""Swin: configuration, sizes, small maps, training, errors. What it computes is compared in tests/parity."""

import copy

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.swin import SwinBackbone, SwinConfig, SwinModel, Windows
from perpixel.errors import ConfigError, InputError, PerpixelWarning

SHAPE = {"image_size": 32, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}


def tiny(cls=SwinModel, options=(), **changes):
    model = cls(SwinConfig(**SHAPE | changes), *options).eval()
    randomise(model)
    return model


def test_defaults_are_those_of_transformers():
    theirs = transformers.SwinConfig().to_dict()
    ours = SwinConfig().to_dict()
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: theirs.get(name) for name in names}
    assert SwinConfig.from_dict(theirs) == SwinConfig()
    assert transformers.SwinConfig(**ours).to_dict() == theirs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_heads": [3, 4]}, "num_heads has 3 for a stage 8 wide: the heads must divide the width"),
        ({"num_heads": [2, 0]}, "num_heads has 0"),
        ({"depths": [2]}, r"depths is \[2\] and num_heads is \[2, 4\]: both need one positive number for each stage"),
        ({"depths": [2, 0]}, r"depths is \[2, 0\]"),
        ({"window_size": 0}, "window_size is 0"),
        ({"drop_path_rate": 1}, "drop_path_rate is 1"),
        ({"image_size": 3}, "image_size 3 is smaller than one patch of 4"),
        ({"patch_size": [4, 4, 4]}, r"patch_size is \[4, 4, 4\]"),
        ({"window": 4}, "no argument 'window'"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        SwinConfig(**SHAPE | wrong)


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 2), window=st.integers(1, 5))
@torch.no_grad()
def test_maps_of_every_size(height, width, batch, window):
    backbone = SwinBackbone(SwinConfig(**SHAPE | {"window_size": window}, out_indices=[0, 1, 2])).eval()
    model = SwinModel(SwinConfig(**SHAPE | {"window_size": window})).eval()
    pixels = torch.randn(batch, 3, height, width)
    maps = backbone(pixels).feature_maps
    h, w = -(-height // 4), -(-width // 4)
    sizes = [(batch, 8, h, w), (batch, 8, h, w), (batch, 16, -(-h // 2), -(-w // 2))]
    assert [tuple(part.shape) for part in maps] == sizes
    assert all(part.isfinite().all() for part in maps)
    assert model(pixels).last_hidden_state.shape == (batch, sizes[2][2] * sizes[2][3], 16)


@torch.no_grad()
def test_a_batch_equals_its_images_alone():
    backbone = tiny(SwinBackbone)
    pixels = torch.randn(3, 3, 30, 41)
    together = backbone(pixels).feature_maps[0]
    for i in range(3):
        assert (backbone(pixels[i : i + 1]).feature_maps[0] - together[i]).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(12, 12), (9, 11)])
@torch.no_grad()
def test_a_map_smaller_than_a_window_has_a_smaller_window(tmp_path, size):
    model = tiny(depths=[2], num_heads=[2], window_size=5)
    # Made for windows of 3, with the same biases for the offsets that both know.
    made_for_it = tiny(depths=[2], num_heads=[2], window_size=3)
    state = model.state_dict()
    for key in state:
        if key.endswith("bias_table"):
            state[key] = state[key].reshape(9, 9, 2)[2:7, 2:7].reshape(25, 2)
    made_for_it.load_state_dict(state)
    made_for_it.save_pretrained(tmp_path)
    theirs = transformers.SwinModel.from_pretrained(tmp_path).eval()
    pixels = torch.randn(2, 3, *size)
    expected = theirs(pixels).last_hidden_state
    for ours in (model, made_for_it):
        assert (ours(pixels).last_hidden_state - expected).abs().max() < 1e-4


@torch.no_grad()
def test_a_small_image_changes_nothing_for_the_next():
    model = tiny()
    pixels = torch.randn(1, 3, 48, 48)
    before = model(pixels).last_hidden_state
    model(torch.randn(1, 3, 12, 30))
    assert torch.equal(model(pixels).last_hidden_state, before)


@torch.no_grad()
def test_shifted_windows_see_beyond_their_borders_and_not_around_the_image():
    backbone = tiny(SwinBackbone, depths=[2], num_heads=[2])
    pixels = torch.randn(1, 3, 64, 64)
    changed = pixels.clone()
    changed[..., :4, :4] += 1  # the first of 16×16 tokens
    moved = (backbone(pixels).feature_maps[0] != backbone(changed).feature_maps[0]).any(1)[0]
    # Its window of 4, and then the shifted windows that overlap it: those that begin at 2 end at 6.
    assert moved[:6, :6].all()
    assert not moved[6:].any() and not moved[:, 6:].any()


@torch.no_grad()
def test_absolute_positions_for_sizes_that_are_not_square():
    model = tiny(use_absolute_embeddings=True, image_size=[16, 32])
    assert model.embeddings.position_embeddings.shape == (1, 32, 8)
    assert model(torch.randn(1, 3, 16, 32)).last_hidden_state.shape == (1, 8, 16)
    with pytest.raises(InputError, match=r"4×8 patches \(width×height\) but the position embeddings 8×4"):
        model(torch.randn(1, 3, 32, 16))
    for size, count in (((32, 16), 8), ((33, 47), 30)):
        assert model(torch.randn(1, 3, *size), interpolate_pos_encoding=True).last_hidden_state.shape == (1, count, 16)
    # Positions that are all equal stay so in every size.
    model.embeddings.position_embeddings.fill_(0.5)
    plain = copy.deepcopy(model)
    plain.embeddings.position_embeddings = None
    pixels = torch.randn(1, 3, 33, 47)
    shifted = model.embeddings(pixels, None, True)
    assert (shifted - plain.embeddings(pixels) - 0.5).abs().max() < 1e-5
    backbone = tiny(SwinBackbone, use_absolute_embeddings=True)
    assert backbone(pixels).feature_maps[0].shape == (1, 16, 5, 6)


def test_stochastic_depth_drops_both_parts_of_a_block():
    model = tiny(drop_path_rate=0.999).train()
    block = model.encoder.layers[1].blocks[1]
    tokens = torch.randn(4, 4, 4, 16)
    torch.manual_seed(0)
    assert torch.equal(block(tokens, Windows(4))[0], tokens)
    rates = [block.drop_rate for stage in model.encoder.layers for block in stage.blocks]
    assert rates == pytest.approx([0, 0.333, 0.666, 0.999])


@pytest.mark.parametrize("cls", [SwinModel, SwinBackbone])
def test_gradients_reach_everything_and_checkpointing_changes_none(cls):
    model = tiny(cls, drop_path_rate=0.0, use_absolute_embeddings=True).train()
    pixels = torch.randn(2, 3, 32, 32)
    gradients = []
    for enable in (model.gradient_checkpointing_disable, model.gradient_checkpointing_enable):
        enable()
        model.zero_grad()
        (model(pixels)[0] if cls is SwinModel else model(pixels)[0][0]).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name
        if not name.endswith("key.bias"):  # softmax does not see a shift of all keys
            assert gradient.abs().sum() > 0, name


def test_dropout_works_in_both_ways_of_attention():
    model = tiny(attention_probs_dropout_prob=0.5, drop_path_rate=0.0).train()
    pixels = torch.randn(1, 3, 32, 32)
    for options in ({}, {"output_attentions": True}):
        assert not torch.equal(*(model(pixels, **options).last_hidden_state for _ in range(2)))
    with torch.no_grad():
        weights = model.eval()(pixels, output_attentions=True).attentions
    assert all(torch.allclose(part.sum(-1), torch.ones(1), atol=1e-5) for part in weights)


@torch.no_grad()
def test_half_precision():
    model = tiny(SwinBackbone).to(torch.bfloat16)
    pixels = torch.randn(1, 3, 33, 47)
    rough = model(pixels).feature_maps[0]
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - tiny(SwinBackbone)(pixels).feature_maps[0]).abs().mean() < 0.05


def test_a_norm_for_every_map_that_comes_out(tmp_path):
    backbone = tiny(SwinBackbone, out_indices=[1, 2])
    assert list(backbone.hidden_states_norms) == ["stage1", "stage2"]
    backbone.out_features = ["stage1"]
    assert len(backbone(torch.randn(1, 3, 8, 8)).feature_maps) == 1
    backbone.out_features = ["stem"]
    with pytest.raises(ConfigError, match=r"stem came into out_features after the backbone was built.*\['stem'\]"):
        backbone(torch.randn(1, 3, 8, 8))
    tiny(SwinModel).save_pretrained(tmp_path)
    with pytest.warns(PerpixelWarning, match=r"2 missing \(hidden_states_norms\.stage1\.weight"):
        AutoBackbone.from_pretrained(tmp_path, out_indices=[1])


def test_files_of_old_versions_hold_indices(tmp_path):
    model = tiny()
    state = model.state_dict() | {
        "encoder.layers.0.blocks.0.attention.self.relative_position_index": torch.zeros(16, 16)
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    model.config.save_pretrained(tmp_path)
    loaded = SwinModel.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 4, 8, 8), r"pixel_values is \(1, 4, 8, 8\): it has to be \(b, 3, H, W\)"),
        (torch.zeros(3, 8, 8), r"it has to be \(b, 3, H, W\)"),
        (torch.zeros(1, 3, 0, 8), r"it has to be \(b, 3, H, W\)"),
    ],
)
def test_bad_pixels(pixels, message):
    with pytest.raises(InputError, match=message):
        tiny()(pixels)


def test_masks_need_a_mask_token():
    with pytest.raises(InputError, match="use_mask_token=True"):
        tiny()(torch.zeros(1, 3, 8, 8), bool_masked_pos=torch.zeros(1, 4))
    with pytest.raises(InputError, match=r"bool_masked_pos is \(1, 5\) but the images have 4 patches"):
        tiny(options=(True, True))(torch.zeros(1, 3, 8, 8), bool_masked_pos=torch.zeros(1, 5))
    assert tiny(options=(False,))(torch.zeros(1, 3, 8, 8)).pooler_output is None
