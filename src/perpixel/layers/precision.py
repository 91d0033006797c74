"""Where full precision is kept while the rest of a model computes in half.

Under `torch.autocast` matrix products and convolutions run in bfloat16 or float16. Eleven (or eight) bits are enough
inside a network, where sums run in float32 anyway, but not for what comes out of it: depths would lie on a staircase,
and the sign of a mask's logit would be a matter of rounding.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def is_lowered(like: Tensor) -> bool:
    """Whether an autocast is on for the device of a tensor."""
    kind = like.device.type
    # A device without an autocast, such as "meta", does not even know whether it is on.
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A context in which nothing is rounded to half precision, whatever surrounds it.

    Args:
        like: a tensor of the device in question.

    Example:
        >>> a = torch.full((2, 2), 1 + 2**-10)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     rounded = a @ torch.eye(2)
        ...     with full_precision(a):
        ...         exact = a @ torch.eye(2)
        >>> torch.equal(rounded, a), torch.equal(exact, a)
        (False, True)
    """
    if not is_lowered(like):
        return contextlib.nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def lowered(x: Tensor) -> Tensor:
    """`x` in the precision that matrix products have here: its own, or that of the autocast around.

    Worth a call before several operations read the same tensor, and before one that would mix the two precisions.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     lowered(torch.zeros(2)).dtype
        torch.bfloat16
    """
    return x.to(torch.get_autocast_dtype(x.device.type)) if is_lowered(x) else x


class ExactConv2d(nn.Conv2d):
    """A convolution that runs in the precision of its own weights under autocast too: for a model's last layer."""

    def forward(self, x: Tensor) -> Tensor:
        """As `torch.nn.Conv2d`."""
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))


class ExactLinear(nn.Linear):
    """The same for a linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """As `torch.nn.Linear`."""
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))
