import json

import pytest

from models.dpt.tiny import BEIT, DINOV2, HYBRID, NECK, SWINV2, tiny_config
from perpixel.backbones.bit import BitConfig
from perpixel.backbones.dinov2 import Dinov2Config
from perpixel.errors import ConfigError
from perpixel.models.dpt.config import DPTConfig


@pytest.mark.parametrize("values", [{}, HYBRID, {**NECK, "backbone_config": DINOV2}])
def test_a_config_survives_json(values):
    config = tiny_config(values, num_labels=3)
    assert DPTConfig.from_dict(json.loads(config.to_json_string())) == config


def test_the_hybrid_is_of_the_paper_unless_told_otherwise():
    config = DPTConfig(is_hybrid=True, neck_hidden_sizes=[256, 512, 768, 768], reassemble_factors=[1, 1, 1, 0.5])
    assert isinstance(config.backbone_config, BitConfig)
    assert config.backbone_config.depths == [3, 4, 9]
    assert config.vit_stages == [9, 12]
    # A dictionary needs no model_type, as older files have none.
    fields = {key: value for key, value in HYBRID["backbone_config"].items() if key != "model_type"}
    assert isinstance(DPTConfig(is_hybrid=True, backbone_config=fields).backbone_config, BitConfig)


def test_what_belongs_to_the_hybrid_alone_is_empty_elsewhere():
    config = DPTConfig()
    assert config.backbone_featmap_shape is None
    assert config.neck_ignore_stages == []


def test_tokens_are_taken_from_the_backbone_as_they_are():
    given = Dinov2Config(**{key: value for key, value in DINOV2.items() if key not in ("model_type",)})
    given.reshape_hidden_states = True
    config = DPTConfig(backbone_config=given)
    assert config.backbone_config.reshape_hidden_states is False
    assert given.reshape_hidden_states is True  # the caller's own is left alone
    assert config.backbone_config.out_indices == given.out_indices


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"readout_type": "cls"}, "readout_type"),
        ({"hidden_size": 10, "num_attention_heads": 3}, "multiple"),
        ({"backbone_out_indices": [0, 1, 2, 12]}, r"\[12\].*0 to 11"),
        ({"backbone_out_indices": [0, 2, 1, 3]}, "rise"),
        ({"backbone_out_indices": [0, 1]}, "4 neck_hidden_sizes"),
        ({"head_in_index": 4}, "-1"),
        ({"is_hybrid": True, "readout_type": "add"}, "project"),
        ({"depth_loss": "relativ"}, "depth_loss"),
        ({"use_timm_backbone": True}, "no backbone is named"),
        ({"fusion_hidden": 3}, "fusion_hidden_size"),
    ],
)
def test_values_that_contradict_each_other(values, said):
    with pytest.raises(ConfigError, match=said):
        DPTConfig(**values)


@pytest.mark.parametrize("backbone", [BEIT, DINOV2, SWINV2])
def test_the_vit_is_not_checked_where_there_is_none(backbone):
    values = {"backbone_config": dict(backbone), "backbone_out_indices": None, "hidden_size": 7}
    assert not DPTConfig(**values).has_own_vit


def test_older_files_hold_nulls():
    # As the converted BEiT checkpoints have them, whose ViT has no numbers.
    values = {"backbone_config": dict(BEIT), "hidden_size": None, "num_attention_heads": None, "image_size": None}
    assert DPTConfig.from_dict(values).hidden_size == 768


def test_the_depth_loss_is_written_only_where_it_is_chosen():
    assert "depth_loss" not in DPTConfig().to_dict()
    assert DPTConfig(depth_loss="metric").to_dict()["depth_loss"] == "metric"
