"""Activations by the names that checkpoints use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

from perpixel.errors import ConfigError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "mish": functional.mish,
    "tanh": functional.tanh,
    "sigmoid": functional.sigmoid,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function that a configuration's `hidden_act` names.

    Example:
        >>> import torch
        >>> activation("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"hidden_act is {name!r}: use one of {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]
