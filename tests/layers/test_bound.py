"""The lower bound: values of a ReLU, gradients that let go."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from perpixel.layers.bound import NonNegative
from perpixel.models.dpt.loss import scale_and_shift_invariant_loss


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_values_are_those_of_a_relu_and_the_gradient_is_the_projected_one(seed):
    generator = torch.Generator().manual_seed(seed)
    x, pull = torch.randn(2, 40, generator=generator).unbind()
    x.requires_grad_()
    y = NonNegative()(x)
    assert torch.equal(y, x.relu())
    y.backward(pull)
    expected = torch.where((x < 0) & (pull > 0), 0.0, pull)
    assert torch.equal(x.grad, expected)


def test_outside_of_training_it_is_a_relu():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    NonNegative().eval()(x).backward(torch.tensor([-1.0, -1.0]))
    assert x.grad.tolist() == [0.0, -1.0]


@pytest.mark.parametrize(("bound", "alive"), [(nn.ReLU(), False), (NonNegative(), True)])
def test_what_was_pushed_below_comes_back(bound, alive):
    depth = torch.full((8,), -1.0, requires_grad=True)
    optimizer = torch.optim.SGD([depth], lr=0.2)
    for _ in range(50):
        optimizer.zero_grad()
        (bound(depth) - 3).square().sum().backward()
        optimizer.step()
    assert bool((depth - 3).abs().max() < 1e-3) == alive


@pytest.mark.parametrize(("bound", "most"), [(nn.ReLU(), 1.0), (NonNegative(), 0.05)])
def test_relative_depth_does_not_stay_at_zero(bound, most):
    """The loss is free of the shift: what began below zero is only told apart from the rest, not where it is."""
    target = torch.linspace(0, 1, 24).expand(1, 24, 24)
    depth = (torch.randn(1, 24, 24, generator=torch.Generator().manual_seed(0)) - 0.3).requires_grad_()
    optimizer = torch.optim.Adam([depth], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        scale_and_shift_invariant_loss(bound(depth), target, keep_order=True).backward()
        optimizer.step()
    share = float((depth <= 0).float().mean())
    assert share <= most
    assert share > 0.4 or isinstance(bound, NonNegative)
