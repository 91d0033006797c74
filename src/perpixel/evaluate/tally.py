"""Measure images one after the other, go on past those that cannot be, and share the work among processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from perpixel.errors import MissingDependencyError, PerpixelError
from perpixel.evaluate.judges import Judge
from perpixel.evaluate.measures import summary_only
from perpixel.evaluate.report import Failure, Row
from perpixel.evaluate.worst import WorstCases

__all__ = ["Case", "Progress", "Share", "Tally", "measure", "this_share"]

Progress = Callable[[int, int], None]
"""Called after each image with how many this process has done and has to do."""


@dataclass(frozen=True, eq=False)
class Case:
    """A prediction, its truth, and the photograph where there is one."""

    prediction: Any
    truth: Any
    photo: npt.NDArray[np.uint8] | None = None


@dataclass
class Tally:
    """What was measured so far: a meter, a few numbers an image, the worst images."""

    judge: Judge
    worst: WorstCases
    rows: list[tuple[int, Row]] = field(default_factory=list)
    failures: list[tuple[int, Failure]] = field(default_factory=list)

    def merge(self, other: Tally) -> None:
        """Take in what another process measured."""
        self.judge.merge(other.judge)
        self.worst.merge(other.worst)
        self.rows += other.rows
        self.failures += other.failures

    def ordered_rows(self) -> tuple[Row, ...]:
        """The images' measures in the order of the data set."""
        return tuple(row for _, row in sorted(self.rows, key=lambda entry: entry[0]))

    def ordered_failures(self) -> tuple[Failure, ...]:
        """What was not measured, in the order of the data set."""
        return tuple(failure for _, failure in sorted(self.failures, key=lambda entry: entry[0]))


@dataclass(frozen=True)
class Share:
    """The part of a process: images number, number + count, … of all."""

    number: int = 0
    count: int = 1

    def of(self, total: int) -> range:
        """Which of `total` images are this process's.

        >>> list(Share(1, 3).of(8))
        [1, 4, 7]
        """
        return range(self.number, total, self.count)

    @property
    def device(self) -> str | None:
        """The accelerator of this process where there are several; None for one process and on CPUs."""
        if self.count == 1:
            return None
        device = _state().device
        return None if device.type == "cpu" else str(device)

    def joined(self, tally: Tally) -> Tally:
        """The tally of all processes, in each of them."""
        if self.count == 1:
            return tally
        from accelerate.utils import gather_object

        _state()
        first, *others = gather_object([tally])
        for other in others:
            first.merge(other)
        return first  # type: ignore[no-any-return]


def this_share() -> Share:
    """This process's share, as `accelerate launch` and `torchrun` say it in the environment."""
    return Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def _state() -> Any:
    try:
        from accelerate import PartialState
    except ImportError:
        raise MissingDependencyError(
            'evaluating in several processes needs accelerate: pip install "perpixel[train]"'
        ) from None
    # Without a GPU the processes talk over gloo.
    return PartialState()


def measure(
    judge: Judge,
    names: Iterable[tuple[int, str]],
    case: Callable[[int], Case],
    *,
    total: int,
    worst: int,
    progress: Progress | None = None,
) -> Tally:
    """Measure images.

    Args:
        judge: of the task.
        names: number and name of each image.
        case: makes the prediction of an image and reads its truth. What it raises on purpose, and what the judge
            does, becomes a failure, and the next image follows.
        total: how many there are, for the progress.
        worst: how many of the worst are drawn.
        progress: see `Progress`.
    """
    tally = Tally(judge, WorstCases(worst, larger_is_better=judge.larger_is_better))
    for done, (number, name) in enumerate(names, 1):
        try:
            found = case(number)
            measures = summary_only(judge.measure(found.prediction, found.truth))
        except (PerpixelError, OSError) as error:
            tally.failures.append((number, Failure(name, " ".join(str(error).split()))))
        else:
            tally.rows.append((number, Row(name, measures)))
            tally.worst.offer(
                name,
                measures[judge.ranked_by],
                lambda found=found: judge.draw(found.prediction, found.truth, found.photo),  # type: ignore[misc]
            )
        if progress is not None:
            progress(done, total)
    return tally
