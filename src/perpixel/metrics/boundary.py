"""Boundary IoU: how well the outlines of masks agree, whatever their size.

As "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (Cheng, Girshick, Dollár, Berg, Kirillov,
2021, arXiv 2103.16562, section 4) defines it: the boundary of a mask are its own pixels at most d away from what is
not the mask, and boundary IoU is the intersection over union of two boundaries. d is 2 % of the image's diagonal,
rounded, at least one pixel; distance is the larger of both sides' (as the authors erode by a square), and what is
beyond the image is not the mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.metrics.classes import VOID, Labels, distinct_names, label_map

__all__ = ["DILATION_RATIO", "BoundaryMeter", "boundary_iou", "boundary_mask"]

AnyArray = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]

DILATION_RATIO = 0.02


def boundary_mask(mask: AnyArray, dilation_ratio: float = DILATION_RATIO) -> Bool:
    """The pixels of a mask that are near its outline.

    Args:
        mask: (h, w) bool, or numbers of which every one but 0 is foreground.
        dilation_ratio: how near, as a fraction of the image's diagonal; at least one pixel.

    Returns:
        (h, w) bool, part of the mask.

    Raises:
        InputError: the mask has not two dimensions, or the ratio is not above 0.

    Example:
        >>> boundary_mask(np.ones((3, 4))).astype(int).tolist()
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    inside = np.asarray(mask) != 0
    if inside.ndim != 2:
        raise InputError(f"the mask has the shape {inside.shape}, and (height, width) is needed: give one plane")
    if not 0 < dilation_ratio < math.inf:
        raise InputError(f"dilation_ratio is {dilation_ratio}, and a fraction above 0 is needed, as 0.02")
    reach = max(1, round(dilation_ratio * math.hypot(*inside.shape)))
    boundary: Bool = np.zeros(inside.shape, np.bool_)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return boundary
    # Around the mask's box there is no mask, inside of the image as beyond it.
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = np.pad(inside[box].astype(np.uint8), 1)
    away = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
    boundary[box] = inside[box] & (away <= reach)
    return boundary


def boundary_iou(pred: AnyArray, true: AnyArray, dilation_ratio: float = DILATION_RATIO) -> float:
    """The intersection over union of the boundaries of two masks of one image.

    Args:
        pred: (h, w) bool, or numbers of which every one but 0 is foreground.
        true: (h, w) the same.
        dilation_ratio: as in `boundary_mask`.

    Returns:
        In [0, 1], 1 the best; NaN where both masks are empty.

    Raises:
        InputError: the sizes differ, or as in `boundary_mask`.

    Example:
        >>> one, other = np.zeros((2, 9, 9), bool)
        >>> one[2:7, 2:7] = other[2:7, 2:8] = True
        >>> round(boundary_iou(one, other), 3)  # rings of 16 and 18 pixels share 13 of 21
        0.619
    """
    if np.shape(pred) != np.shape(true):
        raise InputError(f"pred has the shape {np.shape(pred)} and true {np.shape(true)}: compare masks of one image")
    guess, truth = boundary_mask(pred, dilation_ratio), boundary_mask(true, dilation_ratio)
    union = int((guess | truth).sum())
    return int((guess & truth).sum()) / union if union else math.nan


class BoundaryMeter:
    """Boundary IoU of label maps over many images, class by class as in the mean IoU; a `Meter`.

    For each class, the pixels in which the boundaries agree and those in either are counted over all images; the mean
    is over the classes that occur in the truth or in a prediction. What is void in the truth is cut out of the
    prediction too, so that both end there alike. It keeps two whole numbers a class.

    Args:
        num_labels: how many classes there are, at least 1.
        names: one for each class; the class numbers by default.
        dilation_ratio: as in `boundary_mask`.

    Raises:
        InputError: no class, or not as many names.

    Example:
        >>> meter = BoundaryMeter(2, ["ground", "tree"])
        >>> image = meter.update(np.array([[0, 0, 1]]), np.array([[0, 1, 1]]))
        >>> meter.compute()
        {'mean_boundary_iou': 0.5, 'boundary_iou/ground': 0.5, 'boundary_iou/tree': 0.5}
    """

    def __init__(
        self, num_labels: int, names: Sequence[str] | None = None, dilation_ratio: float = DILATION_RATIO
    ) -> None:
        if num_labels < 1:
            raise InputError(f"num_labels is {num_labels}, and at least 1 class is needed")
        if names is not None and len(names) != num_labels:
            raise InputError(f"there are {len(names)} names for {num_labels} classes: give one for each")
        boundary_mask(np.zeros((1, 1)), dilation_ratio)  # its errors, at once
        self.names = distinct_names([str(number) for number in range(num_labels)] if names is None else names)
        self.dilation_ratio = dilation_ratio
        self.counts: Labels = np.zeros((2, num_labels), np.int64)  # intersection and union by class

    def update(self, pred: AnyArray, true: AnyArray) -> dict[str, float]:
        """Add an image.

        Args:
            pred: (h, w) whole numbers, classes from 0, or VOID (-1) where nothing is predicted.
            true: (h, w) the same; pixels that are VOID here are not counted.

        Returns:
            mean_boundary_iou of this image alone; NaN where all of it is void.

        Raises:
            InputError: the sizes differ, no whole numbers, or a class beyond `num_labels`.
        """
        guess, truth = label_map(pred, len(self.names), "pred"), label_map(true, len(self.names), "true")
        if guess.shape != truth.shape:
            raise InputError(
                f"pred is {guess.shape[1]}×{guess.shape[0]} but true is {truth.shape[1]}×{truth.shape[0]} "
                "(width×height): resize the prediction to the size of the truth, by nearest neighbour"
            )
        guess = np.where(truth == VOID, VOID, guess)
        counts = np.zeros_like(self.counts)
        for label in np.union1d(guess, truth).tolist():
            if label != VOID:
                one, other = (boundary_mask(labels == label, self.dilation_ratio) for labels in (guess, truth))
                counts[:, label] = (one & other).sum(), (one | other).sum()
        self.counts += counts
        return {"mean_boundary_iou": _mean(counts)}

    def merge(self, other: Self) -> None:
        """Take in what another meter has seen; one of other settings is an InputError."""
        if (other.names, other.dilation_ratio) != (self.names, self.dilation_ratio):
            raise InputError("the meters have other classes or another dilation_ratio: merge those of one run")
        self.counts += other.counts

    def compute(self) -> dict[str, float]:
        """mean_boundary_iou and boundary_iou/<name> over all images, each in [0, 1] or NaN."""
        pairs = zip(self.names, *self.counts.tolist(), strict=True)
        each = {f"boundary_iou/{name}": both / either if either else math.nan for name, both, either in pairs}
        return {"mean_boundary_iou": _mean(self.counts), **each}


def _mean(counts: Labels) -> float:
    both, either = counts[:, counts[1] > 0]
    return float((both / either).mean()) if len(both) else math.nan
