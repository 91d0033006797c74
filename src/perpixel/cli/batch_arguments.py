"""The arguments and options that the commands of `perpixel batch` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Folders, files, patterns such as 'in/**/*.jpg', tar archives, Parquet tables, lists as @names.txt.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go.", show_default=False)]
ListFile = Annotated[
    list[Path] | None,
    typer.Option("--list", metavar="FILE", help="A text with one path a line; may be repeated.", show_default=False),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Folders inside folders too.")]
Root = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Results keep their photograph's place below it.", show_default=False),
]
Trimaps = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="A trimap for each photograph, named like it.", show_default=False),
]
Masks = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="A rough mask for each photograph, named like it.", show_default=False),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=NAME",
        help="A column of the tables: image=, key=, trimap=, mask= or label=; may be repeated.",
        show_default=False,
    ),
]
ImageColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=NAME",
        help="A column of the tables: image= or key=; may be repeated.",
        show_default=False,
    ),
]
Save = Annotated[str | None, typer.Option(metavar="FORM,…", help="What to write.", show_default=False)]
Part = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Only this part, such as 2/4, for one of N machines."),
]
Manifest = Annotated[
    Path | None,
    typer.Option(metavar="FILE.parquet", help="Write the manifest as a table too, in the end.", show_default=False),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N or A:B",
        help="Threads that read, and as many that write; with --engine ray processes, A:B as the work needs.",
        show_default="by the processors, and 1 process",
    ),
]
Stack = Annotated[
    int | None,
    typer.Option(min=1, help="Images of one size in a forward; 8 on GPUs, 1 on a CPU.", show_default=False),
]
Quantized = Annotated[
    Literal["int8"] | None,
    typer.Option(
        "--quantize",
        help="int8 by OpenVINO, by a model that the task's own --quantize has made on this machine.",
        show_default=False,
    ),
]
