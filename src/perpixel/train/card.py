"""The model card of a finished run: what it was trained on, how, how well it measures, and how to do it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perpixel.errors import PerpixelError
from perpixel.train.recipe import DataRecipe, Recipe, recipe_text
from perpixel.train.state import Position

_DOES = {
    "matting": ("image matting", "image-segmentation", 'px.matte("photo.jpg", trimap="trimap.png", model="{folder}")'),
    "semantic": ("semantic segmentation", "image-segmentation", 'px.segment("photo.jpg", model="{folder}")'),
    "instance": ("instance segmentation", "image-segmentation", 'px.segment("photo.jpg", model="{folder}")'),
    "panoptic": ("panoptic segmentation", "image-segmentation", 'px.segment("photo.jpg", model="{folder}")'),
    "depth": ("depth estimation", "depth-estimation", 'px.depth("photo.jpg", model="{folder}")'),
}


def model_card(recipe: Recipe, position: Position, headline: str, machine: str, processes: int) -> str:
    """The card in Markdown, with the fields that the Hub reads at its head.

    Args:
        recipe: the run's.
        position: where it ended.
        headline: the measure that chose the model.
        machine: what it ran on, in words.
        processes: how many ran at once.
    """
    does, tag, call = _DOES[recipe.task]
    licence = start_licence(recipe.start)
    head = ["---", "library_name: perpixel", f"pipeline_tag: {tag}"]
    if recipe.start is not None and "/" in recipe.start and not Path(recipe.start).exists():
        head.append(f"base_model: {recipe.start}")
    if licence:
        head.append(f"license: {licence.lower()}")
    start = "random weights"
    if recipe.start is not None:
        start = f"`{recipe.start}`, {f'under {licence}' if licence else 'whose licence is not known here'}"
    samples = recipe.batch_size * recipe.accumulate * processes
    launch = f"accelerate launch --num_processes {processes} -m perpixel" if processes > 1 else "perpixel"
    machine = f"{processes} × {machine}" if processes > 1 else machine
    step = position.best_step or position.step
    lines = [
        *head,
        "---",
        f"# A model for {does}",
        "",
        "```python",
        "import perpixel as px",
        call.format(folder=Path(recipe.output) / "best"),
        "```",
        "",
        "## Measured",
        *_table(recipe, position, headline, step),
        "",
        "## Training",
        f"- Data: {_data(recipe.data)}.",
        f"- Start: {start}.",
        f"- The model is that of step {step} of {position.step}, {samples} samples a step.",
        f"- Seed {recipe.seed}; {_duration(position.seconds)} on {machine}.",
        "",
        "## Again",
        "With these settings in `recipe.yaml`:",
        "```",
        f"{launch} train recipe.yaml",
        "```",
        "```yaml",
        recipe_text(recipe).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def start_licence(start: str | None) -> str | None:
    """The licence of the weights that a run started from; None where neither the catalogue nor a card tells it."""
    if start is None:
        return None
    from perpixel.hub.catalog import find_entry

    entry = find_entry(start)
    if entry is not None:
        return entry.licence
    card = Path(start) / "README.md"
    try:
        lines = card.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, PerpixelError):
        return None
    end = lines.index("---", 1) if lines[:1] == ["---"] and "---" in lines[1:] else 0
    found = [line.partition(":")[2].strip() for line in lines[1:end] if line.startswith("license:")]
    return found[0] if found and found[0] else None


def _table(recipe: Recipe, position: Position, headline: str, step: int) -> list[str]:
    measures: Mapping[str, Any] = position.best or position.measured
    if not measures:
        return ["Nothing was measured: the run had no held-out pictures."]
    if recipe.validation is not None:
        where = _data(recipe.validation)
    else:
        where = f"the {recipe.holdout:.0%} of the data that were held out"
    some = f", the first {recipe.validation_samples} of them" if recipe.validation_samples else ""
    ordered = sorted(measures, key=lambda name: name != headline)
    before = position.before or dict.fromkeys(measures, math.nan)
    rows = [
        f"| {name} | {_number(before.get(name, math.nan))} | {_number(measures[name])} |"
        for name in ordered
        if math.isfinite(measures[name])
    ]
    return [f"On {where}{some}:", "", f"| measure | before | after step {step} |", "| --- | --- | --- |", *rows]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"


def _data(data: DataRecipe) -> str:
    return f"`{data.root or data.layout}` ({data.layout}, {data.split})"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
