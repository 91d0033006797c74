"""BiT: configuration, sizes, standardised weights, training, errors. What it computes is compared in tests/parity."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.bit import BitBackbone, BitConfig, BitConv, BitModel, same_padding
from perpixel.errors import ConfigError, InputError

SHAPE = {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 2], "num_groups": 4}
HYBRID = {"layer_type": "bottleneck", "global_padding": "same", "embedding_dynamic_padding": True}


def tiny(cls=BitBackbone, **changes):
    model = cls(BitConfig(**SHAPE | changes)).eval()
    randomise(model)
    return model


def test_defaults_are_those_of_transformers():
    theirs = transformers.BitConfig().to_dict()
    ours = BitConfig().to_dict()
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: theirs.get(name) for name in names}
    assert BitConfig.from_dict(theirs) == BitConfig()
    assert transformers.BitConfig(**ours).to_dict() == theirs
    assert BitConfig(global_padding="same") == BitConfig(global_padding="SAME")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depths": [1, 1, 1]}, r"depths is \[1, 1, 1\] and hidden_sizes is \[16, 24\]: both need one positive number"),
        ({"depths": [1, 0]}, r"depths is \[1, 0\]"),
        ({"num_groups": 3}, "num_groups is 3 but a norm has 8 channels: it must divide them"),
        ({"num_groups": 0}, "num_groups is 0: it has to be at least 1"),
        ({"global_padding": "valid"}, "global_padding is 'valid': use 'same' or None"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0: it has to be at least 0 and below 1"),
        ({"output_stride": 0}, "output_stride is 0"),
        ({"layer_type": "basic"}, "layer_type='basic'"),
        ({"depth": [1]}, "no argument 'depth': did you mean 'depths'"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        BitConfig(**SHAPE | wrong)


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    batch=st.integers(1, 2),
    layer_type=st.sampled_from(["preactivation", "bottleneck"]),
    same=st.booleans(),
    output_stride=st.sampled_from([4, 32]),
)
@torch.no_grad()
def test_maps_of_every_size(height, width, batch, layer_type, same, output_stride):
    padding = {"global_padding": "same" if same else None, "embedding_dynamic_padding": same}
    backbone = tiny(layer_type=layer_type, output_stride=output_stride, out_indices=[0, 1, 2], **padding)
    maps = backbone(torch.randn(batch, 3, height, width)).feature_maps
    strides = (4, 4, min(8, output_stride))
    assert [tuple(part.shape) for part in maps] == [
        (batch, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(backbone.channels, strides, strict=True)
    ]
    assert all(part.isfinite().all() for part in maps)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 40), kernel=st.sampled_from([1, 3, 7]), stride=st.integers(1, 3), dilation=st.integers(1, 2))
def test_same_padding_is_that_of_tensorflow(size, kernel, stride, dilation):
    before, after = same_padding(size, kernel, stride, dilation)
    assert 0 <= before <= after <= before + 1
    line = torch.zeros(1, 1, size + before + after)
    assert functional.conv1d(line, torch.zeros(1, 1, kernel), None, stride, 0, dilation).shape[2] == -(-size // stride)


@torch.no_grad()
def test_only_differences_between_weights_count():
    conv = BitConv(BitConfig(**SHAPE), 4, 6, kernel=3)
    x = torch.randn(1, 4, 9, 7)
    expected = conv(x)
    rows = conv.weight.flatten(1)
    standard = (rows - rows.mean(1, keepdim=True)) / rows.std(1, correction=0, keepdim=True)
    assert torch.allclose(expected, functional.conv2d(x, standard.view_as(conv.weight), padding=1), atol=1e-4)
    conv.weight.mul_(3.0).add_(0.5)
    assert torch.allclose(conv(x), expected, atol=1e-4)


@torch.no_grad()
def test_the_widths_that_a_factor_and_missing_depths_make():
    wide = tiny(width_factor=2, out_indices=[1, 2])
    assert wide.channels == [32, 48]
    assert [part.shape[1] for part in wide(torch.randn(1, 3, 32, 32)).feature_maps] == [32, 48]
    assert tiny(BitModel, width_factor=2)(torch.randn(1, 3, 32, 32)).last_hidden_state.shape == (1, 48, 4, 4)
    short = tiny(BitModel, hidden_sizes=[16, 24, 2048])
    assert short(torch.randn(1, 3, 32, 32)).last_hidden_state.shape == (1, 24, 4, 4)
    assert [BitConfig(hidden_sizes=[n], depths=[1], num_groups=1).widths[0] for n in (1, 19, 20, 70)] == [8, 24, 24, 72]


@pytest.mark.parametrize("changes", [{}, HYBRID])
@torch.no_grad()
def test_a_batch_equals_its_images_alone_and_inputs_stay(changes):
    backbone = tiny(out_indices=[0, 1, 2], **changes)
    pixels = torch.randn(2, 3, 30, 41)
    kept = pixels.clone()
    together = backbone(pixels).feature_maps
    assert torch.equal(pixels, kept)
    for i in range(2):
        for alone, part in zip(backbone(pixels[i : i + 1]).feature_maps, together, strict=True):
            assert (alone - part[i]).abs().max() < 1e-4


@pytest.mark.parametrize("changes", [{}, HYBRID])
def test_gradients_reach_everything_and_whole_layers_are_dropped(changes):
    model = tiny(BitModel, drop_path_rate=0.9, **changes).train()
    rates = [layer.drop_rate for stage in model.encoder.stages for layer in stage.layers]
    assert rates == pytest.approx([0, 0.45, 0.9])
    pixels = torch.randn(1, 3, 32, 32)
    torch.manual_seed(0)
    assert len({round(model(pixels).pooler_output.sum().item(), 4) for _ in range(8)}) > 1
    for stage in model.encoder.stages:
        for layer in stage.layers:
            layer.drop_rate = 0.0
    model(pixels).pooler_output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_tuples_names_and_types(tmp_path):
    backbone = tiny(out_features=["stage1"], **HYBRID)
    pixels = torch.randn(1, 3, 16, 16)
    assert not backbone.has_attentions
    assert backbone(pixels, output_attentions=True).attentions is None
    assert len(backbone(pixels, return_dict=False)) == 1
    assert len(backbone(pixels, output_hidden_states=True, return_dict=False)[1]) == 3
    backbone.save_pretrained(tmp_path)
    loaded = AutoBackbone.from_pretrained(tmp_path, out_indices=[0, 2], dtype="bfloat16")
    assert loaded.channels == [8, 24]
    assert loaded(pixels).feature_maps[1].dtype == torch.bfloat16
    model = tiny(BitModel)
    assert len(model(pixels, return_dict=False)) == 2
    assert model(pixels).hidden_states is None


@pytest.mark.parametrize("pixels", [torch.zeros(1, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 0)])
def test_bad_pixels(pixels):
    with pytest.raises(InputError, match=r"it has to be \(b, 3, H, W\)"):
        tiny()(pixels)


@torch.no_grad()
def test_too_small_for_a_pooling_without_padding():
    backbone = tiny(global_padding="same")
    assert backbone(torch.zeros(1, 3, 5, 9)).feature_maps[0].shape == (1, 24, 1, 1)
    with pytest.raises(InputError, match=r"pixel_values is 9×4 .*needs at least 5×5, enlarge the image"):
        backbone(torch.zeros(1, 3, 4, 9))
