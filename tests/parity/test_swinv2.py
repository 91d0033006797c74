"""Swin v2 against transformers: the same random weights, odd sizes, batches, hidden states, attentions, saved files."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.swinv2 import Swinv2Backbone, Swinv2Config, Swinv2Model

SHAPE = {
    "image_size": 64,
    "embed_dim": 12,
    "depths": [2, 1, 3],
    "num_heads": [2, 3, 4],
    "window_size": 3,
    "out_features": ["stem", "stage1", "stage3"],
}
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def sharpen(model, largest):
    """Set the scales of the cosines, as logarithms."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale"):
                parameter.copy_(torch.linspace(1, largest, len(parameter)).reshape(-1, 1, 1))


def pair(folder, ours_class=Swinv2Backbone, largest=3, **changes):
    ours = ours_class(Swinv2Config(**SHAPE | changes)).eval()
    randomise(ours)
    sharpen(ours, largest)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, ours_class.__name__).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    return ours, theirs.eval()


def distance(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("window", [3, 4])
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 90)])
@torch.no_grad()
def test_a_backbone_equals_transformers(tmp_path, size, window):
    ours, theirs = pair(tmp_path, window_size=window)
    pixels = torch.randn(2, 3, *size)
    a, b = ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING)
    assert list(a.keys()) == list(b.keys())
    for name in list(a.keys()):
        for one, other in zip(a[name], b[name], strict=True):
            assert distance(one, other) <= 1e-4
    fused = ours(pixels)  # the way that keeps no weights
    assert list(fused.keys()) == ["feature_maps"]
    for one, other in zip(fused.feature_maps, b.feature_maps, strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("changes", [{"window_size": 4}, {"window_size": 5, "image_size": [40, 80]}])
@torch.no_grad()
def test_the_largest_scales_equal_transformers(tmp_path, changes):
    """Beyond the limit of the scale; scores that large show how the masks count, and ask for more than 32 bits."""
    ours, theirs = (model.double() for model in pair(tmp_path, largest=6, **changes))
    pixels = torch.randn(1, 3, 64, 44, dtype=torch.float64)
    a, b = ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING)
    for name in list(a.keys()):
        for one, other in zip(a[name], b[name], strict=True):
            assert distance(one, other) <= 1e-9
    for one, other in zip(ours(pixels).feature_maps, b.feature_maps, strict=True):
        assert distance(one, other) <= 1e-9


@pytest.mark.parametrize("size", [(64, 64), (65, 40)])
@torch.no_grad()
def test_a_model_equals_transformers(tmp_path, size):
    ours, theirs = pair(tmp_path, Swinv2Model)
    pixels = torch.randn(2, 3, *size)
    a, b = ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING)
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
        {"qkv_bias": False, "hidden_act": "relu", "mlp_ratio": 2.5, "pretrained_window_sizes": [2, 5, 0]},
        {"num_channels": 4, "patch_size": [2, 4], "layer_norm_eps": 1e-2},
        {"window_size": 1},
        {"window_size": 5, "image_size": 40, "pretrained_window_sizes": [3, 3, 3, 3]},
        {"window_size": 5, "image_size": [40, 80]},
        {"window_size": 8, "image_size": [80, 40]},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, **changes)
    pixels = torch.randn(1, changes.get("num_channels", 3), 50, 44)
    a, b = ours(pixels, output_hidden_states=True), theirs(pixels, output_hidden_states=True)
    for one, other in zip(a.hidden_states, b.hidden_states, strict=True):
        assert distance(one, other) <= 1e-4


@torch.no_grad()
def test_masked_patches_equal_transformers(tmp_path):
    ours = Swinv2Model(Swinv2Config(**SHAPE), use_mask_token=True).eval()
    randomise(ours)
    ours.save_pretrained(tmp_path)
    theirs = transformers.Swinv2Model.from_pretrained(tmp_path, use_mask_token=True).eval()
    pixels, masked = torch.randn(2, 3, 40, 30), torch.rand(2, 80) < 0.4
    a, b = (model(pixels, masked).last_hidden_state for model in (ours, theirs))
    assert distance(a, b) <= 1e-4
    assert distance(a, ours(pixels).last_hidden_state) > 1e-2


@pytest.mark.parametrize("name", ["Swinv2Model", "Swinv2Backbone", "Swinv2ForImageClassification"])
@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path, name):
    theirs = getattr(transformers, name)(transformers.Swinv2Config(**SHAPE)).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 33, 47)
    if name != "Swinv2Backbone":
        expected = getattr(theirs, "swinv2", theirs)(pixels).last_hidden_state
        assert distance(Swinv2Model.from_pretrained(tmp_path)(pixels).last_hidden_state, expected) <= 1e-4
        theirs = transformers.Swinv2Backbone.from_pretrained(tmp_path).eval()
    for one, other in zip(
        AutoBackbone.from_pretrained(tmp_path)(pixels).feature_maps, theirs(pixels).feature_maps, strict=True
    ):
        assert distance(one, other) <= 1e-4


@torch.no_grad()
def test_what_older_versions_saved_loads_here(tmp_path):
    """Before version 5 the files had the coordinates and the indices of the biases."""
    ours = Swinv2Model(Swinv2Config(**SHAPE)).eval()
    state = ours.state_dict()
    for name in [name for name in state if name.endswith("logit_scale")]:
        state[name.replace("logit_scale", "relative_coords_table")] = torch.zeros(1, 5, 5, 2)
        state[name.replace("logit_scale", "relative_position_index")] = torch.zeros(9, 9, dtype=torch.int64)
    ours.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    pixels = torch.randn(1, 3, 20, 20)
    loaded = Swinv2Model.from_pretrained(tmp_path)
    assert distance(loaded(pixels).last_hidden_state, ours(pixels).last_hidden_state) == 0


def test_gradients_equal_transformers(tmp_path):
    ours, theirs = pair(tmp_path, Swinv2Model, drop_path_rate=0.0)
    pixels = torch.randn(2, 3, 33, 47)
    for model in (ours, theirs):
        model.train()
        model(pixels).pooler_output.square().mean().backward()
    for name, parameter in theirs.named_parameters():
        scale = parameter.grad.abs().max().clamp(min=1e-6)
        assert ((ours.get_parameter(name).grad - parameter.grad).abs().max() / scale) < 1e-3, name


@torch.no_grad()
def test_absolute_positions_fail_there():
    pixels = torch.randn(1, 3, 64, 64)
    model = transformers.Swinv2Model(transformers.Swinv2Config(**SHAPE, use_absolute_embeddings=True)).eval()
    for resample in (False, True):
        with pytest.raises((RuntimeError, TypeError)):
            model(pixels, interpolate_pos_encoding=resample)


@torch.no_grad()
def test_small_image_sizes_and_short_lists_fail_there():
    config = transformers.Swinv2Config(**SHAPE | {"image_size": 12})
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        transformers.Swinv2Model(config)(torch.randn(1, 3, 64, 64))
    with pytest.raises(IndexError):
        transformers.Swinv2Model(transformers.Swinv2Config(**SHAPE, pretrained_window_sizes=[3]))
    with pytest.raises(ValueError, match="is not a multiple of the number of attention heads"):
        transformers.Swinv2Model(transformers.Swinv2Config(**SHAPE | {"num_heads": [5, 3, 4]}))
