"""One test over every row of the table, and the ways to a backbone."""

from importlib import import_module

import pytest
import torch

from models.toy import ToyConfig
from perpixel.backbones import BACKBONES, AutoBackbone, config_from_dict
from perpixel.backbones.base import Backbone, BackboneConfig
from perpixel.backbones.vit import ViTBackbone, ViTConfig
from perpixel.backbones.vitdet import VitDetBackbone, VitDetConfig
from perpixel.errors import ConfigError

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


@pytest.mark.parametrize("model_type", BACKBONES)
def test_each_row_names_what_is_there(model_type):
    module, config_name, backbone_name = BACKBONES[model_type]
    config_class = getattr(import_module(module), config_name)
    backbone_class = getattr(import_module(module), backbone_name)
    assert issubclass(config_class, BackboneConfig)
    assert issubclass(backbone_class, Backbone)
    assert config_class.model_type == model_type
    assert backbone_class.config_class is config_class
    assert type(config_from_dict({"model_type": model_type})) is config_class


@pytest.mark.parametrize(("config_class", "backbone_class"), [(ViTConfig, ViTBackbone), (VitDetConfig, VitDetBackbone)])
def test_every_transformer(tmp_path, config_class, backbone_class):
    config = config_class(**SMALL, out_features=["stage1", "stage2"])
    backbone = AutoBackbone.from_config(config).eval()
    assert type(backbone) is backbone_class
    pixels = torch.randn(2, 3, 40, 24)
    maps = backbone(pixels).feature_maps
    assert [part.shape[1] for part in maps] == backbone.channels == [16, 16]
    assert [tuple(part.shape[2:]) for part in maps] == [(5, 3)] * 2
    assert list(backbone.out_feature_channels) == ["stem", "stage1", "stage2"]
    backbone.save_pretrained(tmp_path)
    loaded = AutoBackbone.from_pretrained(tmp_path)
    assert type(loaded) is backbone_class
    assert loaded.config == config
    for one, other in zip(maps, loaded(pixels).feature_maps, strict=True):
        assert torch.equal(one, other)
    chosen = AutoBackbone.from_pretrained(tmp_path, out_indices=[0], dtype=torch.bfloat16)
    assert chosen.out_features == ["stem"]
    assert chosen.dtype == torch.bfloat16
    assert not loaded.training


def test_the_backbone_of_a_larger_model(tmp_path):
    from perpixel.models.vitmatte.config import VitMatteConfig
    from perpixel.models.vitmatte.model import VitMatteForImageMatting

    config = VitMatteConfig(
        hidden_size=16,
        convstream_hidden_sizes=[4, 4],
        fusion_hidden_sizes=[8, 4, 4],
        backbone_config=VitDetConfig(**SMALL, num_channels=4),
    )
    model = VitMatteForImageMatting(config)
    model.save_pretrained(tmp_path)
    backbone = AutoBackbone.from_pretrained(tmp_path)
    assert type(backbone) is VitDetBackbone
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, model.backbone.state_dict()[key])
    assert AutoBackbone.from_config(config).channels == [16]


@pytest.mark.parametrize("values", [{"model_type": "resnext"}, {}, {"model_type": None}])
def test_an_unknown_type_lists_the_known(values):
    with pytest.raises(ConfigError, match=f"choose {', '.join(BACKBONES)}$"):
        config_from_dict(values)


def test_other_misuse():
    with pytest.raises(ConfigError, match=r"call AutoBackbone\.from_config"):
        AutoBackbone()
    with pytest.raises(ConfigError, match="'toy'"):
        AutoBackbone.from_config(ToyConfig())
    with pytest.raises(ConfigError, match="out_feature'"):
        config_from_dict({"model_type": "vit"}, out_feature=["stem"])
