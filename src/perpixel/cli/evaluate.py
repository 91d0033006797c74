"""`perpixel evaluate`: how good a model is on labelled images, or how good somebody's files are."""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.reporting import UsageError, progress

if TYPE_CHECKING:
    from perpixel.evaluate.report import Evaluation

_SHOWN_FAILURES = 10
_REPORTS = (".json", ".md", ".html")
_OF_A_MODEL = "A model over a data set"
_OF_FILES = "Files against the truth"
_PROTOCOL = "How it is measured"


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A name, a Hub id or a folder; needs --dataset and --root.", show_default=False
        ),
    ] = None,
    task: Annotated[
        Literal["matting", "semantic", "instance", "panoptic", "depth"] | None,
        typer.Option(help="What is measured; by default what the data set is labelled with.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT",
            help="How it lies on disk: matte-folder, composition-1k, coco-panoptic, ade20k, nyuv2 …",
            rich_help_panel=_OF_A_MODEL,
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="The data set's folder.", rich_help_panel=_OF_A_MODEL, show_default=False),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, validation, test or all; what papers report on when not given.",
            rich_help_panel=_OF_A_MODEL,
            show_default=False,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the layout's reader; may be repeated.",
            rich_help_panel=_OF_A_MODEL,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first images.", rich_help_panel=_OF_A_MODEL, show_default=False),
    ] = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: given.Engine = None,
    quantize: given.Quantize = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|JSON",
            help="What any tool made: alphas, label maps, depth; COCO's results or panoptic JSON.",
            rich_help_panel=_OF_FILES,
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|JSON", help="The truth, in the same form.", rich_help_panel=_OF_FILES, show_default=False
        ),
    ] = None,
    trimaps: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="For mattes: only their unknown pixels are counted.",
            rich_help_panel=_OF_FILES,
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The photographs, for the report.", rich_help_panel=_OF_FILES, show_default=False
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="For depth in whole numbers: how many are a metre, 1000 for millimetres.",
            rich_help_panel=_OF_FILES,
            show_default=False,
        ),
    ] = None,
    truth_scale: Annotated[
        float | None,
        typer.Option(help="The same for the truth, if another.", rich_help_panel=_OF_FILES, show_default=False),
    ] = None,
    inverse: Annotated[
        bool, typer.Option("--inverse", help="The predictions are inverse depth.", rich_help_panel=_OF_FILES)
    ] = False,
    ignore: Annotated[
        int, typer.Option(help="What label maps have where nothing counts; -1 for none.", rich_help_panel=_OF_FILES)
    ] = 255,
    num_labels: Annotated[
        int | None,
        typer.Option(min=1, help="How many classes label maps have.", rich_help_panel=_OF_FILES, show_default=False),
    ] = None,
    align: Annotated[
        Literal["none", "median", "scale", "scale_shift"] | None,
        typer.Option(
            help="How depth is brought to metres; scale_shift (least squares in inverse depth) if it has no unit.",
            rich_help_panel=_PROTOCOL,
            show_default=False,
        ),
    ] = None,
    crop: Annotated[
        Literal["eigen", "garg", "eigen_nyu"] | None,
        typer.Option(help="The part of the image where depth counts.", rich_help_panel=_PROTOCOL, show_default=False),
    ] = None,
    nearest: Annotated[
        float | None,
        typer.Option(help="Depth counts from here, in metres.", rich_help_panel=_PROTOCOL, show_default=False),
    ] = None,
    farthest: Annotated[
        float | None,
        typer.Option(help="Depth counts up to here, in metres.", rich_help_panel=_PROTOCOL, show_default=False),
    ] = None,
    inverse_scale: Annotated[
        float | None,
        typer.Option(
            help="1 / metres is the model's inverse depth times this plus --inverse-shift.",
            rich_help_panel=_PROTOCOL,
            show_default=False,
        ),
    ] = None,
    inverse_shift: Annotated[
        float | None, typer.Option(help="See --inverse-scale.", rich_help_panel=_PROTOCOL, show_default=False)
    ] = None,
    boundary: Annotated[
        bool,
        typer.Option("--boundary", help="Boundary IoU or boundary AP too.", rich_help_panel=_PROTOCOL),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The score of a segment; 0 for instances and 0.8 for panoptic when not given.",
            rich_help_panel=_PROTOCOL,
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SHORT[,LONGEST]",
            help="The short side that the model sees, and the most of the long one.",
            rich_help_panel=_PROTOCOL,
            show_default=False,
        ),
    ] = None,
    max_memory: given.MaxMemory = None,
    band: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Make missing trimaps from the true alphas, unknown so many pixels around.",
            rich_help_panel=_PROTOCOL,
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|FILE",
            help="Write it: a file that ends in .json, .md or .html, or a folder for all three.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="So many of the worst images are shown in the HTML.")] = 12,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Measure a model on labelled images, or files that any tool made against the truth.

    `perpixel evaluate MODEL --dataset LAYOUT --root FOLDER`, or
    `perpixel evaluate --task TASK --predictions FOLDER|JSON --truth FOLDER|JSON`.

    The exit code is 1 if anything could not be measured. Under `accelerate launch -m perpixel evaluate …` the images
    are shared out among the processes, with the same figures.
    """
    if report is not None:
        _check_report(report)
    of_model = {"MODEL": model, "--dataset": dataset, "--root": root}
    of_files = {"--predictions": predictions, "--truth": truth}
    if any(of_files.values()) == any(of_model.values()):
        raise UsageError(
            "give MODEL, --dataset and --root to measure a model, or --task, --predictions and --truth for files"
        )
    wanted = of_model if any(of_model.values()) else {"--task": task, **of_files}
    lacking = [name for name, value in wanted.items() if value is None]
    if lacking:
        raise UsageError(f"{' and '.join(lacking)} must be given too: see `perpixel evaluate --help`")
    others: dict[str, Any] = (
        {"--trimaps": trimaps, "--images": images, "--scale": scale, "--truth-scale": truth_scale,
         "--inverse": inverse or None, "--num-labels": num_labels}
        if model
        else {"--split": split, "--option": option, "--limit": limit, "--device": device,
              "--dtype": dtype, "--engine": engine, "--quantize": quantize}
    )  # fmt: skip
    wrong = [name for name, value in others.items() if value]
    if wrong:
        raise UsageError(f"{' and '.join(wrong)} is for {'files' if model else 'a model'}: leave it out")
    options = {} if option is None else dict(given.read_option(text) for text in option)

    perpixel.tune_allocator()  # before torch is imported
    from perpixel.evaluate.rules import Rules
    from perpixel.evaluate.tally import this_share

    rules = Rules(
        align=align,
        nearest=nearest,
        farthest=farthest,
        crop=crop,
        inverse_scale=inverse_scale,
        inverse_shift=inverse_shift,
        boundary=boundary,
        threshold=threshold,
        size=None if size is None else _size(size),
        max_memory=max_memory,
        band=band,
    )
    first = this_share().number == 0
    with progress("images", shown=first) as show:
        if model:
            from perpixel.evaluate.model import evaluate as of_a_model

            found = of_a_model(
                model,
                dataset=str(dataset),
                root=str(root),
                split=split,
                task=task,
                limit=limit,
                device=device,
                dtype=dtype,
                engine=engine,
                quantize=quantize,
                options=options,
                rules=rules,
                worst=worst if report else 0,
                progress=show,
            )
        else:
            from perpixel.evaluate.files import evaluate_files
            from perpixel.evaluate.pairs import DepthFiles

            assert task is not None
            assert predictions is not None
            assert truth is not None
            found = evaluate_files(
                task,
                predictions,
                truth,
                trimaps=trimaps,
                images=images,
                depth=DepthFiles(scale, truth_scale, inverse),
                ignore=None if ignore < 0 else ignore,
                num_labels=num_labels,
                rules=rules,
                worst=worst if report else 0,
                progress=show,
            )
    if first:
        _tell(found, report, as_json=json)
    return 0 if found.complete else 1


def _tell(found: "Evaluation", report: Path | None, *, as_json: bool) -> None:
    for failure in found.failures[:_SHOWN_FAILURES]:
        typer.echo(f"perpixel: {failure.name}: {failure.error}", err=True)
    more = len(found.failures) - _SHOWN_FAILURES
    if more > 0:
        typer.echo(f"perpixel: … and {more} more; --report has them all", err=True)
    for note in found.notes:
        typer.echo(f"perpixel: note: {note}", err=True)
    written = []
    if report is not None:
        if report.suffix.lower() in _REPORTS:
            written = [found.save(report)]
        else:
            report.mkdir(parents=True, exist_ok=True)
            written = [found.save(report / f"report{suffix}") for suffix in _REPORTS]
    if as_json:
        typer.echo(json_text.dumps(found.to_dict(rows=False), ensure_ascii=False, allow_nan=False))
    else:
        from perpixel.evaluate.measures import described, summary_only

        shown = summary_only(dict(found.measures))
        wide = max((len(described(name).title) for name in shown), default=0)
        for name, value in shown.items():
            typer.echo(f"{described(name).title.ljust(wide)}  {described(name).printed(value).rjust(9)}")
        typer.echo(f"{found.images} images in {found.seconds:.1f} s")
        for path in written:
            typer.echo(f"→ {path}")
    if found.failures:
        typer.echo(
            f"perpixel: {len(found.failures)} were not measured, {found.images} were: these figures are of a part only",
            err=True,
        )
    elif not found.images:
        typer.echo("perpixel: there was nothing to measure", err=True)


def _check_report(report: Path) -> None:
    suffix = report.suffix.lower()
    if suffix and suffix not in _REPORTS and not report.is_dir():
        raise UsageError(f"--report writes .json, .md or .html, or a folder with all three, not {report}")
    if suffix in _REPORTS and not report.is_dir() and not report.parent.is_dir():
        raise UsageError(f"the folder {report.parent} does not exist: make it first")
    if report.is_file() and suffix not in _REPORTS:
        raise UsageError(f"--report {report} is a file: give a folder, or a name that ends in .html")


def _size(text: str) -> int | dict[str, int]:
    """`640` as 640, `640,2560` as the short side and the most of the long one."""
    try:
        sides = [int(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise UsageError(f"--size takes one or two whole numbers such as 640 or 640,2560, not {text!r}")
    return sides[0] if len(sides) == 1 else {"shortest_edge": sides[0], "longest_edge": sides[1]}
