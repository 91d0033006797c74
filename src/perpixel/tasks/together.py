"""Many photographs through one loaded model, each with the result that it has on its own: the stages of a task
(`perpixel.tasks.stages`) one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from perpixel.errors import InputError
from perpixel.images.read import ImageLike, Photo
from perpixel.results import DepthMap, Matte, Segments
from perpixel.tasks.cutout import Hint
from perpixel.tasks.stages import Depth, Matting, Segmentation

if TYPE_CHECKING:
    from perpixel.models.vitmatte.model import VitMatteForImageMatting
    from perpixel.results.segments import Kind
    from perpixel.tasks.depth import DepthEstimator, Detail
    from perpixel.tasks.segmentation import Segmenter

__all__ = [
    "Hint",
    "cutout_together",
    "depth_together",
    "matte_together",
    "segment_together",
]


def cutout_together(
    photos: Sequence[Photo],
    hints: Sequence[Hint],
    *,
    model: VitMatteForImageMatting,
    segmentation_model: Segmenter | None = None,
    max_memory: int | str | None = None,
    refine: Literal["closed-form"] | None = None,
    stack: int | None = None,
) -> list[Matte]:
    """What `perpixel.cutout` gives for each photograph.

    Args:
        photos: as `perpixel.read_photo` gives them.
        hints: one for each.
        model: of `perpixel.tasks.matting.load_matting_model`.
        segmentation_model: of `perpixel.tasks.segmentation.load_segmenter`, for hints that are labels.
        max_memory: as in `perpixel.matte`; with it no images are stacked.
        refine: as in `perpixel.matte`.
        stack: how many images of one size go into one forward; 1 on a CPU and 8 elsewhere if not given.

    Raises:
        InputError: not one hint for each photograph, or a hint that cannot be used.
    """
    work = Matting(model, segmenter=segmentation_model, max_memory=max_memory, refine=refine, stack=stack)
    ready = [work.prepare(photo, hint) for photo, hint in _pairs(photos, hints)]
    return [work.finish(each, found) for each, found in zip(ready, work.run(ready), strict=True)]


def matte_together(
    photos: Sequence[Photo],
    hints: Sequence[ImageLike],
    *,
    model: VitMatteForImageMatting,
    max_memory: int | str | None = None,
    refine: Literal["closed-form"] | None = None,
    stack: int | None = None,
) -> list[Matte]:
    """What `perpixel.matte` gives for each photograph and its trimap.

    Args:
        photos: as `perpixel.read_photo` gives them.
        hints: the trimap of each.
        model: as in `cutout_together`.
        max_memory: as in `cutout_together`.
        refine: as in `perpixel.matte`.
        stack: as in `cutout_together`.

    Raises:
        InputError: not one trimap for each photograph, or a trimap that cannot be used.
    """
    trimaps = [Hint(trimap=hint) for hint in hints]
    return cutout_together(photos, trimaps, model=model, max_memory=max_memory, refine=refine, stack=stack)


def segment_together(
    photos: Sequence[Photo],
    *,
    model: Segmenter,
    kind: Kind | None = None,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    labels: str | Iterable[str] | None = None,
    things: Iterable[int] | None = None,
    size: int | Mapping[str, int] | None = None,
    stack: int | None = None,
) -> list[Segments]:
    """What `perpixel.segment` gives for each photograph.

    Args:
        photos: as `perpixel.read_photo` gives them.
        model: of `perpixel.tasks.segmentation.load_segmenter`.
        kind: as in `perpixel.segment`, and so are all that follow.
        threshold: see there.
        mask_threshold: see there.
        overlap_threshold: see there.
        labels: see there.
        things: see there.
        size: see there.
        stack: as in `cutout_together`.

    Raises:
        InputError: as in `perpixel.segment`.
    """
    work = Segmentation(
        model,
        kind=kind,
        threshold=threshold,
        mask_threshold=mask_threshold,
        overlap_threshold=overlap_threshold,
        labels=labels,
        things=things,
        size=size,
        stack=stack,
    )
    ready = [work.prepare(photo) for photo in photos]
    return [work.finish(each, found) for each, found in zip(ready, work.run(ready), strict=True)]


def depth_together(
    photos: Sequence[Photo],
    *,
    model: DepthEstimator,
    detail: Detail = "whole",
    size: int | None = None,
    max_memory: int | str | None = None,
    stack: int | None = None,
) -> list[DepthMap]:
    """What `perpixel.depth` gives for each photograph.

    Args:
        photos: as `perpixel.read_photo` gives them.
        model: of `perpixel.load_depth_model`.
        detail: as in `perpixel.depth`; "tiled" images are not stacked.
        size: as in `perpixel.depth`.
        max_memory: as in `perpixel.depth`; with it no images are stacked.
        stack: as in `cutout_together`.

    Raises:
        InputError: as in `perpixel.depth`.
    """
    work = Depth(model, detail=detail, size=size, max_memory=max_memory, stack=stack)
    ready = [work.prepare(photo) for photo in photos]
    return [work.finish(each, found) for each, found in zip(ready, work.run(ready), strict=True)]


def _pairs(photos: Sequence[Photo], hints: Sequence[Hint]) -> list[tuple[Photo, Hint]]:
    if len(photos) != len(hints):
        raise InputError(f"there are {len(photos)} photographs and {len(hints)} hints: give one for each photograph")
    return list(zip(photos, hints, strict=True))
