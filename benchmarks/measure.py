"""How two sides are measured: in turns, in one process, with the time of the processor."""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


@dataclass(frozen=True)
class Work:
    """The same work for two sides.

    Attributes:
        theirs: the reference's way.
        ours: perpixel's way.
        difference: of the two results, relative to the deviation of the reference's; None where the two follow other
            methods by intent, or give nothing that could be compared.
        model: whether the work is one forward of a model, whose floor is its multiplications and additions.
        memory: whether the memory of this process tells what the work takes.
    """

    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    difference: Callable[[Any, Any], float] | None = None
    model: bool = False
    memory: bool = True


@dataclass(frozen=True)
class Found:
    """What one work took.

    Attributes:
        name: of the work.
        ratios: the reference's time over perpixel's, one for each turn.
        seconds: perpixel's time, the median.
        memory: the highest resident size during a call less that before it, in bytes: the reference, perpixel.
        difference: see `Work`.
        share: of the floor: how much of perpixel's time its sums would take at the processor's best speed.
    """

    name: str
    ratios: tuple[float, ...]
    seconds: float
    memory: tuple[int, int] | None
    difference: float | None
    share: float | None


def clock() -> float:
    """Seconds of the processor that this process and its finished children took."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(name: str, work: Work, repeats: int, peak: float) -> Found:
    """Let both sides take turns.

    Args:
        name: of the work.
        work: what is done.
        repeats: turns; one more before them, without the clock, loads and compiles what is needed, and counts sums.
        peak: the processor's operations a second, see `best_speed`.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode():
        if work.model:
            with counter:
                expected = work.theirs()
        else:
            expected = work.theirs()
        got = work.ours()
        difference = work.difference(expected, got) if work.difference else None
        del expected, got
        turns = [(_turn(work.theirs), _turn(work.ours)) for _ in range(repeats)]
    seconds = statistics.median(ours[0] for _, ours in turns)
    return Found(
        name=name,
        ratios=tuple(theirs[0] / max(ours[0], 1e-6) for theirs, ours in turns),
        seconds=seconds,
        memory=(max(a[1] for a, _ in turns), max(b[1] for _, b in turns)) if work.memory else None,
        difference=difference,
        share=counter.get_total_flops() / peak / max(seconds, 1e-6) if work.model else None,
    )


def _turn(call: Callable[[], Any]) -> tuple[float, int]:
    """Seconds, and bytes above the start."""
    gc.collect()
    _give_back()
    before = _status("VmRSS")
    start = clock()
    call()
    return clock() - start, _status("VmHWM") - before


def _give_back() -> None:
    """What one side left behind must not hide what the next one takes."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """A figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def best_speed(side: int = 2048, repeats: int = 4) -> float:
    """Operations a second in float32 that products of large matrices reach now, with as many threads."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    seconds = []
    for _ in range(repeats + 1):
        start = clock()
        a @ b
        seconds.append(clock() - start)
    return float(2 * side**3 / min(seconds[1:]) * torch.get_num_threads())


def relative(expected: Tensor, got: Tensor) -> float:
    """The largest difference, in standard deviations of what was expected."""
    return float((expected.float() - got.float()).abs().max() / expected.float().std())


def optimized(ours: Any) -> Any:
    """Our model as the tasks use it when nothing else is asked for."""
    return ours.optimize()


def randomised(
    ours: Any, lift: Callable[[Any], None] | None = None, prepare: Callable[[Any], Any] = optimized
) -> tuple[Any, Any]:
    """transformers' model and ours, with the same random weights, ours prepared for inference.

    Args:
        ours: a model of perpixel, whose class has the same name in transformers.
        lift: changes our random weights before they are copied.
        prepare: makes of our model what is measured.
    """
    import transformers

    from parity.randomise import randomise

    randomise(ours.eval(), 0)
    if lift is not None:
        lift(ours)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = getattr(transformers, type(ours).__name__).from_pretrained(folder).eval()
        for parameter in theirs.parameters():
            parameter.data = parameter.data.clone()  # out of the file and into memory before that is measured
    return theirs, prepare(ours)


def picture(channels: int, width: int, height: int) -> Tensor:
    """Random pixel values, (1, channels, height, width)."""
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
