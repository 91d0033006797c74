"""`perpixel export`: a model in, a file for other programs out."""

import json as json_text
from pathlib import Path
from typing import Annotated, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.reporting import UsageError

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="An embedded name, a Hub id or a local folder.", show_default=False),
    ],
    format: Annotated[
        Literal["onnx", "openvino", "torch-export"] | None,
        typer.Option("--format", "-f", help="By the end of the output's name when not given.", show_default="onnx"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where the file goes.", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Height and width in pixels of a file for one size.", show_default=False),
    ] = None,
    dynamic: Annotated[
        bool | None,
        typer.Option("--dynamic/--fixed", help="Any height and width, or one.", show_default="--dynamic"),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in 16 bits.")] = False,
    json: given.Json = False,
) -> int:
    """Write a model as ONNX, OpenVINO or torch.export, and check that its numbers are the model's.

    Every command takes the file as --model. It is MODEL.onnx in this folder unless -o says otherwise.
    """
    if size is not None and dynamic:
        raise UsageError("--size and --dynamic exclude each other: give one of them")
    if output is None:
        output = Path(Path(model).name + SUFFIXES[format or "onnx"])
    elif output.is_dir():
        output = output / (Path(model).name + SUFFIXES[format or "onnx"])
    elif format is None and output.suffix.lower() not in SUFFIXES.values():
        raise UsageError(f"the format of {output} does not follow from its name: add --format onnx")
    perpixel.tune_allocator()  # before torch is imported
    done = perpixel.export(model, output, format=format, size=_sides(size), dynamic=dynamic, half=half)
    if json:
        row = {
            "model": model,
            "path": str(done.path),
            "files": [str(path) for path in done.files],
            "bytes": done.bytes,
            "difference": done.largest_difference,
            "sizes": [[found.height, found.width] for found in done.differences],
            "seconds": round(done.seconds, 1),
        }
        typer.echo(json_text.dumps(row, ensure_ascii=False))
        return 0
    sizes = done.about.sizes
    takes = f"multiples of {sizes.multiple}" if sizes.fixed is None else f"{sizes.fixed[1]}×{sizes.fixed[0]}"
    typer.echo(
        f"{done.path}  {done.bytes / 1e6:.1f} MB, takes {takes} (width×height), "
        f"differs by {done.largest_difference:.1g} of the output's deviation, {done.seconds:.0f} s"
    )
    return 0


def _sides(text: str | None) -> tuple[int, int] | None:
    """`"512x768"` as `(512, 768)`.

    >>> _sides("512x768")
    (512, 768)
    """
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) == 1:
        parts *= 2
    try:
        height, width = (int(part) for part in parts)
    except ValueError:
        raise UsageError(f"--size takes height and width such as 512x768, not {text!r}") from None
    return height, width
