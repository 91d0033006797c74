"""Settings that load and save, and batches."""

import copy
import json
import pickle
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
import torch

from perpixel.errors import ConfigError, InputError, MissingDependencyError, OutputError, PerpixelWarning
from perpixel.models.processing import BatchFeature, ImageProcessor, TensorType, check_channels, check_number


class Sampler(ImageProcessor):
    """A processor with one setting of each sort."""

    aliases: ClassVar = {"divisor": "size"}

    def __init__(self, do_it: bool = True, size: int = 8, *, divisor: int | None = None) -> None:
        self.do_it = do_it
        self.size = size if divisor is None else divisor

    @property
    def divisor(self) -> int:
        return self.size


def test_settings_go_to_a_file_and_come_back(tmp_path):
    processor = Sampler(do_it=False, size=3)
    processor.save_pretrained(tmp_path / "new" / "folder")
    file = tmp_path / "new" / "folder" / "preprocessor_config.json"
    assert json.loads(file.read_text()) == {
        "do_it": False,
        "size": 3,
        "divisor": 3,
        "image_processor_type": "Sampler",
    }
    assert [item.name for item in file.parent.iterdir()] == ["preprocessor_config.json"]
    assert Sampler.from_pretrained(file.parent) == Sampler.from_pretrained(file) == processor
    assert json.loads(processor.to_json_string()) == json.loads(file.read_text())
    assert Sampler.from_pretrained(tmp_path / "new" / "folder", do_it=True) == Sampler(size=3)
    assert processor != Sampler() and processor != "Sampler"
    assert repr(processor) == "Sampler(do_it=False, size=3)"


def test_saving_where_a_file_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Sampler().save_pretrained(tmp_path / "file")


def test_what_transformers_writes_for_every_processor_is_passed_over():
    values = {"do_it": None, "size": 5, "_valid_processor_keys": ["images"], "do_resize": None}
    values |= {"processor_class": None, "feature_extractor_type": "SamplerFeatureExtractor", "resample": 2}
    assert Sampler.from_dict(values) == Sampler(size=5)


def test_an_unknown_setting_warns_in_a_file_and_fails_as_an_argument():
    with pytest.warns(PerpixelWarning, match="'do_if' is passed over.*did you mean 'do_it'"):
        assert Sampler.from_dict({"do_if": False, "size": 2}) == Sampler(size=2)
    with pytest.raises(ConfigError, match="no argument 'do_if': did you mean 'do_it'"):
        Sampler.from_dict({}, do_if=False)


def test_an_override_replaces_the_file_under_either_name():
    written = Sampler(size=5).to_dict()
    assert Sampler.from_dict(written, size=2).divisor == 2
    assert Sampler.from_dict(written, divisor=2).size == 2
    assert Sampler.from_dict({"divisor": 7}).size == 7


@pytest.mark.parametrize("values", [{"size": 2, "divisor": 3}, {"divisor": 3, "size": 2}])
def test_two_names_with_different_values_contradict(values):
    with pytest.raises(ConfigError, match=r"(size is 2|divisor is 3) and .* one setting"):
        Sampler.from_dict(values)


def test_push_to_hub_saves_the_file_and_uploads_it(monkeypatch):
    seen = {}

    def push(save, repo_id, **options):
        seen.update(options, repo_id=repo_id, save=save)
        return "https://example.org/commit"

    monkeypatch.setattr("perpixel.hub.save.push_folder", push)
    processor = Sampler(size=4)
    assert processor.push_to_hub("me/mine", private=True) == "https://example.org/commit"
    assert (seen["repo_id"], seen["private"]) == ("me/mine", True)
    assert seen["save"] == processor.save_pretrained


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "32", None])
def test_a_whole_number_above_zero(value):
    with pytest.raises(ConfigError, match=r"n is .*: it has to be a whole number above 0"):
        check_number("n", value, whole=True)


@pytest.mark.parametrize("value", ["0.5", [0.5, 0.5], [0.5, 0.5, float("nan")], [True] * 3, [[0.5] * 3], None])
def test_a_mean_is_one_number_or_three(value):
    with pytest.raises(ConfigError, match="mean is"):
        check_channels("mean", value)
    assert check_channels("mean", (0.1, 0, -1)) == [0.1, 0.0, -1.0]
    assert check_channels("mean", np.float32(0.5)) == 0.5
    with pytest.raises(ConfigError, match="above 0"):
        check_channels("std", [1, 0, 1], positive=True)


def test_a_batch_is_a_dict_whose_keys_are_attributes():
    batch = BatchFeature({"pixel_values": [np.zeros((2, 3))], "labels": [4]})
    assert batch.labels is batch["labels"] and dict(**batch).keys() == {"pixel_values", "labels"}
    batch.labels = [5]
    assert batch["labels"] == [5]
    with pytest.raises(AttributeError, match="no 'pixel_value': did you mean 'pixel_values'"):
        _ = batch.pixel_value
    assert not hasattr(batch, "masks")
    for other in (pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):
        assert type(other) is BatchFeature and other.labels == [5]


@pytest.mark.parametrize("kind", ["pt", TensorType.PYTORCH])
def test_lists_become_tensors(kind):
    batch = BatchFeature(
        {"a": [np.ones((2, 3), np.float32), torch.ones(2, 3)], "b": [1, 2], "c": torch.ones(1)}, tensor_type=kind
    )
    assert all(isinstance(value, torch.Tensor) for value in batch.values())
    assert (batch.a.shape, batch.a.dtype, batch.b.tolist()) == ((2, 2, 3), torch.float32, [1, 2])
    arrays = BatchFeature({"a": [torch.ones(2)]}).convert_to_tensors("np")
    assert isinstance(arrays.a, np.ndarray) and arrays.a.shape == (1, 2)


def test_a_tensor_type_of_transformers_is_understood():
    transformers = pytest.importorskip("transformers")
    batch = BatchFeature({"a": [1.0]}, tensor_type=transformers.TensorType.PYTORCH)
    assert isinstance(batch.a, torch.Tensor)


def test_what_cannot_be_a_tensor():
    with pytest.raises(InputError, match=r"a holds arrays of different shapes \(\(2,\), \(3,\)\)"):
        BatchFeature({"a": [np.ones(2), np.ones(3)]}, tensor_type="np")
    with pytest.raises(InputError, match=r"a holds .* only numbers"):
        BatchFeature({"a": ["text"]}, tensor_type="pt")
    with pytest.raises(InputError, match="return_tensors is 'torch': it has to be 'pt' or 'np' or"):
        BatchFeature({"a": [1]}, tensor_type="torch")


@pytest.mark.parametrize(("kind", "package"), [("tf", "tensorflow"), ("jax", "jax")])
def test_other_libraries_where_they_are_installed(monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"return_tensors='{kind}' needs {package}.*pip install"):
        BatchFeature({"a": [1]}, tensor_type=kind)

    def convert(array):
        return (package, array.tolist())

    module = types.ModuleType(package)
    module.convert_to_tensor = convert
    module.numpy = types.SimpleNamespace(asarray=convert)
    monkeypatch.setitem(sys.modules, package, module)
    assert BatchFeature({"a": [1]}, tensor_type=kind).a == (package, [1])


def test_moving_a_batch_changes_the_type_of_floating_tensors_only():
    batch = BatchFeature({"a": torch.ones(2), "n": torch.ones(2, dtype=torch.long), "m": [torch.ones(1)], "s": "x"})
    assert batch.to(torch.float16) is batch
    assert (batch.a.dtype, batch.n.dtype, batch.m[0].dtype) == (torch.float16, torch.long, torch.float16)
    batch.to("meta", torch.float64)
    assert (batch.a.device.type, batch.n.device.type, batch.a.dtype, batch.s) == ("meta", "meta", torch.float64, "x")
    assert batch.to(device="meta", dtype=torch.float32).m[0].dtype == torch.float32


def test_moving_arrays_says_what_to_do():
    with pytest.raises(InputError, match=r"no torch tensor to move: .*return_tensors='pt'"):
        BatchFeature({"a": np.ones(2)}).to("cpu")
