"""Model: round trips through files, and checkpoints that do not fit."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.toy import Toy, ToyConfig
from perpixel.backbones.vit import ViTConfig
from perpixel.errors import CheckpointError, ConfigError, PerpixelWarning
from perpixel.models.checkpoint import check_fit, fit_prefix


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
