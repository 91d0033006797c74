"""The training loop, on Accelerate: seeded, resumable, the same on one CPU and on many GPUs.

It knows a `TrainingTask` and a `Recipe`, and nothing of images. Samples are numbered: step after step, process after
process takes the next `batch_size` of them, so that what a step sees depends on its place in the run alone.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from perpixel.errors import ConfigError, OutputError, PerpixelError
from perpixel.metrics.meter import Meter
from perpixel.train.average import MovingAverage
from perpixel.train.card import model_card
from perpixel.train.groups import parameter_groups
from perpixel.train.processes import accelerated, from_all, from_first, ignore_interrupts, in_any, stoppable
from perpixel.train.progress import Progress
from perpixel.train.recipe import Recipe, plain, recipe_text
from perpixel.train.schedule import rate_factor
from perpixel.train.state import (
    STATE,
    Position,
    collect,
    full_weights,
    mend_folder,
    read_state,
    replace_folder,
    restore,
    saving,
    write_state,
)
from perpixel.train.task import TrainingTask

REPORT_EVERY = 10


def train(recipe: Recipe, task: TrainingTask | None = None) -> Path:
    """Train as the recipe says, going on from the state in its output folder if there is one.

    Args:
        recipe: what to train, on what, how long.
        task: the family that is trained; None stands for the one that the recipe names.

    Returns:
        The folder of the best model, `output/best`. Beside it lie `last`, the model of the last step, `state.pt` to go
        on from, `log.jsonl` and `recipe.yaml`.

    Raises:
        ConfigError: the recipe asks for what this machine, the data or an earlier run in its output does not allow.
        CheckpointError: the state in the output folder is damaged.
        OutputError: the output cannot be written; what was saved before stays whole.
        PerpixelError: the loss is no longer a number; what was saved before stays.
        KeyboardInterrupt: somebody pressed Ctrl-C; the state of the step is saved.
    """
    with accelerated(recipe) as accelerator, stoppable() as stop:
        return _Run(recipe, task, accelerator, stop).run()


class _Run:
    """One run: what it trains, and how far it has come."""

    def __init__(self, recipe: Recipe, task: TrainingTask | None, accelerator: Any, stop: Sequence[int]) -> None:
        self.recipe = recipe
        self.told = plain(recipe)  # as it was told: a task may fill in what the data decide
        self.given = task
        self.accelerator = accelerator
        self.stop = stop
        self.output = Path(recipe.output)
        self.position = Position()
        self.saved_step = 0
        self.since = time.perf_counter()

    def run(self) -> Path:
        """Train to the end, and return the best model's folder."""
        state = self._open()
        if not self._finished():
            self._build(state)
            with Progress(self.accelerator, self.recipe, self.position.step) as self.progress:
                self._train()
        return self.output / "best"

    def _train(self) -> None:
        recipe, position = self.recipe, self.position
        if position.step == 0 and len(self.validation):
            self._measure_the_start()
        batches = iter(self._training_batches())
        while not self._finished():
            self._step(batches)
            last = position.step == recipe.steps
            stop = in_any(self.accelerator, bool(self.stop))
            measure = len(self.validation) > 0 and (last or position.step % recipe.validate_every == 0)
            save = last or stop or position.step % recipe.save_every == 0
            if position.step % REPORT_EVERY == 0 or measure or save:
                self.progress.report(position.step)
            if measure:
                self._validate()
            if self._finished():
                self._finish()
            if save or self._finished():
                self._save()
            if stop and not self._finished():
                self.progress.say(f"stopped after step {position.step}: the same command goes on from there")
                if signal.SIGTERM in self.stop:
                    raise SystemExit(128 + signal.SIGTERM)
                raise KeyboardInterrupt

    def _finished(self) -> bool:
        return self.position.step >= self.recipe.steps or 0 < self.recipe.patience <= self.position.waiting

    # The beginning

    def _open(self) -> dict[str, Any]:
        """Make or enter the output folder, and find where an earlier run ended there."""
        state: dict[str, Any] | None = None
        error: PerpixelError | None = None
        if self.accelerator.is_main_process:
            try:
                self.output.mkdir(parents=True, exist_ok=True)
                for name in ("best", "last"):
                    mend_folder(self.output / name)
                state = read_state(self.output / STATE, self.recipe)
                (self.output / "recipe.yaml").write_text(recipe_text(self.recipe), encoding="utf-8")
            except PerpixelError as problem:
                error = problem
            except OSError as problem:
                reason = problem.strerror or problem
                error = OutputError(f"cannot write to {self.output}: {reason}: give an output that can be written to")
        small = {name: state[name] for name in ("position", "scaler")} if state else {}
        error, small = from_first((error, small))
        if error is not None:
            raise error
        self.position = Position(**small.get("position", {}))
        self.saved_step = self.position.step
        self.since -= self.position.seconds
        return state or small

    def _build(self, state: dict[str, Any]) -> None:
        """Make the model, the optimizer, the average and the data, as they were at the position."""
        from accelerate.utils import set_seed

        recipe, accelerator, step = self.recipe, self.accelerator, self.position.step
        set_seed(recipe.seed)
        self.task = self.given or _task(recipe)
        model = self.task.model()
        if recipe.gradient_checkpointing:
            if not hasattr(model, "gradient_checkpointing_enable"):
                raise ConfigError(f"{type(model).__name__} has no gradient checkpointing: set it to false")
            model.gradient_checkpointing_enable()  # type: ignore[operator]
        if accelerator.is_fsdp2:  # which takes no other order in memory
            model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        groups = parameter_groups(model, self.task.layer, recipe)
        if not groups:
            raise ConfigError("nothing is left to train: freeze less")
        self.peaks = [group["lr"] for group in groups]
        self.validation: Any = self.task.validation_data()
        self.model, self.optimizer = accelerator.prepare(model, torch.optim.AdamW(groups))
        self.plain_model: nn.Module = accelerator.unwrap_model(self.model)
        self.average = MovingAverage(self.plain_model, recipe.average)
        self.shell: nn.Module | None = None
        if step:
            restore(state, self.plain_model, self.average, self.optimizer.optimizer, accelerator.scaler)
        accelerator.init_trackers("perpixel", init_kwargs={"tensorboard": {"purge_step": step + 1}})
        for tracker in accelerator.trackers:
            if tracker.name != "tensorboard":  # which shows settings as if they were a second run
                tracker.store_init_configuration(self.told)

    def _training_batches(self) -> DataLoader[Any]:
        recipe, begin, processes = self.recipe, self.position.items, self.accelerator.num_processes
        stride = recipe.batch_size * processes
        end = begin + (recipe.steps - self.position.step) * recipe.accumulate * stride
        starts = range(begin + self.accelerator.process_index * recipe.batch_size, end, stride)
        return self._loader(self.task.training_data(end), [range(at, at + recipe.batch_size) for at in starts])

    def _loader(self, data: Any, batches: Any) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=self.task.collate,
            num_workers=self.recipe.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            worker_init_fn=ignore_interrupts,
        )

    # A step

    def _step(self, batches: Iterator[Any]) -> None:
        recipe, accelerator, position = self.recipe, self.accelerator, self.position
        rate = rate_factor(position.step, recipe)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        numbers: dict[str, float] = {}
        wrong: list[str] = []
        norm = math.nan
        for part in range(recipe.accumulate):
            batch = next(batches)
            # Each batch has its own seed, so that a resumed run drops the same paths, and other ones in each process.
            torch.manual_seed(_seed(recipe.seed, position.items, part, accelerator.process_index))
            with accelerator.accumulate(self.model):
                with accelerator.autocast():
                    loss, terms = self.task.loss(self.model, self._moved(batch))
                accelerator.backward(loss)
                terms = {"loss": float(loss.detach()), **{f"loss_{name}": value for name, value in terms.items()}}
                for name, value in terms.items():
                    numbers[name] = numbers.get(name, 0.0) + value / recipe.accumulate
                if not math.isfinite(terms["loss"]):
                    wrong += map(str, batch.get("names", ()))
                if accelerator.sync_gradients:
                    norm = float(accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip or math.inf))
                    self._check(numbers["loss"], norm, wrong)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.average.update(self.plain_model, position.step)
        seen = recipe.batch_size * recipe.accumulate * accelerator.num_processes
        position.step += 1
        position.items += seen
        position.seconds = time.perf_counter() - self.since
        numbers |= {"gradient_norm": norm, "rate": recipe.learning_rate * rate}
        self.progress.add(position.step, seen, numbers)

    def _check(self, loss: float, norm: float, names: list[str]) -> None:
        """Stop before what is no number reaches the weights; every process stops where one has to."""
        # With fp16 a gradient without bounds is the scaler's business: it skips the step.
        fine = math.isfinite(loss) and (math.isfinite(norm) or self.accelerator.scaler is not None)
        if not in_any(self.accelerator, not fine):
            return
        parts = from_all((loss, names))
        bad = [str(value) for value, _ in parts if not math.isfinite(value)]
        what = f"the loss is {bad[0]}" if bad else f"the gradient's norm is {norm}"
        found = ", ".join(name for _, part in parts for name in part)
        kept = f"the state of step {self.saved_step} is kept" if self.saved_step else "nothing was saved yet"
        raise PerpixelError(
            f"{what} in step {self.position.step + 1}{f', with the samples {found}' if found else ''}: try a lower "
            f"learning_rate or precision=no, and see that the samples are sound; {kept} in {self.output}"
        )

    def _moved(self, batch: Any) -> Any:
        from accelerate.utils import send_to_device

        return send_to_device(batch, self.accelerator.device, non_blocking=True)

    # Measuring

    def _measure_the_start(self) -> None:
        """What the run starts from, for comparison; it is never the best, as its model has learnt nothing."""
        with _evaluating(self.plain_model):
            self.position.before = self._measure()
        self.progress.measured(0, self.position.before, self.task.headline, False)

    def _validate(self) -> None:
        position, headline = self.position, self.task.headline
        with self.average.swapped(self.plain_model), _evaluating(self.plain_model):
            position.measured = self._measure()
            value = position.measured.get(headline, math.nan)
            best = position.best.get(headline, math.nan)
            gain = value > best if self.task.larger_is_better else value < best
            gain |= not position.best or (math.isnan(best) and not math.isnan(value))
            position.waiting += 1
            if gain:
                position.best, position.best_step, position.waiting = position.measured, position.step, 0
                self._save_model("best")
        self.progress.measured(position.step, position.measured, headline, gain)

    @torch.no_grad()
    def _measure(self) -> dict[str, float]:
        """Measure the held-out samples, shared out by whole batches: they are the same in any number of processes."""
        index, processes = self.accelerator.process_index, self.accelerator.num_processes
        size, count = self.recipe.batch_size, len(self.validation)
        count = min(count, self.recipe.validation_samples or count)
        batches = [range(start, min(start + size, count)) for start in range(0, count, size)]
        own = batches[index::processes]
        spare = batches[: math.ceil(len(batches) / processes) - len(own)]
        for buffer in self.plain_model.buffers() if processes > 1 else ():
            torch.distributed.broadcast(buffer, 0)  # batch norms saw other samples in each process
        if self.accelerator.is_fsdp2:
            self.model.unshard()  # a task may call what a wrapper such as LoRA's holds, past the wrapper
        meter: Meter = self.task.meter()
        for place, batch in enumerate(self._loader(self.validation, own + spare)):
            # Where the model is sharded, all processes must run it equally often: the last time may be for nothing.
            self.task.measure(self.plain_model, self._moved(batch), meter if place < len(own) else self.task.meter())
        first, *others = from_all(meter)
        for other in others:
            first.merge(other)
        return {name: float(value) for name, value in first.compute().items()}

    # Saving

    def _save(self) -> None:
        accelerator, path, step = self.accelerator, self.output / STATE, self.position.step
        # The model first: a run that dies in between repeats a few steps rather than losing them.
        with self.average.swapped(self.plain_model):
            self._save_model("last")
        optimizer = self.optimizer.optimizer
        state = collect(self.told, self.position, self.plain_model, self.average, optimizer, accelerator.scaler)
        if accelerator.is_main_process:
            with saving(path, step, self.saved_step):
                write_state(path, state)
        self.saved_step = step

    def _save_model(self, name: str) -> None:
        """Save the model as it is now; every process must call it."""
        folder, model, first = self.output / name, self.plain_model, self.accelerator.is_main_process
        if self.accelerator.is_fsdp2:
            weights = full_weights(model)
            if first:
                model = self.shell = self.task.model() if self.shell is None else self.shell
                model.load_state_dict(weights)
        if first:
            with saving(folder, self.position.step, self.saved_step):
                replace_folder(folder, lambda part: self.task.save(model, part))

    def _finish(self) -> None:
        """Say beside the best model how it came about; without held-out samples, the last one is the best."""
        accelerator, position = self.accelerator, self.position
        if not position.best:
            with self.average.swapped(self.plain_model):
                self._save_model("best")
        if accelerator.is_main_process:
            cuda = accelerator.device.type == "cuda"
            machine = torch.cuda.get_device_name() if cuda else accelerator.device.type.upper()
            card = model_card(self.recipe, position, self.task.headline, machine, accelerator.num_processes)
            with saving(self.output / "best", position.step, self.saved_step):
                (self.output / "best" / "README.md").write_text(card, encoding="utf-8")


def _task(recipe: Recipe) -> TrainingTask:
    from perpixel.train.tasks import training_task

    return training_task(recipe)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards each module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
