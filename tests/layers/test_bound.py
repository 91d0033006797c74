"""The lower bound: values of a ReLU, gradients that let go."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from perpixel.layers.bound import NonNegative


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
