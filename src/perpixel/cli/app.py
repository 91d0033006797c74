"""The `perpixel` program: its commands, its exit codes, and how it says that something went wrong.

Exit codes: 0 everything is done, 1 something failed, 2 the command was given wrongly, 130 stopped by Ctrl-C.
"""

import gc
import os
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from perpixel import __version__
from perpixel.cli.batch import batch
from perpixel.cli.bokeh import bokeh
from perpixel.cli.cutout import cutout
from perpixel.cli.data import data
from perpixel.cli.depth import depth
from perpixel.cli.evaluate import evaluate
from perpixel.cli.export import export
from perpixel.cli.matte import matte
from perpixel.cli.models import models
from perpixel.cli.reporting import Settings, describe, show_warning
from perpixel.cli.segment import segment
from perpixel.cli.serve import serve
from perpixel.cli.studio import studio
from perpixel.cli.train import train
from perpixel.cli.trimap import trimap

# How long OpenMP's threads wait busily for the next piece of work, in steps of some 10 ns. Its own 300,000 keep a core
# from everyone else after each operator: beside other programs that made a cut-out eight times as slow.
SPINS = "1000"

app = typer.Typer(
    name="perpixel",
    epilog="Positions are in pixels from the top left. `perpixel COMMAND --help` tells more.",
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(cutout)
app.command()(matte)
app.command()(segment)
app.command()(depth)
app.command()(bokeh)
app.command()(trimap)
app.command()(train)
app.command()(evaluate)
app.command()(export)
app.command()(studio)
app.command()(serve)
app.command()(models)
app.add_typer(batch)
app.add_typer(data)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Cut subjects out of photographs, hair and fur included, on your own machine."""
    if version:
        typer.echo(f"perpixel {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    context.obj.debug |= debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after `perpixel`; those of the running process when not given.

    Every error becomes one line on stderr. With `perpixel --debug …` or `PERPIXEL_DEBUG=1` the traceback
    comes before it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
    settings = Settings(debug=os.environ.get("PERPIXEL_DEBUG", "") not in ("", "0"))
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            code = app(arguments, prog_name="perpixel", standalone_mode=False, obj=settings)
        except Exception as error:
            if settings.debug:
                traceback.print_exc()
            typer.echo(f"perpixel: {describe(error)}", err=True)
            code = error.exit_code if isinstance(error, typer.TyperException) else 1
    if code == 130:
        typer.echo("perpixel: stopped", err=True)
    if arguments is None:
        # The process ends here: looking through torch's objects for cycles once more took a quarter of its import.
        gc.freeze()
    return int(code or 0)
