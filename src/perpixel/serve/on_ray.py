"""The application on Ray Serve: several copies of it on a cluster, behind one address on each machine.

Every replica is the whole application of `create_app` with its own models, queue and batches, so that one machine and
a cluster answer alike; Ray Serve only hands requests on, by Python's own HTTP proxy. What counts for a server counts
for each replica: `--queue 64` with four of them is room for 256 requests. Two things are otherwise than on one machine:

- A replica is used only when its models are loaded, so `/readyz` never answers 503.
- `/metrics` answers for the replica that happened to be asked.

Studio, whose pages belong to one process, is not served.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from perpixel.batch.ray_cluster import Cluster, connected
from perpixel.errors import InputError
from perpixel.serve.models import Models
from perpixel.serve.process import listening
from perpixel.serve.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "perpixel"
# A replica takes so many requests beyond its queue: probes, and those that it refuses itself, with the time to wait.
BEYOND_QUEUE = 32
LOAD_STEP = 0.05
# What cannot load its models the first time cannot the third time either.
TRIES = 1


def run_on_ray(
    settings: Settings,
    cluster: Cluster,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    log: Literal["text", "json"] = "text",
    say: Callable[[str], object] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what was accepted.

    Args:
        settings: of each replica.
        cluster: where, how many replicas, and what each takes.
        host: the address that every machine of the cluster listens at.
        port: the port; 0 takes one that is free here.
        log: the form of the replicas' log, which is among Ray's.
        say: is given the line with the address, when the models are loaded.
        stop: ends the server when it is set; for callers who are not in the main thread, where signals do not come.

    Raises:
        InputError: there is no such cluster, Ray Serve runs on it already, nothing can listen at the address, or the
            models cannot be loaded.
        CheckpointError: a model is not there.
    """
    settings = replace(settings, device=cluster.device(settings.device), studio=False)
    Models(settings.models)  # before Ray is started
    with listening(host, port) as door:
        port = door.getsockname()[1]
    stop = stop or threading.Event()
    with connected(cluster):
        from ray import serve

        if serve.status().proxies:
            raise InputError("Ray Serve runs on this cluster already: end it with serve shutdown, or take another")
        timeout = settings.upload_timeout + settings.timeout
        try:
            serve.start(http_options={"host": host, "port": port, "request_timeout_s": timeout + 1})
            try:
                serve.run(_deployment(settings, cluster, log).bind(), name=NAME)
            except RuntimeError as error:
                raise InputError(
                    f"no replica could be started ({_reason(error)}): Ray's log tells more, in /tmp/ray/session_latest"
                ) from error
            before = _listen(stop)
            name = f"[{host}]" if ":" in host else host
            say(f"perpixel serves at http://{name}:{port} with {cluster.workers[1]} replicas (Ctrl-C ends it)")
            try:
                stop.wait()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
        finally:
            serve.shutdown()


def _deployment(settings: Settings, cluster: Cluster, log: Literal["text", "json"]) -> Any:
    from ray import serve

    def build() -> FastAPI:
        """In the replica's process."""
        import perpixel

        perpixel.tune_allocator(many_sizes=True)  # before torch is imported
        from perpixel.serve.app import create_app
        from perpixel.serve.journal import start_log

        start_log(log)
        return _ready_when_loaded(create_app(settings))

    least, most = cluster.workers
    scale: dict[str, Any] = {"num_replicas": most}
    if least < most:
        # Half of a full queue is when another replica is worth its start.
        aim = max(1, settings.queue // 2)
        scale = {"autoscaling_config": {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": aim}}
    return serve.deployment(
        name=NAME,
        max_ongoing_requests=settings.queue + BEYOND_QUEUE,
        ray_actor_options={"num_cpus": cluster.cpus_per_worker, "num_gpus": cluster.gpus_per_worker},
        graceful_shutdown_timeout_s=settings.upload_timeout + settings.timeout,
        max_constructor_retry_count=TRIES,
        **scale,
    )(serve.ingress(build)())


def _ready_when_loaded(app: FastAPI) -> FastAPI:
    """Let an application's start last until its models are loaded: before that a replica gets no requests."""
    import asyncio

    started = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with started(app) as state:
            service = app.state.service
            while not service.ready:
                if service.failure is not None:
                    raise service.failure
                await asyncio.sleep(LOAD_STEP)
            yield state

    app.router.lifespan_context = lifespan
    return app


def _listen(stop: threading.Event) -> dict[int, Any]:
    """Let signals end the server, and return what they did before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = (signal.SIGINT, signal.SIGTERM)
    return {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
