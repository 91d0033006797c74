"""`perpixel bokeh`: photographs in, the same with a blurred background out."""

import glob
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.files import expand, hint_for, place
from perpixel.cli.reporting import Done, UsageError, run_files
from perpixel.errors import InputError

DEPTH_SUFFIXES = (".png", ".tiff", ".tif", ".npy", ".pfm", ".exr")


def bokeh(
    context: typer.Context,
    images: given.Images,
    focus: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="The pixel to be sharp; not needed with a subject.", show_default=False),
    ] = None,
    aperture: Annotated[
        float, typer.Option(min=0, max=20, help="How wide the lens is: 1 is gentle, 2 a portrait lens, 5 extreme.")
    ] = 2.0,
    depth: Annotated[
        Path | None,
        typer.Option(help="Depth from a file, as `perpixel depth` writes it, or a folder.", show_default=False),
    ] = None,
    depth_kind: Annotated[
        Literal["inverse", "metric"] | None,
        typer.Option(help="What a file of depth without its JSON holds.", show_default=False),
    ] = None,
    trimap: Annotated[Path | None, typer.Option(help=given.TrimapHelp, show_default=False)] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A rough picture of the subject, white on black.", show_default=False)
    ] = None,
    detail: given.Detail = "whole",
    output: given.Output = None,
    json: given.Json = False,
    model: given.DepthModel = None,
    matting_model: Annotated[
        str | None,
        typer.Option(help="A Hub id or a folder, instead of the embedded model for the matte.", show_default=False),
    ] = None,
    device: given.Device = None,
    max_memory: given.MaxMemory = None,
) -> int:
    """Blur what is out of focus in photographs, as a wide lens does.

    With --trimap or --mask the subject gets a matte, which keeps all of it sharp, hair too.
    For many pictures, --depth, --trimap and --mask take a folder with a file of the same name for each.

    The result is NAME-bokeh.png beside the photograph unless -o says otherwise.
    """
    sources = expand(images)
    pixel = given.whole_numbers(focus, 2, "--focus") if focus else None
    if trimap is not None and mask is not None:
        raise UsageError("--trimap and --mask cannot be combined: give one of them")
    subject = trimap or mask
    if pixel is None and subject is None:
        raise UsageError("what is to be sharp? Give --focus 320,240, or the subject by --mask or --trimap")
    if depth_kind is not None and depth is None:
        raise UsageError("--depth-kind is given without --depth: leave it out, or add the file")
    if depth is not None and (model is not None or detail != "whole"):
        raise UsageError("--depth is given, so no depth is estimated: leave --model and --detail out")
    if matting_model is not None and subject is None:
        raise UsageError("--matting-model is given without a subject: add --mask or --trimap")
    given.check_hint(subject, len(sources))
    given.check_hint(depth, len(sources))
    outputs = place(sources, output, "bokeh", others=[trimap, mask, depth])
    perpixel.tune_allocator()  # before torch is imported
    estimator = None
    if depth is None:
        from perpixel.tasks.depth import load_depth_model

        estimator = load_depth_model(model, device)
    network = None
    if subject is not None:
        from perpixel.tasks.matting import load_matting_model

        network = load_matting_model(matting_model, device)

    def work(image: Path, target: Path) -> Done:
        photo = perpixel.read_photo(image)
        options: dict[str, Any] = {}
        if depth is not None:
            options["depth"] = _read_depth(_depth_for(image, depth), depth_kind)
        if subject is not None:
            options["matte"] = perpixel.cutout(
                photo,
                trimap=hint_for(image, trimap, "trimap") if trimap else None,
                mask=hint_for(image, mask, "mask") if mask else None,
                model=network,
                max_memory=max_memory,
            )
        found = perpixel.bokeh(
            photo,
            focus=(pixel[0], pixel[1]) if pixel else None,
            aperture=aperture,
            model=estimator,
            max_memory=max_memory,
            detail=detail,
            **options,
        )
        found.save(target)
        return Done(found.width, found.height)

    paths = [source.path for source in sources]
    return run_files(paths, outputs, work, as_json=json, settings=context.obj)


def _read_depth(
    path: Path, kind: Literal["inverse", "metric"] | None
) -> "perpixel.DepthMap":  # quoted, since it imports NumPy
    # The unit is all one for the blur, so whole numbers need no scale.
    return perpixel.DepthMap.load(path) if kind is None else perpixel.DepthMap.load(path, kind=kind, scale=1.0)


def _depth_for(image: Path, given_path: Path) -> Path:
    """The depth of an image: the file itself, or `room.npy` or `room-depth.npy` for `room.jpg` in a folder."""
    if not given_path.is_dir():
        return given_path
    for name in (image.stem, f"{image.stem}-depth", f"{image.stem}_depth"):
        for path in sorted(given_path.glob(f"{glob.escape(name)}.*")):
            if path.stem == name and path.suffix.lower() in DEPTH_SUFFIXES and path != image:
                return path
    raise InputError(
        f"there is no depth for {image.name} in {given_path}: put {image.stem}.png or {image.stem}-depth.png there"
    )
