"""A batch on a Ray cluster: the photographs stream through a pool of workers, each a process with the model.

Somebody reads what there is to do, and hands it out in chunks; workers write the results where everybody sees them,
and tell in rows what became of each photograph; the rows come here, to the one process that keeps the manifest, with
the end of a chunk. Until then they are in a small file of the chunk's own too: whoever takes it over from a worker that
died does only the rest, and when the batch itself is ended in the middle they get into the manifest from there.
Results are moved to their places whole, so nothing is half done.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from perpixel.batch.inputs import Inputs
from perpixel.batch.job import Job
from perpixel.batch.manifest import Finished
from perpixel.batch.ray_cluster import Cluster, connected
from perpixel.batch.ray_worker import Chunk, Outcome, Place, RayWorker, pack, unpack
from perpixel.batch.records import Record, Row
from perpixel.batch.shards import key_digest
from perpixel.errors import InputError, PerpixelError

# Photographs that one worker gets at once, and does again if it dies. A GPU wants several stacks of them.
CHUNK, GPU_CHUNK = 32, 128
# Of a small batch each worker gets so many chunks, so that none of them waits long for the last.
SHARES = 4
# Processes that read what there is to do, at most: one lists some 10,000 files a second.
READERS = 8
# What a reader takes of a processor: it waits for the disk, and must never wait for one that the workers have, who may
# have all there are and wait for it.
READER_CPUS = 0


def ray_rows(
    job: Job, inputs: Inputs, staging: Path, settings: str, cluster: Cluster, total: int | None = None
) -> Generator[Row | None, None, None]:
    """Work on the photographs on a cluster, and give the rows as they come.

    Args:
        job: what is done with each.
        inputs: the photographs; they and `inputs.out` are seen by all machines under the same names.
        staging: as `Worker` takes it.
        settings: the job's fingerprint.
        cluster: where.
        total: how many there are, if it is known.

    Yields:
        a row for each photograph; None for one that was done before and has not changed.

    Raises:
        InputError: there is no cluster at the address.
        OutputError: nothing more can be written.
        PerpixelError: the model cannot be loaded, a machine does not see the folders, or Ray gave up.
    """
    job = replace(job, device=cluster.device(job.device))
    place = Place.here(inputs.out, staging, settings)
    place.staging.mkdir(parents=True, exist_ok=True)
    seen: set[int] = set()
    passed = 0
    with connected(cluster) as ray:
        dataset = _dataset(ray, job, inputs, place, cluster, total)
        try:
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                for outcome in unpack(table, Outcome):
                    for row in outcome.rows:
                        digest = key_digest(row.key)
                        # Ray gives every chunk once. Photographs that come or go while the batch runs may shift
                        # the chunks when a reader dies, and the manifest must not name one twice even then.
                        if digest not in seen:
                            seen.add(digest)
                            yield row
                    passed += outcome.passed
                    for _ in range(outcome.passed):
                        yield None
                    if outcome.trials is not None:
                        outcome.trials.unlink(missing_ok=True)
                    if outcome.end is not None:
                        raise outcome.end
        except ray.exceptions.RayError as error:
            raise PerpixelError(f"Ray gave up ({_reason(error)}): what is done is kept; start again") from error
    if total is not None and len(seen) + passed < total:
        left = total - len(seen) - passed
        raise InputError(f"{left} photographs were not found again while the batch ran: start again for them")


def _dataset(ray: Any, job: Job, inputs: Inputs, place: Place, cluster: Cluster, total: int | None) -> Any:
    """What becomes of each chunk, as a Ray Dataset that has not begun.

    Ray itself starts a worker anew that has died, however often, and gives its chunk to another.
    """
    from ray.data import ActorPoolStrategy, DataContext

    if not cluster.debug:
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # after the import, which sets it
    context = DataContext.get_current().copy()
    # Each row is a chunk, and one worker has one at a time: rows must not be joined into large blocks.
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.issue_detectors_config.detectors = []  # they count a reader's libraries as its data
    least, most = cluster.workers
    threads = max(1, round(cluster.cpus_per_worker))
    chunk = GPU_CHUNK if cluster.gpus_per_worker else CHUNK
    if total is not None:
        chunk = min(chunk, max(1, math.ceil(total / (most * SHARES))))
    parts = _parts(inputs)
    with DataContext.current(context):
        return (
            ray.data.from_arrow([pack(part) for part in parts])
            .map_batches(
                read_chunks,
                fn_kwargs={"place": place, "chunk": chunk},
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=READER_CPUS,
            )
            .map_batches(
                RayWorker,
                fn_constructor_kwargs={"job": job, "place": place, "threads": threads},
                batch_size=None,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=2),
                num_cpus=cluster.cpus_per_worker,
                num_gpus=cluster.gpus_per_worker or None,
            )
        )


def read_chunks(table: Any, place: Place, chunk: int) -> Iterator[Any]:
    """Read what there is to do, and give it in chunks: a reader's work, in a process of the cluster.

    Where the chunks end depends only on the list of photographs: if a reader dies, the one after it makes the same.
    """
    from perpixel.batch.run import fresh

    for inputs in unpack(table, Inputs):
        try:
            place.enter()
            finished = Finished(inputs.out)
            try:
                for found in chunked(fresh(inputs, finished, place.settings, inputs.out), chunk):
                    yield pack(found)
            finally:
                finished.close()
        except PerpixelError as error:
            yield pack(Chunk(end=error))


def chunked(records: Iterable[Record | None], size: int) -> Iterator[Chunk]:
    """Chunks of so many photographs each, with those that were done before, which are None."""
    found: list[Record] = []
    passed = 0
    for record in records:
        if record is None:
            passed += 1
        else:
            found.append(record)
        if len(found) + passed == size:
            yield Chunk(tuple(found), passed)
            found, passed = [], 0
    if found or passed:
        yield Chunk(tuple(found), passed)


def _parts(inputs: Inputs) -> list[Inputs]:
    """The same photographs for several readers, each with some of the words."""
    words = inputs.words
    count = min(READERS, len(words))
    ends = [len(words) * i // count for i in range(count + 1)]
    return [replace(inputs, words=words[start:end]) for start, end in itertools.pairwise(ends)]


def _reason(error: BaseException) -> str:
    """The last line of what Ray says, where the cause is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
