"""`perpixel train`: a recipe and a folder of labelled pictures in, a model out."""

import os
from pathlib import Path
from typing import Annotated

import typer

import perpixel
from perpixel.cli.reporting import UsageError
from perpixel.errors import ConfigError


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.yaml", help="What to train, on what, how long.", show_default=False)
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Fields of the recipe that are to be others: steps=2000 data.root=photos.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Train a model as a recipe says, and print the folder of the best one.

    A run that was stopped goes on where it was when the same command is given again. On several GPUs, or with FSDP:
    `accelerate launch -m perpixel train RECIPE.yaml`.
    """
    from perpixel.train.recipe import load_recipe

    try:
        told = load_recipe(recipe, changes or [])
    except ConfigError as error:
        raise UsageError(str(error)) from error

    perpixel.tune_allocator()  # before torch is imported
    from perpixel.train.loop import train as run
    from perpixel.train.processes import leave

    folder = run(told)
    if os.environ.get("RANK", "0") == "0":
        typer.echo(str(folder))
    leave()
    return 0
