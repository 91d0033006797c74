"""The optimizer's groups: which parameters learn at which rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from perpixel.train.recipe import Recipe

# Parts of the names of what stands for places rather than for features.
_POSITIONS = ("position", "rel_pos")


def parameter_groups(model: nn.Module, layer: Callable[[str], int | None], recipe: Recipe) -> list[dict[str, Any]]:
    """Share out the trainable parameters, each to one group.

    Vectors (biases, norms, tokens), embeddings and positions have no weight decay. The backbone learns at
    `backbone_rate` of the rate, and each of its layers at `layer_decay` of the one after it; what follows the backbone
    counts as one layer more (Bao et al. 2022, arXiv 2106.08254, appendix H).

    Args:
        model: whose parameters; frozen ones are left out.
        layer: the depth in the backbone of a parameter's name, None outside of it.
        recipe: the rates.

    Returns:
        What `torch.optim.AdamW` takes: "params", "lr" and "weight_decay", with the "names" for the reader.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # From all layers, so that a frozen end of the backbone does not change the rates of what is before it.
    count = 1 + max((layer(name) or 0 for name, _ in model.named_parameters()), default=0)
    groups: dict[tuple[int | None, bool], dict[str, Any]] = {}
    for name, parameter in trained.items():
        vector = sum(side > 1 for side in parameter.shape) < 2
        plain = vector or id(parameter) in embeddings or any(part in name for part in _POSITIONS)
        depth, rate = layer(name), recipe.learning_rate
        if depth is not None:
            rate *= recipe.backbone_rate * recipe.layer_decay ** (count - depth)
            depth = depth if recipe.layer_decay != 1 else 0  # one group for all layers of one rate
        decay = 0.0 if plain else recipe.weight_decay
        group = groups.setdefault((depth, plain), {"params": [], "names": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())
