"""A Ray Dataset with photographs in, a Ray Dataset with results out.

Every row has a photograph in one column: the bytes of a file, its path (seen by all machines), or an array of uint8,
(h, w), (h, w, 3) or (h, w, 4). Trimaps and masks likewise, labels as text, in columns that `Columns` names. The rows
come back with their columns as they were and these beside them:

- one for each form that the job saves, named like it (`png`, `coco`, `npy` …): the bytes of the very file that
  `perpixel.batch` writes, or nothing where the photograph cannot be used;
- `FORM_note`, for forms of depth that need numbers beside the file: that JSON as text;
- `width` and `height` of the photograph in pixels;
- `error`: why there is no result, in a line, or nothing.

As with all of Ray's, nothing is done until the results are asked for, and they may come in another order.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import perpixel
from perpixel.batch.archives import Columns
from perpixel.batch.job import Job
from perpixel.batch.ray_cluster import Cluster, import_ray
from perpixel.batch.records import Content, Record, Row
from perpixel.batch.worker import Worker, form_name
from perpixel.errors import InputError, PerpixelError

# Photographs that one worker gets at once.
ROWS = 32
DEPTH_NOTES = ("png16", "png8")


def work_on_dataset(job: Job, dataset: Any, columns: Columns, cluster: Cluster | None) -> Any:
    """See above.

    Args:
        job: what is done with each photograph.
        dataset: a `ray.data.Dataset`.
        columns: which of its columns are what; `key` is not used, since the rows keep theirs.
        cluster: how many workers there are, and what each takes. Ray is where the dataset is.

    Returns:
        a `ray.data.Dataset`.

    Raises:
        InputError: an address, or columns that the task has no use for or lacks.
    """
    import_ray()
    from ray.data import ActorPoolStrategy

    cluster = cluster or Cluster()
    if cluster.address is not None:
        raise InputError("the Dataset's rows are where Ray is connected to already: leave the cluster's address out")
    if columns.key is not None:
        raise InputError("the rows of a Ray Dataset keep their columns and need no key: leave it out")
    hinted = columns.trimap or columns.mask or columns.label
    if job.task in ("segment", "depth") and hinted:
        raise InputError(f"{job.task} needs no hints: leave the columns trimap, mask and label out")
    if job.task == "matte" and (columns.mask or columns.label or not columns.trimap):
        raise InputError("matte needs the column of trimaps, and no other hints: give Columns(trimap=…)")
    if job.task == "cutout" and not (hinted or job.label or job.subject):
        raise InputError("cutout needs a hint for each picture: give a column of trimaps or masks, or a label")
    least, most = cluster.workers
    return dataset.map_batches(
        DatasetWorker,
        fn_constructor_kwargs={"job": replace(job, device=cluster.device(job.device)), "columns": columns},
        batch_size=ROWS,
        batch_format="numpy",
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=cluster.cpus_per_worker,
        num_gpus=cluster.gpus_per_worker or None,
    )


class DatasetWorker:
    """An actor with the model, which makes more columns of columns.

    Args:
        job: what is done.
        columns: which are what.
    """

    def __init__(self, job: Job, columns: Columns) -> None:
        perpixel.tune_allocator(many_sizes=True)  # before torch is imported
        self._job, self._columns = job, columns
        self._folder = Path(tempfile.mkdtemp(prefix="perpixel-"))
        self._out = self._folder / "out"
        self._out.mkdir()
        self._worker = Worker(job, self._out, self._folder / "staging", "dataset")

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Work on some rows."""
        new = self._names()
        if taken := sorted(set(batch) & set(new)):
            raise InputError(
                f"the Dataset has a column {taken[0]!r} already: rename it, the result would take its place"
            )
        image = self._columns.picture(list(batch), "the Dataset")
        found: dict[str, list[Any]] = {name: [] for name in new}
        # One by one, or a stack at a time: what is decoded must not fill the memory.
        step = self._worker.stack
        for start in range(0, len(batch[image]), step):
            records = [self._record(batch, image, i) for i in range(start, min(start + step, len(batch[image])))]
            for row in self._worker.process(records):
                for name, value in self._values(row).items():
                    found[name].append(value)
        return {**batch, **{name: _column(values) for name, values in found.items()}}

    def __del__(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _names(self) -> list[str]:
        notes = [f"{name}_note" for name in self._job.save if self._job.task == "depth" and name in DEPTH_NOTES]
        return [*self._job.save, *notes, "width", "height", "error"]

    def _record(self, batch: dict[str, NDArray[Any]], image: str, number: int) -> Record:
        source = f"row {number} of the batch"
        columns = self._columns
        try:
            contents: dict[str, Any] = {
                role: None if name is None else _content(batch[name][number])
                for role, name in (("image", image), ("trimap", columns.trimap), ("mask", columns.mask))
            }
            label = None if columns.label is None else batch[columns.label][number]
            return Record(str(number), source, label=None if label is None else str(label), **contents)
        except PerpixelError as error:
            return Record(str(number), source, error=str(error))

    def _values(self, row: Row) -> dict[str, Any]:
        values: dict[str, Any] = dict.fromkeys(self._names())
        values |= {"width": row.width or 0, "height": row.height or 0, "error": row.error}
        for name, form in zip(self._job.save, self._job.forms, strict=True):
            file = form_name(row.key, form, "")
            if file in row.outputs:
                values[name] = (self._out / file).read_bytes()
                if f"{name}_note" in values:
                    values[f"{name}_note"] = (self._out / f"{file}.json").read_text("utf-8")
        for file in row.outputs:
            (self._out / file).unlink()
        self._worker.noted(row)
        return values


def _content(value: Any) -> Content | None:
    """What a cell holds, as a file's bytes or its path."""
    if value is None or isinstance(value, (bytes, str)):
        return value or None
    if isinstance(value, dict):
        return _content(value.get("bytes") or value.get("path"))
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        raise InputError(
            f"a picture's column holds {getattr(value, 'dtype', type(value).__name__)}: the bytes of a file, its path, "
            "or an array of uint8 is needed"
        )
    from PIL import Image

    stream = io.BytesIO()
    try:
        # No loss, and hardly compressed: it is read again at once.
        Image.fromarray(np.squeeze(value, -1) if value.shape[-1:] == (1,) else value).save(
            stream, "PNG", compress_level=0
        )
    except (TypeError, ValueError):
        raise InputError(
            f"an array of shape {value.shape} is no picture: (h, w), (h, w, 3) or (h, w, 4) is needed"
        ) from None
    return stream.getvalue()


def _column(values: list[Any]) -> NDArray[Any]:
    """An array of objects, so that bytes keep the zeros at their end."""
    if all(isinstance(value, int) for value in values):
        return np.array(values, np.int64)
    column = np.empty(len(values), object)
    column[:] = values
    return column
