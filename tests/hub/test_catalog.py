"""The models that are known by name, and those in the cache."""

import json

import pytest
from safetensors.torch import save_file
from torch import ones

from perpixel.errors import CheckpointError
from perpixel.hub import catalog
from perpixel.hub.catalog import CATALOG, Entry, cached_models, embedded_folder, find_entry
from perpixel.hub.load import find_file


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_every_row_is_complete(entry):
    assert entry.summary
    assert entry.source
    assert entry.licence == "Apache-2.0"
    assert entry.family == "vitmatte"
    assert find_entry(entry.name) is entry
    assert (entry.folder is None) == ("/" in entry.name)  # either embedded or on the Hub


def test_names_are_unique():
    assert len({entry.name for entry in CATALOG}) == len(CATALOG)
    assert find_entry("nobody/nothing") is None
    assert embedded_folder("nobody/nothing") is None


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog.resources, "files", lambda name: tmp_path)
    return tmp_path / "weights" / "vitmatte_nano"


def test_an_installation_without_the_weights_says_so(package):
    entry = find_entry("vitmatte-nano")
    assert (entry.embedded, entry.path, entry.measured) == (False, None, {})
    with pytest.raises(CheckpointError, match="lacks the weights of 'vitmatte-nano'"):
        find_file("vitmatte-nano", "config.json")


def test_an_embedded_model_is_found_by_its_name(package):
    package.mkdir(parents=True)
    (package / "config.json").write_text("{}")
    assert not find_entry("vitmatte-nano").embedded  # no weights yet
    save_file({"a": ones(1)}, package / "model.safetensors")
    (package / "metrics.json").write_text('{"sad": 1.5}')
    entry = find_entry("vitmatte-nano")
    assert entry.embedded
    assert entry.measured == {"sad": 1.5}
    assert find_file("vitmatte-nano", "config.json") == package / "config.json"
    (package / "metrics.json").write_text("{")
    assert entry.measured == {}


def test_a_folder_of_the_same_name_comes_first(package, tmp_path, monkeypatch):
    (tmp_path / "vitmatte-nano").mkdir()
    (tmp_path / "vitmatte-nano" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert find_file("vitmatte-nano", "config.json").resolve() == tmp_path / "vitmatte-nano" / "config.json"


def test_entries_are_values():
    assert Entry("a", "b", "c", "d", "e") == Entry("a", "b", "c", "d", "e")


def test_the_cache(tmp_path):
    assert cached_models(tmp_path / "none") == []
    for name, config in (("who--b", {"model_type": "dpt"}), ("hustvl--vitmatte-small-composition-1k", {})):
        folder = tmp_path / f"models--{name}"
        snapshot = folder / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        blob = folder / "blobs" / "abc"
        blob.parent.mkdir()
        blob.write_text(json.dumps(config))
        (snapshot / "config.json").symlink_to(blob)
    (tmp_path / "datasets--who--data" / "snapshots").mkdir(parents=True)
    known, other = cached_models(tmp_path)
    assert known.name == "hustvl/vitmatte-small-composition-1k"
    assert (known.family, known.licence) == ("vitmatte", "Apache-2.0")
    assert (other.name, other.family, other.licence) == ("who/b", "dpt", None)
    assert other.size == len(json.dumps({"model_type": "dpt"}))
    assert other.revisions == ("0" * 40,)
