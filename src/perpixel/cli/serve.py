"""`perpixel serve`: the models over HTTP."""

from typing import Annotated, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli import cluster as on
from perpixel.cli.reporting import UsageError
from perpixel.errors import MissingDependencyError

MEGA = 1_000_000


def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A Hub id, a folder or an exported file; may be repeated. The first for a task is its default.",
            show_default="vitmatte-nano",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PERPIXEL_TOKEN",
            show_envvar=True,
            help="What requests must bring; better in the variable, since others see a command's words.",
            show_default=False,
        ),
    ] = None,
    studio: Annotated[bool, typer.Option(help="Serve the page for people at / where its extra is installed.")] = True,
    queue: Annotated[int, typer.Option(min=1, help="Requests that wait or are worked on; the next gets 429.")] = 64,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Equal requests in one run of the model.", show_default="8, and 1 on a CPU"),
    ] = None,
    decodes: Annotated[int, typer.Option(min=1, help="Pictures that are decoded at a time.")] = 2,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for a request, after its upload.")] = 60.0,
    max_upload: Annotated[str, typer.Option(metavar="SIZE", help="The largest request.")] = "32MiB",
    max_pixels: Annotated[float, typer.Option(min=0.000001, help="Megapixels of the largest picture.")] = 25.0,
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Working memory of a model for one picture.", show_default="4GB on a CPU"),
    ] = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: on.AnyEngine = None,
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N or A:B", help="With --engine ray: copies of the server; A:B follow the load.", show_default="1"
        ),
    ] = None,
    address: on.Address = None,
    cpus_per_worker: on.CpusPerWorker = None,
    gpus_per_worker: on.GpusPerWorker = None,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Of the log on stderr.")] = "text",
) -> int:
    """Serve cut-outs, mattes, segments and depth over HTTP, and the Studio at /.

    The address is printed when it can be reached; /readyz answers 200 when the models are loaded. SIGTERM and Ctrl-C
    end the server when all that it accepted is done. docs/server.md has examples. With --engine ray copies of the
    server run on a cluster of Ray; Studio is not served then.
    """
    perpixel.tune_allocator(many_sizes=True)  # before torch is imported
    try:
        from perpixel.serve.process import run_server
    except ImportError as error:
        raise MissingDependencyError(f'serve needs the package {error.name}: pip install "perpixel[serve]"') from error
    from perpixel.ops.tiling import memory_bytes
    from perpixel.serve.journal import start_log
    from perpixel.serve.settings import Settings

    cluster = on.cluster_of(engine, address, replicas, cpus_per_worker, gpus_per_worker)
    if cluster is None and replicas is not None:
        raise UsageError("--replicas is for --engine ray: add that, or leave it out")
    settings = Settings(
        models=tuple(model or ("vitmatte-nano",)),
        device=device,
        dtype=dtype,
        engine=on.model_engine(engine),
        token=token,
        queue=queue,
        batch=batch,
        decodes=decodes,
        max_upload=memory_bytes(max_upload),
        max_pixels=max(1, int(max_pixels * MEGA)),
        max_memory=max_memory,
        timeout=timeout,
        studio=studio,
    )
    start_log(log_format)
    if cluster is not None:
        from perpixel.serve.on_ray import run_on_ray

        run_on_ray(settings, cluster, host=host, port=port, log=log_format, say=lambda line: typer.echo(line))
        return 0
    return 0 if run_server(settings, host=host, port=port, say=lambda line: typer.echo(line)) else 1
