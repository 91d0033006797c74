"""What works on the photographs of a batch: a model that is loaded once, and the stages of its task."""

from __future__ import annotations

import errno
import secrets
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from perpixel.batch.job import Form, Job
from perpixel.batch.records import Content, Record, Row, content_hash, now
from perpixel.batch.whole import forget, put_in_place
from perpixel.errors import InputError, OutputError, PerpixelError
from perpixel.images.files import MAX_PIXELS
from perpixel.images.read import read_photo
from perpixel.tasks.cutout import Hint
from perpixel.tasks.stages import Depth, Matting, Ready, Segmentation

if TYPE_CHECKING:
    from perpixel.results import DepthMap, Matte, Segments

# What ends the whole batch: nothing else could be written either.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE})


@dataclass(frozen=True, eq=False)
class Loaded:
    """A record that is ready for the network.

    Attributes:
        record: what was read.
        ready: the network's input.
        row: what is known of it for the manifest.
    """

    record: Record
    ready: Ready
    row: Row

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the network's input: what has the same can be stacked."""
        return self.ready.shape


@dataclass(frozen=True, eq=False)
class Computed:
    """A record after the network: its output, or the row that says why there is none."""

    loaded: Loaded
    output: Any = None
    row: Row | None = None


class Worker:
    """A job with its model loaded, and where its results go.

    `process` does all of it, one stage after the other. Threads call the stages themselves: `load` and `write` from
    any of them, `compute` from one at a time. Neither raises for a record that cannot be used: its row says why.
    Whoever has noted a row where it outlives the process says so by `noted`; see `perpixel.batch.whole`.

    Args:
        job: what is done.
        out: the folder of the results; it exists.
        staging: a folder on the same disk, where files are written before they are renamed; it is made, and whoever
            made the worker removes it.
        settings: the job's fingerprint, if it is known.

    Raises:
        PerpixelError: the model cannot be loaded, or an option does not fit it.
    """

    def __init__(self, job: Job, out: Path, staging: Path, settings: str | None = None) -> None:
        self.job, self.out, self.staging = job, Path(out), Path(staging)
        self.settings = settings or job.fingerprint()
        self._stages = _stages(job)
        self._unnoted: dict[str, Path] = {}
        self.staging.mkdir(parents=True, exist_ok=True)

    @property
    def stack(self) -> int:
        """How many images of one size go into one forward."""
        return self._stages.stack

    def process(self, records: Sequence[Record]) -> list[Row]:
        """Work on some records, and return the manifest's row of each, in their order.

        Raises:
            OutputError: nothing more can be written; what was finished before is in place.
        """
        loaded = [self.load(record) for record in records]
        ready = [each for each in loaded if isinstance(each, Loaded)]
        rows = iter([self.write(each) for each in self.compute(ready)])
        return [each if isinstance(each, Row) else next(rows) for each in loaded]

    def load(self, record: Record) -> Loaded | Row:
        """Read and decode a photograph and its hint, and make the network's input.

        Returns:
            that; or a row: of why it cannot be used, or that it is done already, where the record says that it was
            and nothing has changed.
        """
        start = time.perf_counter()
        row = Row(record.key, record.source, "failed", self.settings, stamp=record.stamp)
        try:
            if record.error is not None or record.image is None:
                raise InputError(record.error or "there is no picture")
            hint: Content | None = record.mask if record.trimap is None else record.trimap
            if hint is None and record.label is not None:
                hint = record.label.encode()
            row = replace(row, blake2b=content_hash(record.image))
            row = replace(row, hint_blake2b=None if hint is None else content_hash(hint))
            known = record.known
            if known is not None and (known.blake2b, known.hint_blake2b) == (row.blake2b, row.hint_blake2b):
                return replace(known, stamp=record.stamp, input=record.source)
            photo = read_photo(record.image, max_pixels=MAX_PIXELS)
            row = replace(row, width=photo.width, height=photo.height)
            if isinstance(self._stages, Matting):
                ready = self._stages.prepare(photo, self._hint(record))
            else:
                ready = self._stages.prepare(photo)
            return Loaded(record, ready, replace(row, seconds=time.perf_counter() - start))
        except Exception as error:  # whatever one picture does, its line says it and the others go on
            return failed(row, error, start)

    def compute(self, loaded: Sequence[Loaded]) -> list[Computed]:
        """Run the network on records, those of one shape in stacks."""
        if not loaded:
            return []
        start = time.perf_counter()
        stages: Any = self._stages
        try:
            outputs = stages.run([each.ready for each in loaded])
        except Exception as error:  # see `load`
            if len(loaded) == 1:
                return [Computed(loaded[0], row=failed(loaded[0].row, error, start))]
            # One of them is to blame, and the others have a right to their results.
            return [self.compute([each])[0] for each in loaded]
        share = (time.perf_counter() - start) / len(loaded)
        timed = [replace(each, row=replace(each.row, seconds=each.row.seconds + share)) for each in loaded]
        return [Computed(each, output) for each, output in zip(timed, outputs, strict=True)]

    def write(self, computed: Computed) -> Row:
        """Make the result and write its files, whole or not at all.

        Raises:
            OutputError: nothing more can be written, as on a full disk.
        """
        if computed.row is not None:
            return computed.row
        start = time.perf_counter()
        loaded = computed.loaded
        stages: Any = self._stages
        own = self.staging / secrets.token_hex(8)
        try:
            result = stages.finish(loaded.ready, computed.output)
            outputs = self._save(result, loaded.record, own)
            seconds = round(loaded.row.seconds + time.perf_counter() - start, 4)
            row = replace(loaded.row, status="done", outputs=outputs, seconds=seconds, time=now())
            put_in_place(own, row, self.out)
        except Exception as error:  # see `load`
            shutil.rmtree(own, ignore_errors=True)
            if _is_end(error):
                raise OutputError(
                    f"{self.out} cannot be written ({_reason(error)}): what is done is kept; make room and start again"
                ) from error
            return failed(loaded.row, error, start)
        self._unnoted[row.key] = own
        return row

    def noted(self, row: Row) -> None:
        """Be told that a row has been noted: what was kept to find it again is removed."""
        own = self._unnoted.pop(row.key, None)
        if own is not None:
            forget(own)

    def _hint(self, record: Record) -> Hint:
        job = self.job
        if record.trimap is not None:
            return Hint(trimap=_source(record.trimap))
        if job.task == "matte":
            raise InputError(f"there is no trimap for {record.source}: matte needs one for each picture")
        if record.mask is not None:
            return Hint(mask=_source(record.mask))
        label = record.label or job.label
        return Hint(label=label, index=job.index, subject=None if label else job.subject)

    def _save(self, result: Matte | Segments | DepthMap, record: Record, own: Path) -> dict[str, int]:
        """Write every form into a folder of its own, and tell their sizes in the order in which they are moved."""
        folder, name = _split(record.key)
        own.mkdir()
        for form in self.job.forms:
            _save_as(result, own / form_name(name, form, record.suffix), form)
        # What lies beside a result, such as the JSON of a depth, comes first: alone it does no harm.
        files = sorted(own.iterdir(), key=lambda file: (file.suffix != ".json", file.name))
        return {f"{folder}/{file.name}" if folder else file.name: file.stat().st_size for file in files}


def form_name(name: str, form: Form, suffix: str) -> str:
    """The file name of a form of the result of a photograph with this name and suffix."""
    return f"{name}{suffix if form.keeps_suffix else ''}{form.ending}{form.suffix}"


def failed(row: Row, error: BaseException, start: float) -> Row:
    """The row of a record that failed."""
    seconds = round(row.seconds + time.perf_counter() - start, 4)
    return replace(row, status="failed", error=describe(error), seconds=seconds)


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, PerpixelError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: give a limit, or a smaller image"
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(place[0].filename).name}, line {place[0].lineno})" if place else ""
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}{where}"


def _stages(job: Job) -> Matting | Segmentation | Depth:
    if job.task == "segment":
        from perpixel.tasks.segmentation import load_segmenter

        segmenter = load_segmenter(job.model, job.device, job.dtype, job.engine, job.quantize)
        threshold = 0.5 if job.threshold is None else job.threshold
        return Segmentation(segmenter, kind=job.kind, threshold=threshold, labels=job.labels, stack=job.stack)
    if job.task == "depth":
        from perpixel.tasks.depth import load_depth_model

        estimator = load_depth_model(job.model, job.device, job.dtype, job.engine, job.quantize, kind=job.depth_kind)
        return Depth(estimator, detail=job.detail or "whole", size=job.size, max_memory=job.max_memory, stack=job.stack)
    from perpixel.tasks.matting import load_matting_model

    network = load_matting_model(job.model, job.device, job.dtype, job.engine, job.quantize)
    found = None
    if job.label is not None or job.subject is not None or job.segmentation_model is not None:
        from perpixel.tasks.cutout import check_labels
        from perpixel.tasks.segmentation import load_segmenter

        found = load_segmenter(job.segmentation_model, job.device, job.dtype, job.engine)
        if job.label is not None:
            check_labels(Hint(label=job.label), found)  # before the work
    return Matting(network, segmenter=found, max_memory=job.max_memory, refine=job.refine, stack=job.stack)


def _save_as(result: Any, path: Path, form: Form) -> None:
    try:
        result.save(path, **(form.options or {}))
    except OutputError as error:
        # The name of the temporary file would tell nobody anything.
        raise OutputError(f"{path.name} cannot be written ({_reason(error)})") from (error.__cause__ or error)


def _source(content: Content) -> Any:
    return cast(Any, content)


def _split(key: str) -> tuple[str, str]:
    folder, _, name = key.rpartition("/")
    return folder, name


def _is_end(error: BaseException) -> bool:
    """Whether an error, or what it comes from, means that nothing more can be written here."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return True
        cause = cause.__cause__
    return False


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__
    return describe(error)
