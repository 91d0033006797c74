"""`perpixel data check`: what is in a folder of labelled images, and what is wrong with it."""

import json as json_text
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from perpixel.cli.arguments import read_option
from perpixel.cli.reporting import UsageError, progress

if TYPE_CHECKING:
    from perpixel.data.check import Report
    from perpixel.data.findings import Problem

data = typer.Typer(
    name="data",
    help="Look at labelled images before a training.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SHOWN_CLASSES, _SHOWN_PROBLEMS = 30, 4
_ON_SHEET = 24


@data.callback()
def _group() -> None:
    """Look at labelled images before a training."""


@data.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The data set's folder.", show_default=False)],
    layout: Annotated[
        str | None,
        typer.Option(
            help="How it lies on disk: label-folder, coco, matte-folder, depth-folder …; guessed when not given.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which part of it; train if there is one.", show_default=False)
    ] = None,
    kind: Annotated[
        Literal["matting", "semantic", "instance", "panoptic", "depth"] | None,
        typer.Option(help="What the samples are labelled with, where there is more than one.", show_default=False),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of the layout's reader; may be repeated. Lists: names=cat,dog; pairs: mapping=0:cat,1:dog.",
            show_default=False,
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write samples with their labels on a picture.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Look at so many samples only, spread evenly.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Count what is in a folder of labelled images, and find what is wrong with it.

    Found are files that cannot be read, labels of a wrong size, unknown classes, empty and doubled masks, 255 taken
    for background or for void, mattes without soft edges, depth in a wrong unit, photographs and names that occur
    twice. The exit code is 0 if all is well, 1 if there are problems, 2 if the command was given wrongly.
    """
    given = dict(read_option(text) for text in option or [])

    from perpixel.data.check import Report, spread
    from perpixel.data.check import check as look
    from perpixel.data.contact_sheet import ContactSheet
    from perpixel.data.findings import Problem
    from perpixel.data.guess import Guess, guess_layout, open_some_split, other_splits
    from perpixel.data.layouts import LAYOUTS
    from perpixel.errors import ConfigError, InputError, PerpixelError
    from perpixel.images.write import check_output, write_image

    if not folder.is_dir():
        raise UsageError(
            f"{folder} {'is no folder' if folder.exists() else 'does not exist'}: give a data set's folder"
        )
    about: dict[str, Any] = {"folder": str(folder), "layout": layout, "guessed": None, "split": split, "options": given}
    try:
        if sheet is not None:
            check_output(sheet)
    except PerpixelError as error:
        raise UsageError(str(error)) from error
    try:
        guess = Guess(layout, "") if layout else guess_layout(folder, given)
        if guess is None:
            raise UsageError(
                f"{folder} looks like no layout known here: give --layout, one of {', '.join(LAYOUTS)}, as "
                "`perpixel data layouts` describes them"
            )
        about |= {"layout": guess.layout, "guessed": guess.why or None, "options": {**guess.options, **given}}
        found, about["split"] = open_some_split(guess.layout, folder, split, kind, about["options"])
    except ConfigError as error:
        raise UsageError(str(error)) from error
    except InputError as error:
        report = Report(kind, 0, problems=[Problem(None, "reading", str(error))])
        _tell(about, report, None, as_json=json)
        return 1
    count = len(found) if limit is None else min(limit, len(found))
    drawn = ContactSheet(found.categories, [place + 1 for place in spread(count, _ON_SHEET)])
    with progress("samples", count) as show:

        def see(done: int, name: str, sample: Any, problems: "list[Problem]") -> None:
            if sheet is not None:
                drawn.see(done, name, sample, problems)
            show(done)

        report = look(found, limit=limit, see=see)
    report.notes += guess.doubts
    others = other_splits(folder, about["split"]) if split is None else []
    if others:
        report.notes.append(f"only the split {about['split']} was checked: --split {others[0]} checks another")
    if sheet is not None and len(drawn):
        write_image(sheet, drawn.draw())
    _tell(about, report, sheet if len(drawn) else None, as_json=json)
    return 1 if report.problems else 0


@data.command()
def layouts() -> int:
    """List the layouts that are read, and what lies in the folder of each."""
    from perpixel.data.layouts import EXPECTED

    wide = max(len(name) for name in EXPECTED)
    for name, expected in EXPECTED.items():
        typer.echo(f"{name.ljust(wide)}  {expected}")
    return 0


def _tell(about: Mapping[str, Any], report: "Report", sheet: Path | None, *, as_json: bool) -> None:
    if as_json:
        content = {**about, **report.to_dict(), "sheet": None if sheet is None else str(sheet)}
        typer.echo(json_text.dumps(content, ensure_ascii=False, allow_nan=False))
        return
    typer.echo(_heading(about, report))
    if report.smallest and report.largest:
        (low, wide), (high, broad) = report.smallest, report.largest
        sizes = f"{wide}×{low}" if report.sizes == 1 else f"{report.sizes} sizes from {wide}×{low} to {broad}×{high}"
        typer.echo(f"photographs: {sizes}")
    for line in (*_facts(report), *_classes(report)):
        typer.echo(line)
    for note in report.notes:
        typer.echo(f"note: {note}")
    for line in _problems(report.problems):
        typer.echo(line)
    if sheet is not None:
        typer.echo(f"→ {sheet}")
    if report.problems:
        samples = len({problem.sample for problem in report.problems if problem.sample is not None})
        where = f" in {samples} of {report.samples} samples" if samples else ""
        typer.echo(f"perpixel: {len(report.problems)} problem{'s'[: len(report.problems) > 1]}{where}", err=True)
    else:
        typer.echo("no problem found")


def _heading(about: Mapping[str, Any], report: "Report") -> str:
    options = "".join(f" --option {name}={_written(value)}" for name, value in about["options"].items())
    guessed = f" (guessed: {about['guessed']})" if about["guessed"] else ""
    layout = f"--layout {about['layout']}" if about["layout"] else "no layout"
    lines = [f"{about['folder']}: {layout}{options}{guessed}"]
    if report.samples:
        checked = "" if report.checked == report.samples else f", {report.checked} of them read"
        lines.append(f"split {about['split']}: {report.samples} samples, {report.kind}{checked}")
    return "\n".join(lines)


def _written(value: Any) -> str:
    """A value as `read_option` takes it, long ones cut off."""
    if isinstance(value, Mapping):
        text = ",".join(f"{key}:{item}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        text = ",".join(str(item) for item in value)
    else:
        text = str(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _facts(report: "Report") -> Iterator[str]:
    facts = report.facts
    if "soft_share" in facts:
        yield f"alpha: {facts['soft_share']:.1%} of the pixels are soft; {int(facts['trimaps'])} have a trimap"
    if "median" in facts:
        yield (
            f"depth: {facts['nearest']:.3g} to {facts['farthest']:.3g} m, median {facts['median']:.3g} m, measured at "
            f"{facts['measured_share']:.1%} of the pixels"
        )
    if "objects" in facts:
        crowds = f" and {int(facts['crowds'])} crowds" if facts["crowds"] else ""
        yield f"objects: {int(facts['objects'])}{crowds}, {facts['objects'] / max(1, report.checked):.1f} a photograph"
    if facts.get("void_share"):
        yield f"void: {facts['void_share']:.1%} of the pixels"


def _classes(report: "Report") -> Iterator[str]:
    """A table of the classes, the most frequent first where they are many."""
    present = [count for count in report.classes if count.images]
    shown = present
    if len(present) > _SHOWN_CLASSES:
        shown = sorted(present, key=lambda count: -count.pixels)[:_SHOWN_CLASSES]
    if not shown:
        return
    total = max(1, sum(count.pixels for count in present))
    counted = shown[0].objects is not None
    rows = [["class", "images", *(["objects"] if counted else []), "share of pixels"]]
    for count in shown:
        objects = [str(count.objects)] if counted else []
        rows.append([count.name, str(count.images), *objects, f"{count.pixels / total:.2%}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *numbers in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        yield "  ".join(["  " + name.ljust(widths[0]), *cells])
    if len(present) > len(shown):
        yield f"  … and {len(present) - len(shown)} more classes; --json has them all"


def _problems(problems: "Sequence[Problem]") -> Iterator[str]:
    """Problems, those that say the same together, with a few examples of each."""
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        # What differs between two problems of a sort are the files and the numbers.
        sort = re.sub(r"\S*[/\\]\S+|\d+", "…", problem.message)
        alike.setdefault((problem.kind, sort), []).append(problem)
    for group in sorted(alike.values(), key=len):
        for problem in group[:_SHOWN_PROBLEMS]:
            yield f"problem: {problem.sample + ': ' if problem.sample is not None else ''}{problem.message}"
        if len(group) > _SHOWN_PROBLEMS:
            yield f"         … and {len(group) - _SHOWN_PROBLEMS} more like this; --json has them all"
