"""ResNet: configuration, sizes, training, errors. What it computes is compared in tests/parity."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.resnet import ResNetBackbone, ResNetConfig, ResNetModel
from perpixel.errors import ConfigError, InputError

SHAPE = {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 2]}


def tiny(cls=ResNetBackbone, **changes):
    model = cls(ResNetConfig(**SHAPE | changes)).eval()
    randomise(model)
    return model


def test_defaults_are_those_of_transformers():
    theirs = transformers.ResNetConfig().to_dict()
    ours = ResNetConfig().to_dict()
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: theirs.get(name) for name in names}
    assert ResNetConfig.from_dict(theirs) == ResNetConfig()
    assert transformers.ResNetConfig(**ours).to_dict() == theirs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depths": [1]}, r"depths is \[1\] and hidden_sizes is \[8, 16\]: both need one positive number for each"),
        ({"depths": [1, 0]}, r"depths is \[1, 0\]"),
        ({"hidden_sizes": [2, 16]}, r"hidden_sizes \[2, 16\]: the first two have to be at least 1, the others 4"),
        ({"embedding_size": 0}, "embedding_size 0"),
        ({"layer_type": "wide"}, "layer_type='wide'"),
        ({"depth": [1]}, "no argument 'depth': did you mean 'depths'"),
    ],
)
def test_configurations_that_contradict_themselves(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ResNetConfig(**SHAPE | wrong)


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    batch=st.integers(1, 2),
    layer_type=st.sampled_from(["basic", "bottleneck"]),
    early=st.booleans(),
)
@torch.no_grad()
def test_maps_of_every_size(height, width, batch, layer_type, early):
    backbone = tiny(layer_type=layer_type, downsample_in_first_stage=early, out_indices=[0, 1, 2])
    maps = backbone(torch.randn(batch, 3, height, width)).feature_maps
    strides = (4, 8, 16) if early else (4, 4, 8)
    assert [tuple(part.shape) for part in maps] == [
        (batch, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(backbone.channels, strides, strict=True)
    ]
    assert all(part.isfinite().all() for part in maps)


@torch.no_grad()
def test_a_batch_equals_its_images_alone():
    backbone = tiny()
    pixels = torch.randn(3, 3, 30, 41)
    together = backbone(pixels).feature_maps[0]
    for i in range(3):
        assert (backbone(pixels[i : i + 1]).feature_maps[0] - together[i]).abs().max() < 1e-5


@torch.no_grad()
def test_where_a_bottleneck_halves_the_map():
    late, early = (tiny(downsample_in_bottleneck=value) for value in (False, True))
    strides = [
        [part.convolution.stride[0] for part in model.encoder.stages[1].layers[0].layer] for model in (late, early)
    ]
    assert strides == [[1, 2, 1], [2, 1, 1]]
    assert late.encoder.stages[1].layers[1].shortcut is None
    early.load_state_dict(late.state_dict())
    pixels = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(late(pixels).feature_maps[0], early(pixels).feature_maps[0])


def test_new_weights_keep_the_scale():
    torch.manual_seed(0)
    model = ResNetModel(ResNetConfig(embedding_size=32, hidden_sizes=[64, 128], depths=[1, 1]))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.weight.unique().tolist() == [1] and module.bias.unique().tolist() == [0]
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_gradients_reach_everything():
    model = tiny(ResNetModel).train()
    model(torch.randn(2, 3, 32, 32)).pooler_output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_tuples_names_and_types(tmp_path):
    backbone = tiny(out_features=["stage1"])
    pixels = torch.randn(1, 3, 16, 16)
    assert not backbone.has_attentions
    assert backbone(pixels, output_attentions=True).attentions is None
    assert len(backbone(pixels, return_dict=False)) == 1
    assert len(backbone(pixels, output_hidden_states=True, return_dict=False)[1]) == 3
    backbone.save_pretrained(tmp_path)
    loaded = AutoBackbone.from_pretrained(tmp_path, out_indices=[0, 2], dtype="bfloat16")
    assert loaded.channels == [4, 16]
    assert loaded(pixels).feature_maps[1].dtype == torch.bfloat16
    model = tiny(ResNetModel)
    assert len(model(pixels, return_dict=False)) == 2
    assert model(pixels).hidden_states is None


@pytest.mark.parametrize("pixels", [torch.zeros(1, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 0)])
def test_bad_pixels(pixels):
    with pytest.raises(InputError, match=r"it has to be \(b, 3, H, W\)"):
        tiny()(pixels)
