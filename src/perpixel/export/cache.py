"""Models converted for OpenVINO once and kept: the next call opens the file instead of converting again.

A file is found by what it was made of, weights included, so it can never be the one of another model. Two processes
that convert the same model at once each write a whole file; the last one stays.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from perpixel.errors import OutputError
from perpixel.export.about import About
from perpixel.export.openvino import import_openvino
from perpixel.folders import cache_folder

if TYPE_CHECKING:
    from perpixel.models.base import Model

# Changed whenever perpixel would write another file of the same model.
LAYOUT = 1


def model_key(model: Model, about: About) -> str:
    """What a converted model is found by: its weights, what its file says, and the versions that made it.

    Args:
        model: with weights in float32.
        about: what its file will say.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    # Where it came from and its licence do not change its numbers.
    texts = replace(about, source="", licence="").to_texts()
    versions = {"layout": LAYOUT, "openvino": import_openvino().__version__, "torch": torch.__version__}
    digest.update(json.dumps([texts, versions], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def converted(model: Model, about: About) -> Path:
    """The model as an OpenVINO file in the cache, converted and checked if it is not there yet.

    Args:
        model: of a class that can be exported, with weights in float32.
        about: what its file says, with open sizes.

    Returns:
        the `.xml`, which has its `.bin` beside it.

    Raises:
        OutputError: the file differs from the model by more than 1e-3 of its output's deviation, or the cache cannot
            be written.
        MissingDependencyError: OpenVINO, or onnx and onnxscript, which the conversion takes, are not installed.
    """
    path = place(model_key(model, about))
    if not (path.is_file() and path.with_suffix(".bin").is_file()):
        from perpixel.export.write import write_model

        write_model(model, path, about, "openvino")
    return path


def place(key: str) -> Path:
    """The `.xml` of a key; its folder is made.

    Raises:
        OutputError: it cannot be made.
    """
    folder = cache_folder() / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"converted models are kept in {folder}, which cannot be made ({error.strerror}): set PERPIXEL_CACHE to "
            "a folder that can be written to"
        ) from error
    return folder / f"{key}.xml"
