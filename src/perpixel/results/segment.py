"""One segment, and how the segments of an image are found in maps and masks, numbered and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.ops.label_map import extents, numbers_in, relabelled

if TYPE_CHECKING:
    from perpixel.ops.rle import Rle

LARGEST_ID = 256**3 - 1  # what COCO's panoptic PNG holds


@dataclass(frozen=True)
class Segment:
    """One thing in an image.

    Attributes:
        id: its number in `Segments.map`, from 1.
        label_id: the class as the model numbers it.
        label: the class's name.
        score: how sure the model is, from 0 to 1; None where there is no such number (semantic segmentation).
        area: in pixels, of the whole mask.
        box: (x0, y0, x1, y1) in whole pixels from the top left; x1 and y1 are just outside.
        is_thing: whether the class has countable instances (a person) or not (the sky); None where not known.
        was_fused: whether it may join several parts that the model found one by one, as for the sky.
    """

    id: int
    label_id: int
    label: str
    score: float | None
    area: int
    box: tuple[int, int, int, int]
    is_thing: bool | None = None
    was_fused: bool = False


def ranked_map(
    map: NDArray[np.int32],
    infos: Sequence[Mapping[str, Any]],
    id2label: Mapping[int, str],
    things: Iterable[int] | None = None,
) -> tuple[NDArray[np.int32], list[Segment]]:
    """Number the segments of a map from 1, the largest first; arguments as in `Segments.from_map`.

    Returns:
        the map with the new numbers, and its segments in their order.
    """
    numbered = relabelled(map, {int(info["id"]): number for number, info in enumerate(infos, 1)})
    found = extents(numbered, len(infos))
    order = sorted(found, key=lambda number: -found[number][0])
    countable = None if things is None else frozenset(things)
    segments = []
    for rank, number in enumerate(order, 1):
        thing = None if countable is None else int(infos[number - 1]["label_id"]) in countable
        segments.append(_segment(rank, infos[number - 1], id2label, *found[number], thing))
    return relabelled(numbered, {number: rank for rank, number in enumerate(order, 1)}), segments


def ranked_masks(
    masks: Sequence[Rle], infos: Sequence[Mapping[str, Any]], id2label: Mapping[int, str]
) -> tuple[dict[int, Rle], list[Segment]]:
    """Number whole masks from 1, the largest first; arguments as in `Segments.from_masks`.

    Returns:
        the masks by their new numbers, without empty ones, and their segments in the same order.
    """
    from perpixel.ops.rle import rle_area, rle_box

    areas = [rle_area(mask) for mask in masks]
    order = sorted((index for index, area in enumerate(areas) if area), key=lambda index: -areas[index])
    segments, whole = [], {}
    for rank, index in enumerate(order, 1):
        x, y, width, height = rle_box(masks[index])
        box = (x, y, x + width, y + height)
        segments.append(_segment(rank, infos[index], id2label, areas[index], box, True))
        whole[rank] = masks[index]
    return whole, segments


def _segment(
    rank: int,
    info: Mapping[str, Any],
    id2label: Mapping[int, str],
    area: int,
    box: tuple[int, int, int, int],
    is_thing: bool | None,
) -> Segment:
    label_id = int(info["label_id"])
    score = info.get("score")
    return Segment(
        id=rank,
        label_id=label_id,
        label=str(id2label.get(label_id, f"label {label_id}")),
        score=None if score is None else float(score),
        area=area,
        box=box,
        is_thing=is_thing,
        was_fused=bool(info.get("was_fused", False)),
    )


def by_score(segments: Iterable[Segment], masks: Mapping[int, Rle]) -> list[tuple[int, Rle]]:
    """In the order to paint: the surest last, and of equally sure ones the smaller, which would else be lost."""
    ordered = sorted(segments, key=lambda segment: (segment.score or 0.0, -segment.area))
    return [(segment.id, masks[segment.id]) for segment in ordered]


def check_ids(map: NDArray[np.int32], segments: Sequence[Segment], masks: Mapping[int, Rle] | None) -> None:
    """Raise `InputError` unless each segment has an id of its own, and the map and the masks know no other."""
    ids = [segment.id for segment in segments]
    if len(set(ids)) < len(ids) or any(not 1 <= number <= LARGEST_ID for number in ids):
        raise InputError(f"the segments have the ids {ids}: give each its own, from 1 to {LARGEST_ID}")
    present = set(numbers_in(map))
    if not present <= {0, *ids}:
        raise InputError(
            f"the map holds the number {min(present - {0, *ids})}, which is no segment's: use 0 for nothing"
        )
    if masks is not None and set(masks) != set(ids):
        raise InputError("masks are given for other ids than the segments': give one for each segment")
