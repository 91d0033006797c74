"""Weights that hide nothing: every parameter and buffer random, batch norm statistics and positions included."""

import torch
from torch import nn


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Fill every floating-point tensor of a module; variances stay positive and gains near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(noise.abs() + 0.5)
            elif "norm" in name and name.endswith("weight"):
                tensor.copy_(1 + 0.2 * noise)
            elif tensor.ndim > 1 and "position" not in name and "rel_pos" not in name:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(0.2 * noise)


def randomise_depth(model: nn.Module, seed: int = 0) -> None:
    """The same for a model of depth, whose last convolution is kept from below 0, where its ReLU would hide it."""
    randomise(model, seed)
    convolutions = [module for module in model.head.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for tensor in convolutions[-1].parameters():
            tensor.abs_()
