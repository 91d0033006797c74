"""ResNet against transformers: the same random weights, odd sizes, batches, hidden states, saved files."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.resnet import ResNetBackbone, ResNetConfig, ResNetModel

SHAPE = {
    "embedding_size": 6,
    "hidden_sizes": [8, 16, 24],
    "depths": [2, 1, 3],
    "out_features": ["stem", "stage1", "stage3"],
}


def pair(folder, ours_class=ResNetBackbone, **changes):
    ours = ours_class(ResNetConfig(**SHAPE | changes)).eval()
    randomise(ours)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, ours_class.__name__).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    return ours, theirs.eval()


def distance(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (65, 40), (1, 1), (1, 90)])
@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
@torch.no_grad()
def test_every_output_equals_transformers(tmp_path, layer_type, size):
    pixels = torch.randn(2, 3, *size)
    ours, theirs = pair(tmp_path / "backbone", layer_type=layer_type)
    a, b = ours(pixels, output_hidden_states=True), theirs(pixels, output_hidden_states=True)
    assert len(a.hidden_states) == 4
    for one, other in zip(a.feature_maps + a.hidden_states, b.feature_maps + tuple(b.hidden_states), strict=True):
        assert distance(one, other) <= 1e-4
    ours, theirs = pair(tmp_path / "model", ResNetModel, layer_type=layer_type)
    for form in (False, True):
        a, b = (model(pixels, output_hidden_states=True, return_dict=form) for model in (ours, theirs))
        assert len(a) == len(b) == 3
        for one, other in zip((a[0], a[1], *a[2]), (b[0], b[1], *b[2]), strict=True):
            assert distance(one, other) <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"downsample_in_first_stage": True, "num_channels": 4},
        {"downsample_in_bottleneck": True},
        {"downsample_in_bottleneck": True, "downsample_in_first_stage": True, "embedding_size": 8},
        {"layer_type": "basic", "downsample_in_first_stage": True, "embedding_size": 8, "hidden_act": "silu"},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, **changes)
    pixels = torch.randn(2, changes.get("num_channels", 3), 33, 47)
    for one, other in zip(ours(pixels).feature_maps, theirs(pixels).feature_maps, strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("name", ["ResNetModel", "ResNetBackbone", "ResNetForImageClassification"])
@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path, name):
    theirs = getattr(transformers, name)(transformers.ResNetConfig(**SHAPE)).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 33, 47)
    expected = getattr(theirs, "resnet", theirs)(pixels, output_hidden_states=True).hidden_states
    for ours in (AutoBackbone.from_pretrained(tmp_path), ResNetModel.from_pretrained(tmp_path)):
        for one, other in zip(ours(pixels, output_hidden_states=True).hidden_states, expected, strict=True):
            assert distance(one, other) <= 1e-4


def test_training_equals_transformers(tmp_path):
    """Batch norms take the batch's statistics and keep a running mean of them."""
    ours, theirs = pair(tmp_path, ResNetModel)
    pixels = torch.randn(3, 3, 64, 64)
    for model in (ours, theirs):
        model.train()
        model(pixels).pooler_output.square().mean().backward()
    for name, buffer in theirs.named_buffers():
        assert distance(ours.get_buffer(name).float(), buffer.float()) <= 1e-4, name
    for name, parameter in theirs.named_parameters():
        scale = parameter.grad.abs().max().clamp(min=1e-5)
        assert ((ours.get_parameter(name).grad - parameter.grad).abs().max() / scale) < 1e-3, name
