"""An ONNX file as OpenVINO's two files: the graph, `.xml`, and beside it the weights, `.bin`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perpixel.errors import MissingDependencyError
from perpixel.export.about import PREFIX, About


def import_openvino() -> Any:
    """Return the module.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError("OpenVINO is not installed: run `pip install 'perpixel[export]'`") from None
    return openvino


def write_openvino(source: Path, path: Path, about: About) -> About:
    """Convert.

    Args:
        source: an ONNX file, in 32 bits.
        path: where the `.xml` goes.
        about: with `half` the weights are stored in 16 bits, which OpenVINO makes 32 bits again where it computes so.

    Returns:
        `about`, as it was.
    """
    openvino = import_openvino()
    # Its converter tells its makers about each use; the reader beneath does not.
    model = openvino.Core().read_model(str(source))
    for key, text in about.to_texts().items():
        model.set_rt_info(text, ["perpixel", key.removeprefix(PREFIX)])
    openvino.save_model(model, str(path), compress_to_fp16=about.half)
    return about
