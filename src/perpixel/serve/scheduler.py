"""The one thread that the models run in, and the queue before it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from perpixel.tasks.stopping import Stopped, stoppable

Run = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(eq=False)
class _Job:
    key: Hashable
    run: Run
    item: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Scheduler:
    """Runs work in one thread, in the order in which it came, and equal work together.

    While a batch runs, more comes in; when it is done, the oldest and all that is equal to it are the next. Nobody
    waits for a batch to become full. A batch that nobody waits for any longer is stopped within a layer of its network.

    Args:
        batch: how much equal work is run at once.
        ran: is told, from the thread, the key, how much there was, and the seconds.
    """

    def __init__(self, batch: int, ran: Callable[[Hashable, int, float], None]) -> None:
        self._batch = batch
        self._ran = ran
        self._jobs: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="perpixel-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then end the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def waiting(self) -> int:
        """How much work is queued."""
        return len(self._jobs)

    async def submit(self, key: Hashable, run: Run, item: Any) -> Any:
        """Have `run([item, …])` called, with further items of an equal key, and get this item's result.

        A caller that is cancelled takes its work out of the queue, or gives it up where it runs already.

        Args:
            key: work of an equal key may be given to the `run` of any of its callers.
            run: gives a list of as many results.
            item: for `run`.

        Raises:
            Exception: what `run` raised for this item alone.
        """
        loop = asyncio.get_running_loop()
        job = _Job(key, run, item, loop.create_future(), loop)
        with self._changed:
            if self._ended:
                raise RuntimeError("the scheduler has ended")
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await job.future
        finally:
            with self._changed:
                if job in self._jobs:
                    self._jobs.remove(job)

    def _work(self) -> None:
        with stoppable(self._check_wanted):
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._jobs) or self._ended)
                    if not self._jobs:
                        return
                    jobs = self._running = self._taken()
                start = time.perf_counter()
                outcomes = _outcomes(jobs)
                self._ran(jobs[0].key, len(jobs), time.perf_counter() - start)
                for job, outcome in zip(jobs, outcomes, strict=True):
                    _tell(job, outcome)
                # What is still named here would stay in memory until the next work comes.
                self._running = []
                del jobs, outcomes, job, outcome

    def _check_wanted(self) -> None:
        """Stop the network where everybody whom it works for has gone, or was told that the time is over."""
        if all(job.future.cancelled() for job in self._running):
            raise Stopped

    def _taken(self) -> list[_Job]:
        """Take the oldest job out of the queue, and those that are equal to it."""
        first = self._jobs[0]
        jobs = [job for job in self._jobs if job.key == first.key][: self._batch]
        for job in jobs:
            self._jobs.remove(job)
        return jobs


def _outcomes(jobs: Sequence[_Job]) -> list[Any]:
    """The result of each job, or the exception that is its result."""
    try:
        results = list(jobs[0].run([job.item for job in jobs]))
        if len(results) != len(jobs):
            raise RuntimeError(f"{len(jobs)} items gave {len(results)} results")
        return results
    except Exception as error:
        if len(jobs) == 1:
            return [_Failed(error)]
    # One of them is to blame; the others must not suffer.
    return [outcome for job in jobs for outcome in _outcomes([job])]


@dataclass(frozen=True)
class _Failed:
    error: Exception


def _tell(job: _Job, outcome: Any) -> None:
    def tell() -> None:
        if job.future.done():
            return
        if isinstance(outcome, _Failed):
            job.future.set_exception(outcome.error)
        else:
            job.future.set_result(outcome)

    try:
        job.loop.call_soon_threadsafe(tell)
    except RuntimeError:  # the loop is closed: nobody waits any longer
        return
