"""One judge a task: it compares a prediction with the truth, adds both to a meter, and can draw them.

The same judges measure a model's predictions and files that any tool wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from perpixel.data.samples import (
    Categories,
    DepthSample,
    LabelKind,
    LabelledObject,
    MattingSample,
    SegmentationSample,
)
from perpixel.errors import InputError
from perpixel.evaluate.pictures import Panel, alpha_panels, depth_panels, segment_panels
from perpixel.evaluate.rules import Rules

__all__ = ["DepthPrediction", "FoundObject", "Judge", "PanopticPrediction", "judge_for"]

AnyArray = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]

# AP counts what scores less too, but drawn it would hide the picture.
SHOWN_SCORE = 0.5


@dataclass(frozen=True)
class FoundObject:
    """A predicted instance: its mask as COCO's RLE, its class number and its score."""

    rle: Mapping[str, Any]
    category: int
    score: float


@dataclass(frozen=True, eq=False)
class PanopticPrediction:
    """Predicted segments: (h, w) int32 with each pixel's place in `classes`, VOID for none, and their classes."""

    labels: npt.NDArray[np.int32]
    classes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class DepthPrediction:
    """Predicted depth: (h, w) metres, or inverse depth of any scale."""

    values: npt.NDArray[np.floating[Any]]
    inverse: bool = False


class Judge(Protocol):
    """Measures one task.

    Attributes:
        task: what it measures.
        meter: what it has seen so far; see `perpixel.metrics.meter.Meter`.
        headline: the measure over all images that stands for all.
        ranked_by: the measure of one image that says how bad it is.
        larger_is_better: whether more of that is better.
    """

    task: LabelKind
    meter: Any
    headline: str
    ranked_by: str
    larger_is_better: bool

    def measure(self, prediction: Any, truth: Any) -> dict[str, float]:
        """Add an image to the meter and return its own measures; what does not fit is an InputError."""

    def draw(self, prediction: Any, truth: Any, photo: Picture | None) -> tuple[Panel, ...]:
        """The pictures of an image that was measured."""

    def compute(self) -> dict[str, float]:
        """The measures over all images."""

    def merge(self, other: Any) -> None:
        """Take in what another judge of the same settings has measured."""


def judge_for(task: LabelKind, rules: Rules, categories: Categories | None = None, *, trimaps: bool = True) -> Judge:
    """The judge of a task.

    Args:
        task: what is to be measured.
        rules: how.
        categories: the classes; needed for segmentation.
        trimaps: whether there are any, for matting.

    Raises:
        InputError: rules that are of another task.
    """
    rules.check(task)
    if task == "matting":
        return MattingJudge(trimaps)
    if task == "depth":
        return DepthJudge(rules)
    if categories is None or not len(categories):
        raise InputError(f"the data set tells no classes, and {task} needs them: use a layout of segmentation")
    makers: dict[str, Callable[[Categories, bool], Judge]] = {
        "semantic": SemanticJudge,
        "instance": InstanceJudge,
        "panoptic": PanopticJudge,
    }
    return makers[task](categories, rules.boundary)


class _Metered:
    """What all judges do with their meter."""

    meter: Any

    def compute(self) -> dict[str, float]:
        """The measures over all images."""
        return {name: float(value) for name, value in self.meter.compute().items()}

    def merge(self, other: Any) -> None:
        """Take in what another judge of the same settings has measured."""
        self.meter.merge(other.meter)


class MattingJudge(_Metered):
    """Mattes: an (h, w) alpha against a `MattingSample`, over its trimap's unknown pixels and over all pixels."""

    task: LabelKind = "matting"
    larger_is_better = False

    def __init__(self, trimaps: bool = True) -> None:
        """Without `trimaps` only the whole image is measured."""
        from perpixel.metrics.matting import MattingMeter

        self.meter = MattingMeter()
        self.headline = self.ranked_by = "sad" if trimaps else "sad_whole"

    def measure(self, prediction: AnyArray, truth: MattingSample) -> dict[str, float]:
        """See `Judge`."""
        return dict(self.meter.update(prediction, truth.alpha, truth.trimap))

    def draw(self, prediction: AnyArray, truth: MattingSample, photo: Picture | None) -> tuple[Panel, ...]:
        """See `Judge`."""
        return alpha_panels(photo, truth.alpha, prediction, truth.trimap)

    def compute(self) -> dict[str, float]:
        """See `Judge`."""
        found = super().compute()
        return {name: value for name, value in found.items() if self.ranked_by == "sad" or name.endswith("_whole")}


class SemanticJudge(_Metered):
    """Classes: an (h, w) map of class numbers, VOID for none, against a `SegmentationSample`."""

    task: LabelKind = "semantic"
    headline = "mean_iou"
    ranked_by = "mean_iou"
    larger_is_better = True

    def __init__(self, categories: Categories, boundary: bool = False) -> None:
        from perpixel.metrics.semantic import SemanticMeter

        self.categories = categories
        self.meter = SemanticMeter(len(categories), list(categories.names))
        self.boundary: Any = None
        if boundary:
            from perpixel.metrics.boundary import BoundaryMeter

            self.boundary = BoundaryMeter(len(categories), list(categories.names))

    def measure(self, prediction: AnyArray, truth: SegmentationSample) -> dict[str, float]:
        """See `Judge`."""
        labels = _labels(truth)
        found = dict(self.meter.update(prediction, labels))
        if self.boundary is not None:
            found |= self.boundary.update(prediction, labels)
        return found

    def draw(self, prediction: AnyArray, truth: SegmentationSample, photo: Picture | None) -> tuple[Panel, ...]:
        """See `Judge`."""
        classes = range(len(self.categories))
        guess = np.asarray(prediction, np.int32)
        return segment_panels(photo, (_labels(truth), classes), (guess, classes), self.categories.id2label)

    def compute(self) -> dict[str, float]:
        """See `Judge`."""
        more = {} if self.boundary is None else self.boundary.compute()
        return {**super().compute(), **more}

    def merge(self, other: Any) -> None:
        """See `Judge`."""
        super().merge(other)
        if self.boundary is not None:
            self.boundary.merge(other.boundary)


class InstanceJudge(_Metered):
    """Instances: a list of `FoundObject` against a `SegmentationSample` whose objects have masks of their own."""

    task: LabelKind = "instance"
    headline = "ap"
    ranked_by = "ap"
    larger_is_better = True

    def __init__(self, categories: Categories, boundary: bool = False) -> None:
        from perpixel.metrics.instances import InstanceMeter

        self.categories = categories
        self.meter = InstanceMeter(categories, boundary=boundary)

    def measure(self, prediction: Sequence[FoundObject], truth: SegmentationSample) -> dict[str, float]:
        """See `Judge`."""
        found: dict[str, float] = self.meter.update(
            truth.name,
            truth.image.shape[:2],
            [(found.rle, found.category, found.score) for found in prediction],
            [(_rle(each), each.category, each.crowd, each.area) for each in truth.objects],
        )
        return dict(found)

    def draw(
        self, prediction: Sequence[FoundObject], truth: SegmentationSample, photo: Picture | None
    ) -> tuple[Panel, ...]:
        """See `Judge`."""
        size = truth.image.shape[:2]
        shown = sorted((found for found in prediction if found.score >= SHOWN_SCORE), key=lambda found: found.score)
        true = _painted([_rle(each) for each in truth.objects], size), [each.category for each in truth.objects]
        guess = _painted([found.rle for found in shown], size), [found.category for found in shown]
        # Ground without an object is right where nothing was found either: no pixel of an instance sample is void.
        return segment_panels(photo, true, guess, self.categories.id2label, void_counts=True)


class PanopticJudge(_Metered):
    """Segments: a `PanopticPrediction` against a `SegmentationSample`."""

    task: LabelKind = "panoptic"
    headline = "pq"
    ranked_by = "pq"
    larger_is_better = True

    def __init__(self, categories: Categories, boundary: bool = False) -> None:
        from perpixel.metrics.panoptic import PanopticMeter

        if boundary:
            raise InputError("boundary is for semantic and instance segmentation: leave it out for panoptic")
        self.categories = categories
        self.meter = PanopticMeter(categories)

    def measure(self, prediction: PanopticPrediction, truth: SegmentationSample) -> dict[str, float]:
        """See `Judge`."""
        found: dict[str, float] = self.meter.update(
            prediction.labels,
            prediction.classes,
            _labels(truth),
            [each.category for each in truth.objects],
            [each.crowd for each in truth.objects],
        )
        return dict(found)

    def draw(
        self, prediction: PanopticPrediction, truth: SegmentationSample, photo: Picture | None
    ) -> tuple[Panel, ...]:
        """See `Judge`."""
        true = _labels(truth), [each.category for each in truth.objects]
        return segment_panels(photo, true, (prediction.labels, prediction.classes), self.categories.id2label)


class DepthJudge(_Metered):
    """Depth: a `DepthPrediction` against a `DepthSample`."""

    task: LabelKind = "depth"
    headline = "abs_rel"
    ranked_by = "abs_rel"
    larger_is_better = False

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.meter: Any = None  # made with the first prediction, which tells whether it is inverse depth

    def measure(self, prediction: DepthPrediction, truth: DepthSample) -> dict[str, float]:
        """See `Judge`."""
        if self.meter is None:
            self.meter = self.rules.depth_meter(prediction.inverse)
        found = dict(self.meter.update(prediction.values, truth.depth))
        if math.isnan(found["abs_rel"]):
            raise InputError(f"{truth.name} has no known depth where it is measured: take it out, or mend the caps")
        return found

    def draw(self, prediction: DepthPrediction, truth: DepthSample, photo: Picture | None) -> tuple[Panel, ...]:
        """See `Judge`."""
        from perpixel.metrics.depth import counted_pixels, paired_depths

        caps = self.rules.caps()
        counted = counted_pixels(truth.depth, **caps)
        metres = np.zeros(truth.depth.shape)
        metres[counted], _ = paired_depths(
            prediction.values, truth.depth, align=self.meter.align, inverse=prediction.inverse, **caps
        )
        return depth_panels(photo, truth.depth, metres, counted)

    def compute(self) -> dict[str, float]:
        """See `Judge`."""
        return {} if self.meter is None else super().compute()

    def merge(self, other: Any) -> None:
        """See `Judge`."""
        if self.meter is None:
            self.meter = other.meter
        elif other.meter is not None:
            super().merge(other)


def _labels(truth: SegmentationSample) -> npt.NDArray[np.int32]:
    if truth.labels is None:
        raise InputError(f"{truth.name} is labelled with {truth.kind} masks and has no map of labels: choose that task")
    return truth.labels


def _rle(each: LabelledObject) -> Mapping[str, Any]:
    if each.rle is None:
        raise InputError("an object of the truth has no mask of its own: open the data set for instances")
    return each.rle


def _painted(masks: Sequence[Mapping[str, Any]], size: Sequence[int]) -> npt.NDArray[np.int32]:
    from perpixel.ops.label_map import painted

    rles: Any = [(place + 1, rle) for place, rle in enumerate(masks)]
    found = painted(rles, (int(size[0]), int(size[1])))
    return found - np.int32(1)  # VOID where nothing is
