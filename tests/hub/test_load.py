"""Finding checkpoints, and files that are broken or hostile: one line, and no code of theirs runs."""

import json
import os
import pickle
import socket
import types
import zipfile

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors as hub
from safetensors.torch import save_file

from perpixel.errors import CheckpointError
from perpixel.hub import load
from perpixel.hub.load import find_file, load_json, load_state_dict

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def same(state):
    return state.keys() == TENSORS.keys() and all(torch.equal(state[k], TENSORS[k]) for k in state)


def message_of(action):
    with pytest.raises(CheckpointError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestFolders:
    def test_every_kind_of_weights(self, tmp_path):
        for name in ("model.safetensors", "pytorch_model.bin"):
            folder = tmp_path / name.split(".")[1]
            folder.mkdir()
            save_file(TENSORS, folder / name) if "safe" in name else torch.save(TENSORS, folder / name)
            assert same(load_state_dict(folder))
            assert same(load_state_dict(str(folder)))
            assert same(load_state_dict(folder / name))

    @pytest.mark.parametrize("suffix", ["safetensors", "bin"])
    def test_shards(self, tmp_path, suffix):
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        places = {}
        for i, (key, tensor) in enumerate(TENSORS.items(), start=1):
            places[key] = f"{stem}-0000{i}-of-00002.{suffix}"
            (save_file if suffix == "safetensors" else torch.save)({key: tensor}, tmp_path / places[key])
        (tmp_path / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": places}))
        assert same(load_state_dict(tmp_path))
        (tmp_path / places["b"]).unlink()
        assert f"has no {places['b']}" in message_of(lambda: load_state_dict(tmp_path))

    def test_the_old_format_of_torch(self, tmp_path):
        torch.save(TENSORS, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
        assert same(load_state_dict(tmp_path / "x.pt"))

    def test_a_file_of_torch_that_is_misnamed_is_not_guessed(self, tmp_path):
        (tmp_path / "x.txt").write_text("hello")
        assert "no weights file" in message_of(lambda: load_state_dict(tmp_path / "x.txt"))

    def test_what_is_missing_is_said(self, tmp_path):
        assert "holds no weights: it needs one of model.safetensors" in message_of(lambda: load_state_dict(tmp_path))
        assert "has no config.json (it holds nothing)" in message_of(lambda: load_json(tmp_path, "config.json"))
        (tmp_path / "a.txt").touch()
        assert "(it holds a.txt)" in message_of(lambda: load_json(tmp_path, "config.json"))
        assert "is a file" in message_of(lambda: find_file(tmp_path / "a.txt", "config.json"))

    @pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c", "x.safetensors", "", "a b", "~/x"])
    def test_a_path_that_is_none_never_asks_the_network(self, source, monkeypatch):
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)
        if source:
            assert "there is no folder" in message_of(lambda: find_file(source, "config.json"))


class TestBrokenFiles:
    @pytest.mark.parametrize("keep", [0, 4, 8, 60, -1])
    def test_a_cut_safetensors(self, tmp_path, keep):
        path = tmp_path / "model.safetensors"
        save_file(TENSORS, path)
        path.write_bytes(path.read_bytes()[:keep])
        assert "not a whole safetensors file" in message_of(lambda: load_state_dict(tmp_path))

    @pytest.mark.parametrize("keep", [0, 10, 300, -1])
    def test_a_cut_pytorch_file(self, tmp_path, keep):
        path = tmp_path / "pytorch_model.bin"
        torch.save(TENSORS, path)
        path.write_bytes(path.read_bytes()[:keep])
        assert "pytorch_model.bin" in message_of(lambda: load_state_dict(tmp_path))

    @pytest.mark.parametrize("text", ["", "{", "[1]", "nan", '"x"', "[" * 100_000])
    def test_bad_json(self, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        assert "config.json" in message_of(lambda: load_json(tmp_path, "config.json"))

    def test_json_that_is_not_text(self, tmp_path):
        (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
        assert "not readable JSON" in message_of(lambda: load_json(tmp_path, "config.json"))

    def test_no_tensors(self, tmp_path):
        torch.save([torch.ones(1)], tmp_path / "x.pt")
        assert "holds a list" in message_of(lambda: load_state_dict(tmp_path / "x.pt"))
        torch.save({"epoch": 3}, tmp_path / "x.pt")
        assert "no named tensors" in message_of(lambda: load_state_dict(tmp_path / "x.pt"))


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestHostileFiles:
    @pytest.mark.parametrize("new", [True, False])
    def test_a_pickle_with_code_does_not_run(self, tmp_path, new):
        torch.save({"a": _Evil(tmp_path / "ran")}, tmp_path / "x.bin", _use_new_zipfile_serialization=new)
        assert "could run code" in message_of(lambda: load_state_dict(tmp_path / "x.bin"))
        assert not (tmp_path / "ran").exists()

    def test_a_bare_pickle_with_code_does_not_run(self, tmp_path):
        (tmp_path / "x.bin").write_bytes(pickle.dumps(_Evil(tmp_path / "ran"), protocol=2))
        message_of(lambda: load_state_dict(tmp_path / "x.bin"))
        assert not (tmp_path / "ran").exists()

    def test_a_compressed_archive_is_refused(self, tmp_path):
        torch.save({"a": torch.zeros(1000)}, tmp_path / "plain.bin")
        with (
            zipfile.ZipFile(tmp_path / "plain.bin") as plain,
            zipfile.ZipFile(tmp_path / "x.bin", "w", zipfile.ZIP_DEFLATED) as bomb,
        ):
            for name in plain.namelist():
                bomb.writestr(name, plain.read(name))
        assert "is compressed" in message_of(lambda: load_state_dict(tmp_path / "x.bin"))

    def test_a_tensor_that_expands_is_refused(self, tmp_path):
        torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "x.bin")
        assert "more values than the file holds" in message_of(lambda: load_state_dict(tmp_path / "x.bin"))

    @pytest.mark.parametrize(
        "name", ["../other.safetensors", "/etc/x.safetensors", "a/b.bin", "a\\b.bin", "..", "config.json", ""]
    )
    def test_an_index_cannot_leave_its_folder(self, tmp_path, name):
        folder = tmp_path / "inner"
        folder.mkdir()
        save_file(TENSORS, tmp_path / "other.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        assert "no plain weights file" in message_of(lambda: load_state_dict(folder))

    @pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 1}}])
    def test_an_index_without_a_map(self, tmp_path, index):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "no weight_map" in message_of(lambda: load_state_dict(tmp_path))


def _http(kind):
    response = types.SimpleNamespace(status_code=404, headers={}, request=None)
    return kind("Error\n\nlong explanation", response=response)


class TestHub:
    @pytest.fixture
    def answer(self, monkeypatch):
        """Makes the Hub answer with an error, or with a file where a function is given."""
        monkeypatch.setattr(load, "_no_network", lambda endpoint: False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        calls = []

        def set_answer(result):
            def download(repo, filename, **options):
                calls.append((repo, filename, options))
                if isinstance(result, Exception):
                    raise result
                return result(filename)

            monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
            return calls

        return set_answer

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (lambda: _http(hub.RepositoryNotFoundError), "there is no who/what on the Hub, or it is private"),
            (lambda: _http(hub.GatedRepoError), "accept its terms at https://huggingface.co/who/what"),
            (lambda: _http(hub.RevisionNotFoundError), "has no revision 'v9'"),
            (lambda: _http(hub.RemoteEntryNotFoundError), "has no config.json"),
            (lambda: _http(hub.HfHubHTTPError), "cannot fetch config.json of who/what@v9: Error: check the network"),
            (lambda: hub.LocalEntryNotFoundError("x"), "run `hf download who/what --revision v9` once"),
            (lambda: ConnectionResetError("reset"), "cannot fetch config.json of who/what@v9: reset"),
        ],
    )
    def test_each_refusal_says_what_to_do(self, answer, error, words):
        answer(error())
        assert words in message_of(lambda: load_json("who/what", "config.json", revision="v9"))

    def test_the_weights_are_looked_for_in_order(self, answer, tmp_path):
        torch.save(TENSORS, tmp_path / "pytorch_model.bin")

        def only_bin(filename):
            if filename != "pytorch_model.bin":
                raise _http(hub.RemoteEntryNotFoundError)
            return str(tmp_path / filename)

        calls = answer(only_bin)
        assert same(load_state_dict("who/what", token="t", revision="r", cache_dir="c"))
        assert [filename for _, filename, _ in calls] == list(load.WEIGHT_FILES[:3])
        assert calls[0][2]["token"] == "t"
        assert calls[0][2]["revision"] == "r"
        assert str(calls[0][2]["cache_dir"]) == "c"

    def test_offline_the_cache_is_tried_for_all_and_the_network_once(self, answer):
        calls = answer(hub.LocalEntryNotFoundError("x"))
        assert "cannot be reached" in message_of(lambda: load_state_dict("who/what"))
        assert [options["local_files_only"] for _, _, options in calls] == [False, True, True, True]

    def test_a_real_cache_works_without_a_network(self, monkeypatch, tmp_path):
        def no_such_host(*args, **kwargs):
            raise socket.gaierror("Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert "cannot be reached" in message_of(lambda: load_json("who/what", "config.json", cache_dir=tmp_path))
        commit = "0" * 40
        snapshot = tmp_path / "models--who--what" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (tmp_path / "models--who--what" / "refs").mkdir()
        (tmp_path / "models--who--what" / "refs" / "main").write_text(commit)
        (snapshot / "config.json").write_text('{"a": 1}')
        save_file(TENSORS, snapshot / "model.safetensors")
        assert load_json("who/what", "config.json", cache_dir=tmp_path) == {"a": 1}
        assert same(load_state_dict("who/what", cache_dir=tmp_path))

    def test_the_switch_for_offline_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE is set" in message_of(lambda: load_json("who/what", "config.json", cache_dir=tmp_path))
