"""`perpixel trimap`: a rough mask in, a trimap for the matting model out."""

from pathlib import Path
from typing import Annotated

import typer

from perpixel.cli import arguments as given
from perpixel.cli.files import expand, place
from perpixel.cli.reporting import Done, run_files


def trimap(
    context: typer.Context,
    masks: Annotated[
        list[str],
        typer.Argument(metavar="MASK", help="Files, folders, patterns; white on black.", show_default=False),
    ],
    band: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            min=0,
            help="Width of the unknown band along the edge; by the subject's size when not given.",
            show_default=False,
        ),
    ] = None,
    output: given.Output = None,
    json: given.Json = False,
) -> int:
    """Turn masks into trimaps, with an unknown band along the edge for the model to fill.

    The result is a grey PNG with 0, 128 and 255, NAME-trimap.png beside the mask unless -o says otherwise.
    """
    sources = expand(masks)
    outputs = place(sources, output, "trimap")

    from perpixel.images.read import read_mask
    from perpixel.images.write import write_image
    from perpixel.ops.trimap import trimap_from_mask

    def work(mask: Path, target: Path) -> Done:
        result = trimap_from_mask(read_mask(mask), band=band)
        write_image(target, result)
        height, width = result.shape
        return Done(width=width, height=height)

    paths = [source.path for source in sources]
    return run_files(paths, outputs, work, as_json=json, settings=context.obj)
