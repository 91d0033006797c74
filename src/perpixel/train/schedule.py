"""The learning rate from step to step: a linear rise, a plateau, a fall."""

from __future__ import annotations

import math

from perpixel.train.recipe import Recipe


def rate_factor(step: int, recipe: Recipe) -> float:
    """The part of the peak rate at a step, counted from 0.

    The rate rises over `warmup` steps and falls over the last share `decay` of the run, but not before it has risen:
    along half a cosine, or as (1 - t) ** power (Chen et al. 2017, arXiv 1606.00915, section 4.1).

    Example:
        >>> from perpixel.train.recipe import DataRecipe
        >>> recipe = Recipe("depth", DataRecipe("nyuv2"), steps=100, warmup=10, decay=0.5)
        >>> [round(rate_factor(step, recipe), 2) for step in (0, 9, 30, 75, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
        >>> recipe.schedule, recipe.decay = "poly", 1.0
        >>> [round(rate_factor(step, recipe), 2) for step in (9, 10, 55, 99)]
        [1.0, 1.0, 0.54, 0.02]
    """
    rise = min(1.0, (step + 1) / max(1, recipe.warmup))
    begin = max(min(recipe.warmup, recipe.steps), recipe.steps * (1 - recipe.decay))
    if recipe.schedule == "constant" or step <= begin:
        return rise
    fallen = (step - begin) / (recipe.steps - begin)
    if recipe.schedule == "poly":
        return float(rise * (1 - fallen) ** recipe.power)
    return rise * 0.5 * (1 + math.cos(math.pi * fallen))
