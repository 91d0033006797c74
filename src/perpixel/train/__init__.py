"""One training loop on Accelerate and what it is told by a recipe: `perpixel.train(…)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perpixel.train.recipe import Recipe


def train(recipe: str | Path | Mapping[str, Any] | Recipe, **changes: Any) -> Path:
    """Train a model as a recipe says; a run that was stopped goes on where it was.

    Args:
        recipe: a YAML file, or what it would hold.
        changes: fields that are to be others, for instance `steps=200`; those of a part are given by
            `**{"data.root": "photos"}`.

    Returns:
        The folder of the best model, which every task of the library opens as `model=`.

    Raises:
        ConfigError: a field that there is not, or a value that cannot be.
        InputError: data that cannot be read.
        OutputError: results that cannot be written; what was saved before stays whole.

    Example:
        >>> import perpixel as px
        >>> px.train("recipe.yaml", output="runs/hair", steps=2000)  # doctest: +SKIP
        PosixPath('runs/hair/best')
    """
    from perpixel.train.loop import train as run
    from perpixel.train.recipe import load_recipe

    return run(load_recipe(recipe, changes))
