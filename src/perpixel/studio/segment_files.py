"""The files that the tab Segment gives: what is shown, at the photograph's own size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TypeAlias

from perpixel.errors import InputError
from perpixel.images.write import write_bytes, write_image
from perpixel.results.exports import coco_data_set, write_panoptic
from perpixel.results.segments import Segments
from perpixel.studio.segment_view import SegmentView

Wanted: TypeAlias = Literal["coco", "panoptic", "overlay"]
NAMES: dict[Wanted, str] = {"coco": "coco.json", "panoptic": "panoptic.png", "overlay": "overlay.png"}


def write_segments(view: SegmentView, wanted: Wanted, folder: Path, name: str, *, opacity: float, names: bool) -> Path:
    """Write one of the files; hidden segments are left out.

    Args:
        view: what is shown.
        wanted: "coco", a COCO data set of this one image, whose annotations have the table's ids; "panoptic", COCO's
            panoptic PNG, with the same ids; or "overlay", the picture.
        folder: where to; it must exist.
        name: that of the photograph, without a suffix.
        opacity: of the overlay's colours.
        names: whether the overlay has the labels.

    Returns:
        the file.

    Raises:
        InputError: nothing is shown.
        OutputError: it cannot be written there.
    """
    shown = view.shown
    if not len(shown):
        raise InputError("no segment is shown, so there is nothing to write: show some again, or segment another photo")
    path = folder / f"{name}-{NAMES[wanted]}"
    if wanted == "coco":
        return write_bytes(path, json.dumps(data_set(shown, name), ensure_ascii=False).encode())
    if wanted == "panoptic":
        write_panoptic(shown, path)
        return path
    return write_image(path, shown.overlay(opacity=opacity, names=names), icc_profile=shown.icc_profile)


def data_set(shown: Segments, name: str) -> dict[str, object]:
    """COCO's data set of the image, its annotations numbered as the segments are, hidden ones or not."""
    found = coco_data_set(shown, name, image_id=1)
    for annotation, segment in zip(found["annotations"], shown, strict=True):
        annotation["id"] = segment.id
    return found
