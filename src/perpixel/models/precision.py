"""Reduced precision by choice: a copy of a model for inference whose matrix products run in half precision.

The weights of linear layers and convolutions are stored in half precision, which halves their memory; everything else
stays float32: norms, softmax, positions, the sums that run through all layers, sampling, and what the heads give
(`perpixel.layers.precision`). Nothing can overflow then that did not before, which a model cast as a whole does.
"""

from __future__ import annotations

import copy
import platform
import warnings
from typing import TypeVar

import torch
from torch import nn

from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.base import Model

AnyModel = TypeVar("AnyModel", bound=Model)

_NAMES: dict[str, torch.dtype | None] = {
    "float32": None,
    "fp32": None,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
}
# Only these very classes: what a subclass makes of its weights, such as standardising them, needs all their bits.
_ROUNDED = (nn.Linear, nn.Conv2d)


def half_precision(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The half precision that a name means; None for full precision.

    Args:
        dtype: "float32", "bf16", "fp16", one of torch's names of them, the torch.dtype, or None for float32.

    Raises:
        InputError: any other.

    Example:
        >>> half_precision("bf16"), half_precision(None)
        (torch.bfloat16, None)
    """
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in _NAMES:
        raise InputError(f"dtype={dtype!r} is not known: use 'float32', 'bf16', or 'fp16' on a GPU")
    return _NAMES[name]


def in_half_precision(model: AnyModel, dtype: torch.dtype) -> AnyModel:
    """A copy for inference that computes in half precision; outputs stay float32.

    The copy shares with the model what it does not round. The model itself stays as it is.

    Args:
        model: with weights in float32, on its device.
        dtype: `torch.bfloat16`, or on an accelerator `torch.float16`.

    Returns:
        the copy, in eval mode. It cannot be trained.

    Raises:
        InputError: float16 on a CPU, which is slower there than float32.

    Example:
        >>> from perpixel.models.vitmatte.model import VitMatteForImageMatting
        >>> half = in_half_precision(VitMatteForImageMatting.from_pretrained("vitmatte-nano"), torch.bfloat16)
        >>> half(torch.zeros(1, 4, 32, 32)).alphas.dtype
        torch.float32
    """
    if model.compute_dtype == dtype:
        return model.eval()
    if model.compute_dtype is not None or model.dtype != torch.float32:
        has = model.compute_dtype or model.dtype
        raise ConfigError(f"the model is in {has} already, and {dtype} is asked for: load it again for that")
    if model.optimized:
        raise ConfigError(
            "the model is prepared for float32 (optimize) and another precision is asked for: give dtype where it is "
            "loaded, or the model that the copy was made from"
        )
    if model.device.type == "cpu":
        _check_cpu(dtype)
    # Own parameters over the same memory: moving the copy to another device must not move the model.
    shared: dict[int, object] = {
        id(tensor): nn.Parameter(tensor.detach(), requires_grad=False) for tensor in model.parameters()
    }
    shared |= {id(tensor): tensor for tensor in model.buffers()}
    result = copy.deepcopy(model, shared).eval()
    for module in result.modules():
        if type(module) in _ROUNDED:
            module.to(dtype)
    result.compute_dtype = dtype
    return result


def _check_cpu(dtype: torch.dtype) -> None:
    if dtype != torch.bfloat16:
        raise InputError("dtype='fp16' is for GPUs and the model is on the CPU: use 'bf16', or device='cuda'")
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if platform.machine() in ("x86_64", "AMD64") and native is not None and not native():
        warnings.warn(
            "this CPU has no instructions for bf16, so dtype='bf16' saves memory and no time: leave it out to be fast",
            PerpixelWarning,
            stacklevel=4,
        )
