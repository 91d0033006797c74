"""`perpixel segment`: photographs in, what is in them out, to the pixel."""

import json as json_text
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import perpixel
from perpixel.cli import arguments as given
from perpixel.cli.files import expand, place
from perpixel.cli.film import are_films, only_for_pictures, segment_films
from perpixel.cli.reporting import Done, UsageError, run_files


def segment(
    context: typer.Context,
    images: given.Images,
    kind: Annotated[
        Literal["panoptic", "instance", "semantic"] | None,
        typer.Option(
            help="Each thing and the stuff around; only things; or one segment a label. By default the model's first.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only segments with this label; may be repeated.", show_default=False)
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="The score that a segment must reach.")] = 0.5,
    output: given.Output = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Write the overlay beside --coco or --panoptic-dir too.")
    ] = False,
    coco: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write COCO annotations of all pictures to this JSON.", show_default=False),
    ] = None,
    panoptic_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write COCO panoptic PNGs and their panoptic.json here.", show_default=False
        ),
    ] = None,
    json: given.Json = False,
    model: given.SegmentationModel = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    engine: given.Engine = None,
    quantize: given.Quantize = None,
) -> int:
    """Find what is in photographs, with a mask and a name for each thing.

    The result is the photograph with the segments in colour and their names, NAME-segments.png beside it unless -o
    says otherwise. With --coco or --panoptic-dir it is written only if --overlay or -o asks for it. A film becomes
    NAME-segments.mp4, where each thing keeps its colour.
    """
    if are_films(images):
        only_for_pictures({"--coco": coco, "--panoptic-dir": panoptic_dir})
        return segment_films(
            images,
            context.obj,
            output=output,
            kind=kind,
            label=label,
            threshold=threshold,
            json=json,
            model=model,
            device=device,
            dtype=dtype,
            engine=engine,
            quantize=quantize,
        )
    sources = expand(images)
    paths = [source.path for source in sources]
    drawn = overlay or output is not None or not (coco or panoptic_dir)
    outputs = place(sources, output, "segments", others=[coco]) if drawn else []
    pngs = place(sources, f"{panoptic_dir}/", "panoptic") if panoptic_dir else []
    if coco is not None:
        _check_json(coco, paths)
    if panoptic_dir is not None and set(outputs) & set(pngs):
        raise UsageError(f"overlays and panoptic PNGs would both go to {panoptic_dir}: give different folders")
    perpixel.tune_allocator()  # before torch is imported
    from perpixel.images.write import write_bytes
    from perpixel.results.exports import category_rows
    from perpixel.tasks.segmentation import labels_meant, load_segmenter
    from perpixel.tasks.things import known_things

    segmenter = load_segmenter(model, device, dtype, engine, quantize, paths[: given.SHOWN])
    segmenter.kind(kind)  # before the work
    labels = labels_meant(label, segmenter.labels) if label else None
    numbers = {path: number for number, path in enumerate(paths, 1)}
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    panoptic: list[dict[str, Any]] = []

    def work(image: Path, target: Path) -> Done:
        found = perpixel.segment(image, model=segmenter, kind=kind, threshold=threshold, labels=labels)
        number = numbers[image]
        if drawn:
            found.save(target, "overlay")
        if panoptic_dir:
            panoptic.append(found.to_panoptic_png(pngs[number - 1], image_id=number))
        if coco:
            annotations.extend(found.to_coco(number, first_id=len(annotations) + 1))
        rows.append({"id": number, "file_name": image.name, "width": found.width, "height": found.height})
        details = [
            {"id": each.id, "label": each.label, "score": each.score, "area": each.area, "box": each.box}
            for each in found
        ]
        return Done(found.width, found.height, found.summary() or "nothing found", {"segments": details})

    places = outputs or pngs or [coco or Path()] * len(paths)
    code = run_files(paths, places, work, as_json=json, settings=context.obj)
    categories = category_rows(segmenter.labels, known_things(segmenter.labels))
    for path, content in (
        (coco, annotations),
        (panoptic_dir / "panoptic.json" if panoptic_dir else None, panoptic),
    ):
        if path is not None and rows:
            data = {"images": rows, "annotations": content, "categories": categories}
            write_bytes(path, json_text.dumps(data, ensure_ascii=False).encode())
    return code


def _check_json(path: Path, inputs: list[Path]) -> None:
    if path.suffix.lower() != ".json":
        raise UsageError(f"--coco writes JSON, not {path}: give a file that ends in .json")
    if path.resolve() in {each.resolve() for each in inputs}:
        raise UsageError(f"{path} is an input and would be overwritten: give another file")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist: make it first")
