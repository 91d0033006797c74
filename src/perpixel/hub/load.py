"""Finding and reading checkpoints: a local folder or file, else an embedded model's name, else a Hub id.

Nothing here runs code from a file: safetensors where there is one, otherwise `torch.load(weights_only=True)`;
detectron2's `.pkl` files are read by `hub.detectron2`.
"""

from __future__ import annotations

import json
import re
import socket
import zipfile
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from perpixel.errors import CheckpointError
from perpixel.hub.catalog import embedded_folder

if TYPE_CHECKING:
    from torch import Tensor

Source = str | PathLike[str]

# In the order in which they are looked for.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".pkl")
_HUB_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_JSON_LIMIT = 100 * 2**20


@dataclass(frozen=True)
class _Access:
    """How the Hub is asked; the fields are `find_file`'s arguments."""

    revision: str | None
    token: str | bool | None
    cache_dir: Source | None
    local_files_only: bool


def find_file(
    source: Source,
    filename: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Source | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the path of one file of a checkpoint, downloaded to the cache if need be.

    Args:
        source: a local folder, an embedded model's name, or a Hub id.
        filename: for instance "config.json".
        revision: a branch, a tag or a commit on the Hub.
        token: an access token for private and gated models.
        cache_dir: where downloads are kept; None is the Hub's default.
        local_files_only: never ask the network.

    Raises:
        CheckpointError: there is no such checkpoint or no such file in it, or it cannot be fetched.
    """
    return _find_file(source, filename, _Access(revision, token, cache_dir, local_files_only))


def _find_file(source: Source, filename: str, access: _Access) -> Path:
    folder = _local_folder(source)
    if folder is not None:
        if not (folder / filename).is_file():
            held = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
            raise _MissingFileError(f"{folder} has no {filename} (it holds {held}): give the folder of a checkpoint")
        return folder / filename
    return _download(str(source), filename, access)


def load_json(
    source: Source,
    filename: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Source | None = None,
    local_files_only: bool = False,
) -> dict[str, Any]:
    """Return a JSON file of a checkpoint, which has to hold one object. The arguments are `find_file`'s."""
    return _read_json(_find_file(source, filename, _Access(revision, token, cache_dir, local_files_only)))


def load_state_dict(
    source: Source,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Source | None = None,
    local_files_only: bool = False,
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, on the CPU, as stored and under the names of the file.

    Looks for `model.safetensors`, its shards, `pytorch_model.bin` and its shards. The memory is mapped from
    the file where the format allows. The arguments are `find_file`'s; `source` may also be a weights file itself.

    Raises:
        CheckpointError: nothing there, a broken file, or one that wants to run code.
    """
    if Path(source).is_file():
        return _read_weights(Path(source))
    access = _Access(revision, token, cache_dir, local_files_only)
    path = _find_weights(source, access)
    if path.suffix != ".json":
        return _read_weights(path)
    state: dict[str, Tensor] = {}
    for name in _shard_names(path):
        state.update(_read_weights(_find_file(source, name, access)))
    return state


class _MissingFileError(CheckpointError):
    """The checkpoint is there and this file of it is not."""


class _NotCachedError(CheckpointError):
    """The network was not asked or did not answer, and the file is not in the cache."""


def _find_weights(source: Source, access: _Access) -> Path:
    offline: CheckpointError | None = None
    for name in WEIGHT_FILES:
        try:
            return _find_file(source, name, access)
        except _MissingFileError:
            continue
        except _NotCachedError as error:
            # Another of these files may be in the cache; do not wait for the network again.
            offline = offline or error
            access = replace(access, local_files_only=True)
    if offline is not None:
        raise offline
    raise CheckpointError(
        f"{source} holds no weights: it needs one of {', '.join(WEIGHT_FILES)}; "
        "another weights file can be given by its path"
    )


def _local_folder(source: Source) -> Path | None:
    """Return the folder that `source` means, None for a Hub id."""
    path = Path(source)
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointError(f"{source} is a file: give the folder that holds it")
    if isinstance(source, str) and (folder := embedded_folder(source)) is not None:
        return folder
    name = str(source)
    local = not isinstance(source, str) or path.is_absolute() or name.startswith((".", "~"))
    if local or path.suffix in _SUFFIXES or not _HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"there is no folder {source}: give a local folder, a Hub id such as "
            "hustvl/vitmatte-small-composition-1k, or a name that `perpixel models` lists"
        )
    return None


def _download(repo: str, filename: str, access: _Access) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub import errors as hub

    revision = access.revision
    where = f"{repo}@{revision}" if revision else repo
    fetch = f"hf download {repo}" + (f" --revision {revision}" if revision else "")
    reached = "cannot be reached"
    if constants.HF_HUB_OFFLINE:
        reached = "was not asked (HF_HUB_OFFLINE is set)"
    elif access.local_files_only:
        reached = "was not asked (local_files_only)"
    elif _no_network(constants.ENDPOINT):
        access = replace(access, local_files_only=True)
    try:
        return Path(
            hf_hub_download(
                repo,
                filename,
                revision=revision,
                token=access.token,
                cache_dir=Path(access.cache_dir) if access.cache_dir is not None else None,
                local_files_only=access.local_files_only,
            )
        )
    except hub.GatedRepoError as error:
        raise CheckpointError(
            f"{where} is gated: accept its terms at https://huggingface.co/{repo}, then run `hf auth login` "
            "or give token="
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no {repo} on the Hub, or it is private, and no such folder here: check the spelling; "
            "for a private one run `hf auth login` or give token="
        ) from error
    except hub.RevisionNotFoundError as error:
        raise CheckpointError(f"{repo} has no revision {revision!r}: give a branch, tag or commit of it") from error
    except hub.HFValidationError as error:
        raise CheckpointError(f"{repo!r} is neither a folder here nor a Hub id: {_first_line(error)}") from error
    except hub.LocalEntryNotFoundError as error:
        raise _NotCachedError(
            f"{where} is not on this machine ({filename} is not in the cache) and the Hub {reached}: run "
            f"`{fetch}` once with a network, or copy its folder here and give that path"
        ) from error
    except hub.EntryNotFoundError as error:
        raise _MissingFileError(f"{where} has no {filename}: choose another model or revision") from error
    except (hub.HfHubHTTPError, hub.OfflineModeIsEnabled, OSError, ValueError) as error:
        raise _NotCachedError(
            f"cannot fetch {filename} of {where}: {_first_line(error)}: check the network, "
            f"or run `{fetch}` where there is one and give the folder"
        ) from error


def _no_network(endpoint: str) -> bool:
    """Whether the Hub's name cannot be looked up; huggingface_hub would retry for half a minute."""
    address = urlsplit(endpoint)
    if getproxies().get(address.scheme) or not address.hostname:
        return False  # the proxy looks the name up
    try:
        socket.getaddrinfo(address.hostname, address.port or address.scheme)
    except OSError:
        return True
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".:")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise CheckpointError(f"{path} is larger than {_JSON_LIMIT >> 20} MiB: this is no file of a checkpoint")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({_first_line(error)}): download it again") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a JSON {type(values).__name__} instead of an object: download it again")
    return values


def _shard_names(index: Path) -> list[str]:
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} has no weight_map of names to files: download it again")
    names = sorted(set(places.values()))
    for name in names:
        # A file name only: an index may not reach outside its own folder.
        plain = name == PurePosixPath(name).name == PureWindowsPath(name).name and name not in (".", "..")
        if not plain or not name.endswith(_SUFFIXES):
            raise CheckpointError(f"{index} names the shard {name!r}, which is no plain weights file: do not trust it")
    return names


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Read one file of tensors."""
    if path.suffix not in _SUFFIXES:
        raise CheckpointError(f"{path} is no weights file: give one that ends in {', '.join(_SUFFIXES)}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".pkl" and not zipfile.is_zipfile(path):
        return _read_detectron2(path)
    return _read_pickle(path)


def _read_detectron2(path: Path) -> dict[str, Tensor]:
    import torch

    from perpixel.hub.detectron2 import read_arrays

    arrays = read_arrays(path)
    # A copy each, since the bytes of a pickle lie unaligned and cannot be written to; the pickle's own are freed
    # one by one.
    return {key: torch.from_numpy(arrays.pop(key).copy()) for key in list(arrays)}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({_first_line(error)}): download it again"
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                # torch stores tensors as they are. A compressed entry could unpack to any size.
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise CheckpointError(f"{path} is compressed, which torch.save never does: do not trust it")
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except CheckpointError:
        raise
    except Exception as error:  # unpickling a hostile or cut file can raise any kind
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"{path} holds more than tensors and could run code: ask its author for a safetensors file"
            ) from error
        raise CheckpointError(
            f"{path} is not a whole PyTorch file ({_first_line(error)}): download it again"
        ) from error
    state = _unwrap(loaded)
    size = path.stat().st_size
    for key, tensor in state.items():
        if tensor.numel() * tensor.element_size() > size:
            raise CheckpointError(f"{path}: {key} claims more values than the file holds: do not trust it")
    return state


def _unwrap(loaded: Any) -> dict[str, Any]:
    """Take the tensors out of the dict that a training loop saved around them."""
    import torch

    for name in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict):
        raise CheckpointError(f"the weights file holds a {type(loaded).__name__} instead of named tensors")
    state = {key: value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not state or not all(isinstance(key, str) for key in state):
        raise CheckpointError("the weights file holds no named tensors: give a model's state dict")
    return state
