"""The stages that every backbone has."""

import pytest
import transformers

from models.toy import Toy, ToyConfig
from perpixel.errors import ConfigError


def test_the_last_stage_is_the_default():
    assert (ToyConfig().out_features, ToyConfig().out_indices) == (["stage2"], [2])


def test_either_choice_moves_the_other():
    config = ToyConfig()
    config.out_features = ["stem", "stage1"]
    assert config.out_indices == [0, 1]
    config.out_indices = (1, -1)
    assert config.out_features == ["stage1", "stage2"]
    assert config.out_indices == [1, -1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"out_features": ["stage9"]}, "no stages"),
        ({"out_features": ["stage2", "stem"]}, "order"),
        ({"out_features": ["stem", "stem"]}, "each once"),
        ({"out_indices": [3]}, "outside"),
        ({"out_indices": [-4]}, "outside"),
        ({"out_indices": [2, 0]}, "rising"),
        ({"out_indices": [2, -1]}, "each once"),
        ({"out_features": ["stem"], "out_indices": [1]}, "different stages"),
    ],
)
def test_a_bad_choice_is_an_error_as_in_transformers(values, message):
    with pytest.raises(ConfigError, match=message):
        ToyConfig(**values)
    with pytest.raises((ValueError, IndexError)):
        transformers.VitDetConfig(
            num_hidden_layers=2,
            hidden_size=4,
            num_attention_heads=1,
            **values,
        )


def test_a_bad_choice_set_later_leaves_the_config_as_it_was():
    config = ToyConfig(out_indices=[1])
    with pytest.raises(ConfigError):
        config.out_features = ["nowhere"]
    assert (config.out_features, config.out_indices) == (["stage1"], [1])


def test_an_override_replaces_the_files_choice():
    written = ToyConfig(out_indices=[0]).to_dict()
    assert ToyConfig.from_dict(written, out_features=["stage1"]).out_indices == [1]


def test_the_backbone_reads_the_config():
    toy = Toy(ToyConfig(width=6, out_indices=[0, 2]))
    assert toy.channels == [3, 6]
    assert toy.out_feature_channels == {"stem": 3, "stage1": 6, "stage2": 6}
    toy.out_features = ["stage1"]
    assert (toy.out_indices, toy.channels, toy.config.out_indices) == ([1], [6], [1])
