"""A run's processes: starting with Accelerate, agreeing with one another, and stopping when somebody asks for it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from perpixel.errors import ConfigError, MissingDependencyError
from perpixel.train.recipe import Recipe


@contextmanager
def accelerated(recipe: Recipe) -> Iterator[Any]:
    """Accelerate's accelerator for a run: the devices and processes that `accelerate launch` or this machine gives.

    Raises:
        ConfigError: the precision or a tracker is not to be had here.
        MissingDependencyError: Accelerate or a tracker is not installed.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
        from accelerate.utils import DistributedDataParallelKwargs
    except ImportError as error:
        raise MissingDependencyError('training needs accelerate: pip install "perpixel[train]"') from error

    for name in recipe.trackers:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"there is no tracker {name!r}: Accelerate has {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in [str(tracker) for tracker in get_available_trackers()]:
            raise MissingDependencyError(f"the tracker {name} is not installed: install it, or set trackers=[]")
    try:
        accelerator = Accelerator(
            mixed_precision=recipe.precision,
            gradient_accumulation_steps=recipe.accumulate,
            log_with=recipe.trackers or None,
            project_dir=recipe.output,
            # Families have parameters that some of their settings leave without a gradient.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise ConfigError(f"precision is {recipe.precision}: {str(error).splitlines()[0]}") from error
    try:
        if accelerator.distributed_type.value == "FSDP" and not accelerator.is_fsdp2:
            raise ConfigError("FSDP 1 is not supported: give accelerate launch `--fsdp_version 2`")
        yield accelerator
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
        # Accelerate keeps one precision in a process; the next run may want another.
        AcceleratorState._reset_state()


def in_any(accelerator: Any, flag: bool) -> bool:
    """Whether the flag is true in any process."""
    if accelerator.num_processes == 1:
        return flag
    count = torch.tensor([float(flag)], device=accelerator.device)
    return float(accelerator.reduce(count, "sum")) > 0


def from_all(value: Any) -> list[Any]:
    """The values of all processes, which every one of them gets."""
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def from_first(value: Any) -> Any:
    """The value of the first process, which every one of them gets."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def leave() -> None:
    """Part from the other processes, at the end of a program."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def stoppable() -> Iterator[list[signal.Signals]]:
    """Note Ctrl-C and a cluster's SIGTERM, so that the step can end; a later one stops at once.

    Ctrl-C reaches each process from the terminal and again from the launcher: what comes within a second is one.
    """
    noted: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    first = math.inf

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        noted.append(signal.Signals(number))
        first = min(first, time.monotonic())
        if time.monotonic() - first > 1:
            restore()
            signal.raise_signal(number)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()


def ignore_interrupts(worker: int) -> None:
    """Let a loader's worker leave Ctrl-C to the process that it works for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
