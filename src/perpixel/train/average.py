"""The moving average of the weights, which is measured and saved in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


class MovingAverage:
    """Averages of what a model learns: its trainable parameters and its buffers.

    Where the model is sharded over processes, each keeps the averages of its own shards.

    Args:
        model: where the averages start.
        decay: the part that stays at each step once there were many; 0 keeps no average, only the weights.

    Example:
        >>> model = nn.BatchNorm1d(1, track_running_stats=False)  # its weight is 1
        >>> average = MovingAverage(model, 0.999)
        >>> _ = nn.init.constant_(model.weight, 11.0)
        >>> average.update(model, 0)  # the first step: a tenth stays
        >>> with average.swapped(model):
        ...     model.weight.item()
        10.0
        >>> model.weight.item()
        11.0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.clone() for name, tensor in _learnt(model)} if decay else {}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow the model after a step, counted from 0: quickly at first, so that the start is soon forgotten."""
        if not self.values:
            return
        kept = min(self.decay, (1 + step) / (10 + step))
        pairs = [(self.values[name], tensor) for name, tensor in _learnt(model)]
        floats = [(average, tensor) for average, tensor in pairs if average.is_floating_point()]
        for average, tensor in pairs:
            if not average.is_floating_point():
                average.copy_(tensor)
        if floats:
            torch._foreach_lerp_([average for average, _ in floats], [tensor for _, tensor in floats], 1 - kept)

    @torch.no_grad()
    def restart(self, model: nn.Module) -> None:
        """Take the model's values for the averages."""
        for name, tensor in _learnt(model) if self.values else ():
            self.values[name].copy_(tensor)

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the averages for a while, for instance to be measured or saved."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        # Values change places rather than tensors: a sharded model keeps pointers to its memory.
        for name, tensor in _learnt(model) if self.values else ():
            kept = tensor.clone()
            tensor.copy_(self.values[name])
            self.values[name].copy_(kept)


def _learnt(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What changes in training, by name; of sharded tensors, this process's part."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.requires_grad or not isinstance(tensor, nn.Parameter):
            yield name, (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()
