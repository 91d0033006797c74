"""The training loop, on Accelerate: seeded, resumable, the same on one CPU and on many GPUs."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, Subset

from perpixel.errors import CheckpointError, ConfigError, MissingDependencyError
from perpixel.train.matting import MattingTask
from perpixel.train.recipe import Recipe

CHECKPOINT = "last.pt"
LOG = "log.jsonl"
REPORT_EVERY = 50


def train(recipe: Recipe) -> Path:
    """Train as the recipe says, going on from the last checkpoint in its output folder if there is one.

    Args:
        recipe: what to train, on what, how long.

    Returns:
        The folder of the finished model, `output/model`. Beside it lie `last.pt` (to resume from) and `log.jsonl`.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import set_seed
    except ImportError as error:
        raise MissingDependencyError('training needs accelerate: pip install "perpixel[train]"') from error

    if recipe.family != "vitmatte":
        raise ConfigError(f"family is {recipe.family!r}: only 'vitmatte' can be trained")
    accelerator = Accelerator(mixed_precision=recipe.precision)
    set_seed(recipe.seed)
    task = MattingTask(recipe)
    output = Path(recipe.output)
    output.mkdir(parents=True, exist_ok=True)
    model = task.model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    blend = moving_average(recipe.average)
    average = AveragedModel(model, multi_avg_fn=blend, use_buffers=True)
    optimizer = torch.optim.AdamW(task.groups(model), betas=(0.9, 0.99))
    peaks = [group["lr"] for group in optimizer.param_groups]
    start = _resume(output / CHECKPOINT, model, average, optimizer, accelerator.scaler)
    model, optimizer = accelerator.prepare(model, optimizer)
    average.to(accelerator.device)
    a_step = recipe.batch_size * accelerator.num_processes
    data = task.dataset("train", recipe.steps * a_step)
    left = Subset(data, range(start * a_step, recipe.steps * a_step))
    loader = accelerator.prepare(_loader(left, recipe, recipe.workers))
    validation = _loader(task.dataset("validation", recipe.validation_samples), recipe, 0)

    log = _Log(output / LOG, accelerator.is_main_process)
    model.train()
    step = start
    for batch in loader:
        # Each step's own seed, so that dropped paths are the same in a resumed run, and others in each process.
        torch.manual_seed(_step_seed(recipe.seed, step, accelerator.process_index))
        rate = learning_rate_factor(step, recipe)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * rate
        with accelerator.autocast():
            loss, terms = task.loss(model, batch)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(accelerator.unwrap_model(model))
        step += 1
        log.add(step, {"loss": float(loss.detach()), **terms, "rate": rate})
        if step % recipe.validate_every == 0 or step == recipe.steps:
            log.write({"step": step, "validation": validate(task, average.module, validation, accelerator.device)})
        if (step % recipe.save_every == 0 or step == recipe.steps) and accelerator.is_main_process:
            # The model first: a run that is stopped in between then repeats a few steps rather than losing it.
            task.save(average.module, output / "model")
            _save(output / CHECKPOINT, step, accelerator.unwrap_model(model), average, optimizer, accelerator.scaler)
    return output / "model"


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """How an averaged model follows its model: quickly at first, so that the random start is soon forgotten.

    Args:
        decay: the part that stays at each step once there were many.

    Returns:
        A function for `AveragedModel`'s `multi_avg_fn`.
    """

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - kept)
            else:
                average.copy_(value)

    return torch.no_grad()(update)


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """The part of the peak rate at a step: a linear rise, a plateau, half a cosine down to 0.

    Example:
        >>> recipe = Recipe(steps=100, warmup=10, decay=0.5)
        >>> [round(learning_rate_factor(step, recipe), 2) for step in (0, 9, 30, 75, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = min(1.0, (step + 1) / max(1, recipe.warmup))
    fall = (step - recipe.steps * (1 - recipe.decay)) / max(1e-9, recipe.steps * recipe.decay)
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, fall))))


def validate(
    task: MattingTask, model: nn.Module, loader: DataLoader[Any], device: torch.device | str
) -> dict[str, float]:
    """The mean of the task's measures over held-out samples."""
    was_training = model.training
    model.eval()
    totals: dict[str, float] = {}
    count = 0
    with torch.no_grad():
        for batch in loader:
            batch = {name: value.to(device) for name, value in batch.items()}
            size = len(next(iter(batch.values())))
            for name, value in task.measure(model, batch).items():
                totals[name] = totals.get(name, 0.0) + value * size
            count += size
    model.train(was_training)
    return {name: value / max(1, count) for name, value in totals.items()}


def _loader(data: Dataset[Any], recipe: Recipe, workers: int) -> DataLoader[Any]:
    # The samples are drawn from their index, so the order needs no shuffling and a resumed run sees the same ones.
    return DataLoader(data, batch_size=recipe.batch_size, num_workers=workers, drop_last=False)


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0])


def _save(
    path: Path,
    step: int,
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(
    path: Path,
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> int:
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"the run in {path.parent} cannot be resumed ({reason}): choose another output, or remove {path.name}"
        ) from error
    if scaler is not None and state.get("scaler"):
        scaler.load_state_dict(state["scaler"])
    return int(state["step"])


class _Log:
    """Means over the last steps, a JSON line each, in a file and on the screen."""

    def __init__(self, path: Path, active: bool) -> None:
        self.path = path
        self.active = active
        self.sums: dict[str, float] = {}
        self.count = 0
        self.since = time.perf_counter()

    def add(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if self.count == REPORT_EVERY:
            seconds = (time.perf_counter() - self.since) / self.count
            means = {name: round(value / self.count, 5) for name, value in self.sums.items()}
            self.write({"step": step, **means, "seconds_a_step": round(seconds, 3)})
            self.sums, self.count, self.since = {}, 0, time.perf_counter()

    def write(self, line: dict[str, Any]) -> None:
        if not self.active:
            return
        text = json.dumps(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        print(text, flush=True)  # noqa: T201
