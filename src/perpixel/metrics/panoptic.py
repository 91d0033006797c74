"""Panoptic quality, as "Panoptic Segmentation" (Kirillov, He, Girshick, Rother, Dollár, 2019, arXiv 1801.00868,
section 4) defines it and COCO's own programme (panopticapi) counts it.

A predicted and a true segment of the same class match if their intersection over union is above 0.5; void pixels of
the truth are first taken out of the prediction. For each class, over all images, with TP the matched pairs, FP the
predicted segments left over and FN the true ones left over:

| measure | definition |
|---|---|
| sq, segmentation quality | the mean IoU of the matched pairs; 0 without any |
| rq, recognition quality | TP / (TP + FP / 2 + FN / 2) |
| pq, panoptic quality | the sum of the IoUs / (TP + FP / 2 + FN / 2), which is sq · rq |

The headline is the mean over the classes that occur, in the truth or as a predicted segment that counts; `_things` and
`_stuff` are the means over those classes alone. What COCO's programme does with the odd cases, and so does this:

- A crowd matches nothing and is not missed.
- A predicted segment left over is forgiven if more than half of it lies on void and on crowds of its own class.
- Void pixels of the prediction are nothing special: they are missing from the segments around them.
- A true segment that no pixel has is missed. A predicted one that no pixel has is passed over (COCO's programme
  refuses it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.metrics.classes import VOID, Classes, Labels, distinct_names, label_map
from perpixel.metrics.meter import ExactSum

__all__ = ["PanopticMatches", "PanopticMeter", "match_segments"]

AnyArray = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


class PanopticMatches(NamedTuple):
    """How the segments of one image fit together."""

    pairs: Labels  # (m, 2): the predicted and the true segment of each match
    ious: Double  # (m,): above 0.5
    spurious: Labels  # (fp,): predicted segments left over
    missed: Labels  # (fn,): true segments left over


def match_segments(
    pred_map: AnyArray,
    pred_classes: Sequence[int] | AnyArray,
    true_map: AnyArray,
    true_classes: Sequence[int] | AnyArray,
    crowd: Sequence[bool] | AnyArray | None = None,
) -> PanopticMatches:
    """Match the predicted segments of an image with the true ones.

    Args:
        pred_map: (h, w) whole numbers: the place of each pixel's segment in `pred_classes`, VOID (-1) for none.
        pred_classes: the class of each predicted segment.
        true_map: (h, w) the same for the truth.
        true_classes: the class of each true segment.
        crowd: whether each true segment is a crowd; none is by default.

    Returns:
        The matches, and what is left over.

    Raises:
        InputError: the sizes differ, or a pixel names a segment that is not in the list.

    Example:
        >>> match_segments(np.array([[0, 0, 1]]), [5, 6], np.array([[0, 0, -1]]), [5])
        PanopticMatches(pairs=array([[0, 0]]), ious=array([1.]), spurious=array([], ...), missed=array([], ...))
    """
    guess_of, truth_of = _numbers(pred_classes), _numbers(true_classes)
    crowds = np.zeros(len(truth_of), np.bool_) if crowd is None else np.asarray(crowd, np.bool_).reshape(-1)
    if len(crowds) != len(truth_of):
        raise InputError(f"crowd has {len(crowds)} entries for {len(truth_of)} true segments: give one for each")
    guess = label_map(pred_map, len(guess_of), "pred_map", "segments")
    truth = label_map(true_map, len(truth_of), "true_map", "segments")
    if guess.shape != truth.shape:
        raise InputError(
            f"pred_map is {guess.shape[1]}×{guess.shape[0]} but true_map is {truth.shape[1]}×{truth.shape[0]} "
            "(width×height): resize the prediction to the size of the truth, by nearest neighbour"
        )
    # Each pair of segments that share a pixel, by one number; void comes first, as 0.
    columns = len(guess_of) + 1
    combined, areas = np.unique((truth + 1) * columns + guess + 1, return_counts=True)
    of_truth, of_guess = combined // columns - 1, combined % columns - 1
    guess_area = np.bincount(of_guess + 1, areas, columns)[1:]
    truth_area = np.bincount(of_truth + 1, areas, len(truth_of) + 1)[1:]
    on_void = of_truth == VOID
    void_area = np.bincount(of_guess[on_void] + 1, areas[on_void], columns)[1:]

    both = (of_truth != VOID) & (of_guess != VOID)
    t, g, shared = of_truth[both], of_guess[both], areas[both]
    same = guess_of[g] == truth_of[t]
    union = guess_area[g] + truth_area[t] - shared - void_area[g]
    iou = shared / union  # the shared pixels are in it, so it is above 0
    found = same & ~crowds[t] & (iou > 0.5)

    on_crowd = same & crowds[t]
    forgiven = void_area + np.bincount(g[on_crowd], shared[on_crowd], len(guess_of))
    # A segment that no pixel has is at or under half of nothing; it is neither right nor wrong.
    spurious: Bool = (guess_area > 0) & (forgiven <= 0.5 * guess_area)
    spurious[g[found]] = False
    missed: Bool = ~crowds
    missed[t[found]] = False
    pairs = np.stack([g[found], t[found]], axis=1)  # (m, 2)
    return PanopticMatches(pairs, iou[found], np.flatnonzero(spurious), np.flatnonzero(missed))


class PanopticMeter:
    """Panoptic, segmentation and recognition quality over many images; a `Meter`.

    It keeps three whole numbers and one exact sum a class, so it does not grow with the images and merges to the digit.

    Args:
        categories: the classes: names, and which of them are things.

    Example:
        >>> from perpixel.data.samples import Categories
        >>> meter = PanopticMeter(Categories(("cat", "sky"), things=(True, False)))
        >>> image = meter.update(np.array([[0, 0, 1, 1]]), [0, 1], np.array([[0, 0, 0, 1]]), [0, 1])
        >>> image["pq"], meter.compute()["pq/cat"], meter.compute()["rq"]
        (0.3333333333333333, 0.6666666666666666, 0.5)
    """

    def __init__(self, categories: Classes) -> None:
        self.names, self.things = distinct_names(categories.names), tuple(categories.things)
        if not self.names or len(self.names) != len(self.things):
            raise InputError(f"there are {len(self.names)} names and {len(self.things)} things: give one each a class")
        self.tally: Labels = np.zeros((3, len(self.names)), np.int64)  # TP, FP, FN by class
        self.ious = [ExactSum() for _ in self.names]

    def update(
        self,
        pred_map: AnyArray,
        pred_classes: Sequence[int] | AnyArray,
        true_map: AnyArray,
        true_classes: Sequence[int] | AnyArray,
        crowd: Sequence[bool] | AnyArray | None = None,
    ) -> dict[str, float]:
        """Add an image; arguments as in `match_segments`.

        Returns:
            pq, sq and rq of this image alone, and each with `_things` and `_stuff`; NaN where no class occurs.

        Raises:
            InputError: as in `match_segments`, or a class beyond the categories.
        """
        guess_of, truth_of = _numbers(pred_classes), _numbers(true_classes)
        for name, classes in (("pred_classes", guess_of), ("true_classes", truth_of)):
            if len(classes) and not 0 <= classes.min() <= classes.max() < len(self.names):
                wrong = int(classes.min() if classes.min() < 0 else classes.max())
                raise InputError(f"{name} has the class {wrong}, and there are {len(self.names)} (from 0)")
        matches = match_segments(pred_map, guess_of, true_map, truth_of, crowd)
        of_match = truth_of[matches.pairs[:, 1]]
        tally = np.stack(
            [
                np.bincount(classes, minlength=len(self.names))
                for classes in (of_match, guess_of[matches.spurious], truth_of[matches.missed])
            ]
        ).astype(np.int64)  # (3, k)
        ious = [ExactSum() for _ in self.names]
        for number, iou in zip(of_match.tolist(), matches.ious.tolist(), strict=True):
            ious[number].add(iou)
        self._add(tally, ious)
        return self._means(tally, ious)

    def merge(self, other: Self) -> None:
        """Take in what another meter has seen; one of other classes is an InputError."""
        if (other.names, other.things) != (self.names, self.things):
            raise InputError("the meters measure different classes: merge those of the same data set")
        self._add(other.tally, other.ious)

    def compute(self) -> dict[str, float]:
        """pq, sq, rq over all images, `_things` and `_stuff` of each, and pq/<name>, sq/<name>, rq/<name> by class.

        Each is in [0, 1], or NaN where no class, or not this one, occurs.
        """
        measures = self._means(self.tally, self.ious)
        for measure, values in zip(("pq", "sq", "rq"), _by_class(self.tally, self.ious), strict=True):
            measures |= {f"{measure}/{name}": value for name, value in zip(self.names, values.tolist(), strict=True)}
        return measures

    def _add(self, tally: Labels, ious: list[ExactSum]) -> None:
        self.tally += tally
        for total, more in zip(self.ious, ious, strict=True):
            total.merge(more)

    def _means(self, tally: Labels, ious: list[ExactSum]) -> dict[str, float]:
        values = np.stack(_by_class(tally, ious))  # (3, k)
        occurs, things = tally.any(axis=0), np.asarray(self.things, np.bool_)
        means = {}
        for suffix, group in (("", occurs), ("_things", occurs & things), ("_stuff", occurs & ~things)):
            for measure, row in zip(("pq", "sq", "rq"), values[:, group], strict=True):
                means[measure + suffix] = float(row.mean()) if len(row) else math.nan
        return means


def _by_class(tally: Labels, ious: list[ExactSum]) -> tuple[Double, Double, Double]:
    """pq, sq and rq, (k,) each; NaN for a class that does not occur."""
    matched = tally[0]
    total = np.array([each.value for each in ious])
    half = np.where(tally.any(axis=0), matched + 0.5 * tally[1] + 0.5 * tally[2], np.nan)
    # sq is 0 for a class that occurs without a match, as COCO has it.
    sq = np.where(np.isnan(half), np.nan, total / np.maximum(matched, 1))
    return total / half, sq, matched / half


def _numbers(classes: Sequence[int] | AnyArray) -> Labels:
    values = np.asarray(classes)
    if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
        raise InputError(f"the classes of the segments are {classes!r}: give a list of whole numbers, one a segment")
    return values.astype(np.int64)
