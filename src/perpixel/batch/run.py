"""A batch on this machine: reading, the model and writing at the same time, each in its own threads."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import Any, Self

from perpixel.batch.archives import TAR_SUFFIXES, Columns
from perpixel.batch.channel import Channel
from perpixel.batch.hints import HintFolders
from perpixel.batch.inputs import Inputs, list_of
from perpixel.batch.job import Job, Task
from perpixel.batch.manifest import Finished, Journal, import_pyarrow, note_settings, write_parquet
from perpixel.batch.records import Record, Row, now
from perpixel.batch.shards import Shard
from perpixel.batch.worker import Computed, Loaded, Worker
from perpixel.errors import InputError, OutputError

# More threads than this wait for each other.
MOST_WORKERS = 8
# So many stacks wait in memory for others of their size.
WINDOW = 4


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes:
        done: photographs that were worked on in this run.
        skipped: that were done before and have not changed.
        failed: that could not be used.
        total: all of them; None where nobody knows it yet.
        row: the last that was finished; None if it was skipped.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    total: int | None = None
    row: Row | None = None

    @property
    def finished(self) -> int:
        """All that need nothing more."""
        return self.done + self.skipped + self.failed


@dataclass(frozen=True)
class Summary:
    """What a batch did.

    Attributes:
        done: photographs that were worked on.
        skipped: that were done before and have not changed.
        failed: that could not be used; the manifest says why.
        seconds: that it took.
        manifest: the file with a line for each.
    """

    done: int
    skipped: int
    failed: int
    seconds: float
    manifest: Path


def batch(
    job: Job | Task,
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    trimaps: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    columns: Columns | None = None,
    recursive: bool = False,
    root: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    manifest: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Summary:
    """Work on many photographs, and go on where an earlier run stopped.

    Every result is a file in `out`, and every photograph a line in `out/manifest.jsonl`. A photograph whose line says
    "done" is passed over as long as it, its hint, the job and the results are as they were. One that cannot be used
    gets a line that says why, and keeps nobody up.

    Args:
        job: what is done; the name of a task for all of its defaults.
        inputs: folders, files, patterns such as "in/**/*.jpg", tar archives, Parquet tables, and lists as
            "@names.txt"; one or many.
        out: the folder of the results, made if need be.
        trimaps: a folder with a trimap for each photograph, named like it.
        masks: a folder with a mask for each, for cut-outs.
        columns: which columns of tables are what.
        recursive: whether folders stand for the folders in them too.
        root: results keep the place that their photographs have below this folder; by default below the folder or
            pattern that named them.
        shard: the part that is done, such as "2/4"; all parts together are the whole, whoever does them when.
        manifest: a .parquet to write in the end, with the last line of each photograph.
        workers: threads that read, and as many that write; by default as many as there are processors, at most 8.
        report: called after every photograph.

    Returns:
        how many were done, passed over and failed.

    Raises:
        InputError: there is nothing to do, or two photographs would become one file; before any work.
        ConfigError: a job that makes no sense, or another process at work on the same part.
        CheckpointError: the model cannot be loaded.
        OutputError: nothing more can be written, as on a full disk; what is done is kept.

    Example:
        >>> import perpixel as px
        >>> px.batch("matte", "photos", "alphas", trimaps="trimaps")  # doctest: +SKIP
        >>> px.batch(px.Job("depth", save=("npy",)), "in/**/*.jpg", "depths", shard="1/8")  # doctest: +SKIP
    """
    hints = HintFolders(*(None if folder is None else Path(folder) for folder in (trimaps, masks)))
    words = list_of([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs)
    named = Inputs(
        words,
        Path(out),
        recursive=recursive,
        root=None if root is None else Path(root),
        hints=hints,
        columns=columns or Columns(),
        shard=Shard() if shard is None else Shard.parse(shard),
    )
    job = job if isinstance(job, Job) else Job(job)
    total = prepare(job, named, None if manifest is None else Path(manifest), workers)
    return run(job, named, total, None if manifest is None else Path(manifest), workers=workers, report=report)


def prepare(job: Job, inputs: Inputs, manifest: Path | None = None, workers: int | None = None) -> int | None:
    """Look for what is wrong with a batch before any work, and count its photographs.

    Returns:
        how many there are; None where only reading them will tell.

    Raises:
        InputError: as in `batch`, or hints that the job has no use for or lacks.
        MissingDependencyError: a Parquet manifest without pyarrow.
    """
    hints, columns = inputs.hints, inputs.columns
    tells = bool(job.label or job.subject)
    if job.task in ("segment", "depth") and (hints.folders or columns.trimap or columns.mask or columns.label):
        raise InputError(f"{job.task} needs no hints: leave trimaps, masks and labels out")
    if job.task == "matte" and (hints.masks or columns.mask or columns.label):
        raise InputError("matte takes trimaps: for masks and labels use cutout")
    if job.task == "cutout" and columns.label and not (tells or job.segmentation_model):
        raise InputError("labels in a column need a segmentation model: name it")
    own = hints.folders or columns.trimap or columns.mask or columns.label
    if job.task in ("matte", "cutout") and not own and not tells and not _has_archives(inputs.words):
        more = "" if job.task == "matte" else ", a folder of masks, or a label"
        raise InputError(f"{job.task} needs a hint for each picture: give a folder of trimaps{more}")
    if manifest is not None:
        if manifest.suffix.lower() != ".parquet":
            raise InputError(f"the manifest {manifest} is no .parquet: the lines are in {inputs.out} anyway")
        if not manifest.parent.is_dir():
            raise InputError(f"the folder {manifest.parent} of the manifest does not exist: make it first")
        import_pyarrow(manifest)
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}: at least 1 is needed")
    return inputs.survey()


def run(
    job: Job,
    inputs: Inputs,
    total: int | None,
    manifest: Path | None = None,
    *,
    workers: int | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Summary:
    """Do a batch that `prepare` has looked at; see `batch`."""
    start, started = time.perf_counter(), now()
    out, shard = inputs.out, inputs.shard
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out} ({error.strerror}): give another place") from error
    with Journal(out, shard) as journal:
        staging = staging_folder(out, shard)
        # The journal is ours alone: whoever wrote there before is dead.
        shutil.rmtree(staging, ignore_errors=True)
        settings = note_settings(out, job)
        finished = Finished(out)
        try:
            worker = Worker(job, out, staging, settings)
            count = workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)
            progress = Progress(total=total)
            with _Pipeline(worker, fresh(inputs, finished, settings, out), count) as pipeline:
                for row in pipeline.rows():
                    if row is not None:
                        journal.add(row)
                    progress = after(progress, row, started)
                    if report is not None:
                        report(progress)
        finally:
            finished.close()
            shutil.rmtree(staging, ignore_errors=True)
    if manifest is not None:
        finished = Finished(out)
        try:
            write_parquet(finished.rows(), manifest)
        finally:
            finished.close()
    return Summary(progress.done, progress.skipped, progress.failed, time.perf_counter() - start, journal.path)


def fresh(inputs: Iterable[Record], finished: Finished, settings: str, out: Path) -> Iterator[Record | None]:
    """The records that need work; None for each that was done before and has not changed.

    One whose file or hint is another, by size and time, brings its earlier row along: `Worker.load` then looks at the
    content.
    """
    for record in inputs:
        row = finished.find(record.key)
        if row is None or record.error is not None or row.settings != settings or not row.is_there(out):
            yield record
        elif record.stamp and row.stamp == record.stamp:
            yield None
        else:
            yield replace(record, known=row)


def after(progress: Progress, row: Row | None, started: str) -> Progress:
    """Count a row in; None, or one that is older than the run, is of a photograph that was passed over."""
    if row is None or (row.status == "done" and row.time < started):
        return replace(progress, skipped=progress.skipped + 1, row=None)
    if row.status == "done":
        return replace(progress, done=progress.done + 1, row=row)
    return replace(progress, failed=progress.failed + 1, row=row)


def staging_folder(out: Path, shard: Shard) -> Path:
    """Where the files of a part are written before they are moved to their places."""
    return out / f".perpixel{shard.ending or '-1-of-1'}"


class _Pipeline:
    """The threads of a batch.

    One finds the photographs, some read them, one runs the model, some write. Between them are short queues, so that
    only a bounded number of photographs is in memory. Pillow, NumPy, OpenCV and torch let other threads run while
    they compute.
    """

    def __init__(self, worker: Worker, records: Iterator[Record | None], workers: int) -> None:
        self.worker, self.source = worker, records
        self.window = WINDOW * worker.stack if worker.stack > 1 else 1
        self.records: Channel[Record] = Channel(2 * workers, 1)
        self.loaded: Channel[Loaded] = Channel(workers, workers)
        self.computed: Channel[Computed] = Channel(workers, 1)
        # Everybody may have something to tell, so everybody counts as its filler.
        self.told: Channel[Row | None] = Channel(64, 2 * workers + 2)
        self.error: BaseException | None = None
        self.stopped = False
        jobs = [self._find, self._compute, *[self._load] * workers, *[self._write] * workers]
        self.threads = [Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread hears signals, and only it may say what they do.
        if current_thread() is main_thread():
            self.handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for channel in (self.records, self.loaded, self.computed, self.told):
            channel.cut()
        for thread in self.threads:
            thread.join()
        self._listen_as_before()

    def rows(self) -> Iterator[Row | None]:
        """The rows as they come; None for a photograph that was passed over.

        After Ctrl-C, or SIGTERM, no further photograph is begun. What the model has computed is still written.

        Raises:
            OutputError: nothing more can be written.
            KeyboardInterrupt: it was stopped; all rows have come.
        """
        yield from self.told
        if self.error is not None:
            raise self.error
        if self.stopped:
            raise KeyboardInterrupt

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = True
        self._listen_as_before()  # a second time it ends at once
        self.records.cut()
        self.loaded.cut()

    def _listen_as_before(self) -> None:
        for number, handler in self.handlers.items():  # None: not set from Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.handlers = {}

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # whatever it is, the others must not wait for ever
            self.error = self.error or error
            for channel in (self.records, self.loaded, self.computed):
                channel.cut()
        finally:
            self.told.leave()

    def _find(self) -> None:
        try:
            for record in self.source:
                there = self.told.put(None) if record is None else self.records.put(record)
                if not there:
                    return
        finally:
            self.records.leave()

    def _load(self) -> None:
        try:
            for record in self.records:
                found = self.worker.load(record)
                if isinstance(found, Row):
                    self.told.put(found)
                elif not self.loaded.put(found):
                    return
        finally:
            self.loaded.leave()

    def _compute(self) -> None:
        try:
            for group in grouped(self.loaded, self.worker.stack, self.window):
                for found in self.worker.compute(group):
                    if not self.computed.put(found):
                        return
        finally:
            self.computed.leave()

    def _write(self) -> None:
        for found in self.computed:
            self.told.put(self.worker.write(found))


def grouped(loaded: Iterable[Loaded], stack: int, window: int) -> Iterator[list[Loaded]]:
    """Groups of one shape: full ones as soon as they are full, others when the window is.

    Args:
        loaded: records that are ready for the network.
        stack: the most in a group.
        window: the most that wait.
    """
    waiting: dict[tuple[int, ...], list[Loaded]] = {}
    for each in loaded:
        group = waiting.setdefault(each.shape, [])
        group.append(each)
        if len(group) < stack and sum(map(len, waiting.values())) < window:
            continue
        # The shape that waits longest is the first in the dict, so that nobody waits for ever.
        shape = each.shape if len(group) >= stack else next(iter(waiting))
        yield waiting.pop(shape)
    yield from waiting.values()


def _has_archives(words: Iterable[str]) -> bool:
    """Whether hints may come out of what is named: then only reading it tells."""
    return any(word.startswith("@") or word.lower().endswith(TAR_SUFFIXES) for word in words)
