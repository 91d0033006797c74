"""BEiT: sizes, relative positions, pyramid, training, errors. What it computes is compared in tests/parity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.beit import BeitBackbone, BeitConfig, BeitModel, BeitRelativePositionBias
from perpixel.errors import ConfigError, InputError, PerpixelWarning

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 12,
    "patch_size": 4,
}
PYRAMID = {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4], "add_fpn": True}


def tiny(cls=BeitModel, **changes):
    model = cls(BeitConfig(**SHAPE | changes)).eval()
    randomise(model)
    return model


@settings(max_examples=10, deadline=None)
@given(height=st.integers(4, 30), width=st.integers(4, 30), batch=st.integers(1, 2), shared=st.booleans())
@torch.no_grad()
def test_maps_of_every_size(height, width, batch, shared):
    kind = {"use_shared_relative_position_bias": shared, "use_relative_position_bias": not shared}
    backbone = tiny(BeitBackbone, out_indices=[0, 2], **kind)
    maps = backbone(torch.randn(batch, 3, height, width)).feature_maps
    assert [tuple(part.shape) for part in maps] == [(batch, 16, height // 4, width // 4)] * 2
    assert all(part.isfinite().all() for part in maps)


@pytest.mark.parametrize("grid", [(2, 5), (5, 2), (1, 1), (1, 3)])
@torch.no_grad()
def test_biases_by_hand(grid):
    h, w = grid
    own = BeitRelativePositionBias(BeitConfig(**SHAPE | {"image_size": [4 * h, 4 * w]}))
    table = own.relative_position_bias_table
    table.copy_(torch.randn_like(table))
    bias = own(grid)[0]
    assert bias.shape == (2, 1 + h * w, 1 + h * w)
    places = [(row, column) for row in range(h) for column in range(w)]
    for i, (row, column) in enumerate(places, start=1):
        assert torch.equal(bias[:, 0, i], table[-3])
        assert torch.equal(bias[:, i, 0], table[-2])
        for j, (other_row, other_column) in enumerate(places, start=1):
            offset = (row - other_row + h - 1) * (2 * w - 1) + column - other_column + w - 1
            assert torch.equal(bias[:, i, j], table[offset])
    assert torch.equal(bias[:, 0, 0], table[-1])


@torch.no_grad()
def test_biases_of_another_size_keep_the_direction():
    # A bias that is the offset in rows plus ten times that in columns stays so, but for the scale.
    own = BeitRelativePositionBias(BeitConfig(**SHAPE | {"image_size": [8, 16]}))
    rows, columns = torch.arange(-1.0, 2), torch.arange(-3.0, 4)
    own.relative_position_bias_table[:-3] = (rows[:, None] + 10 * columns).reshape(-1, 1)
    bias = own((2, 6))[0, 0, 1:, 1:].reshape(2, 6, 2, 6)
    assert bias[1, 0, 0, 0] == 1 and bias[0, 0, 1, 0] == -1  # the rows are as many as before
    along = bias[0, 3, 0]  # from the query at column 3 to the keys 0…5
    assert along[3].abs() < 1e-4 and (along.diff() < 0).all()
    assert torch.allclose(along.diff(), torch.tensor(-10 * 7 / 11), atol=1e-4)


@pytest.mark.parametrize("positions", ["use_relative_position_bias", "use_absolute_position_embeddings"])
@torch.no_grad()
def test_trained_sizes_and_patches_that_are_not_square(positions):
    model = tiny(image_size=[8, 24], patch_size=[4, 6], **{positions: True})
    assert model(torch.randn(1, 3, 8, 24)).last_hidden_state.shape == (1, 9, 16)
    assert model(torch.randn(1, 3, 12, 13)).last_hidden_state.shape == (1, 7, 16)
    backbone = tiny(BeitBackbone, patch_size=[4, 6], **{positions: True})
    assert backbone(torch.randn(1, 3, 8, 24)).feature_maps[0].shape == (1, 16, 2, 4)


@torch.no_grad()
def test_shared_biases_are_built_once_a_forward(monkeypatch):
    model = tiny(use_shared_relative_position_bias=True)
    calls = []
    forward = BeitRelativePositionBias.forward
    monkeypatch.setattr(
        BeitRelativePositionBias, "forward", lambda self, grid: calls.append(grid) or forward(self, grid)
    )
    model(torch.randn(1, 3, 8, 20))
    assert calls == [(2, 5)]


@torch.no_grad()
def test_a_batch_equals_its_images_alone():
    backbone = tiny(BeitBackbone, use_relative_position_bias=True)
    pixels = torch.randn(3, 3, 8, 20)
    together = backbone(pixels).feature_maps[0]
    for i in range(3):
        assert (backbone(pixels[i : i + 1]).feature_maps[0] - together[i]).abs().max() < 1e-5


@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_what_is_masked_is_not_seen(biased):
    model = tiny(use_relative_position_bias=biased)
    pixels, seen = torch.randn(2, 3, 8, 12), torch.ones(2, 7)
    seen[:, -3:] = 0  # the lower row of patches
    changed = pixels.clone()
    changed[..., 4:, :] += 1
    a, b = (model(part, attention_mask=seen).last_hidden_state for part in (pixels, changed))
    assert torch.equal(a[:, :4], b[:, :4])
    assert (a[:, 4:] - b[:, 4:]).abs().max() > 0.1
    weights = model(pixels, attention_mask=seen, output_attentions=True).attentions
    assert all(part[..., -3:].max() == 0 for part in weights)


@torch.no_grad()
def test_masks_replace_patches():
    model = tiny(use_mask_token=True)
    pixels, masked = torch.randn(1, 3, 8, 8), torch.tensor([[True, False, False, True]])
    changed = pixels.clone()
    changed[..., :4, :4] += 1
    a, b = (model(part, bool_masked_pos=masked).last_hidden_state for part in (pixels, changed))
    assert torch.equal(a, b)


@torch.no_grad()
def test_the_pyramid():
    backbone = tiny(BeitBackbone, **PYRAMID)
    sizes = [tuple(part.shape[2:]) for part in backbone(torch.randn(1, 3, 12, 20)).feature_maps]
    assert sizes == [(12, 20), (6, 10), (3, 5), (1, 2)]
    with pytest.raises(InputError, match=r"1×3 patches \(width×height\) and add_fpn halves them"):
        backbone(torch.randn(1, 3, 12, 4))
    backbone.out_indices = [1, 2]
    with pytest.raises(ConfigError, match=r"add_fpn needs four stages but out_indices is \[1, 2\]"):
        backbone(torch.randn(1, 3, 12, 20))


def test_a_model_without_a_pyramid_gives_a_backbone_with_one(tmp_path):
    tiny(num_hidden_layers=4).save_pretrained(tmp_path)
    with pytest.warns(PerpixelWarning, match=r"missing \(fpn1\.0\.weight"):
        AutoBackbone.from_pretrained(tmp_path, add_fpn=True, out_indices=[1, 2, 3, 4])


def test_files_of_old_versions(tmp_path):
    model = tiny(use_relative_position_bias=True)
    index = "encoder.layer.0.attention.attention.relative_position_bias.relative_position_index"
    torch.save(model.state_dict() | {index: torch.zeros(10, 10)}, tmp_path / "pytorch_model.bin")
    model.config.save_pretrained(tmp_path)
    loaded = BeitModel.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in loaded.state_dict().items())
    assert BeitConfig.from_dict({"segmentation_indices": [3, 5, 7, 11]}).out_indices == [3, 5, 7, 11]
    assert BeitConfig.from_dict({"segmentation_indices": [3], "out_indices": [2]}).out_indices == [2]


def test_stochastic_depth_grows():
    model = tiny(num_hidden_layers=3, drop_path_rate=0.9).train()
    assert [layer.drop_rate for layer in model.encoder.layer] == pytest.approx([0, 0.45, 0.9])
    pixels = torch.randn(4, 3, 8, 8)
    assert not torch.equal(*(model(pixels).last_hidden_state for _ in range(2)))


@pytest.mark.parametrize("cls", [BeitModel, BeitBackbone])
@pytest.mark.parametrize("positions", ["use_relative_position_bias", "use_shared_relative_position_bias"])
def test_gradients_reach_everything_and_checkpointing_changes_none(cls, positions):
    changes = {positions: True, "use_absolute_position_embeddings": True, "drop_path_rate": 0.0}
    model = tiny(cls, **changes | (PYRAMID if cls is BeitBackbone else {})).train()
    pixels = torch.randn(2, 3, 12, 20)
    gradients = []
    for enable in (model.gradient_checkpointing_disable, model.gradient_checkpointing_enable):
        enable()
        model.zero_grad()
        outputs = [model(pixels).pooler_output] if cls is BeitModel else model(pixels).feature_maps
        sum(part.square().sum() for part in outputs).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().sum() > 0, name
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-4), name


@torch.no_grad()
def test_half_precision():
    rough = tiny(BeitBackbone, use_relative_position_bias=True).to(torch.bfloat16)
    pixels = torch.randn(1, 3, 8, 20)
    result = rough(pixels).feature_maps[0]
    assert result.dtype == torch.bfloat16
    exact = tiny(BeitBackbone, use_relative_position_bias=True)(pixels).feature_maps[0]
    assert (result.float() - exact).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_attention_heads": 3}, "the first has to be a multiple of the second"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
        ({"image_size": 3}, "smaller than one patch"),
        ({"add_fpn": True}, r"four feature maps but out_indices is \[2\]"),
        ({"use_relative_bias": True}, "no argument 'use_relative_bias'"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        BeitConfig(**SHAPE | wrong)


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="reshape_hidden_states is False"):
        tiny(BeitBackbone, **PYRAMID, reshape_hidden_states=False)
    pixels = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InputError, match="use_mask_token=True"):
        tiny()(pixels, bool_masked_pos=torch.zeros(1, 4))
    with pytest.raises(InputError, match=r"bool_masked_pos is \(1, 5\) but the images have 4 patches"):
        tiny(use_mask_token=True)(pixels, bool_masked_pos=torch.zeros(1, 5))
    with pytest.raises(InputError, match=r"attention_mask is \(1, 4\): there are 5 tokens"):
        tiny()(pixels, attention_mask=torch.ones(1, 4))
    with pytest.raises(InputError, match=r"has to be \(b, 3, H, W\)"):
        tiny()(pixels[0])
