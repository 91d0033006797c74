"""The moving average: where it starts, how fast it follows, and what the model has while it is swapped in."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from perpixel.train.average import MovingAverage


def trained(steps, each):
    """A small network with a norm that is changed at random, and what is called after each change."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].bias.requires_grad_(False)
    start = model
    for step in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        start(torch.randn(5, 3))
        each(model, step)
    return model


def test_it_follows_quickly_at_first():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, 0.5)
    nn.init.ones_(model.weight)
    distance = 1.0
    for step, kept in [(0, 1 / 10), (2, 3 / 12), (100, 0.5)]:
        average.update(model, step)
        distance *= kept
        assert average.values["weight"].item() == pytest.approx(1 - distance)


def test_late_updates_are_those_of_torch():
    torch.manual_seed(1)
    ours, theirs = None, None

    def follow(model, step):
        nonlocal ours, theirs
        if ours is None:
            ours = MovingAverage(model, 0.9)
            theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
            theirs.update_parameters(model)  # the first call copies
        else:
            ours.update(model, 1000 + step)
            theirs.update_parameters(model)

    model = trained(6, follow)
    expected = theirs.module.state_dict()
    assert ours.values.keys() == expected.keys() - {"2.bias"}
    # Torch lets whole numbers lag behind as floats do; a count of batches is copied here.
    assert ours.values["1.num_batches_tracked"] == model[1].num_batches_tracked == 6
    for name in ours.values.keys() - {"1.num_batches_tracked"}:
        assert torch.allclose(ours.values[name], expected[name], atol=1e-6), name


def test_the_model_has_the_averages_for_a_while():
    average = None

    def follow(model, step):
        nonlocal average
        average = average or MovingAverage(model, 0.9)
        average.update(model, 100)

    model = trained(3, follow)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    averages = {name: tensor.clone() for name, tensor in average.values.items()}
    with pytest.raises(RuntimeError, match="inside"), average.swapped(model):
        for name, tensor in averages.items():
            assert torch.equal(model.state_dict()[name], tensor), name
        assert not torch.equal(model[0].weight, weights["0.weight"])
        raise RuntimeError("inside")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())
    assert all(torch.equal(average.values[name], tensor) for name, tensor in averages.items())


def test_without_decay_there_is_no_average():
    model = nn.Linear(1, 1)
    average = MovingAverage(model, 0.0)
    average.update(model, 0)
    weight = model.weight.clone()
    with average.swapped(model):
        assert torch.equal(model.weight, weight)
    assert not average.values
