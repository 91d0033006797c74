"""What stands between the routes and the models: who gets in, who waits, who works, and for how long."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from perpixel.serve.answers import FORMS, WHATS, Answer, Form, answer
from perpixel.serve.effort import Effort, Finishing
from perpixel.serve.journal import LOGGER
from perpixel.serve.metrics import Metrics
from perpixel.serve.models import Models, Rehearsed, Served
from perpixel.serve.problems import ClientGone, Refusal
from perpixel.serve.scheduler import Scheduler
from perpixel.serve.schemas import Options
from perpixel.serve.settings import Settings
from perpixel.serve.upload import Form as Upload
from perpixel.serve.upload import Held
from perpixel.serve.work import prepare, read_options

if TYPE_CHECKING:
    from starlette.requests import Request

Result = TypeVar("Result")

ACCELERATOR_BATCH = 8
# Of both sides of the picture that models are warmed up with: larger than most models' input, so that the libraries'
# buffers have the size that they will need.
WARM_UP = 768
# A client that is sent away is asked to come back after this many seconds at least and at most.
SOONEST, LATEST = 1, 60


class Service:
    """The work of one application.

    A request waits as bytes. Only as many as keep the stages busy are decoded at a time, since a decoded picture and
    the network's input take a hundred times the memory of its file.

    Args:
        settings: of the server.
        metrics: where work is counted.

    Raises:
        CheckpointError: a model is not there.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.models = Models(settings.models)
        self.metrics = metrics
        self.held = Held(settings.held_bytes)
        self.ready = False
        self.failure: Exception | None = None
        self.failed: Callable[[], None] = lambda: None
        self._ended = False
        self._busy = 0
        self._seconds = 1.0  # of one request, a running mean
        self._finishing = Finishing()
        batch = settings.batch or (1 if settings.device in (None, "cpu") else ACCELERATOR_BATCH)
        self._scheduler = Scheduler(batch, self._ran)
        self._places = 2 * batch + settings.decodes
        self._benches = asyncio.Semaphore(self._places)
        self._decoders = ThreadPoolExecutor(settings.decodes, "perpixel-decode")
        self._encoders = ThreadPoolExecutor(settings.decodes, "perpixel-encode")
        metrics.watch("perpixel_busy_requests", "Requests that wait or are worked on.", lambda: self._busy)
        metrics.watch("perpixel_waiting_jobs", "Decoded requests before a model.", self._scheduler.waiting)
        metrics.watch("perpixel_held_bytes", "Bytes of bodies in memory.", lambda: self.held.bytes)
        metrics.watch("perpixel_ready", "1 when all models are loaded.", lambda: float(self.ready))

    def start(self) -> None:
        """Load the models in the background; `ready` tells when they are."""
        self._scheduler.start()
        threading.Thread(target=self._load, name="perpixel-load", daemon=True).start()

    def stop(self) -> None:
        """Finish what was accepted, and end the threads."""
        self._ended = True
        self._scheduler.stop()
        for pool in (self._decoders, self._encoders):
            pool.shutdown()

    def check_ready(self) -> None:
        """Refuse work that cannot be done yet.

        Raises:
            Refusal: 503.
        """
        if self.failure is not None:
            raise Refusal(503, "failed", "the server's models could not be loaded: its log tells why")
        if not self.ready:
            raise Refusal(503, "not_ready", "the models are being loaded: try again in a moment", {"Retry-After": "2"})

    def check_room(self) -> None:
        """Refuse what would have to wait too long.

        Raises:
            Refusal: 429 when the queue is full.
        """
        if self._busy >= self.settings.queue:
            wait = math.ceil(min(max(SOONEST, self._busy * self._seconds), LATEST))
            raise Refusal(
                429,
                "busy",
                f"the queue of {self.settings.queue} requests is full: try again in {wait} seconds",
                {"Retry-After": str(wait)},
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, for as long as the block runs.

        Raises:
            Refusal: 429 when the queue is full.
        """
        self.check_room()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    async def work(self, upload: Upload, options: Options, form: Form, what: str, request: Request) -> Answer:
        """Serve one request within its time.

        Raises:
            Refusal: 504 when the time is over.
            ClientGone: nobody waits for the answer.
            PerpixelError: as the task raises it.
        """
        work = asyncio.create_task(self._stages(self._benches, upload.fields, options, form, what))
        gone = asyncio.create_task(_disconnect(request))
        try:
            await asyncio.wait({work, gone}, timeout=self.settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientGone
            raise self._too_long()
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def in_turn(self, work: Callable[[], Result]) -> Result:
        """Do other work in the models' thread, when all that came before it is done.

        Raises:
            Refusal: 503 while the models are being loaded, 429 when the queue is full, 504 when the time is over.
        """
        self.check_ready()
        with self.place():
            try:
                async with asyncio.timeout(self.settings.timeout):
                    key = ("studio", object())  # equal to no other
                    done: Result = await self._scheduler.submit(key, lambda items: [work()], None)
                    return done
            except TimeoutError:
                raise self._too_long() from None

    async def _stages(
        self, benches: asyncio.Semaphore, fields: Mapping[str, bytes], options: Options, form: Form, what: str
    ) -> Answer:
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with benches:
            prepared = await loop.run_in_executor(self._decoders, prepare, fields, options, self.models, self.settings)
            kind = (prepared.model.name, form, what)
            if self.ready:
                prepared.check_finish(self._finishing.expected(kind, prepared.pixels), self.settings)
            found = await self._scheduler.submit(prepared.key, prepared.stages.run, prepared.ready)

            def finish() -> Answer:
                start = time.thread_time()  # other work on the machine does not count
                made = answer(prepared.finish(found), prepared.model.name, form, what)
                self._finishing.took(kind, prepared.pixels, time.thread_time() - start)
                return made

            done = await loop.run_in_executor(self._encoders, finish)
        # What one request costs when many are there: they share the time.
        self._seconds += 0.1 * ((loop.time() - start) / max(1, self._busy) - self._seconds)
        return done

    def _load(self) -> None:
        try:
            self.models.load(self.settings)
            asyncio.run(self._rehearse(min(WARM_UP, math.isqrt(self.settings.max_pixels))))
        except Exception as error:
            if self._ended:  # by somebody who did not wait until it was ready
                return
            self.failure = error
            LOGGER.error("the models cannot be loaded", exc_info=error)
            self.failed()
            return
        self.ready = True
        LOGGER.info("ready", extra={"models": ",".join(model.name for model in self.models.all)})

    async def _rehearse(self, side: int) -> None:
        """Do what requests will ask for, in their threads and all at once, since buffers stay as large as they were.

        Args:
            side: of the pictures in pixels.
        """
        benches = asyncio.Semaphore(self._places)  # that of the requests belongs to another loop
        rehearsed = [(model, request) for model in self.models.all for request in model.rehearsal(side)]
        work = []
        for number in range(self._places):
            form = FORMS[number % len(FORMS)]
            for _, request in rehearsed:
                what = WHATS[request.route][0]
                work.append(self._stages(benches, request.fields, self._read(request), form, what))
        await asyncio.gather(*work)
        for model, request in rehearsed:
            if model.effort is None:
                await self._measure(model, request, side)

    @staticmethod
    def _read(request: Rehearsed) -> Options:
        return read_options(request.route, json.dumps(request.options).encode())

    async def _measure(self, model: Served, request: Rehearsed, side: int) -> None:
        """Let a model work alone, to know how long it takes."""
        prepared = prepare(request.fields, self._read(request), self.models, self.settings)
        seconds = 0.0

        def run(items: Sequence[Any]) -> Sequence[Any]:
            nonlocal seconds
            start = time.thread_time()
            found: Sequence[Any] = prepared.stages.run(items)
            seconds = time.thread_time() - start
            return found

        await self._scheduler.submit(prepared.key, run, prepared.ready)
        seen = prepared.ready.shape[-2:] or (side, side)
        model.effort = Effort(math.prod(seen), seconds)

    def _too_long(self) -> Refusal:
        words = f"the work took longer than {self.settings.timeout:g} seconds: send a smaller picture"
        return Refusal(504, "timeout", words)

    def _ran(self, key: object, count: int, seconds: float) -> None:
        task = key[0] if isinstance(key, tuple) else "other"
        self.metrics.model_seconds.labels(task).observe(seconds)
        self.metrics.batch_size.labels(task).observe(count)


async def _disconnect(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
