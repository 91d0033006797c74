"""At which size a trained model is to see whole images: the one that its training crops were cut from."""

from __future__ import annotations

from typing import Any

from perpixel.data.augment import AugmentRecipe
from perpixel.data.samples import LabelledImages
from perpixel.errors import CheckpointError
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.models.processing import load_settings
from perpixel.tasks.dense import dense_processor
from perpixel.train.recipe import Recipe
from perpixel.train.start import Start

# The long side of an image at most, as a multiple of the short one: 2560 of 640 in Mask2Former's settings for ADE20K.
LONGEST = 4


def seen_size(recipe: AugmentRecipe, data: LabelledImages[Any], *, pair: bool = False) -> Any:
    """The size for an image processor: that of factor 1 in the recipe's scale.

    Args:
        recipe: with a crop.
        data: the training images, of which the first one is read where the size depends on it.
        pair: whether the processor takes a height and a width only, one of which it meets with the aspect kept.

    Returns:
        What the processor takes as `size`; None where images are seen at their own size, which `pair` cannot say.

    >>> seen_size(AugmentRecipe(crop=(512, 512), scale_of="cover"), [])
    {'shortest_edge': 512, 'longest_edge': 2048}
    >>> seen_size(AugmentRecipe(crop=(512, 512), scale_of="cover"), [], pair=True)
    {'height': 512, 'width': 512}
    """
    assert recipe.crop is not None
    rows, columns = recipe.crop
    short = min(recipe.crop)
    if recipe.scale_of == "cover":
        return {"height": short, "width": short} if pair else {"shortest_edge": short, "longest_edge": LONGEST * short}
    if not pair:
        return {"max_height": rows, "max_width": columns} if recipe.scale_of == "fit" else None
    height, width = data[0].image.shape[:2]
    factor = min(rows / height, columns / width) if recipe.scale_of == "fit" else 1.0
    return {"height": max(1, round(height * factor)), "width": max(1, round(width * factor))}


def start_colours(start: Start) -> dict[str, Any]:
    """The mean and the deviation of colours that the start was trained with; nothing where it does not say."""
    if start.source is None:
        return {}
    try:
        values = load_settings(start.source)
    except CheckpointError:
        return {}  # the weights are there, so only this file is missing
    return {name: values[name] for name in ("image_mean", "image_std") if values.get(name) is not None}


def dense_view(start: Start, recipe: Recipe, data: LabelledImages[Any]) -> DPTImageProcessor:
    """The image processor of a DPT or a Depth Anything; see `perpixel.tasks.dense.dense_processor`."""
    made = dense_processor(start.source if start.whole else None, start.config)
    changes = {"size": seen_size(recipe.augment, data, pair=True), **start_colours(start)}
    return DPTImageProcessor.from_dict(made.to_dict(), **{**changes, **recipe.processor})
