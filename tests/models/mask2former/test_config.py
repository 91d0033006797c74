"""Mask2Former's configuration: defaults, forms of the backbone, class names, contradictions."""

import json

import pytest

from models.mask2former.tiny import RESNET, SWIN, tiny_config, tiny_model
from perpixel.backbones.swin import SwinConfig
from perpixel.errors import ConfigError
from perpixel.models.mask2former.config import Mask2FormerConfig


def test_the_defaults_are_those_of_transformers():
    reference = pytest.importorskip("transformers").Mask2FormerConfig().to_dict()
    values = Mask2FormerConfig().to_dict()
    backbone, reference_backbone = values.pop("backbone_config"), reference.pop("backbone_config")
    own = values.keys() - {"output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id"}
    assert {key: values[key] for key in own} == {key: json.loads(json.dumps(reference[key])) for key in own}
    for key in ("embed_dim", "depths", "num_heads", "window_size", "drop_path_rate", "out_features"):
        assert backbone[key] == json.loads(json.dumps(reference_backbone[key])), key
    assert values["id2label"] == {0: "LABEL_0", 1: "LABEL_1"}


def test_it_survives_json_and_transformers():
    reference = pytest.importorskip("transformers").Mask2FormerConfig
    config = tiny_config(id2label={0: "sky", 1: "sea", 2: "sand"}, num_labels=None)
    assert Mask2FormerConfig.from_dict(json.loads(config.to_json_string())) == config
    theirs = reference.from_dict(json.loads(config.to_json_string()))
    assert theirs.id2label == config.id2label and theirs.num_queries == config.num_queries
    again = Mask2FormerConfig.from_dict(json.loads(theirs.to_json_string()))
    assert again == config


def test_a_backbone_may_be_a_config_a_dictionary_or_a_name(tmp_path):
    assert isinstance(tiny_config(SWIN).backbone_config, SwinConfig)
    assert tiny_config(RESNET).backbone_config.model_type == "resnet"
    swin = SwinConfig(embed_dim=24, out_indices=[1, 2, 3, 4])
    assert Mask2FormerConfig.from_backbone_config(swin, num_queries=7).backbone_config is swin
    tiny_model().model.pixel_level_module.encoder.save_pretrained(tmp_path)
    named = Mask2FormerConfig(backbone=str(tmp_path), backbone_kwargs={"out_features": ["stage2", "stage3", "stage4"]})
    assert named.backbone_config.out_features == ["stage2", "stage3", "stage4"]
    assert named.backbone_config.window_size == 3
    saved = named.to_dict()
    assert "backbone" not in saved and Mask2FormerConfig.from_dict(saved).backbone_config == named.backbone_config


def test_two_names_of_one_field():
    config = tiny_config(decoder_layers=4)
    assert (config.hidden_size, config.num_hidden_layers) == (32, 4)
    config.hidden_size, config.num_hidden_layers = 64, 5
    assert (config.hidden_dim, config.decoder_layers) == (64, 5)
    values = {"hidden_size": 64, "num_hidden_layers": 3, "backbone_config": SWIN}
    config = Mask2FormerConfig.from_dict(values)
    assert (config.hidden_dim, config.decoder_layers) == (64, 3) and not config.extras
    # Older files hold both names of the number of layers.
    assert Mask2FormerConfig.from_dict(values | {"decoder_layers": 6}).decoder_layers == 6
    assert Mask2FormerConfig.from_dict(values, num_hidden_layers=2).decoder_layers == 2


def test_class_names_follow_from_each_other():
    config = tiny_config(id2label={"1": "sea", "0": "sky"}, num_labels=None)
    assert (config.num_labels, config.id2label, config.label2id) == (2, {0: "sky", 1: "sea"}, {"sky": 0, "sea": 1})
    config.num_labels = 2
    assert config.id2label == {0: "sky", 1: "sea"}
    config.num_labels = 3
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"} and len(config.label2id) == 3
    config.id2label = {0: "all"}
    assert (config.num_labels, config.label2id) == (1, {"all": 0})
    assert tiny_config(label2id={"a": 0, "b": 1}, num_labels=None).id2label == {0: "a", 1: "b"}
    # Two ids may share a name; the first one is found by it.
    assert tiny_config(id2label={0: "a", 1: "b", 2: "a"}).label2id == {"a": 0, "b": 1}


def test_overrides_take_the_place_of_the_files_names():
    values = tiny_config(id2label={0: "a", 1: "b"}, num_labels=None).to_dict()
    assert Mask2FormerConfig.from_dict(values, num_labels=5).id2label[4] == "LABEL_4"
    assert Mask2FormerConfig.from_dict(values, num_labels=2).id2label == {0: "a", 1: "b"}
    assert Mask2FormerConfig.from_dict(values, id2label={0: "only"}).label2id == {"only": 0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_querys": 3}, "did you mean 'num_queries'"),
        ({"hidden_dim": 30}, "divisible by num_attention_heads"),
        ({"num_labels": 2, "id2label": {0: "a"}}, "num_labels is 2 but id2label names 1"),
        ({"num_labels": 0}, "at least one class"),
        ({"num_labels": None, "id2label": {"a": "b"}}, "whole numbers"),
        ({"backbone": "somewhere"}, "both backbone_config and backbone"),
        ({"use_pretrained_backbone": True}, "no backbone is named"),
        ({"decoder_layers": 0}, "at least 1"),
        ({"dropout": 1.0}, "below 1"),
        ({"oversample_ratio": 0.5}, "at least 1"),
        ({"importance_sample_ratio": 1.5}, r"in \[0, 1\]"),
        ({"activation_function": 3}, "has to be str"),
    ],
)
def test_what_contradicts_or_does_not_exist(wrong, message):
    with pytest.raises(ConfigError, match=message):
        tiny_config(**wrong)
