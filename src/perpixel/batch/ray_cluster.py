"""A Ray cluster to work on: one that is there already, or one that is started on this machine for the work."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from perpixel.errors import ConfigError, InputError, MissingDependencyError, PerpixelWarning

# Beyond this a cluster counts as unreachable. Left alone, Ray tries for a minute and may then end the process.
PROBE_SECONDS = 10.0
# Ray gives up on its own processes after 30 seconds, which on a busy machine need not mean anything.
STARTS = 3
MISSING = 'Ray is not installed: pip install "perpixel[scale]"'


@dataclass(frozen=True)
class Cluster:
    """Where the workers of a batch or the replicas of a server run.

    Attributes:
        address: of the head of a running cluster, as host:port; None starts one on this machine, for the time of the
            work.
        workers: the least and the most processes, each with the model; between them their number follows the work.
        cpus_per_worker: processors that each takes; it reads and writes with as many threads.
        gpus_per_worker: GPUs that each takes; 0.5 lets two share one.
        object_store_memory: bytes of shared memory of a cluster on this machine, by default as Ray takes it: a third
            of the memory.
        debug: whether the workers' own output is shown.

    Raises:
        ConfigError: numbers that no cluster can run with.

    >>> Cluster.parse_workers("2:8"), Cluster.parse_workers("4")
    ((2, 8), (4, 4))
    """

    address: str | None = None
    workers: tuple[int, int] = (1, 1)
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    object_store_memory: int | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        least, most = self.workers
        if not 1 <= least <= most:
            raise ConfigError(f"workers are {least}:{most}: give the least and the most, at least 1, such as 2:8")
        if not (self.cpus_per_worker > 0 and math.isfinite(self.cpus_per_worker)):
            raise ConfigError(f"cpus_per_worker is {self.cpus_per_worker}: more than 0 is needed")
        if not (self.gpus_per_worker >= 0 and math.isfinite(self.gpus_per_worker)):
            raise ConfigError(f"gpus_per_worker is {self.gpus_per_worker}: give 0 or more")
        if self.gpus_per_worker > 1 and self.gpus_per_worker != int(self.gpus_per_worker):
            raise ConfigError(f"gpus_per_worker is {self.gpus_per_worker}: beyond 1 only whole GPUs can be given")
        if self.address is not None:
            _host_and_port(self.address)

    @staticmethod
    def parse_workers(text: str) -> tuple[int, int]:
        """The numbers of "4" or "2:8".

        Raises:
            ConfigError: it is neither.
        """
        least, _, most = text.partition(":")
        try:
            return int(least), int(most or least)
        except ValueError:
            raise ConfigError(f"workers are given as 4 or, from the least to the most, as 2:8, not {text!r}") from None

    def device(self, given: str | None) -> str | None:
        """The device that each worker computes on.

        Args:
            given: what the user wants; None takes the GPU where workers have one.

        Raises:
            ConfigError: an accelerator, where workers get none: Ray hides all GPUs from them.
        """
        if given is None:
            return "cuda" if self.gpus_per_worker else None
        if given.startswith("cuda") and not self.gpus_per_worker:
            raise ConfigError(f"device={given} needs a GPU for each worker: give gpus_per_worker=1, or a part of one")
        return given


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected to the cluster for the time of the block; a connection that is there already stays as it is.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: no cluster answers at the address within seconds.
    """
    if "ray" in sys.modules and import_ray().is_initialized():
        yield import_ray()
        return
    wants_token = cluster.address is not None and probe(cluster.address)
    if wants_token:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # without it Ray shows no token; read when it is imported
    ray = import_ray()
    if not cluster.debug:
        # What goes wrong comes as an exception; the rest is in Ray's own log files.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    level = logging.INFO if cluster.debug else logging.ERROR
    options = {"log_to_driver": cluster.debug, "logging_level": level}
    try:
        if cluster.address is None:
            _start(ray, cluster, options)
        else:
            ray.init(address=cluster.address, **options)
            _warn_of_too_few(ray, cluster)
    except Exception as error:  # Ray raises several kinds, and that itself for a machine that is too busy to start it
        ray.shutdown()
        reason = " ".join(str(error).split())
        if cluster.address is None:
            raise InputError(f"Ray cannot be started on this machine ({reason})") from error
        advice = ": it wants its token, in ~/.ray/auth_token, and RAY_AUTH_MODE=token" if wants_token else ""
        raise InputError(f"the Ray cluster at {cluster.address} cannot be used ({reason}){advice}") from error
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, cluster: Cluster, options: dict[str, Any]) -> None:
    """Start a cluster on this machine."""
    for tried in range(1, STARTS + 1):
        try:
            # One processor more than the workers take: reading what there is to do needs hardly any, but some.
            ray.init(
                address="local",
                num_cpus=math.ceil(cluster.workers[1] * cluster.cpus_per_worker) + 1,
                include_dashboard=False,
                object_store_memory=cluster.object_store_memory,
                _node_ip_address="127.0.0.1",
                **options,
            )
            return
        except Exception:  # of several kinds, as above; that of the last try goes on
            ray.shutdown()
            if tried == STARTS:
                raise


def import_ray() -> Any:
    """Ray, which tells nobody that it is used.

    Raises:
        MissingDependencyError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(MISSING) from None
    return ray


def probe(address: str, seconds: float = PROBE_SECONDS) -> bool:
    """Make sure that a cluster's head answers at an address.

    Returns:
        whether it lets nobody in without its token.

    Raises:
        InputError: nothing does within the time.
        MissingDependencyError: Ray is not installed.
    """
    try:
        import grpc  # type: ignore[import-untyped]
    except ImportError:
        raise MissingDependencyError(MISSING) from None

    host, port = _host_and_port(address)
    advice = "check the address, and that the cluster runs (ray status); what is done is kept"
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"no Ray cluster answers at {address} ({reason}): {advice}") from error
    # The name is given as an address, so that no proxy of the environment is asked.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            # What Ray asks first.
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(b"", timeout=seconds)
        except grpc.RpcError as error:
            silent = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            if error.code() in silent:
                raise InputError(f"what answers at {address} is no Ray cluster: {advice}") from None
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _host_and_port(address: str) -> tuple[str, int]:
    if address.startswith("ray://"):
        raise ConfigError(f"{address} is for Ray's client: give the address of the head itself, such as 10.0.0.1:6379")
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"a cluster's address is host:port such as 10.0.0.1:6379, not {address!r}")
    return host, int(port)


def _warn_of_too_few(ray: Any, cluster: Cluster) -> None:
    """Say so where the least that is asked for is not there; a cluster that grows may still get it."""
    there = ray.cluster_resources()
    for name, each in (("CPU", cluster.cpus_per_worker), ("GPU", cluster.gpus_per_worker)):
        needed = cluster.workers[0] * each
        if needed > there.get(name, 0):
            warnings.warn(
                f"{cluster.workers[0]} workers need {needed:g} {name}, and the cluster has {there.get(name, 0):g}: the "
                "work waits until it grows; Ctrl-C ends the waiting",
                PerpixelWarning,
                stacklevel=4,
            )
