"""The options of commands whose work can be spread over a Ray cluster."""

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from perpixel.cli.reporting import UsageError
from perpixel.errors import ConfigError

if TYPE_CHECKING:
    from perpixel.batch.ray_cluster import Cluster
    from perpixel.tasks.precision import Engine

AnyEngine = Annotated[
    Literal["torch", "openvino", "ray"] | None,
    typer.Option(
        help="openvino is faster on the CPU (perpixel[export]); ray is torch on a cluster (perpixel[scale]).",
        show_default="torch",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With --engine ray: the head of a running cluster; without it one is started on this machine.",
        show_default=False,
    ),
]
CpusPerWorker = Annotated[
    float | None,
    typer.Option(metavar="N", help="With --engine ray: processors that each process takes.", show_default="1"),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(metavar="N", help="With --engine ray: GPUs that each takes; 0.5 is half of one.", show_default="0"),
]


def cluster_of(
    engine: str | None,
    address: str | None,
    workers: str | None,
    cpus_per_worker: float | None,
    gpus_per_worker: float | None,
) -> "Cluster | None":
    """The cluster that the options mean; None where the work stays in this process.

    Raises:
        UsageError: options of a cluster without one, or numbers that no cluster can run with.
    """
    if engine != "ray":
        given = {"--address": address, "--cpus-per-worker": cpus_per_worker, "--gpus-per-worker": gpus_per_worker}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"{name} is for --engine ray: add that, or leave it out")
        return None
    from perpixel.batch.ray_cluster import Cluster

    try:
        return Cluster(
            address,
            Cluster.parse_workers(workers or "1"),
            1.0 if cpus_per_worker is None else cpus_per_worker,
            gpus_per_worker or 0.0,
            debug=os.environ.get("PERPIXEL_DEBUG", "") not in ("", "0"),
        )
    except ConfigError as error:
        raise UsageError(str(error)) from error


def model_engine(engine: Literal["torch", "openvino", "ray"] | None) -> "Engine | None":
    """What each model is run by."""
    return None if engine == "ray" else engine
