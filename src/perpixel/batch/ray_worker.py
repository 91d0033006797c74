"""What works on photographs in a process of a Ray cluster, and what is sent to it and back."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import perpixel
from perpixel.batch.job import Job
from perpixel.batch.pipeline import Pipeline
from perpixel.batch.records import Record, Row
from perpixel.batch.trials import Trials
from perpixel.batch.whole import forget, is_put_in_place, left_whole
from perpixel.batch.worker import Worker
from perpixel.errors import ConfigError, OutputError, PerpixelError

# Once may be chance: the machine was taken away, or somebody else had filled its memory.
DEATHS = 2

Sent = TypeVar("Sent")


@dataclass(frozen=True)
class Place:
    """Where the files are, as every machine has to see it.

    Attributes:
        folder: that relative names start from.
        out: of the results.
        staging: as `Worker` takes it; whoever starts the batch has made it.
        settings: the job's fingerprint.
        version: of perpixel.
    """

    folder: Path
    out: Path
    staging: Path
    settings: str
    version: str

    @classmethod
    def here(cls, out: Path, staging: Path, settings: str) -> Self:
        """As this process sees it."""
        return cls(Path.cwd(), out.absolute(), staging.absolute(), settings, perpixel.__version__)

    def enter(self) -> None:
        """Make names mean here what they mean there.

        Raises:
            ConfigError: this machine has another perpixel.
            OutputError: it does not see the folders.
        """
        host = socket.gethostname()
        if perpixel.__version__ != self.version:
            raise ConfigError(
                f"{host} has perpixel {perpixel.__version__} and the batch was started with {self.version}: install "
                "the same everywhere"
            )
        if not self.staging.is_dir():
            raise OutputError(f"{host} does not see {self.out}: give a folder that all machines of the cluster share")
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise OutputError(f"{host} does not see {self.folder} ({error.strerror}): start in a shared one") from error


@dataclass(frozen=True)
class Chunk:
    """What one worker gets at once.

    Attributes:
        records: to work on.
        passed: how many were done before and have not changed.
        end: what ends the batch.
    """

    records: tuple[Record, ...] = ()
    passed: int = 0
    end: PerpixelError | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk.

    Attributes:
        rows: of its records, in any order; some are missing where `end` is given.
        passed: as in the chunk.
        end: what ends the batch.
        trials: the file that has the rows too; whoever has noted them removes it.
    """

    rows: tuple[Row, ...] = ()
    passed: int = 0
    end: PerpixelError | None = None
    trials: Path | None = None


def pack(sent: object) -> Any:
    """Anything as a table of Arrow with one row, in Ray's own type for what it carries between its processes."""
    import pyarrow
    from ray.data.extensions import ArrowPythonObjectArray

    return pyarrow.table({"sent": ArrowPythonObjectArray.from_objects([sent])})


def unpack(table: Any, kind: type[Sent]) -> list[Sent]:
    """What `pack` put into a table's rows."""
    found = table.column("sent").to_pylist()
    assert all(isinstance(each, kind) for each in found)
    return cast("list[Sent]", found)


class RayWorker:
    """An actor with the model. It is loaded when the first photograph comes.

    Args:
        job: what is done.
        place: where.
        threads: that read, and as many that write.
    """

    def __init__(self, job: Job, place: Place, threads: int) -> None:
        self._job, self._place, self._threads = job, place, threads
        self._worker: Worker | None = None

    def __call__(self, table: Any) -> Any:
        """Work on the chunks of a table."""
        import pyarrow

        return pyarrow.concat_tables([pack(self._outcome(chunk)) for chunk in unpack(table, Chunk)])

    def _outcome(self, chunk: Chunk) -> Outcome:
        rows: list[Row] = []
        end, trials = chunk.end, None
        try:
            if chunk.records:
                worker = self._loaded()
                trials = Trials(self._place.staging, chunk.records)
                if trials.has_begun:
                    self._take_over(trials, chunk.records)
                rows += [trials.rows[record.key] for record in chunk.records if record.key in trials.rows]
                if trials.has_begun:
                    self._try_each(worker, trials, chunk.records, rows)
                else:
                    # In a thread of its own, since in the main one the pipeline would take Ray's signals for itself.
                    with ThreadPoolExecutor(1) as thread:
                        thread.submit(self._run, worker, trials, chunk.records, rows).result()
        except PerpixelError as error:
            end = error
        return Outcome(tuple(rows), chunk.passed, end, None if trials is None else trials.path)

    def _loaded(self) -> Worker:
        if self._worker is None:
            place = self._place
            place.enter()
            perpixel.tune_allocator(many_sizes=True)  # before torch is imported
            self._worker = Worker(self._job, place.out, place.staging, place.settings)
        return self._worker

    def _take_over(self, trials: Trials, records: Sequence[Record]) -> None:
        """Note what the worker before had whole and did not get to note."""
        keys = {record.key for record in records}
        for own, row in left_whole(self._place.staging):
            if row.key in keys:
                if row.key not in trials.rows and is_put_in_place(own, row, self._place.out):
                    trials.finish(row)
                forget(own)

    def _run(self, worker: Worker, trials: Trials, records: Sequence[Record], rows: list[Row]) -> None:
        with Pipeline(worker, iter(records), self._threads) as pipeline:
            for row in pipeline.rows():
                if row is not None:
                    trials.finish(row)
                    rows.append(row)

    def _try_each(self, worker: Worker, trials: Trials, records: Sequence[Record], rows: list[Row]) -> None:
        """One after the other, so that the one that kills its worker is found; the rest has a right to its results."""
        for number, record in enumerate(records):
            if record.key in trials.rows:
                continue
            if trials.deaths(number) >= DEATHS:
                words = f"the worker died of it {DEATHS} times: the file may be broken, or the memory too little for it"
                found = [Row(record.key, record.source, "failed", worker.settings, stamp=record.stamp, error=words)]
            else:
                trials.tries(number)
                found = worker.process([record])
            for row in found:
                trials.finish(row)
                worker.noted(row)
                rows.append(row)
