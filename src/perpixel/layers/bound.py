"""A lower bound of 0 that lets go of what belongs above it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class NonNegative(nn.Module):
    """max(x, 0), for outputs that cannot be negative.

    The values are those of a ReLU. In training the gradient differs where x is negative: what would rise is let
    through, and only what would fall still further is stopped. That is a gradient step followed by the projection onto
    x ≥ 0. A ReLU stops both, so an output that was pushed below 0 never comes back: with a loss that is free of the
    shift, as that of relative depth is, whole regions end there. The gradient is that of the lower bound in
    "Variational image compression with a scale hyperprior", Ballé et al., 2018, arXiv 1802.01436, as its code has it.

    Example:
        >>> x = torch.tensor([-2.0, -1.0, 3.0], requires_grad=True)
        >>> y = NonNegative()(x)
        >>> (y * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
        >>> y.tolist(), x.grad.tolist()
        ([0.0, 0.0, 3.0], [0.0, -1.0, 1.0])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the same comes out."""
        if self.training and x.requires_grad:
            return cast(Tensor, _Projection.apply(x))  # type: ignore[no-untyped-call]
        return functional.relu(x)


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        # Descent goes against the gradient: a negative one wants more.
        return torch.where((x > 0) | (gradient < 0), gradient, 0)
