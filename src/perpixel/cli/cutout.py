"""`perpixel cutout`: a photograph and a hint in, the subject with a clean edge out."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.files import expand, hint_for, place
from perpixel.cli.film import are_films, cutout_films, first_hints, only_for_pictures
from perpixel.cli.reporting import Done, UsageError, run_files


def cutout(
    context: typer.Context,
    images: given.Images,
    trimap: Annotated[
        Path | None,
        typer.Option(help=given.TrimapHelp, show_default=False),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A rough picture of the subject, white on black.", show_default=False)
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the subject.", show_default=False)
    ] = None,
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="A point on the subject; may be repeated.")
    ] = None,
    background_point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="A point beside the subject; may be repeated.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="What the subject is, for example person.", show_default=False)
    ] = None,
    index: Annotated[
        int | None,
        typer.Option(
            min=1, help="Which one with that label, 1 is the largest; all when not given.", show_default=False
        ),
    ] = None,
    subject: Annotated[
        Literal["largest"] | None, typer.Option(help="The largest thing, whatever it is.", show_default=False)
    ] = None,
    segmentation_model: given.SegmentationModel = None,
    trimap_first: Annotated[
        Path | None, typer.Option(help="For a film: the trimap of its first frame.", show_default=False)
    ] = None,
    mask_first: Annotated[
        Path | None,
        typer.Option(help="For a film: a rough picture of the subject in its first frame.", show_default=False),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="For a film with --label: look for it anew every so many frames.", show_default="5"),
    ] = None,
    output: given.Output = None,
    background: Annotated[
        str | None,
        typer.Option(metavar="COLOUR|IMAGE", help="Put the subject on this, instead of on nothing."),
    ] = None,
    json: given.Json = False,
    model: given.Model = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: given.Engine = None,
    max_memory: given.MaxMemory = None,
    refine: given.Refine = None,
) -> int:
    """Cut the subject out of photographs, with soft and clean edges.

    One hint tells what the subject is: a trimap, a mask, a box, points, or with a segmentation model a label or the
    largest thing; a box and points may be combined.
    For many pictures, --trimap and --mask take a folder with a file of the same name for each.

    The result is a PNG with transparency, NAME-cutout.png beside the photograph unless -o says otherwise. A film
    becomes NAME-cutout.mov; -o takes .mov, .webm, .mkv or a folder of frames. Hints are then for its first frame, but
    a label is found all along.
    """
    film = are_films(images)
    if not film and (trimap_first or mask_first or every):
        raise UsageError("--trimap-first, --mask-first and --every are for films: for a picture leave -first out")
    if film and ((trimap and trimap_first) or (mask and mask_first)):
        raise UsageError("a film has one first frame: give --trimap-first or --mask-first once")
    trimap, mask = trimap or trimap_first, mask or mask_first
    sources = expand(images)
    corners = given.whole_numbers(box, 4, "--box") if box else None
    points = [given.whole_numbers(text, 2, "--point") for text in point or ()]
    outside = [given.whole_numbers(text, 2, "--background-point") for text in background_point or ()]
    kinds = [name for name, hint in (("--trimap", trimap), ("--mask", mask), ("--box", corners)) if hint]
    kinds += ["--point"] if points or outside else []
    kinds += [name for name, hint in (("--label", label), ("--subject", subject)) if hint]
    if index is not None and label is None:
        raise UsageError(f"--index {index} is given without --label: add it, for example --label person")
    if not kinds:
        raise UsageError(_which_subject(sources[0].path))
    if len(kinds) > 1 and kinds != ["--box", "--point"]:
        raise UsageError(f"{' and '.join(kinds)} cannot be combined: give one of them")
    if kinds == ["--point"] and not points:
        raise UsageError("--background-point alone does not tell the subject: add --point or --box")
    if film:
        only_for_pictures({"--refine": refine})
        hints = first_hints(trimap, mask, corners, points, outside, label, index, subject)
        return cutout_films(
            images,
            context.obj,
            hints=hints,
            segmentation_model=segmentation_model,
            every=every,
            output=output,
            background=background,
            json=json,
            model=model,
            device=device,
            dtype=dtype,
            engine=engine,
            max_memory=max_memory,
        )
    picture = Path(background) if background and Path(background).is_file() else None
    given.check_hint(trimap or mask, len(sources))
    outputs = place(sources, output, "cutout", alpha=background is None, others=[trimap, mask, picture])
    perpixel.tune_allocator()  # before torch is imported
    from perpixel.tasks.matting import load_matting_model

    network = load_matting_model(model, device, dtype, engine)
    by_segment: dict[str, Any] = {}
    if label or subject:
        from perpixel.tasks.segmentation import load_segmenter

        segmenter = load_segmenter(segmentation_model, device, dtype, engine)
        by_segment = {"label": label, "index": index, "subject": subject, "segmentation_model": segmenter}

    def work(image: Path, target: Path) -> Done:
        result = perpixel.cutout(
            image,
            trimap=hint_for(image, trimap, "trimap") if trimap else None,
            mask=hint_for(image, mask, "mask") if mask else None,
            box=corners,
            points=points or None,
            background_points=outside or None,
            **by_segment,
            model=network,
            max_memory=max_memory,
            refine=refine,
        )
        if background is None:
            result.save(target)
        else:
            from perpixel.images.write import write_image

            write_image(target, result.composite(background), icc_profile=result.icc_profile)
        height, width = result.alpha.shape
        return Done(width=width, height=height)

    paths = [source.path for source in sources]
    return run_files(paths, outputs, work, as_json=json, settings=context.obj)


def _which_subject(image: Path) -> str:
    """The hints as commands for this very picture."""
    from PIL import Image

    try:
        with Image.open(image) as opened:
            width, height = opened.size
    except (OSError, Image.DecompressionBombError):
        width, height = 640, 480
    name = _quoted(image)
    inside, outside = f"{width // 2},{height // 2}", f"{width // 20},{height // 20}"
    lines: Sequence[str] = (
        f"what is the subject of {image}? Give one hint, for example:",
        f"  perpixel cutout {name} --box {width // 10},{height // 10},{width * 9 // 10},{height}",
        f"  perpixel cutout {name} --point {inside} --background-point {outside}",
        f"  perpixel cutout {name} --mask {_quoted(image.with_name(f'{image.stem}-mask.png'))}",
        f"  perpixel cutout {name} --label person",
        f"  perpixel cutout {name} --trimap {_quoted(image.with_name(f'{image.stem}-trimap.png'))}",
    )
    return "\n".join(lines)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
