"""`perpixel batch`: any number of photographs through one task, stopped and gone on with at will."""

import json as json_text
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli import cluster as on
from perpixel.cli.batch_arguments import (
    Column,
    ImageColumn,
    ListFile,
    Manifest,
    Masks,
    Out,
    Part,
    Quantized,
    Recursive,
    Root,
    Save,
    Stack,
    Trimaps,
    Words,
    Workers,
)
from perpixel.cli.reporting import UsageError, progress
from perpixel.errors import ConfigError, InputError

if TYPE_CHECKING:
    from perpixel.batch.inputs import Inputs
    from perpixel.batch.job import Job
    from perpixel.batch.ray_cluster import Cluster
    from perpixel.batch.run import Progress

batch = typer.Typer(
    name="batch",
    help="Work on any number of photographs, and go on where an earlier run stopped.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@batch.callback()
def _group() -> None:
    """Work on any number of photographs, and go on where an earlier run stopped.

    Every photograph gets a line in FOLDER/manifest.jsonl. What a line calls done is passed over as long as nothing
    has changed; what cannot be used is told and passed over.
    """


@batch.command()
def cutout(
    out: Out,
    words: Words = None,
    listed: ListFile = None,
    trimaps: Trimaps = None,
    masks: Masks = None,
    label: Annotated[
        str | None, typer.Option(help="What the subject is in every photograph, such as person.", show_default=False)
    ] = None,
    index: Annotated[int | None, typer.Option(min=1, help="Which one with that label.", show_default=False)] = None,
    subject: Annotated[
        Literal["largest"] | None, typer.Option(help="The largest thing, whatever it is.", show_default=False)
    ] = None,
    segmentation_model: given.SegmentationModel = None,
    recursive: Recursive = False,
    root: Root = None,
    column: Column = None,
    save: Save = None,
    shard: Part = None,
    manifest: Manifest = None,
    workers: Workers = None,
    json: given.Json = False,
    model: given.Model = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: on.AnyEngine = None,
    address: on.Address = None,
    cpus_per_worker: on.CpusPerWorker = None,
    gpus_per_worker: on.GpusPerWorker = None,
    stack: Stack = None,
    max_memory: given.MaxMemory = None,
    refine: given.Refine = None,
) -> int:
    """Cut the subjects out of photographs: NAME.png with transparency for each.

    A hint tells what the subject is: --trimaps, --masks, --label, --subject, members NAME.trimap.png or NAME.mask.png
    of archives, or columns of tables. --save takes png, webp, tiff and alpha.
    """
    with _as_usage():
        job = _job(
            "cutout",
            save,
            label=label,
            index=index,
            subject=subject,
            segmentation_model=segmentation_model,
            model=model,
            device=device,
            dtype=dtype,
            engine=on.model_engine(engine),
            stack=stack,
            max_memory=max_memory,
            refine=refine,
        )
        inputs = _inputs(words, listed, out, recursive, root, shard, column, trimaps, masks)
        cluster = on.cluster_of(engine, address, workers, cpus_per_worker, gpus_per_worker)
    return _run(job, inputs, manifest, workers, cluster, json)


@batch.command()
def matte(
    out: Out,
    words: Words = None,
    listed: ListFile = None,
    trimaps: Trimaps = None,
    recursive: Recursive = False,
    root: Root = None,
    column: Column = None,
    save: Save = None,
    shard: Part = None,
    manifest: Manifest = None,
    workers: Workers = None,
    json: given.Json = False,
    model: given.Model = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: on.AnyEngine = None,
    quantize: Quantized = None,
    address: on.Address = None,
    cpus_per_worker: on.CpusPerWorker = None,
    gpus_per_worker: on.GpusPerWorker = None,
    stack: Stack = None,
    max_memory: given.MaxMemory = None,
    refine: given.Refine = None,
) -> int:
    """Find the alpha of photographs: a grey NAME.png for each.

    Trimaps come from --trimaps, members NAME.trimap.png of archives, or a column of tables. --save takes png, webp
    and tiff.
    """
    with _as_usage():
        job = _job(
            "matte",
            save,
            model=model,
            device=device,
            dtype=dtype,
            engine=on.model_engine(engine),
            quantize=quantize,
            stack=stack,
            max_memory=max_memory,
            refine=refine,
        )
        inputs = _inputs(words, listed, out, recursive, root, shard, column, trimaps)
        cluster = on.cluster_of(engine, address, workers, cpus_per_worker, gpus_per_worker)
    return _run(job, inputs, manifest, workers, cluster, json)


@batch.command()
def segment(
    out: Out,
    words: Words = None,
    listed: ListFile = None,
    kind: Annotated[
        Literal["panoptic", "instance", "semantic"] | None,
        typer.Option(help="As in `perpixel segment`.", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only segments with this label; may be repeated.", show_default=False)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="The score that a segment must reach.", show_default="0.5")
    ] = None,
    recursive: Recursive = False,
    root: Root = None,
    column: ImageColumn = None,
    save: Save = None,
    shard: Part = None,
    manifest: Manifest = None,
    workers: Workers = None,
    json: given.Json = False,
    model: given.SegmentationModel = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: on.AnyEngine = None,
    quantize: Quantized = None,
    address: on.Address = None,
    cpus_per_worker: on.CpusPerWorker = None,
    gpus_per_worker: on.GpusPerWorker = None,
    stack: Stack = None,
) -> int:
    """Find what is in photographs: NAME.jpg.json in COCO's format and NAME.png with the number of each segment.

    --save takes coco, map, panoptic and overlay.
    """
    with _as_usage():
        job = _job(
            "segment",
            save,
            kind=kind,
            labels=tuple(label) if label else None,
            threshold=threshold,
            model=model,
            device=device,
            dtype=dtype,
            engine=on.model_engine(engine),
            quantize=quantize,
            stack=stack,
        )
        inputs = _inputs(words, listed, out, recursive, root, shard, column)
        cluster = on.cluster_of(engine, address, workers, cpus_per_worker, gpus_per_worker)
    return _run(job, inputs, manifest, workers, cluster, json)


@batch.command()
def depth(
    out: Out,
    words: Words = None,
    listed: ListFile = None,
    detail: Annotated[
        Literal["whole", "tiled"] | None, typer.Option(help="As in `perpixel depth`.", show_default="whole")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, metavar="PIXELS", help="The side that the model sees.", show_default=False)
    ] = None,
    kind: Annotated[
        Literal["inverse", "metric"] | None,
        typer.Option(help="What the model's numbers are, where it does not say it itself.", show_default=False),
    ] = None,
    recursive: Recursive = False,
    root: Root = None,
    column: ImageColumn = None,
    save: Save = None,
    shard: Part = None,
    manifest: Manifest = None,
    workers: Workers = None,
    json: given.Json = False,
    model: given.DepthModel = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: on.AnyEngine = None,
    quantize: Quantized = None,
    address: on.Address = None,
    cpus_per_worker: on.CpusPerWorker = None,
    gpus_per_worker: on.GpusPerWorker = None,
    stack: Stack = None,
    max_memory: given.MaxMemory = None,
) -> int:
    """Estimate the depth of photographs: NAME.png of 16 bits with a small JSON beside it.

    --save takes png16, png8, tiff, npy, pfm, exr, ply, glb, colour and relief.
    """
    with _as_usage():
        job = _job(
            "depth",
            save,
            detail=detail,
            size=size,
            depth_kind=kind,
            model=model,
            device=device,
            dtype=dtype,
            engine=on.model_engine(engine),
            quantize=quantize,
            stack=stack,
            max_memory=max_memory,
        )
        inputs = _inputs(words, listed, out, recursive, root, shard, column)
        cluster = on.cluster_of(engine, address, workers, cpus_per_worker, gpus_per_worker)
    return _run(job, inputs, manifest, workers, cluster, json)


@contextmanager
def _as_usage() -> Iterator[None]:
    """What is wrong before any work is a wrong command."""
    try:
        yield
    except (InputError, ConfigError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def _job(task: Literal["cutout", "matte", "segment", "depth"], save: str | None, **options: Any) -> "Job":
    from perpixel.batch.job import Job

    forms = tuple(dict.fromkeys(part.strip().lower() for part in save.split(","))) if save else ()
    return Job(task, forms, **options)


def _inputs(
    words: list[str] | None,
    listed: list[Path] | None,
    out: Path,
    recursive: bool,
    root: Path | None,
    shard: str | None,
    column: list[str] | None,
    trimaps: Path | None = None,
    masks: Path | None = None,
) -> "Inputs":
    from perpixel.batch.archives import Columns
    from perpixel.batch.hints import HintFolders
    from perpixel.batch.inputs import Inputs
    from perpixel.batch.shards import Shard

    columns: dict[str, str] = {}
    for text in column or ():
        role, _, name = text.partition("=")
        if role not in ("image", "key", "trimap", "mask", "label") or not name:
            raise InputError(f"--column takes ROLE=NAME such as image=jpg or key=id, not {text!r}")
        columns[role] = name
    return Inputs(
        (*(words or ()), *(f"@{path}" for path in listed or ())),
        out,
        recursive=recursive,
        root=root,
        hints=HintFolders(trimaps, masks),
        columns=Columns(**columns),
        shard=Shard() if shard is None else Shard.parse(shard),
    )


def _run(
    job: "Job",
    inputs: "Inputs",
    manifest: Path | None,
    workers: str | None,
    cluster: "Cluster | None",
    as_json: bool,
) -> int:
    from perpixel.batch.run import prepare, run

    if cluster is None and not (workers or "1").isdecimal():
        raise UsageError(f"--workers is a number of threads such as 4, not {workers!r}: 2:8 is for --engine ray")
    threads = None if workers is None or cluster is not None else int(workers)
    with _as_usage():
        total = prepare(job, inputs, manifest, threads)
    if total == 0:
        typer.echo("nothing is in this part")
        return 0
    perpixel.tune_allocator(many_sizes=True)  # before torch is imported
    last: Progress | None = None
    told = sys.stdout

    # Ray prints what befalls its processes on stdout, whatever it is told: between the lines of JSON.
    with redirect_stdout(sys.stderr) if cluster else nullcontext(), progress("images", total, rate=True) as show:

        def report(now: "Progress") -> None:
            nonlocal last
            last = now
            show(now.finished, now.total)
            if now.row is None:
                return
            if now.row.status == "failed":
                error = now.row.error or ""
                named = error if now.row.input in error else f"{now.row.input}: {error}"
                typer.echo(f"perpixel: {named}", err=True)
            if as_json:
                typer.echo(now.row.to_json(), file=told)

        try:
            summary = run(job, inputs, total, manifest, workers=threads, cluster=cluster, report=report)
        except BaseException:
            if last is not None:
                words = (
                    f"perpixel: {_counted(last.done, last.skipped, last.failed)}; the same command goes on from here"
                )
                typer.echo(words, err=True)
            raise
    if as_json:
        counts: dict[str, object] = {"done": summary.done, "skipped": summary.skipped, "failed": summary.failed}
        counts |= {"seconds": round(summary.seconds, 3), "manifest": str(summary.manifest)}
        typer.echo(json_text.dumps(counts))
    else:
        rate = f", {summary.done / summary.seconds:.2f} images a second" if summary.done else ""
        words = _counted(summary.done, summary.skipped, summary.failed)
        typer.echo(f"{words} in {summary.seconds:.1f} s{rate}; {summary.manifest} tells of each")
    return 1 if summary.failed else 0


def _counted(done: int, skipped: int, failed: int) -> str:
    words = [f"{done} done"]
    words += [f"{skipped} were done before"] if skipped else []
    words += [f"{failed} failed"] if failed else []
    return ", ".join(words)
