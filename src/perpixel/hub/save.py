"""Writing checkpoints as Hugging Face lays them out, never half a file, and uploading them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from perpixel.errors import CheckpointError, InputError, OutputError, PerpixelError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def byte_count(size: int | str) -> int:
    """Return a size in bytes: "5GB" is 5·10⁹, "5GiB" is 5·2³⁰.

    >>> byte_count("1.5MB")
    1500000
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?B)?", str(size).strip().upper())
    if not match or not (count := int(float(match[1]) * _UNITS[match[2] or ""])):
        raise InputError(f'size is {size!r}: give bytes or a text such as "500MB" or "5GB"')
    return count


def write_json(path: str | PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON file through a temporary name, so that a reader never sees half of it."""
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    _write(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_state_dict(
    state: Mapping[str, Tensor], folder: str | PathLike[str], *, max_shard_size: int | str = "5GB"
) -> list[Path]:
    """Write tensors as `model.safetensors`, or as numbered shards with an index where they are larger.

    Weights of an earlier save in the same folder are removed once the new ones are in place.

    Args:
        state: the tensors by name.
        folder: made if it is not there.
        max_shard_size: the largest file, in bytes or for instance "5GB"; a larger tensor gets its own file.

    Returns:
        The files that were written.
    """
    folder = Path(folder)
    limit = byte_count(max_shard_size)
    shards: list[dict[str, Tensor]] = [{}]
    size = total = 0
    for key, tensor in state.items():
        count = tensor.numel() * tensor.element_size()
        if shards[-1] and size + count > limit:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += count
        total += count
    count = len(shards)
    names = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)] if count > 1 else [WEIGHTS_NAME]
    for name, shard in zip(names, shards, strict=True):
        _write_tensors(folder / name, shard)
    if count > 1:
        places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        write_json(folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": places})
        names.append(INDEX_NAME)
    for path in folder.iterdir():
        ours = path.name in (WEIGHTS_NAME, INDEX_NAME) or _SHARD.fullmatch(path.name)
        if ours and path.name not in names:
            path.unlink()
    return [folder / name for name in names]


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    ready = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    # safetensors refuses two names for one memory: in the order of memory, what begins before an end is copied.
    end = 0
    for key, tensor in sorted(ready.items(), key=lambda item: item[1].data_ptr()):
        if tensor.nbytes and tensor.data_ptr() < end:
            ready[key] = tensor.clone()
        end = max(end, tensor.data_ptr() + tensor.nbytes)
    _write(path, lambda temporary: save_file(ready, temporary, metadata={"format": "pt"}))


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary name beside `path`, then rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}: choose a folder that you can write to"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # where the folder is a file, nothing was written
            temporary.unlink(missing_ok=True)


class Uploadable:
    """What writes itself into a folder can be uploaded too."""

    _named: ClassVar[str]  # in the commit's message

    @abstractmethod
    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the files into `folder`, which is made if it is not there."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        commit_message: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Upload to the Hub what `save_pretrained` writes.

        Args:
            repo_id: "name" or "owner/name"; made if it is not there.
            token: an access token that may write; None is the one of `hf auth login`.
            private: whether a new repository is private.
            commit_message: the commit's first line; None says what is uploaded, such as "Upload model".
            revision: the branch, made if it is not there; None is the main one.

        Returns:
            The address of the commit.
        """
        message = commit_message or f"Upload {self._named}"
        return push_folder(
            self.save_pretrained, repo_id, token=token, private=private, commit_message=message, revision=revision
        )


def push_folder(
    save: Callable[[Path], None],
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str = "Upload",
    revision: str | None = None,
) -> str:
    """Save into a temporary folder and upload that to the Hub; see `Uploadable.push_to_hub`."""
    from huggingface_hub import HfApi, errors

    # The base of the network library's own errors, whichever library this version uses.
    network: type[Exception] = getattr(errors, "HTTPError", OSError)

    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision
            )
    except PerpixelError:
        raise
    except (network, errors.HfHubHTTPError, errors.HFValidationError, errors.OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot upload to {repo_id}: {reason}: check the name, the network and `hf auth login`"
        ) from error
    return str(commit.commit_url)
