"""Parameter groups: every trainable parameter once, at its rate, with or without decay."""

import pytest
from torch import nn

from perpixel.train.groups import parameter_groups
from perpixel.train.recipe import DataRecipe, Recipe


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.position_embeddings = nn.Parameter(nn.init.ones_(nn.Linear(4, 3).weight.data)[None])
        self.embeddings.cls_token = nn.Parameter(nn.Linear(4, 1).weight.data[None])
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)])
        self.queries = nn.Embedding(5, 4)
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


def layer(name):
    if name.startswith("embeddings"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("layers") else None


def settled(model=None, **fields):
    """The rate and the decay of each parameter by name."""
    model = model or Net()
    recipe = Recipe("depth", DataRecipe("nyuv2"), learning_rate=1.0, weight_decay=0.5, **fields)
    groups = parameter_groups(model, layer, recipe)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in groups:
        assert [names[id(parameter)] for parameter in group["params"]] == group["names"]
        for name in group["names"]:
            assert name not in found
            found[name] = (group["lr"], group["weight_decay"])
    return found, len(groups)


def test_every_parameter_is_in_one_group_at_its_rate():
    found, count = settled(backbone_rate=0.25)
    assert found == {
        "embeddings.position_embeddings": (0.25, 0.0),
        "embeddings.cls_token": (0.25, 0.0),
        **{f"layers.{i}.weight": (0.25, 0.5) for i in range(3)},
        **{f"layers.{i}.bias": (0.25, 0.0) for i in range(3)},
        "queries.weight": (1.0, 0.0),
        "head.0.weight": (1.0, 0.5),
        "head.0.bias": (1.0, 0.0),
        "head.1.weight": (1.0, 0.0),
        "head.1.bias": (1.0, 0.0),
    }
    assert count == 4


def test_rates_fall_from_layer_to_layer():
    found, _ = settled(layer_decay=0.5, backbone_rate=0.1)
    rates = [found[name][0] for name in ("head.0.weight", "layers.2.weight", "layers.1.bias", "layers.0.weight")]
    assert rates == pytest.approx([1.0, 0.05, 0.025, 0.0125])
    assert found["embeddings.cls_token"][0] == pytest.approx(0.00625)


def test_frozen_parameters_are_left_out_and_shift_no_rates():
    model = Net()
    model.layers[2].requires_grad_(False)
    model.queries.requires_grad_(False)
    found, _ = settled(model, layer_decay=0.5)
    assert not [name for name in found if name.startswith(("layers.2", "queries"))]
    assert found["layers.1.weight"][0] == 0.25
