import json

import pytest

from perpixel.backbones.dinov2 import Dinov2Config
from perpixel.errors import ConfigError
from perpixel.models.depth_anything.config import DepthAnythingConfig


def test_the_small_model_is_the_default():
    backbone = DepthAnythingConfig().backbone_config
    assert isinstance(backbone, Dinov2Config)
    assert (backbone.hidden_size, backbone.num_attention_heads, backbone.image_size) == (384, 6, 518)
    assert backbone.out_indices == [9, 10, 11, 12]


def test_a_config_survives_json():
    config = DepthAnythingConfig(depth_estimation_type="metric", max_depth=20.5, depth_loss="relative")
    assert DepthAnythingConfig.from_dict(json.loads(config.to_json_string())) == config
    assert "depth_loss" not in DepthAnythingConfig().to_dict()


def test_the_neck_takes_tokens():
    given = Dinov2Config(out_indices=[3, 6, 9, 12])
    assert DepthAnythingConfig(given).backbone_config.reshape_hidden_states is False
    assert given.reshape_hidden_states is True


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"depth_estimation_type": "inverse"}, "depth_estimation_type"),
        ({"max_depth": 0}, "above 0"),
        ({"head_in_index": -5}, "-1"),
        ({"backbone_kwargs": {"out_indices": [1]}}, "no backbone is named"),
        ({"max_dept": 3}, "max_depth"),
    ],
)
def test_values_that_contradict_each_other(values, said):
    with pytest.raises(ConfigError, match=said):
        DepthAnythingConfig(**values)
