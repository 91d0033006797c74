"""What the program says: one line a file, one line an error, a progress bar while many files run."""

import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import typer

from perpixel.errors import PerpixelError, PerpixelWarning


class UsageError(typer.TyperException):
    """The command was given wrongly: nothing was done, and the exit code is 2."""

    exit_code = 2


@dataclass
class Settings:
    """What the options before the command's name decide; `typer.Context.obj` of every command."""

    debug: bool = False


@dataclass(frozen=True)
class Done:
    """A finished result: its size in pixels, and what else is to be told of it."""

    width: int
    height: int
    words: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


def run_files(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    work: Callable[[Path, Path], Done],
    *,
    as_json: bool,
    settings: Settings,
) -> int:
    """Do the work of every file, report each on stdout, and go on past those that fail.

    Args:
        inputs: the files to read.
        outputs: the file to write for each of them.
        work: reads the first path, writes the second, and returns the result's size.
        as_json: report with one JSON object a line (input, output, width, height, seconds, ok, error,
            and the result's details)
            instead of a sentence.
        settings: whether to show tracebacks.

    Returns:
        The exit code: 0 when everything is done, 1 when something failed.
    """
    failed = 0
    with progress("files", len(inputs)) as show:
        for number, (source, target) in enumerate(zip(inputs, outputs, strict=True), 1):
            start = time.perf_counter()
            done, error = None, None
            try:
                done = work(source, target)
            except Exception as problem:
                failed += 1
                error = describe(problem)
                if settings.debug:
                    traceback.print_exc()
                typer.echo(f"perpixel: {_named(source, error)}", err=True)
            seconds = time.perf_counter() - start
            if as_json:
                line = {
                    "input": str(source),
                    "output": str(target) if done else None,
                    "width": done.width if done else None,
                    "height": done.height if done else None,
                    "seconds": round(seconds, 3),
                    "ok": done is not None,
                    "error": error,
                    **(done.details if done else {}),
                }
                typer.echo(json.dumps(line, ensure_ascii=False))
            elif done:
                words = f"  {done.words}" if done.words else ""
                typer.echo(f"{source} → {target}  {done.width}×{done.height}, {seconds:.1f} s{words}")
            show(number)
    if failed and len(inputs) > 1:
        typer.echo(f"perpixel: {failed} of {len(inputs)} files failed, {len(inputs) - failed} done", err=True)
    return 1 if failed else 0


def describe(error: BaseException) -> str:
    """An error in one line, without the machinery around it."""
    if isinstance(error, UsageError):
        return error.message
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "perpixel"
        return f"{_one_line(error.format_message()).rstrip('.')} (`{path} --help` shows the options)"
    if isinstance(error, PerpixelError):
        return _one_line(str(error))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: give a limit such as --max-memory 2GB, or a smaller image"
    return (
        f"unexpected {type(error).__name__}: {_one_line(str(error)) or 'no message'}; "
        "`perpixel --debug …` shows where it comes from"
    )


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """`warnings.showwarning` for a terminal: what perpixel itself mended is one line, without code."""
    if issubclass(category, PerpixelWarning):
        typer.echo(f"perpixel: note: {_one_line(str(message))}", err=True)
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _named(source: Path, error: str) -> str:
    return error if str(source) in error else f"{source}: {error}"


@contextmanager
def progress(
    things: str, total: int | None = None, *, shown: bool = True, rate: bool = False
) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr where someone can see it and there is more than one thing, nothing elsewhere.

    Args:
        things: what is counted, such as "files".
        total: how many there are, if it is known.
        shown: whether this process is the one that shows it.
        rate: whether it tells how many a second.

    Yields:
        what to call with how many are done, and of how many where `total` was not known.
    """
    if not shown or (total is not None and total < 2) or not sys.stderr.isatty():
        yield lambda done, total=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g} {things} a second")

    # rich sends a redirected stdout to its own console, here stderr: harmless on a terminal, wrong in a pipe.
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *([Rate()] if rate else []),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),
        transient=True,
    )
    with bar:
        task = bar.add_task(things, total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)
