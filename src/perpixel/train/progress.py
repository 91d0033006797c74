"""What a run tells while it runs: a line on the terminal, a log file, and whatever trackers the recipe names."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from perpixel.train.recipe import Recipe

LOG = "log.jsonl"


class Progress:
    """The numbers of a run: means over the last steps in `log.jsonl`, and the same on a terminal and in trackers.

    Args:
        accelerator: Accelerate's, whose first process writes.
        recipe: the run's.
        step: the step that the run starts after; later lines of an earlier run are taken out of the log.
    """

    def __init__(self, accelerator: Any, recipe: Recipe, step: int) -> None:
        self.accelerator = accelerator
        self.recipe = recipe
        self.path = Path(recipe.output) / LOG
        self.sums: dict[str, float] = {}
        self.steps = 0
        self.items = 0
        self.since = time.perf_counter()
        self.shown: dict[str, str] = {}
        self.bar: Any = None
        if accelerator.is_main_process:
            keep_log(self.path, step or -1)  # a run that begins anew measures its start anew
            if sys.stderr.isatty():
                self.bar = _bar()
                self.task = self.bar.add_task("training", total=recipe.steps, completed=step, numbers="")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def say(self, words: str) -> None:
        """Tell something in words, where someone is reading."""
        if self.bar is not None:
            self.bar.console.print(words, highlight=False, markup=False)

    def add(self, step: int, items: int, values: Mapping[str, float]) -> None:
        """Take in the numbers of one step of this process, and how many samples all processes saw in it."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.items += items
        self._show(step, {"loss": f"{values['loss']:.4g}"})

    def report(self, step: int) -> None:
        """Log the means since the last report; every process must call it at the same steps."""
        from accelerate.utils import gather_object

        if not self.steps:
            return
        parts = gather_object([self.sums])
        means = {
            name: math.fsum(part[name] for part in parts) / (self.steps * len(parts))
            for name in self.sums
            if all(name in part for part in parts)
        }
        speed = self.items / max(1e-9, time.perf_counter() - self.since)
        self._show(step, {"speed": f"{speed:.3g} images/s"})
        self._log(step, {**means, "images_per_second": round(speed, 3)})
        self.sums, self.steps, self.items, self.since = {}, 0, 0, time.perf_counter()

    def measured(self, step: int, measures: Mapping[str, float], headline: str, better: bool) -> None:
        """Log what was measured on held-out samples."""
        best = " (best)" if better else ""
        self._show(step, {"measured": f"{headline} {measures.get(headline, math.nan):.4g}{best}"})
        self._log(step, {"validation": dict(measures)})
        self.since = time.perf_counter()  # measuring is not what the training's speed tells of

    def _show(self, step: int, numbers: Mapping[str, str]) -> None:
        self.shown.update(numbers)
        if self.bar is not None:
            parts = [f"loss {self.shown['loss']}"] if "loss" in self.shown else []
            parts += [self.shown[name] for name in ("measured", "speed") if name in self.shown]
            self.bar.update(self.task, completed=step, numbers="  ".join(parts))

    def _log(self, step: int, values: dict[str, Any]) -> None:
        self.accelerator.log(_flat(values), step=step)
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **_finite(values)}, ensure_ascii=False) + "\n")


def keep_log(path: Path, step: int) -> None:
    """Take the lines after a step, and what a killed process left half written, out of a log.

    Args:
        path: a file of JSON lines, each with a "step"; nothing happens where there is none.
        step: the last one that is kept.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and values.get("step", math.inf) <= step:
            kept.append(f"{line}\n")
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        redirect_stdout=False,
        speed_estimate_period=600,
    )


def _flat(values: Mapping[str, Any]) -> dict[str, float]:
    """Names as trackers group them: train/loss, validation/mean_iou."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}/{part}": number for part, number in value.items()})
        else:
            flat[f"train/{name}"] = value
    return flat


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: a measure that nothing was seen for is null."""
    return {
        name: _finite(value) if isinstance(value, Mapping) else value if math.isfinite(value) else None
        for name, value in values.items()
    }
