"""Segments in the forms that other tools read: COCO's annotations, COCO's panoptic format, supervision."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from perpixel.results.segments import Drawn, Segments

DRAWN = ("overlay", "map", "panoptic")


def coco_annotations(
    segments: Segments,
    image_id: int = 0,
    *,
    polygons: bool = False,
    first_id: int = 1,
    category_ids: Mapping[int, int] | None = None,
) -> list[dict[str, Any]]:
    """The segments as annotations of COCO's detection format (cocodataset.org, "Data format").

    Args:
        segments: of one image.
        image_id: the image's number in the data set.
        polygons: outlines instead of RLE. They are a little less exact and cannot hold holes.
        first_id: the number of the first annotation; in a data set each has its own, and 0 confuses COCO's tools.
        category_ids: the data set's number for each label, such as 1…90 with gaps for COCO's 80; by default the
            label ids themselves.

    Returns:
        for each segment id, image_id, category_id, segmentation, area (of the mask, in pixels), bbox
        ([x, y, width, height]), iscrowd (0), and score where there is one.

    Raises:
        InputError: a label that `category_ids` lacks.
    """
    from perpixel.ops.rle import polygons_from_mask

    found = []
    for number, segment in enumerate(segments, first_id):
        x0, y0, x1, y1 = segment.box
        annotation: dict[str, Any] = {
            "id": number,
            "image_id": image_id,
            "category_id": _category(segment.label_id, segment.label, category_ids),
            "segmentation": polygons_from_mask(segments.mask(segment)) if polygons else segments.rle(segment),
            "area": segment.area,
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "iscrowd": 0,
        }
        if segment.score is not None:
            annotation["score"] = segment.score
        found.append(annotation)
    return found


def categories(segments: Segments, category_ids: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
    """COCO's categories for the labels that were found, by number; `isthing` where it is known."""
    rows: dict[int, dict[str, Any]] = {}
    for segment in segments:
        number = _category(segment.label_id, segment.label, category_ids)
        rows[number] = {"id": number, "name": segment.label}
        if segment.is_thing is not None:
            rows[number]["isthing"] = int(segment.is_thing)
    return [rows[number] for number in sorted(rows)]


def category_rows(labels: Mapping[int, str], things: Collection[int] | None = None) -> list[dict[str, Any]]:
    """COCO's categories for all labels of a model; `isthing` where `things`, the countable ones, are known."""
    rows: list[dict[str, Any]] = []
    for number, name in sorted(labels.items()):
        rows.append({"id": number, "name": name})
        if things is not None:
            rows[-1]["isthing"] = int(number in things)
    return rows


def panoptic_picture(segments: Segments) -> NDArray[np.uint8]:
    """COCO's panoptic colours: (h, w, 3) uint8 with id = R + 256 G + 65536 B."""
    low, middle, high = segments.map & 255, segments.map >> 8 & 255, segments.map >> 16 & 255
    return np.stack([low, middle, high], axis=2).astype(np.uint8)  # (h, w, 3)


def write_panoptic(
    segments: Segments,
    path: str | os.PathLike[str],
    *,
    image_id: int = 0,
    category_ids: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Write COCO's panoptic PNG, and return the annotation that belongs to it in a panoptic JSON.

    Args:
        segments: of one image.
        path: a .png; its folder must exist.
        image_id: the image's number in the data set.
        category_ids: as in `coco_annotations`.

    Returns:
        image_id, file_name and segments_info; the latter has for each segment that is seen id, category_id, area
        and bbox (of what is seen, in pixels) and iscrowd (0).

    Raises:
        InputError: another suffix, or a label that `category_ids` lacks.
        OutputError: the file cannot be written there.
    """
    from perpixel.images.write import write_image
    from perpixel.ops.label_map import extents, relabelled

    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: COCO's panoptic format is a PNG: use the suffix .png")
    ranks = {segment.id: rank for rank, segment in enumerate(segments, 1)}
    seen = extents(relabelled(segments.map, ranks), len(ranks))  # ids may be large, a table of them too
    infos = []
    for rank, segment in enumerate(segments, 1):
        if rank in seen:
            area, (x0, y0, x1, y1) = seen[rank]
            infos.append(
                {
                    "id": segment.id,
                    "category_id": _category(segment.label_id, segment.label, category_ids),
                    "area": area,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                }
            )
    write_image(path, panoptic_picture(segments))
    return {"image_id": image_id, "file_name": Path(path).name, "segments_info": infos}


def supervision_detections(segments: Segments) -> Any:
    """`supervision.Detections`: boxes, masks, confidence, class_id, and `data["class_name"]`.

    Raises:
        MissingDependencyError: without the package `supervision`.
    """
    try:
        detections = import_module("supervision").Detections
    except ImportError as error:
        raise MissingDependencyError("to_supervision needs the package supervision: pip install supervision") from error
    if not len(segments):
        return detections.empty()
    scores = [segment.score for segment in segments]
    return detections(
        xyxy=np.array([segment.box for segment in segments], np.float32),
        mask=np.stack([segments.mask(segment) for segment in segments]),  # (n, h, w)
        confidence=None if None in scores else np.array(scores, np.float32),
        class_id=np.array([segment.label_id for segment in segments]),
        data={"class_name": np.array([segment.label for segment in segments])},
    )


def save(segments: Segments, path: str | os.PathLike[str], what: Drawn | None = None) -> Path:
    """See `Segments.save`."""
    from perpixel.images.write import check_output, write_bytes, write_image

    path = Path(path)
    if what is not None and what not in DRAWN:
        raise InputError(f"what={what!r} is not known: use one of {', '.join(DRAWN)}, or a path that ends in .json")
    if path.suffix.lower() == ".json":
        if what is not None:
            raise InputError(f"{path} holds COCO annotations, not {what}: use a picture's suffix such as .png")
        text = json.dumps(coco_data_set(segments, path.with_suffix("").name), ensure_ascii=False)
        return write_bytes(path, text.encode())
    form = check_output(path)
    if form.name == "EXR":
        raise InputError(f"{path}: EXR is for colours in linear light: use .png or .tiff")
    if what == "panoptic":
        write_panoptic(segments, path)
        return path
    if what == "map":
        if form.name not in ("PNG", "TIFF"):
            raise InputError(f"{path}: {form.name} may change the numbers of a map: use .png or .tiff")
        high = max((segment.id for segment in segments), default=0)
        if high > 65535:
            raise InputError(
                f"the map holds ids up to {high}, and a grey picture only up to 65535: use what='panoptic'"
            )
        return write_image(path, segments.map.astype(np.uint8 if high < 256 else np.uint16))
    return write_image(path, segments.overlay(), icc_profile=segments.icc_profile)


def coco_data_set(segments: Segments, file_name: str, image_id: int = 0) -> dict[str, Any]:
    """A complete COCO data set of one image: images, annotations and categories."""
    return {
        "images": [{"id": image_id, "file_name": file_name, "width": segments.width, "height": segments.height}],
        "annotations": coco_annotations(segments, image_id),
        "categories": categories(segments),
    }


def _category(label_id: int, label: str, category_ids: Mapping[int, int] | None) -> int:
    if category_ids is None:
        return label_id
    if label_id not in category_ids:
        raise InputError(f"category_ids has no number for the label {label_id} ({label}): add it")
    return int(category_ids[label_id])
