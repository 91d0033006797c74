"""The base of the configurations."""

import copy
import json
import pickle

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from models.toy import ToyConfig
from perpixel.backbones.vit import ViTConfig
from perpixel.errors import ConfigError


def test_a_misspelt_argument_names_the_right_one():
    with pytest.raises(ConfigError, match=r"no argument 'widht': did you mean 'width'\?"):
        ToyConfig(widht=3)
    with pytest.raises(ConfigError, match="no argument 'zzz': it takes"):
        ToyConfig.from_dict({}, zzz=1)


@pytest.mark.parametrize(
    "values",
    [
        {"width": "4"},
        {"width": 4.5},
        {"width": True},
        {"width": None},
        {"rate": "a"},
        {"sizes": 3},
        {"sizes": [1, "2"]},
        {"name": 3},
        {"return_dict": 1},
    ],
)
def test_a_value_of_a_wrong_type_is_an_error(values):
    with pytest.raises(ConfigError, match=f"{next(iter(values))}="):
        ToyConfig(**values)


def test_positional_values_are_checked_too():
    assert ToyConfig(7).width == 7
    with pytest.raises(ConfigError, match="width="):
        ToyConfig("7")


def test_tuples_become_lists_and_integers_pass_for_floats():
    config = ToyConfig(sizes=(3, 4), rate=1)
    assert config.sizes == [3, 4]
    assert config == ToyConfig(sizes=[3, 4], rate=1.0)


@settings(max_examples=20, deadline=None)
@given(
    width=st.integers(1, 99),
    rate=st.floats(0, 1),
    sizes=st.lists(st.integers(), max_size=3),
    indices=st.sampled_from([None, [0], [-1], [0, 2], [1, -1]]),
)
def test_a_config_equals_itself_after_json(width, rate, sizes, indices):
    config = ToyConfig(width=width, rate=rate, sizes=sizes, out_indices=indices)
    assert ToyConfig.from_dict(json.loads(config.to_json_string())) == config
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_config_equals_itself_after_a_folder(tmp_path):
    config = ToyConfig(width=9, output_attentions=True, out_features=["stem"])
    config.save_pretrained(tmp_path / "new" / "folder")
    assert ToyConfig.from_pretrained(tmp_path / "new" / "folder") == config
    assert ToyConfig.from_pretrained(tmp_path / "new" / "folder", width=2).width == 2
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["config.json"]


def test_unknown_keys_of_a_file_are_kept_and_written_back():
    values = {"width": 2, "transformers_version": "9.0", "novelty": {"deep": [1]}, "torch_dtype": "float16"}
    config = ToyConfig.from_dict(values)
    assert config.dtype == "float16"
    written = config.to_dict()
    assert written["transformers_version"] == "9.0"
    assert written["novelty"] == {"deep": [1]}
    assert config == ToyConfig(width=2)


def test_null_in_a_file_is_the_default_but_in_a_call_an_error():
    assert ToyConfig.from_dict({"width": None, "return_dict": None, "name": None}) == ToyConfig()
    with pytest.raises(ConfigError, match="width=None"):
        ToyConfig.from_dict({}, width=None)


def test_another_models_config_is_refused_but_a_nested_one_is_found(tmp_path):
    with pytest.raises(ConfigError, match="config of a 'swin' model"):
        ToyConfig.from_dict({"model_type": "swin"})
    larger = {"model_type": "large", "backbone_config": {"model_type": "toy", "width": 5}}
    (tmp_path / "config.json").write_text(json.dumps(larger))
    assert ToyConfig.from_pretrained(tmp_path).width == 5


def test_configs_go_to_transformers_and_back(tmp_path):
    ours = ViTConfig(hidden_size=24, num_attention_heads=3, image_size=32, output_hidden_states=True)
    ours.save_pretrained(tmp_path)
    theirs = transformers.ViTConfig.from_pretrained(tmp_path)
    assert (theirs.hidden_size, theirs.num_attention_heads, theirs.output_hidden_states) == (24, 3, True)
    assert theirs.pooler_output_size == 24
    theirs.save_pretrained(tmp_path)
    assert ViTConfig.from_pretrained(tmp_path) == ours
