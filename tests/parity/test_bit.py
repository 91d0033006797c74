"""BiT against transformers: the same random weights, odd sizes, batches, hidden states, saved files."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.bit import BitBackbone, BitConfig, BitModel

SHAPE = {
    "embedding_size": 16,
    "hidden_sizes": [16, 48, 32],
    "depths": [2, 1, 2],
    "num_groups": 4,
    "out_features": ["stem", "stage1", "stage3"],
}
HYBRID = {"layer_type": "bottleneck", "global_padding": "same", "embedding_dynamic_padding": True}


def pair(folder, ours_class=BitBackbone, **changes):
    ours = ours_class(BitConfig(**SHAPE | changes)).eval()
    randomise(ours)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, ours_class.__name__).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    return ours, theirs.eval()


def distance(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (66, 37), (5, 90)])
@pytest.mark.parametrize("changes", [{}, HYBRID])
@torch.no_grad()
def test_every_output_equals_transformers(tmp_path, changes, size):
    pixels = torch.randn(2, 3, *size)
    ours, theirs = pair(tmp_path / "backbone", **changes)
    a, b = ours(pixels, output_hidden_states=True), theirs(pixels, output_hidden_states=True)
    assert len(a.hidden_states) == 4
    for one, other in zip(a.feature_maps + a.hidden_states, b.feature_maps + tuple(b.hidden_states), strict=True):
        assert distance(one, other) <= 1e-4
    ours, theirs = pair(tmp_path / "model", BitModel, **changes)
    for form in (False, True):
        a, b = (model(pixels, output_hidden_states=True, return_dict=form) for model in (ours, theirs))
        assert len(a) == len(b) == 3
        for one, other in zip((a[0], a[1], *a[2]), (b[0], b[1], *b[2]), strict=True):
            assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("layer_type", ["preactivation", "bottleneck"])
@pytest.mark.parametrize("global_padding", [None, "same"])
@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_dynamic_padding": False, "hidden_act": "silu", "num_channels": 4},
        {"embedding_dynamic_padding": True, "output_stride": 8},
        {"embedding_dynamic_padding": True, "output_stride": 4, "num_groups": 8},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, layer_type, global_padding, changes):
    ours, theirs = pair(tmp_path, layer_type=layer_type, global_padding=global_padding, **changes)
    pixels = torch.randn(1, changes.get("num_channels", 3), 33, 46)
    for one, other in zip(ours(pixels).feature_maps, theirs(pixels).feature_maps, strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("layer_type", ["preactivation", "bottleneck"])
@pytest.mark.parametrize("name", ["BitModel", "BitBackbone", "BitForImageClassification"])
@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path, name, layer_type):
    theirs = getattr(transformers, name)(transformers.BitConfig(**SHAPE | {"layer_type": layer_type})).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 33, 47)
    expected = getattr(theirs, "bit", theirs)(pixels, output_hidden_states=True).hidden_states
    for ours in (AutoBackbone.from_pretrained(tmp_path), BitModel.from_pretrained(tmp_path)):
        for one, other in zip(ours(pixels, output_hidden_states=True).hidden_states, expected, strict=True):
            assert distance(one, other) <= 1e-4


@torch.no_grad()
def test_the_backbone_of_a_hybrid_loads_alone(tmp_path):
    config = transformers.DPTConfig(
        is_hybrid=True,
        backbone_config={"model_type": "bit", **SHAPE, **HYBRID, "out_features": ["stage1", "stage2", "stage3"]},
        backbone_featmap_shape=[1, 32, 4, 4],
        neck_hidden_sizes=[16, 48, 8, 8],
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=8,
        backbone_out_indices=[0, 0, 0, 1],
        fusion_hidden_size=8,
        image_size=64,
    )
    theirs = transformers.DPTForDepthEstimation(config).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    ours, pixels = AutoBackbone.from_pretrained(tmp_path), torch.randn(1, 3, 40, 30)
    expected = theirs.dpt.embeddings.backbone(pixels).feature_maps
    for one, other in zip(ours(pixels).feature_maps, expected, strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("changes", [{}, HYBRID])
def test_gradients_equal_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, BitModel, **changes)
    pixels = torch.randn(2, 3, 34, 47)
    for model in (ours, theirs):
        model.train()
        model(pixels).pooler_output.square().mean().backward()
    for name, parameter in theirs.named_parameters():
        scale = parameter.grad.abs().max().clamp(min=1e-5)
        assert ((ours.get_parameter(name).grad - parameter.grad).abs().max() / scale) < 1e-3, name


@torch.no_grad()
def test_widths_there():
    pixels = torch.randn(1, 3, 32, 32)
    with pytest.raises(RuntimeError):  # the last norm is made for the width without the factor
        transformers.BitModel(transformers.BitConfig(**SHAPE, width_factor=2))(pixels)
    wide = transformers.BitBackbone(transformers.BitConfig(**SHAPE, width_factor=2, layer_type="bottleneck"))
    assert wide.channels == [16, 16, 32] and wide(pixels).feature_maps[1].shape[1] == 32
    with pytest.raises(RuntimeError):  # so is it for a width that no depth belongs to
        transformers.BitModel(transformers.BitConfig(**SHAPE | {"depths": [1, 1], "out_features": ["stage2"]}))(pixels)


@torch.no_grad()
def test_paddings_there():
    pixels = torch.randn(1, 3, 32, 32)
    with pytest.raises(RuntimeError):  # a map and its shortcut differ in size
        transformers.BitModel(transformers.BitConfig(**SHAPE, global_padding="valid"))(pixels)
    with pytest.raises(RuntimeError):  # a pooling of less than its window
        transformers.BitModel(transformers.BitConfig(**SHAPE, global_padding="same"))(pixels[..., :4])
