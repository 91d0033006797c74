"""The measures of semantic segmentation: mean intersection over union, and the accuracies.

From one confusion matrix over the pixels of all images, as "The Pascal Visual Object Classes Challenge" (Everingham,
Eslami, Van Gool, Williams, Winn, Zisserman, 2015) and "Fully Convolutional Networks for Semantic Segmentation" (Long,
Shelhamer, Darrell, 2015, arXiv 1411.4038, section 5) define them. With n[i, j] the pixels of class i that were called
class j, t[i] the pixels of class i, and p[j] those called class j:

| measure | definition |
|---|---|
| iou/<name> | n[i, i] / (t[i] + p[i] - n[i, i]), of one class |
| mean_iou | the mean of these over the classes that occur in the truth or in a prediction |
| pixel_accuracy | the sum of n[i, i] over the sum of t[i] |
| mean_accuracy | the mean of n[i, i] / t[i] over the classes that occur in the truth |

Void pixels of the truth are left out. A class that occurs in neither is NaN and not in the mean; one that is only
predicted counts as 0 (the convention of Cityscapes' programme and of MMSegmentation; some others leave it out). A
pixel whose prediction is void is wrong for its true class and belongs to no other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.metrics.classes import VOID, Labels, distinct_names, label_map

__all__ = ["SemanticMeter", "confusion_matrix"]

AnyArray = npt.NDArray[Any]


def confusion_matrix(pred: AnyArray, true: AnyArray, num_labels: int) -> Labels:
    """Count the pixels by their true and their predicted class.

    Args:
        pred: (h, w) whole numbers, classes from 0, or VOID (-1) where nothing is predicted.
        true: (h, w) the same; pixels that are VOID here are not counted.
        num_labels: how many classes there are.

    Returns:
        (num_labels, num_labels + 1) int64: the true class by the predicted one; the last column is void.

    Raises:
        InputError: the sizes differ, no whole numbers, or a class beyond `num_labels`.

    Example:
        >>> confusion_matrix(np.array([[0, 1, 1]]), np.array([[0, 0, -1]]), 2).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    guess, truth = label_map(pred, num_labels, "pred"), label_map(true, num_labels, "true")
    if guess.shape != truth.shape:
        raise InputError(
            f"pred is {guess.shape[1]}×{guess.shape[0]} but true is {truth.shape[1]}×{truth.shape[0]} "
            "(width×height): resize the prediction to the size of the truth, by nearest neighbour"
        )
    known = truth != VOID
    guess, truth = guess[known], truth[known]
    guess = np.where(guess == VOID, num_labels, guess)
    counts = np.bincount(truth * (num_labels + 1) + guess, minlength=num_labels * (num_labels + 1))
    return counts.astype(np.int64).reshape(num_labels, num_labels + 1)


class SemanticMeter:
    """Mean intersection over union and accuracies over many images; a `Meter`.

    It keeps one confusion matrix of whole numbers, so it does not grow with the images and merges exactly.

    Args:
        num_labels: how many classes there are, at least 1.
        names: one for each class; the class numbers by default.

    Raises:
        InputError: no class, or not as many names.

    Example:
        >>> meter = SemanticMeter(2, ["cat", "dog"])
        >>> meter.update(np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, -1]]))["pixel_accuracy"]
        0.6666666666666666
        >>> meter.compute()["iou/cat"]
        0.5
    """

    def __init__(self, num_labels: int, names: Sequence[str] | None = None) -> None:
        if num_labels < 1:
            raise InputError(f"num_labels is {num_labels}, and at least 1 class is needed")
        if names is not None and len(names) != num_labels:
            raise InputError(f"there are {len(names)} names for {num_labels} classes: give one for each")
        self.names = distinct_names([str(number) for number in range(num_labels)] if names is None else names)
        self.counts: Labels = np.zeros((num_labels, num_labels + 1), np.int64)

    def update(self, pred: AnyArray, true: AnyArray) -> dict[str, float]:
        """Add an image; arguments and errors as in `confusion_matrix`.

        Returns:
            mean_iou, pixel_accuracy and mean_accuracy of this image alone; NaN where all of it is void.
        """
        counts = confusion_matrix(pred, true, len(self.names))
        self.counts += counts
        return _means(counts)

    def merge(self, other: Self) -> None:
        """Take in what another meter has seen; one of other classes is an InputError."""
        if other.names != self.names:
            raise InputError("the meters count different classes: merge those of the same data set")
        self.counts += other.counts

    def compute(self) -> dict[str, float]:
        """mean_iou, pixel_accuracy, mean_accuracy and iou/<name> over all images, each in [0, 1] or NaN."""
        each = zip(self.names, _ious(self.counts).tolist(), strict=True)
        return {**_means(self.counts), **{f"iou/{name}": iou for name, iou in each}}


def _ious(counts: Labels) -> npt.NDArray[np.float64]:
    right = np.diagonal(counts)
    union = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - right
    return _shares(right, union)


def _means(counts: Labels) -> dict[str, float]:
    right, truth = np.diagonal(counts), counts.sum(axis=1)
    total = int(truth.sum())
    return {
        "mean_iou": _mean(_ious(counts)),
        "pixel_accuracy": int(right.sum()) / total if total else math.nan,
        "mean_accuracy": _mean(_shares(right, truth)),
    }


def _shares(part: Labels, whole: Labels) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0), np.float64)


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
