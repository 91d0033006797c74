"""The learning rate's course: it rises, stays and falls as the recipe says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.train.recipe import DataRecipe, Recipe
from perpixel.train.schedule import rate_factor


def rates(**fields):
    recipe = Recipe("depth", DataRecipe("nyuv2"), **fields)
    return [rate_factor(step, recipe) for step in range(recipe.steps)]


def test_the_rate_rises_stays_and_falls():
    found = rates(steps=100, warmup=4, decay=0.5)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4:51] == pytest.approx([1.0] * 47)
    assert found[75] == pytest.approx(0.5)
    assert found[62] > found[75] > found[87] > found[99] > 0


def test_no_share_to_fall_in_stays_up():
    assert rates(steps=10, warmup=0, decay=0.0) == [1.0] * 10


def test_a_constant_rate_is_one():
    assert rates(steps=10, warmup=2, schedule="constant") == [0.5] + [1.0] * 9


def test_the_falls_are_those_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    for schedule, reference in [
        ("cosine", torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)),
        ("poly", torch.optim.lr_scheduler.PolynomialLR(optimizer, 50, power=0.9)),
    ]:
        expected = []
        for _ in range(50):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            reference.step()
        assert rates(steps=50, warmup=0, schedule=schedule) == pytest.approx(expected)
        optimizer.param_groups[0]["lr"] = 1.0


@settings(max_examples=30, deadline=None)
@given(
    steps=st.integers(1, 40),
    warmup=st.integers(0, 60),
    decay=st.floats(0, 1),
    schedule=st.sampled_from(["cosine", "poly", "constant"]),
)
def test_it_never_leaves_its_range_nor_falls_before_it_has_risen(steps, warmup, decay, schedule):
    found = rates(steps=steps, warmup=warmup, decay=decay, schedule=schedule)
    assert all(0 < rate <= 1 for rate in found)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
