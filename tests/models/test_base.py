"""Config and Model: names and types, round trips through files, and checkpoints that do not fit."""

import copy
import json
import pickle

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models.toy import Toy, ToyConfig
from perpixel.backbones.vit import ViTConfig
from perpixel.errors import CheckpointError, ConfigError, PerpixelWarning
from perpixel.models.checkpoint import check_fit, fit_prefix


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


class TestStages:
    def test_the_last_stage_is_the_default(self):
        assert (ToyConfig().out_features, ToyConfig().out_indices) == (["stage2"], [2])

    def test_either_choice_moves_the_other(self):
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
    def test_a_bad_choice_is_an_error_as_in_transformers(self, values, message):
        with pytest.raises(ConfigError, match=message):
            ToyConfig(**values)
        with pytest.raises((ValueError, IndexError)):
            transformers.VitDetConfig(
                num_hidden_layers=2,
                hidden_size=4,
                num_attention_heads=1,
                **values,
            )

    def test_a_bad_choice_set_later_leaves_the_config_as_it_was(self):
        config = ToyConfig(out_indices=[1])
        with pytest.raises(ConfigError):
            config.out_features = ["nowhere"]
        assert (config.out_features, config.out_indices) == (["stage1"], [1])

    def test_an_override_replaces_the_files_choice(self):
        written = ToyConfig(out_indices=[0]).to_dict()
        assert ToyConfig.from_dict(written, out_features=["stage1"]).out_indices == [1]

    def test_the_backbone_reads_the_config(self):
        toy = Toy(ToyConfig(width=6, out_indices=[0, 2]))
        assert toy.channels == [3, 6]
        assert toy.out_feature_channels == {"stem": 3, "stage1": 6, "stage2": 6}
        toy.out_features = ["stage1"]
        assert (toy.out_indices, toy.channels, toy.config.out_indices) == ([1], [6], [1])


@pytest.fixture
def toy():
    model = Toy(ToyConfig())
    with torch.no_grad():
        for tensor in [*model.parameters(), model.norm.running_mean]:
            tensor.normal_()
    return model.eval()


def equal(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class TestFiles:
    def test_a_model_comes_back_as_it_was(self, toy, tmp_path):
        toy.save_pretrained(tmp_path)
        loaded = Toy.from_pretrained(tmp_path)
        assert equal(toy, loaded)
        assert not loaded.training
        assert all(parameter.requires_grad for parameter in loaded.parameters())
        assert torch.equal(loaded.ramp, torch.arange(3.0))  # a buffer that no file holds
        values = torch.randn(2, 3)
        assert torch.equal(toy(values), loaded(values))
        assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Toy"]

    def test_a_loaded_model_may_be_saved_where_it_came_from(self, toy, tmp_path):
        toy.save_pretrained(tmp_path)
        loaded = Toy.from_pretrained(tmp_path)
        loaded.save_pretrained(tmp_path, max_shard_size=32)
        assert equal(loaded, toy)
        assert equal(Toy.from_pretrained(tmp_path), toy)

    def test_shards(self, toy, tmp_path):
        toy.save_pretrained(tmp_path)
        toy.save_pretrained(tmp_path, max_shard_size="50")
        names = sorted(path.name for path in tmp_path.iterdir())
        assert "model.safetensors" not in names  # the earlier save would win over the shards
        assert len([name for name in names if name.endswith(".safetensors")]) > 2
        assert equal(Toy.from_pretrained(tmp_path), toy)
        toy.save_pretrained(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]

    @pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
    def test_pytorch_files(self, toy, tmp_path, wrap):
        toy.config.save_pretrained(tmp_path)
        torch.save(wrap(toy.state_dict()), tmp_path / "pytorch_model.bin")
        assert equal(Toy.from_pretrained(tmp_path), toy)
        assert equal(Toy.from_pretrained(tmp_path / "pytorch_model.bin"), toy)
        assert equal(Toy.from_pretrained(tmp_path / "pytorch_model.bin", config=ToyConfig()), toy)

    def test_a_bare_file_without_a_config(self, toy, tmp_path):
        torch.save(toy.state_dict(), tmp_path / "toy.pth")
        assert equal(Toy.from_pretrained(tmp_path / "toy.pth", config=ToyConfig()), toy)
        with pytest.raises(CheckpointError, match=r"no config.json beside it: give config=ToyConfig"):
            Toy.from_pretrained(tmp_path / "toy.pth")

    def test_half_precision(self, toy, tmp_path):
        toy.save_pretrained(tmp_path, dtype=torch.float16)
        assert load_file(tmp_path / "model.safetensors")["first.weight"].dtype == torch.float16
        assert toy.dtype == torch.float32
        assert Toy.from_pretrained(tmp_path).dtype == torch.float32
        assert Toy.from_pretrained(tmp_path, dtype="auto").dtype == torch.float16
        loaded = Toy.from_pretrained(tmp_path, dtype=torch.bfloat16)
        assert loaded.norm.running_var.dtype == loaded.ramp.dtype == torch.bfloat16
        assert loaded.norm.num_batches_tracked.dtype == torch.int64
        with pytest.raises(ConfigError, match="dtype is 'int8'"):
            Toy.from_pretrained(tmp_path, dtype="int8")

    def test_config_overrides(self, toy, tmp_path):
        toy.save_pretrained(tmp_path)
        assert Toy.from_pretrained(tmp_path, out_indices=[0]).channels == [3]
        assert Toy.from_pretrained(tmp_path, config=ToyConfig(), out_indices=[0]).channels == [3]
        with pytest.raises(ConfigError, match="out_indicse"):
            Toy.from_pretrained(tmp_path, out_indicse=[0])

    def test_old_names(self, toy, tmp_path):
        toy.config.save_pretrained(tmp_path)
        state = {key: tensor for key, tensor in toy.state_dict().items() if not key.startswith("norm.")}
        state |= {
            "norm.gamma": toy.norm.weight.data,
            "norm.beta": toy.norm.bias.data,
            "norm.running_mean": toy.norm.running_mean,
            "norm.running_var": toy.norm.running_var,
            "norm.num_batches_tracked": toy.norm.num_batches_tracked,
        }
        save_file({f"module.{key}": tensor for key, tensor in state.items()}, tmp_path / "model.safetensors")
        assert equal(Toy.from_pretrained(tmp_path), toy)

    @pytest.mark.parametrize("prefix", ["toy", "backbone"])
    def test_as_a_part_of_a_larger_model(self, toy, tmp_path, prefix):
        toy.config.save_pretrained(tmp_path)
        state = {f"{prefix}.{key}": tensor for key, tensor in toy.state_dict().items()}
        save_file(state | {"head.weight": torch.ones(1)}, tmp_path / "model.safetensors")
        assert equal(Toy.from_pretrained(tmp_path), toy)

    def test_a_loaded_model_can_be_trained_and_leaves_its_file_alone(self, toy, tmp_path):
        toy.save_pretrained(tmp_path)
        before = (tmp_path / "model.safetensors").read_bytes()
        loaded = Toy.from_pretrained(tmp_path).train()
        optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
        loaded(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
        assert not torch.equal(loaded.first.weight, toy.first.weight)
        assert not torch.equal(loaded.norm.running_mean, toy.norm.running_mean)
        assert (tmp_path / "model.safetensors").read_bytes() == before
        torch.save(toy.state_dict(), tmp_path / "toy.pth")
        before = (tmp_path / "toy.pth").read_bytes()
        loaded = Toy.from_pretrained(tmp_path / "toy.pth", config=ToyConfig())
        with torch.no_grad():
            loaded.first.weight.zero_()
        assert (tmp_path / "toy.pth").read_bytes() == before


class TestMisfits:
    def change(self, toy, folder, **changes):
        toy.save_pretrained(folder)
        state = load_file(folder / "model.safetensors") | changes
        save_file({k: v for k, v in state.items() if v is not None}, folder / "model.safetensors")

    def test_all_kinds_are_listed_at_once(self, toy, tmp_path):
        self.change(
            toy, tmp_path, **{"first.weight": torch.ones(2, 3), "first.bias": None, "spare.weight": torch.ones(1)}
        )
        with pytest.raises(CheckpointError) as caught:
            Toy.from_pretrained(tmp_path)
        message = str(caught.value)
        assert "1 missing (first.bias)" in message
        assert "1 unexpected (spare.weight)" in message
        assert "1 mis-shaped (first.weight is 2×3 in the checkpoint and 4×3 in the model)" in message
        assert "\n" not in message

    def test_a_long_list_is_cut_and_counted(self):
        own = {f"layer.{i}": torch.ones(1) for i in range(25)}
        with pytest.raises(CheckpointError, match=r"25 missing \(layer.0, .*layer.9, … and 15 more\)"):
            check_fit({}, own, where="x")

    def test_loosely_the_rest_is_loaded(self, toy, tmp_path):
        self.change(toy, tmp_path, **{"first.bias": None, "spare.weight": torch.ones(1)})
        with pytest.warns(PerpixelWarning, match="first.bias"):
            loaded = Toy.from_pretrained(tmp_path, strict=False)
        assert torch.equal(loaded.first.weight, toy.first.weight)
        assert torch.equal(loaded.first.bias, torch.zeros(4))  # the starting value
        self.change(toy, tmp_path, **{"first.bias": torch.ones(9)})
        with pytest.raises(CheckpointError, match="mis-shaped"):
            Toy.from_pretrained(tmp_path, strict=False)

    def test_a_part_that_may_be_new_only_warns(self, toy, tmp_path):
        self.change(toy, tmp_path, **{"pooler.weight": None, "pooler.bias": None})
        with pytest.warns(PerpixelWarning, match="start fresh"):
            loaded = Toy.from_pretrained(tmp_path)
        assert loaded.pooler.weight.abs().sum() > 0

    def test_a_missing_prefix_is_added(self):
        state = fit_prefix({"a": torch.ones(1), "head": torch.ones(2)}, ["vit.a", "head"], "vit")
        assert state.keys() == {"vit.a", "head"}

    def test_a_wrong_config_class_is_an_error(self):
        with pytest.raises(ConfigError, match="Toy needs a ToyConfig, got dict"):
            Toy({"width": 4})
        with pytest.raises(ConfigError, match="got ViTConfig"):
            Toy(ViTConfig())


def test_properties(toy):
    assert toy.device == torch.device("cpu")
    assert toy.dtype == torch.float32
    assert toy.num_parameters() == 3 * 4 + 4 + 4 + 4 + 4 + 1
    toy.first.requires_grad_(False)
    assert toy.num_parameters(only_trainable=True) == 4 + 4 + 4 + 1
    toy.gradient_checkpointing_enable()
    assert toy.gradient_checkpointing is True
    toy.gradient_checkpointing_disable()
    assert toy.gradient_checkpointing is False
