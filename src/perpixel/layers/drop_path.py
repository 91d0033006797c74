"""Stochastic depth."""

from __future__ import annotations

from torch import Tensor


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Drop the branch of whole samples, and scale the others up ("Deep Networks with Stochastic Depth", 1603.09382).

    Args:
        x: (b, …), what a branch adds.
        rate: the share of samples whose branch is dropped, at least 0 and below 1.
        training: nothing is dropped otherwise.
    """
    if rate == 0.0 or not training:
        return x
    keep = x.new_empty(x.shape[0], *(1,) * (x.ndim - 1)).bernoulli_(1 - rate)
    return x * keep / (1 - rate)
