"""Convolutions of an inference copy: the faster way where there is one, with what stands around them in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.layers.winograd import Part, convolve, pays, prepare

# The one kind that `perpixel.layers.winograd` computes.
PLAIN = {
    "kernel_size": (3, 3),
    "stride": (1, 1),
    "padding": (1, 1),
    "dilation": (1, 1),
    "groups": 1,
    "padding_mode": "zeros",
}


def fold_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a convolution with the batch norm after it, in eval mode, folded in."""
    if norm is None:
        return convolution.weight, convolution.bias
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    start = 0.0 if convolution.bias is None else convolution.bias
    return convolution.weight * scale[:, None, None, None], norm.bias + (start - norm.running_mean) * scale


def convolve_3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    relu: bool = False,
    relu_before: bool = False,
    add: Tensor | None = None,
) -> Tensor:
    """A 3×3 convolution with stride 1 and a margin of one zero, and what stands around it.

    Args:
        x: (b, c, h, w).
        weight: (c', c, 3, 3).
        bias: (c',) or None.
        relu: whether a ReLU follows.
        relu_before: whether a ReLU precedes.
        add: (b, c', h, w), added at last.

    Returns:
        (b, c', h, w), channels last.
    """
    b, c, h, w = x.shape
    if not b or not pays(c, len(weight), h * w, x):
        y = functional.conv2d(functional.relu(x) if relu_before else x, weight, bias, padding=1)
        y = functional.relu(y) if relu else y
        return y if add is None else y + add
    kernel = prepare(weight, bias)
    out = x.new_empty(b, h, w, len(weight))
    for i in range(b):
        plane = x[i].detach().permute(1, 2, 0).contiguous()  # (h, w, c)
        added = None if add is None else add[i].detach().permute(1, 2, 0).contiguous()
        convolve([Part(plane)], kernel, out[i], relu=relu, relu_before=relu_before, add=added)
    return out.permute(0, 3, 1, 2)


class QuickConv2d(nn.Conv2d):
    """A convolution that takes the faster way where it is one; with its parameters, values and names."""

    def forward(self, x: Tensor) -> Tensor:
        """As `torch.nn.Conv2d`."""
        if x.ndim == 4 and self.kernel_size == (3, 3):
            return convolve_3x3(x, self.weight, self.bias)
        return super().forward(x)


def is_plain(module: nn.Module) -> bool:
    """Whether the module is a convolution that `convolve_3x3` computes, and no subclass, which may do more."""
    return type(module) is nn.Conv2d and all(getattr(module, name) == value for name, value in PLAIN.items())
