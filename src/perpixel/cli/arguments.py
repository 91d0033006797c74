"""The arguments and options that several commands share, and how their texts are read."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from perpixel.cli.reporting import UsageError

# So many pictures are shown to a model that is quantised.
SHOWN = 16

Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="Files, folders, patterns such as 'in/*.jpg'.", show_default=False),
]
TrimapHelp = "Black is background, white is subject, grey is to be found out."
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE|FOLDER", help="Where the result goes.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line and file on stdout.")]
Model = Annotated[
    str | None,
    typer.Option(help="A Hub id or a local folder, instead of the embedded model.", show_default=False),
]
SegmentationModel = Annotated[
    str | None,
    typer.Option(
        help="A Hub id or a folder of a Mask2Former or DPT; the smallest Mask2Former for COCO when not given.",
        show_default=False,
    ),
]
DepthModel = Annotated[
    str | None,
    typer.Option(
        help="A Hub id or a folder of a DPT or Depth Anything; the smallest Depth Anything V2 when not given.",
        show_default=False,
    ),
]
Detail = Annotated[
    Literal["whole", "tiled"],
    typer.Option(help="tiled goes over large pictures piece by piece: finer edges, more time."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps …; the CPU when not given.", show_default=False)]
Dtype = Annotated[
    Literal["float32", "bf16", "fp16"] | None,
    typer.Option(help="bf16 is faster where the processor has it; fp16 is for GPUs.", show_default="float32"),
]
Engine = Annotated[
    Literal["torch", "openvino"] | None,
    typer.Option(help="openvino is faster on the CPU from its second run on (perpixel[export]).", show_default="torch"),
]
Quantize = Annotated[
    Literal["int8"] | None,
    typer.Option(help="int8 by OpenVINO, after a look at the first pictures (extra int8).", show_default=False),
]
MaxMemory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Stay below this, for example 4GB.", show_default=False)
]

Refine = Annotated[
    Literal["closed-form"] | None,
    typer.Option(help="Sharpen the edges after the model; slower (needs perpixel[refine]).", show_default=False),
]


def whole_numbers(text: str, count: int, option: str) -> tuple[int, ...]:
    """`"60,20,440,512"` as `(60, 20, 440, 512)`.

    >>> whole_numbers("60, 20", 2, "--point")
    (60, 20)
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        example = {2: "320,240", 4: "60,20,440,512"}[count]
        raise UsageError(f"{option} takes {count} whole numbers such as {example}, not {text!r}")
    return numbers


def check_hint(path: Path | None, images: int) -> None:
    """Say at once that a hint does not exist or fits only one picture, rather than once for every picture."""
    if path is None:
        return
    if not path.exists():
        raise UsageError(f"there is no file {path}: check its name and folder")
    if images > 1 and not path.is_dir():
        raise UsageError(f"{path} is one hint for {images} pictures: give a folder with one for each")


def read_option(text: str) -> tuple[str, Any]:
    """`scale=1000` as ("scale", 1000): JSON where it is JSON, else lists `a,b`, pairs `0:a,1:b`, or words.

    Raises:
        UsageError: there is no "=" in it.

    >>> read_option("mapping=0:sky,255:void"), read_option("names=cat,dog"), read_option("files=a.txt")
    (('mapping', {'0': 'sky', '255': 'void'}), ('names', ['cat', 'dog']), ('files', 'a.txt'))
    """
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--option takes NAME=VALUE such as scale=1000, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        parts = [part.strip() for part in value.split(",") if part.strip()]
    if parts and all(re.fullmatch(r"(\d+|#[0-9a-fA-F]{6}):[^:/\\]+", part) for part in parts):
        return name, dict(part.split(":") for part in parts)
    return name, parts if "," in value else value
