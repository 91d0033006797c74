"""A recorded program as an ONNX file, which ONNX Runtime runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from perpixel.errors import MissingDependencyError
from perpixel.export.about import INPUT, About
from perpixel.export.model import LEAST_HALVED, quiet

# A protobuf file ends at 2 GiB; from here on the weights go into a file of their own beside it.
EMBEDDED_BYTES = 1_800_000_000


def write_onnx(program: ExportedProgram, path: Path, about: About, *, embedded_bytes: int = EMBEDDED_BYTES) -> About:
    """Write the file; with more bytes of weights than `embedded_bytes` also `<name>.onnx.data` beside it.

    With `about.half` the large weights are stored in 16 bits and made 32 bits again when the file is loaded, so every
    runtime computes in 32 bits.

    Returns:
        `about` with the version of the operators.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "writing ONNX needs onnx and onnxscript: run `pip install 'perpixel[export]'`"
        ) from None
    with torch.no_grad(), quiet():
        found = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=[INPUT], output_names=list(about.outputs)
        )
    assert found is not None
    model: Any = found.model
    if about.half:
        _halve(model.graph)
    about = replace(about, opset=int(model.opset_imports[""]))
    model.producer_name, model.producer_version = "perpixel", about.version
    model.metadata_props.update(about.to_texts())
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    found.save(str(path), external_data=size > embedded_bytes)
    return about


def _halve(graph: Any) -> None:
    from onnxscript import ir

    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor.dtype != ir.DataType.FLOAT or tensor.size < LEAST_HALVED:
            continue
        with np.errstate(over="ignore"):
            halved = tensor.numpy().astype(np.float16)
        if not np.isfinite(halved).all():
            continue
        stored = ir.Value(
            name=f"{name}_half",
            type=ir.TensorType(ir.DataType.FLOAT16),
            shape=ir.Shape(halved.shape),
            const_value=ir.tensor(halved, name=f"{name}_half"),
        )
        cast = ir.node("Cast", [stored], attributes={"to": int(ir.DataType.FLOAT)})
        cast.outputs[0].name = f"{name}_full"
        cast.outputs[0].dtype, cast.outputs[0].shape = ir.DataType.FLOAT, ir.Shape(halved.shape)
        value.replace_all_uses_with(cast.outputs[0])
        del graph.initializers[name]
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)
