"""`perpixel matte`: a photograph and a trimap in, the alpha out."""

from pathlib import Path
from typing import Annotated

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.files import expand, hint_for, place
from perpixel.cli.reporting import Done, run_files


def matte(
    context: typer.Context,
    images: given.Images,
    trimap: Annotated[
        Path,
        typer.Option(help=given.TrimapHelp, show_default=False),
    ],
    output: given.Output = None,
    json: given.Json = False,
    model: given.Model = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: given.Engine = None,
    quantize: given.Quantize = None,
    max_memory: given.MaxMemory = None,
    refine: given.Refine = None,
) -> int:
    """Find the alpha of photographs: how much of each pixel belongs to the subject.

    For many pictures, --trimap takes a folder with a file of the same name for each.

    The result is a grey PNG, NAME-alpha.png beside the photograph unless -o says otherwise.
    """
    sources = expand(images)
    given.check_hint(trimap, len(sources))
    outputs = place(sources, output, "alpha", others=[trimap])
    perpixel.tune_allocator()  # before torch is imported
    from perpixel.tasks.matting import load_matting_model

    # Only looked at where the model was never quantised.
    shown = [(source.path, hint_for(source.path, trimap, "trimap")) for source in sources[: given.SHOWN] if quantize]
    network = load_matting_model(model, device, dtype, engine, quantize, shown)

    def work(image: Path, target: Path) -> Done:
        hint = hint_for(image, trimap, "trimap")
        result = perpixel.matte(image, hint, model=network, max_memory=max_memory, refine=refine)
        result.save(target, what="alpha")
        height, width = result.alpha.shape
        return Done(width=width, height=height)

    paths = [source.path for source in sources]
    return run_files(paths, outputs, work, as_json=json, settings=context.obj)
