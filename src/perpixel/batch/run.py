"""A batch from what the user names to what the manifest tells, on this machine or on a cluster."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from perpixel.batch.archives import TAR_SUFFIXES, Columns
from perpixel.batch.hints import HintFolders
from perpixel.batch.inputs import Inputs, list_of
from perpixel.batch.job import Job, Task
from perpixel.batch.manifest import Finished, Journal, import_pyarrow, note_settings, write_parquet
from perpixel.batch.pipeline import Pipeline
from perpixel.batch.records import Record, Row, now
from perpixel.batch.shards import Shard
from perpixel.batch.trials import finished_rows
from perpixel.batch.whole import is_put_in_place, left_whole
from perpixel.batch.worker import Worker
from perpixel.errors import InputError, OutputError

if TYPE_CHECKING:
    from perpixel.batch.ray_cluster import Cluster

# More threads than this wait for each other.
MOST_WORKERS = 8


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


class RayDataset(Protocol):
    """A `ray.data.Dataset`, which type checkers do not see."""

    @property
    def map_batches(self) -> Any:
        """What tells it from paths."""


@overload
def batch(
    job: Job | Task,
    inputs: RayDataset,
    *,
    columns: Columns | None = None,
    engine: Literal["ray"] | Cluster = "ray",
) -> Any: ...


@overload
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
    engine: Literal["local", "ray"] | Cluster = "local",
    report: Callable[[Progress], None] | None = None,
) -> Summary: ...


def batch(
    job: Job | Task,
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | RayDataset,
    out: str | os.PathLike[str] | None = None,
    *,
    trimaps: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    columns: Columns | None = None,
    recursive: bool = False,
    root: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    manifest: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] | Cluster = "local",
    report: Callable[[Progress], None] | None = None,
) -> Summary | Any:
    """Work on many photographs, and go on where an earlier run stopped.

    Every result is a file in `out`, and every photograph a line in `out/manifest.jsonl`. A photograph whose line says
    "done" is passed over as long as it, its hint, the job and the results are as they were. One that cannot be used
    gets a line that says why, and keeps nobody up.

    A Ray Dataset for `inputs` becomes another with the results in its columns, as `perpixel.batch.ray_dataset` says;
    nothing is written then, and of the arguments only `columns` and `engine` may be given.

    Args:
        job: what is done; the name of a task for all of its defaults.
        inputs: folders, files, patterns such as "in/**/*.jpg", tar archives, Parquet tables, and lists as
            "@names.txt"; one or many. Or a Ray Dataset.
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
        engine: "ray" for one worker on a Ray cluster on this machine; a `Cluster` tells which, and how many workers.
        report: called after every photograph.

    Returns:
        how many were done, passed over and failed; for a Ray Dataset, another.

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
    job = job if isinstance(job, Job) else Job(job)
    cluster = _cluster(engine)
    if not isinstance(inputs, (str, os.PathLike)) and hasattr(inputs, "map_batches"):
        given = (out, trimaps, masks, root, shard, manifest, workers, report)
        if recursive or any(each is not None for each in given):
            raise InputError("a Ray Dataset is worked on in its columns: leave out all but job, columns and engine")
        from perpixel.batch.ray_dataset import work_on_dataset

        return work_on_dataset(job, inputs, columns or Columns(), cluster)
    if out is None:
        raise InputError("there is no folder for the results: give out")
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
    table = None if manifest is None else Path(manifest)
    total = prepare(job, named, table, workers)
    return run(job, named, total, table, workers=workers, cluster=cluster, report=report)


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
    cluster: Cluster | None = None,
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
        _clear(staging, journal, out)  # the journal is ours alone: whoever wrote there before is dead
        settings = note_settings(out, job)
        finished = Finished(out)
        progress = Progress(total=total)
        try:
            with ExitStack() as stack:
                rows: Iterator[Row | None]
                if cluster is None:
                    worker = Worker(job, out, staging, settings)
                    count = workers or min(processors(), MOST_WORKERS)
                    records = fresh(inputs, finished, settings, out)
                    rows = stack.enter_context(Pipeline(worker, records, count)).rows()
                else:
                    from perpixel.batch.ray import ray_rows

                    rows = stack.enter_context(closing(ray_rows(job, inputs, staging, settings, cluster, total)))
                for row in rows:
                    if row is not None:
                        journal.add(row)
                    progress = after(progress, row, started)
                    if report is not None:
                        report(progress)
        finally:
            finished.close()
            # After an early end these are rows that have not come the usual way; they count as well.
            for row in _clear(staging, journal, out):
                progress = after(progress, row, started)
                if report is not None:
                    report(progress)
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


def _clear(staging: Path, journal: Journal, out: Path) -> list[Row]:
    """Note what was finished and nobody has noted, remove the folder, and return the rows that were added."""
    found: dict[str, tuple[Path | None, Row]] = {row.key: (None, row) for row in finished_rows(staging)}
    found |= {row.key: (own, row) for own, row in left_whole(staging)}
    added = []
    if found:
        finished = Finished(out)
        try:
            for own, row in sorted(found.values(), key=lambda each: each[1].time):
                known = finished.find(row.key)
                if known is not None and (known == row or known.time > row.time):
                    continue  # noted, or done anew by a run that did not see this folder
                if own is None or is_put_in_place(own, row, out):
                    journal.add(row)
                    added.append(row)
        finally:
            finished.close()
    shutil.rmtree(staging, ignore_errors=True)
    return added


def _cluster(engine: Literal["local", "ray"] | Cluster) -> Cluster | None:
    if engine == "local":
        return None
    from perpixel.batch.ray_cluster import Cluster

    if engine == "ray":
        return Cluster()
    if not isinstance(engine, Cluster):
        raise InputError(f"engine={engine!r} is not known: use 'local', 'ray' or a perpixel.Cluster")
    return engine


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def staging_folder(out: Path, shard: Shard) -> Path:
    """Where the files of a part are written before they are moved to their places."""
    return out / f".perpixel{shard.ending or '-1-of-1'}"


def _has_archives(words: Iterable[str]) -> bool:
    """Whether hints may come out of what is named: then only reading it tells."""
    return any(word.startswith("@") or word.lower().endswith(TAR_SUFFIXES) for word in words)
