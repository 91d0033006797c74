"""ViTMatte's configuration: defaults, forms of the backbone, contradictions."""

import json

import pytest

from models.vitmatte.tiny import tiny_config, tiny_model
from perpixel.backbones.vit import ViTConfig
from perpixel.backbones.vitdet import VitDetConfig
from perpixel.errors import ConfigError
from perpixel.models.vitmatte.config import VitMatteConfig


def test_the_defaults_are_the_documented_ones():
    config = VitMatteConfig()
    assert (config.hidden_size, config.batch_norm_eps, config.initializer_range) == (384, 1e-5, 0.02)
    assert config.convstream_hidden_sizes == [48, 96, 192]
    assert config.fusion_hidden_sizes == [256, 128, 64, 32]
    backbone = config.backbone_config
    assert isinstance(backbone, VitDetConfig)
    assert (backbone.num_channels, backbone.hidden_size, backbone.num_attention_heads) == (4, 384, 6)
    assert (backbone.window_size, backbone.image_size) == (14, 512)
    # Of twelve layers, every third attends globally and is followed by a residual block.
    assert backbone.window_block_indices == [0, 1, 3, 4, 6, 7, 9, 10]
    assert backbone.residual_block_indices == [2, 5, 8, 11]
    assert backbone.out_features == ["stage12"]


def test_lists_and_tuples_are_the_same():
    tuples = VitMatteConfig(convstream_hidden_sizes=(48, 96, 192), fusion_hidden_sizes=(256, 128, 64, 32))
    assert tuples == VitMatteConfig()
    assert tuples.fusion_hidden_sizes == [256, 128, 64, 32]


def test_a_backbone_may_be_a_config_or_its_dictionary():
    config = tiny_config()
    as_dictionary = VitMatteConfig.from_dict(json.loads(config.to_json_string()))
    assert as_dictionary == config
    assert isinstance(as_dictionary.backbone_config, VitDetConfig)
    plain = VitMatteConfig({"model_type": "vit", "num_channels": 4}, hidden_size=768)
    assert isinstance(plain.backbone_config, ViTConfig)


def test_a_named_backbone_gives_its_config(tmp_path):
    tiny_model().backbone.save_pretrained(tmp_path)
    config = VitMatteConfig(
        backbone=str(tmp_path),
        backbone_kwargs={"out_features": ["stage1"]},
        hidden_size=16,
    )
    assert config.backbone_config.out_features == ["stage1"]
    assert config.backbone_config.window_size == 2
    # What is saved stands alone: the named folder is not needed again.
    saved = config.to_dict()
    assert "backbone" not in saved and saved["backbone_config"]["hidden_size"] == 16
    assert VitMatteConfig.from_dict(saved).backbone_config == config.backbone_config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hiden_size": 8}, "no argument 'hiden_size': did you mean 'hidden_size'"),
        ({"fusion_hidden_size": [1]}, "did you mean 'fusion_hidden_sizes'"),
        ({"hidden_size": "384"}, "hidden_size='384'.*int"),
        ({"convstream_hidden_sizes": 48}, "convstream_hidden_sizes=48"),
        ({"backbone_config": {"model_type": "vitdt"}}, "no backbone of model_type 'vitdt': choose .*vitdet"),
        ({"backbone_config": VitDetConfig(), "backbone": "x"}, "both backbone_config and backbone"),
        ({"backbone_config": VitDetConfig(), "backbone_kwargs": {"a": 1}}, "backbone_kwargs goes with backbone"),
        ({"use_pretrained_backbone": True}, "use_pretrained_backbone is True but no backbone"),
        ({"use_timm_backbone": True}, "use_timm_backbone is True but no backbone"),
        ({"fusion_hidden_sizes": [8, 8]}, "fusion_hidden_sizes has 2 sizes and convstream_hidden_sizes has 3"),
        ({"convstream_hidden_sizes": []}, "fusion_hidden_sizes has 4 .* has 0: the fusion needs exactly one more"),
        ({"backbone_kwargs": {"out_indices": [1]}}, "backbone_kwargs .* no backbone"),
    ],
)
def test_what_contradicts_or_does_not_exist(wrong, message):
    with pytest.raises(ConfigError, match=message):
        VitMatteConfig(**wrong)


def test_a_config_of_another_model():
    with pytest.raises(ConfigError, match="config of a 'dpt' model, VitMatteConfig reads 'vitmatte'"):
        VitMatteConfig.from_dict({"model_type": "dpt"})
