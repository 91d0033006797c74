"""COCO's average precision and recall from overlaps that were measured before, by faster-coco-eval.

The masks of a data set need not be kept for it: matching and averaging only look at overlaps, scores and areas. This
module needs the extra `eval`, so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from perpixel.metrics.instances import MOST_DETECTIONS, STATISTICS, ImageOverlaps

__all__ = ["average_precision"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNDEFINED = -1.0  # what COCO's programmes give where there is no truth


class _FromOverlaps(COCOeval_faster):  # type: ignore[misc]  # the package has no types
    """The evaluation of boxes with overlaps that are given instead of computed."""

    def __init__(self, truth: Any, found: Any, overlaps: dict[tuple[int, int], Floats]) -> None:
        super().__init__(truth, found, iouType="bbox")
        self.overlaps = overlaps

    def computeIoU(self, imgId: int, catId: int) -> Floats | list[float]:
        return self.overlaps.get((imgId, catId), [])


def average_precision(
    images: Iterable[ImageOverlaps], labels: Sequence[int], definition: int = 0
) -> tuple[dict[str, float], list[float]]:
    """COCO's summary.

    Args:
        images: in an order that decides between equal scores.
        labels: the classes to look at.
        definition: which row of `ImageOverlaps.overlaps` to use.

    Returns:
        The measures by the names in `STATISTICS`, and the AP of each of `labels`; NaN where there is no truth.
    """
    photos: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    overlaps: dict[tuple[int, int], Floats] = {}
    # Ids are from 1: the package takes a match with 0 for none.
    for place, image in enumerate(images, 1):
        photos.append({"id": place})
        truth += _annotations(len(truth), place, image.true_classes, image.true_areas, iscrowd=image.crowds)
        found += _annotations(len(found), place, image.classes, image.areas, score=image.scores)
        for label in np.intersect1d(image.classes, image.true_classes).tolist():
            overlaps[place, label + 1] = _matrix(image, label, definition)
    categories = [{"id": label + 1} for label in labels]
    indexed = []
    for rows in (truth, found):
        coco = COCO()
        coco.dataset = {"images": photos, "categories": categories, "annotations": rows}
        coco.createIndex()
        indexed.append(coco)
    evaluation = _FromOverlaps(indexed[0], indexed[1], overlaps)
    evaluation.run()
    # (thresholds, recalls, classes, areas, most detections)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    each = [_mean(precision[:, :, number]) for number in range(len(labels))]
    values = [float(value) for value in evaluation.stats]
    return dict(zip(STATISTICS, [np.nan if value == UNDEFINED else value for value in values], strict=True)), each


def _annotations(start: int, image: int, classes: Ints, areas: Floats, **more: Any) -> list[dict[str, Any]]:
    rows = zip(classes.tolist(), areas.tolist(), *(values.tolist() for values in more.values()), strict=True)
    return [
        {
            "id": start + number,
            "image_id": image,
            "category_id": label + 1,
            "area": area,
            "bbox": [0, 0, 0, 0],
            **{name: value if name == "score" else int(value) for name, value in zip(more, rest, strict=True)},
        }
        for number, (label, area, *rest) in enumerate(rows, 1)
    ]


def _matrix(image: ImageOverlaps, label: int, definition: int) -> Floats:
    """The overlaps of a class as the package wants them: detections by falling score, and the most of them."""
    rows, columns = np.flatnonzero(image.classes == label), np.flatnonzero(image.true_classes == label)
    rows = rows[np.argsort(-image.scores[rows], kind="stable")][:MOST_DETECTIONS]
    whole = np.zeros((len(image.classes), len(image.true_classes)))
    whole[image.pairs[:, 0], image.pairs[:, 1]] = image.overlaps[definition]
    return np.asarray(whole[np.ix_(rows, columns)])


def _mean(precision: Floats) -> float:
    known = precision[precision > UNDEFINED]
    return float(known.mean()) if known.size else float("nan")
