"""What a stopped run goes on from, and how it is written: whole or not at all.

The state is one file in one format, whether the model lies on one device, is copied to several (DDP) or is sharded over
them (FSDP): `torch.distributed.checkpoint.state_dict` names every tensor as the plain model does.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from perpixel.errors import CheckpointError, ConfigError, OutputError
from perpixel.train.average import MovingAverage
from perpixel.train.recipe import Recipe, plain

STATE = "state.pt"
# Fields that may differ when a run goes on: they decide how long and where, not what is learnt.
FREE = {
    *("steps", "output", "workers", "trackers", "save_every", "gradient_checkpointing"),
    *("validation", "validate_every", "validation_samples", "patience"),
}


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        step: optimizer steps done.
        items: samples seen by all processes together; the next one has this number.
        seconds: time that was spent.
        best_step: when the best model was measured; 0 before any was.
        best: what was measured then.
        measured: what was measured last.
        before: what was measured before the first step.
        waiting: validations since the best one.
    """

    step: int = 0
    items: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    measured: dict[str, float] = dataclasses.field(default_factory=dict)
    before: dict[str, float] = dataclasses.field(default_factory=dict)
    waiting: int = 0


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers on the CPU, on the first process; the others get nothing, but must call it too."""
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    # On the CPU they would be the model's own memory, which goes on changing.
    return {name: tensor.clone() for name, tensor in weights.items() if isinstance(tensor, Tensor)}


def collect(
    recipe: Mapping[str, Any],
    position: Position,
    model: nn.Module,
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> dict[str, Any]:
    """All that a run goes on from, the recipe as `plain` gives it included.

    Every process must call it, and the first one gets the tensors. It is to be written at once: the optimizer's part
    may be the optimizer's own memory.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = {
        "recipe": dict(recipe),
        "position": dataclasses.asdict(position),
        "model": full_weights(model),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=options),
        "scaler": scaler.state_dict() if scaler is not None else {},
    }
    with average.swapped(model):
        state["average"] = full_weights(model) if average.values else {}
    return state


def restore(
    state: Mapping[str, Any],
    model: nn.Module,
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> None:
    """Give back what `collect` took; every process must call it, and only the first one needs the tensors."""
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=shared)
    # A parameter that never had a gradient has no state.
    lenient = dataclasses.replace(options, strict=False)
    if average.values:
        set_model_state_dict(model, dict(state.get("average", {})), options=options)
        average.restart(model)
    set_model_state_dict(model, dict(state.get("model", {})), options=options)
    set_optimizer_state_dict(model, optimizer, state.get("optimizer", {}), options=lenient)
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state through a temporary name, so that a run that dies here still has the one before."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The state of the run in a folder, or None where there is none.

    Raises:
        CheckpointError: the file is damaged, or was not written by this library.
        ConfigError: the run in the folder is another one than the recipe's.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = dict(state["recipe"])
        Position(**state["position"])
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"the run in {path.parent} cannot go on ({reason}): give another output, or remove {path} to start anew"
        ) from error
    for name, value in plain(recipe).items():
        if name not in FREE and known.get(name) != value:
            raise ConfigError(
                f"the run in {path.parent} has another {name} ({_short(known.get(name))}, now {_short(value)}): "
                f"give another output, or remove {path} to start anew"
            )
    return dict(state)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, then put it in the place of `folder`."""
    part, old = _beside(folder)
    shutil.rmtree(part, ignore_errors=True)
    try:
        write(part)
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        mend_folder(folder)


def mend_folder(folder: Path) -> None:
    """Undo or finish a replacement of the folder that was cut off."""
    part, old = _beside(folder)
    shutil.rmtree(part, ignore_errors=True)
    if old.exists() and not folder.exists():
        old.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def saving(path: Path, step: int, kept: int) -> Iterator[None]:
    """Say what is left where saving fails, whichever library fails.

    Args:
        path: what is being written.
        step: the step that it holds.
        kept: the step of the state on disk, 0 where there is none.

    Raises:
        OutputError: in the place of any error of writing.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        left = f"the state of step {kept} is whole" if kept else "nothing was saved before"
        raise OutputError(
            f"cannot save step {step} to {path} ({reason}): make room there and give the same command again; {left}"
        ) from error


def _reason(error: BaseException | None) -> str | None:
    """Why nothing could be written, in the words of the system; None where the error is another one."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        if type(error).__name__ == "SafetensorError":
            return str(error).partition("I/O error: ")[2] or str(error)
        error = error.__context__  # torch says no more than that its file has the wrong length
    return None


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
