"""Writing checkpoints: sizes, shards, never half a file, and what is uploaded."""

import json
import types
from pathlib import Path

import huggingface_hub
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.toy import Toy, ToyConfig
from perpixel.errors import CheckpointError, InputError, OutputError
from perpixel.hub.load import load_state_dict
from perpixel.hub.save import byte_count, save_state_dict, write_json


@pytest.mark.parametrize(
    ("size", "count"), [(5, 5), ("5", 5), ("2KB", 2000), ("2 kib", 2048), ("1.5MB", 1_500_000), ("1GiB", 2**30)]
)
def test_sizes(size, count):
    assert byte_count(size) == count


@pytest.mark.parametrize("size", ["", "5 apples", "-5", "0", "GB", None])
def test_bad_sizes(size):
    with pytest.raises(InputError, match="give bytes or a text"):
        byte_count(size)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6), limit=st.integers(1, 120))
def test_shards_keep_the_limit_and_lose_nothing(tmp_path_factory, sizes, limit):
    folder = tmp_path_factory.mktemp("shards")
    state = {f"t{i}": torch.rand(size) for i, size in enumerate(sizes)}
    files = save_state_dict(state, folder, max_shard_size=limit)
    assert sorted(files) == sorted(folder.iterdir())
    loaded = load_state_dict(folder)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    for path in files:
        if path.suffix == ".safetensors":
            held = load_state_dict(path)
            assert len(held) == 1 or sum(tensor.nbytes for tensor in held.values()) <= limit


def test_shared_and_strided_tensors_are_written_whole(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    save_state_dict({"a": base, "b": base, "c": base.T, "d": base[1]}, tmp_path)
    loaded = load_state_dict(tmp_path)
    assert torch.equal(loaded["b"], base)
    assert torch.equal(loaded["c"], base.T)
    assert torch.equal(loaded["d"], base[1])


def test_other_people_may_read_the_file(tmp_path):
    (tmp_path / "plain").touch()
    save_state_dict({"a": torch.ones(1)}, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_json(tmp_path / "config.json", {"a": 1})

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"cannot write .*config.json: No space left on device"):
        write_json(tmp_path / "config.json", {"a": 2})
    assert json.loads((tmp_path / "config.json").read_bytes()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_state_dict({"a": torch.ones(1)}, tmp_path / "taken")


class TestPush:
    @pytest.fixture
    def api(self, monkeypatch):
        seen = {}

        class Api:
            def __init__(self, token=None):
                seen["token"] = token

            def create_repo(self, repo_id, **options):
                seen["create"] = options
                return types.SimpleNamespace(repo_id=f"me/{repo_id}")

            def create_branch(self, repo_id, **options):
                seen["branch"] = options["branch"]

            def upload_folder(self, folder_path, **options):
                seen["upload"] = options
                seen["files"] = sorted(path.name for path in Path(folder_path).iterdir())
                return types.SimpleNamespace(commit_url="https://hub/commit")

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        return seen

    def test_a_model(self, api):
        url = Toy(ToyConfig()).push_to_hub("toy", token="t", private=True, commit_message="Hello", revision="dev")
        assert url == "https://hub/commit"
        assert api["files"] == ["config.json", "model.safetensors"]
        assert api["token"] == "t"
        assert api["create"]["private"] is True
        assert api["branch"] == "dev"
        assert api["upload"] == {"repo_id": "me/toy", "commit_message": "Hello", "revision": "dev"}

    def test_a_config(self, api):
        ToyConfig().push_to_hub("toy")
        assert api["files"] == ["config.json"]
        assert "branch" not in api

    def test_no_network(self, monkeypatch):
        class Api:
            def __init__(self, token=None):
                pass

            def create_repo(self, *args, **kwargs):
                raise ConnectionError("no route\nto host")

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        with pytest.raises(CheckpointError, match="cannot upload to toy: no route: check the name, the network"):
            Toy(ToyConfig()).push_to_hub("toy")

    def test_the_network_librarys_own_error(self, monkeypatch):
        kind = huggingface_hub.errors.HTTPError

        def unreachable(*args, **kwargs):
            raise kind("[Errno -2] Name or service not known")

        monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", unreachable)
        with pytest.raises(CheckpointError, match="Name or service not known"):
            ToyConfig().push_to_hub("toy", token="t")

    def test_what_cannot_be_saved_is_not_blamed_on_the_network(self, api):
        from perpixel.hub.save import push_folder

        def save(folder):
            raise OutputError("disk full")

        with pytest.raises(OutputError, match="disk full"):
            push_folder(save, "toy")
