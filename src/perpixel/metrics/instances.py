"""COCO's average precision and recall of instance masks, and boundary AP.

As COCO's own programme (pycocotools' COCOeval with iouType="segm") computes them, through faster-coco-eval:

| measure | definition |
|---|---|
| ap | precision averaged over 101 recalls, the IoU thresholds 0.5, 0.55 … 0.95, and the classes that have truth |
| ap50, ap75 | at one threshold |
| ap_small, ap_medium, ap_large | of objects below 32², up to 96², and above 96² pixels |
| ar1, ar10, ar100 | recall with the best 1, 10, 100 detections of a class in an image, averaged likewise |
| ar_small, ar_medium, ar_large | ar100 by size |
| ap/<name> | ap of one class |

With `boundary=True` all of them come a second time as `boundary_ap` … , where the IoU is the smaller one of mask IoU
and boundary IoU (Cheng, Girshick, Dollár, Berg, Kirillov, 2021, arXiv 2103.16562, section 6). A crowd matches any
number of detections, by the share of the detection that it covers, and such detections are not counted.

Between equal scores, the image with the lower id comes first, then the detection given first; as in COCO's programme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from perpixel.errors import InputError, MissingDependencyError
from perpixel.metrics.boundary import DILATION_RATIO, boundary_mask
from perpixel.metrics.classes import Classes, distinct_names
from perpixel.ops.rle import Rle, decode_rle, encode_rle, rle_ends

__all__ = ["STATISTICS", "ImageOverlaps", "InstanceMeter"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
AnyRle: TypeAlias = Rle | Mapping[str, Any]
Prediction: TypeAlias = tuple[AnyRle, int, float]
Truth: TypeAlias = tuple[AnyRle, int, bool, float | None]

# In the order of COCO's summary.
STATISTICS = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
MOST_DETECTIONS = 100  # of a class in an image
LEAST_OVERLAP = 0.5  # nothing below the lowest threshold ever matches


class ImageOverlaps(NamedTuple):
    """What average precision needs of one image: a few numbers a detection and a true object, and no mask."""

    scores: Floats  # (d,)
    classes: Ints  # (d,)
    areas: Floats  # (d,)
    true_classes: Ints  # (t,)
    true_areas: Floats  # (t,)
    crowds: Bool  # (t,)
    pairs: Ints  # (p, 2): a detection and a true object of its class that overlap by `LEAST_OVERLAP` and more
    overlaps: Floats  # (m, p): the overlap of each pair, by each of m definitions of it


class InstanceMeter:
    """Average precision and recall over many images; a `Meter`.

    Precision is ranked over all images, so something of each must be kept until the end: per detection and true
    object its class, score and area, and the overlaps of at least 0.5 between them. That is about 24 bytes for each
    of these and 1 KB for the image, and no mask. Of a class, the 100 best detections in an image are kept, as COCO
    counts no more.

    Args:
        categories: the classes, by name.
        boundary: whether boundary AP is measured too; it takes longer.

    Raises:
        MissingDependencyError: faster-coco-eval is not installed.

    Example:
        >>> from perpixel.data.samples import Categories
        >>> from perpixel.ops.rle import encode_rle
        >>> meter = InstanceMeter(Categories(("cat", "dog")))
        >>> cat, dog = np.zeros((2, 8, 8), bool)
        >>> cat[:4] = dog[5:] = True
        >>> truth = [(encode_rle(cat), 0, False, None), (encode_rle(dog), 1, False, None)]
        >>> image = meter.update("yard", (8, 8), [(encode_rle(cat), 0, 0.9)], truth)
        >>> meter.compute()["ap"], meter.compute()["ap/cat"]
        (0.5, 1.0)
    """

    def __init__(self, categories: Classes, boundary: bool = False) -> None:
        _average_precision()  # its error, at once
        self.names = distinct_names(categories.names)
        self.boundary = boundary
        self.images: dict[str | int, ImageOverlaps] = {}

    def update(
        self,
        image_id: str | int,
        size: tuple[int, int],
        predictions: Sequence[Prediction],
        truth: Sequence[Truth],
    ) -> dict[str, float]:
        """Add an image.

        Args:
            image_id: unique in the data set.
            size: (height, width) of the image, which all masks have.
            predictions: for each detection its mask as COCO run lengths, class and score; they may overlap.
            truth: for each object its mask, class, whether it is a crowd, and its area in pixels if the data set
                says one (COCO's is that of the polygon), or None for that of the mask.

        Returns:
            ap, ap50 and ap75 of this image alone, and `boundary_` of each; NaN where it has no object.

        Raises:
            InputError: a mask of another size, a class beyond the categories, a score that is not finite, or an image
                that was added before.
        """
        if image_id in self.images:
            raise InputError(f"image {image_id!r} was added before: add each image once")
        found = self._overlaps(size, predictions, truth)
        self.images[image_id] = found
        measures = self._summary([found])
        prefixes = ("", "boundary_") if self.boundary else ("",)
        return {prefix + name: measures[prefix + name] for prefix in prefixes for name in ("ap", "ap50", "ap75")}

    def merge(self, other: Self) -> None:
        """Take in what another meter has seen; one of other settings or with the same images is an InputError."""
        if (other.names, other.boundary) != (self.names, self.boundary):
            raise InputError("the meters measure different classes or boundaries: merge those of one run")
        both = self.images.keys() & other.images.keys()
        if both:
            raise InputError(f"{len(both)} images are in both meters, for instance {min(both, key=repr)!r}")
        self.images |= other.images

    def compute(self) -> dict[str, float]:
        """All measures of COCO's summary and ap/<name> over all images, each in [0, 1] or NaN."""
        # Numbers by value before names by letter; numbers and names are not compared with each other.
        order = sorted(self.images, key=lambda image: (isinstance(image, str), image))
        return self._summary([self.images[image] for image in order])

    def _summary(self, images: list[ImageOverlaps]) -> dict[str, float]:
        """All measures; those of classes without truth are NaN, and cost no time."""
        labels = sorted({label for image in images for label in image.true_classes.tolist()})
        measures: dict[str, float] = {}
        for definition, prefix in enumerate(("", "boundary_") if self.boundary else ("",)):
            means, each = dict.fromkeys(STATISTICS, math.nan), dict.fromkeys(self.names, math.nan)
            if labels:
                means, values = _average_precision()(images, labels, definition)
                each |= {self.names[label]: value for label, value in zip(labels, values, strict=True)}
            measures |= {prefix + name: value for name, value in means.items()}
            measures |= {f"{prefix}ap/{name}": value for name, value in each.items()}
        return measures

    def _overlaps(
        self, size: tuple[int, int], predictions: Sequence[Prediction], truth: Sequence[Truth]
    ) -> ImageOverlaps:
        labels = self._classes([label for _, label, _ in predictions], "prediction")
        true_labels = self._classes([label for _, label, _, _ in truth], "true object")
        scores = np.array([score for _, _, score in predictions], np.float64)
        if not np.isfinite(scores).all():
            raise InputError(f"a prediction has the score {scores[~np.isfinite(scores)][0]}: scores must be finite")
        kept = _best(scores, labels, MOST_DETECTIONS)
        checked = [_checked(predictions[place][0], size, "prediction") for place in kept]
        true_checked = [_checked(rle, size, "true object") for rle, *_ in truth]
        masks, true_masks = [rle for rle, _ in checked], [rle for rle, _ in true_checked]
        scores, labels = scores[kept], labels[kept]
        areas = np.array([area for _, area in checked], np.float64)
        known = [own if area is None else area for (_, own), (*_, area) in zip(true_checked, truth, strict=True)]
        true_areas = np.array(known, np.float64)
        crowds = np.array([crowd for _, _, crowd, _ in truth], np.bool_)

        pairs: list[Ints] = [np.empty((0, 2), np.int64)]
        overlaps: list[Floats] = [np.empty((1 + self.boundary, 0))]
        edges: dict[int, Any] = {}  # boundaries of predictions, and of true objects as ~place
        for label in np.intersect1d(labels, true_labels).tolist():
            rows, columns = np.flatnonzero(labels == label), np.flatnonzero(true_labels == label)
            iou = _iou([masks[row] for row in rows], [true_masks[column] for column in columns], crowds[columns])
            near, by = np.nonzero(iou >= LEAST_OVERLAP)
            pairs.append(np.stack([rows[near], columns[by]], axis=1))
            values = [iou[near, by]]
            if self.boundary:
                values.append(values[0].copy())
                for place, (row, column) in enumerate(pairs[-1].tolist()):
                    if not crowds[column]:
                        for key, mask in ((row, masks[row]), (~column, true_masks[column])):
                            if key not in edges:
                                edges[key] = _boundary(mask)
                        edge = _iou([edges[row]], [edges[~column]], np.zeros(1, np.bool_))[0, 0]
                        values[1][place] = min(values[0][place], edge)
            overlaps.append(np.stack(values))
        return ImageOverlaps(
            scores, labels, areas, true_labels, true_areas, crowds, np.concatenate(pairs), np.concatenate(overlaps, 1)
        )

    def _classes(self, labels: Sequence[int], what: str) -> Ints:
        wrong = [label for label in labels if not 0 <= label < len(self.names)]
        if wrong:
            raise InputError(f"a {what} has the class {wrong[0]}, and there are {len(self.names)} (from 0)")
        return np.array(labels, np.int64)


def _average_precision() -> Callable[..., tuple[dict[str, float], list[float]]]:
    """What needs the extra."""
    try:
        from perpixel.metrics.average_precision import average_precision
    except ModuleNotFoundError as error:
        if error.name != "faster_coco_eval":
            raise
        raise MissingDependencyError(
            "average precision needs faster-coco-eval, which is not installed: pip install 'perpixel[eval]'"
        ) from error
    return average_precision


def _best(scores: Floats, labels: Ints, most: int) -> list[int]:
    """The places of the best detections of each class, in the order given."""
    kept: list[int] = []
    for label in np.unique(labels).tolist():
        places = np.flatnonzero(labels == label)
        kept += places[np.argsort(-scores[places], kind="stable")][:most].tolist()
    return sorted(kept)


def _checked(rle: AnyRle, size: tuple[int, int], what: str) -> tuple[Any, int]:
    """The mask as pycocotools takes it, after what its C code does not check, and its area."""
    runs = np.diff(rle_ends(rle), prepend=0)
    height, width = (int(side) for side in rle["size"])
    if (height, width) != tuple(size):
        raise InputError(
            f"the mask of a {what} is {width}×{height} but the image is {size[1]}×{size[0]} (width×height): "
            "resize the masks to the size of the image"
        )
    packed = rle
    if not isinstance(rle["counts"], str | bytes):
        packed = coco.frPyObjects([{"size": [height, width], "counts": runs.tolist()}], height, width)[0]
    return packed, int(runs[1::2].sum())


def _boundary(mask: Any) -> Any:
    return encode_rle(boundary_mask(decode_rle(mask), DILATION_RATIO))


def _iou(found: list[Any], truth: list[Any], crowds: Bool) -> Floats:
    """(found, truth): intersection over union; over the detection's own area where the truth is a crowd."""
    return np.asarray(coco.iou(found, truth, crowds.astype(int).tolist()), np.float64)
