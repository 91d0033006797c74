"""timm models as backbones, and what is said where timm is missing."""

import sys

import pytest
import torch

from perpixel.backbones import AutoBackbone
from perpixel.backbones.timm import TimmBackbone, TimmBackboneConfig
from perpixel.errors import CheckpointError, ConfigError, InputError, MissingDependencyError


def build(**options):
    return TimmBackbone(TimmBackboneConfig("resnet10t", **options)).eval()


@pytest.mark.parametrize(
    ("choice", "features", "channels"),
    [
        ({}, ["layer4"], [512]),
        ({"out_indices": [1, -1]}, ["layer1", "layer4"], [64, 512]),
        ({"out_features": ["act1", "layer3"]}, ["act1", "layer3"], [64, 256]),
        ({"out_features": ["layer3"], "out_indices": [3]}, ["layer3"], [256]),
    ],
)
@torch.no_grad()
def test_the_chosen_stages_are_those_of_timm(timm, choice, features, channels):
    backbone = build(**choice)
    assert backbone.out_features == features
    assert backbone.channels == channels
    reference = timm.create_model("resnet10t", features_only=True).eval()
    reference.load_state_dict({**reference.state_dict(), **backbone._backbone.state_dict()})
    pixels = torch.randn(2, 3, 64, 96)
    expected = reference(pixels)
    maps = backbone(pixels).feature_maps
    assert len(maps) == len(features)
    for index, part in zip(backbone.out_indices, maps, strict=True):
        assert torch.equal(part, expected[index])
        assert part.shape[1] == backbone.num_features[index]


@pytest.mark.slow
@torch.no_grad()
def test_channels_come_second_whatever_timm_does(timm):
    swin = TimmBackbone(TimmBackboneConfig("swin_tiny_patch4_window7_224", out_indices=[0, 3])).eval()
    maps = swin(torch.randn(1, 3, 224, 224)).feature_maps
    assert [tuple(part.shape) for part in maps] == [(1, 96, 56, 56), (1, 768, 7, 7)]
    assert swin.channels == [96, 768]


@torch.no_grad()
def test_save_and_load(timm, tmp_path):
    backbone = build(out_features=["layer1", "layer2"], num_channels=4)
    backbone.save_pretrained(tmp_path)
    loaded = AutoBackbone.from_pretrained(tmp_path)
    assert type(loaded) is TimmBackbone
    assert loaded.config == backbone.config
    pixels = torch.randn(1, 4, 32, 32)
    for one, other in zip(backbone(pixels).feature_maps, loaded(pixels).feature_maps, strict=True):
        assert torch.equal(one, other)
    assert AutoBackbone.from_pretrained(tmp_path, out_indices=[1, 2]).out_features == ["layer1", "layer2"]


def test_frozen_batch_norms_stay(timm):
    pixels = torch.randn(2, 3, 32, 32) + 3
    for freeze in (False, True):
        backbone = TimmBackbone(TimmBackboneConfig("regnetx_002", freeze_batch_norm_2d=freeze)).train()
        before = {key: tensor.clone() for key, tensor in backbone.state_dict().items() if "running" in key}
        backbone(pixels)
        after = backbone.state_dict()
        assert len(before) > 10
        assert all(torch.equal(after[key], before[key]) for key in before) == freeze


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backbone": "resnet9000"}, "timm cannot build 'resnet9000'"),
        ({"backbone": "resnet10t", "out_indices": [9]}, "timm cannot build 'resnet10t'"),
        ({"backbone": "resnet10t", "out_features": ["layer9"]}, "no stages of this backbone"),
        ({}, "name a timm model"),
    ],
)
def test_bad_configs(timm, config, message):
    with pytest.raises(ConfigError, match=message):
        TimmBackbone(TimmBackboneConfig(**config))


def test_what_timm_does_not_give(timm):
    with pytest.raises(InputError, match="no hidden states or attentions"):
        build()(torch.zeros(1, 3, 32, 32), output_attentions=True)
    with pytest.raises(ConfigError, match="features_only is False"):
        TimmBackboneConfig("resnet10t", features_only=False)


def test_pretrained_weights_without_a_network(timm, monkeypatch):
    built = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no route to host")
        return built(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match="timm cannot fetch the weights of 'resnet10t'"):
        AutoBackbone.from_pretrained("resnet10t", use_timm_backbone=True)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "perpixel\[timm\]"'):
        TimmBackbone(TimmBackboneConfig("resnet10t"))


def test_the_config_needs_no_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    config = TimmBackboneConfig("resnet10t", out_features=["layer1"])
    assert TimmBackboneConfig.from_dict(config.to_dict()) == config
    assert AutoBackbone.config_from_pretrained("resnet10t", use_timm_backbone=True, out_indices=[2]).out_indices == [2]
