"""Converted models are kept: by what they were made of, in the user's folder, written as a whole."""

import sys

import pytest
import torch

from models.vitmatte.tiny import tiny_model
from perpixel.errors import MissingDependencyError, OutputError
from perpixel.export import cache, write
from perpixel.export.cache import converted, model_key, place
from perpixel.folders import cache_folder
from perpixel.tasks.export import describe

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path / "cache"))


def test_a_key_is_that_of_the_weights_and_of_what_the_file_says(monkeypatch):
    model, about = describe(tiny_model())
    key = model_key(model, about)
    assert model_key(*describe(tiny_model())) == key and len(key) == 32
    keys = {key}
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-6
    keys.add(model_key(model, about))
    keys.add(model_key(*describe(tiny_model(window_size=4))))
    monkeypatch.setattr(cache, "LAYOUT", cache.LAYOUT + 1)
    keys.add(model_key(*describe(tiny_model())))
    assert len(keys) == 4


def test_a_model_is_converted_once(monkeypatch):
    calls = []

    def stand_in(model, path, about, form):
        calls.append(path)
        path.write_text("graph")
        path.with_suffix(".bin").write_bytes(b"weights")

    monkeypatch.setattr(write, "write_model", stand_in)
    network, about = describe(tiny_model())
    path = converted(network, about)
    assert converted(network, about) == path and calls == [path]
    assert path.parent == cache_folder() / "openvino"
    # Half a file is none.
    path.with_suffix(".bin").unlink()
    assert converted(network, about) == path and len(calls) == 2


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="set PERPIXEL_CACHE"):
        place("key")


def test_without_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"perpixel\[export\]"):
        converted(*describe(tiny_model()))
