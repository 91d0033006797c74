"""The threads of a batch: reading, the model and writing at the same time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from threading import Thread, current_thread, main_thread
from typing import Any, Self

from perpixel.batch.channel import Channel
from perpixel.batch.records import Record, Row
from perpixel.batch.worker import Computed, Loaded, Worker

# So many stacks wait in memory for others of their size.
WINDOW = 4


class Pipeline:
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

        Whoever asks for the next row has noted the one before where it outlives the process.

        After Ctrl-C, or SIGTERM, no further photograph is begun. What the model has computed is still written.

        Raises:
            OutputError: nothing more can be written.
            KeyboardInterrupt: it was stopped; all rows have come.
        """
        for row in self.told:
            yield row
            if row is not None:
                self.worker.noted(row)
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
