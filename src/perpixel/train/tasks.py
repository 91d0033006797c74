"""Which family trains for which task: one table."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from perpixel.errors import ConfigError
from perpixel.models.fields import nearest

if TYPE_CHECKING:
    from perpixel.train.recipe import Recipe
    from perpixel.train.task import TrainingTask

TASKS: dict[str, str] = {
    "matting": "perpixel.train.matting:MattingTask",
    "semantic": "perpixel.train.segmentation:SegmentationTask",
    "instance": "perpixel.train.segmentation:SegmentationTask",
    "panoptic": "perpixel.train.segmentation:SegmentationTask",
    "depth": "perpixel.train.depth:DepthTask",
}


def training_task(recipe: Recipe) -> TrainingTask:
    """Make the training task of a recipe: its data are opened, its model is not built yet.

    Raises:
        ConfigError: a task, a loss term or a setting that there is not.
        InputError: data that are not there.
        CheckpointError: a `start` that is not there.
    """
    if recipe.task not in TASKS:
        raise ConfigError(f"the recipe's task is {recipe.task!r}{nearest(recipe.task, TASKS)}")
    module, _, name = TASKS[recipe.task].partition(":")
    task: TrainingTask = getattr(importlib.import_module(module), name)(recipe)
    return task
