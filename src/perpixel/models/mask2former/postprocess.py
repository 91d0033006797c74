"""From Mask2Former's queries to segments: semantic, instance and panoptic inference at the size of the image.

Masked-attention Mask Transformer for Universal Image Segmentation (2021, arXiv 2112.01527), and for the semantic and
the panoptic rule Per-Pixel Classification is Not All You Need for Semantic Segmentation (2021, arXiv 2107.06278),
section 3.4. Every query has a distribution over the classes and a map of mask logits. The logits are enlarged to the
result's size by one bilinear interpolation; only then are they turned into probabilities, compared and thresholded.
`mask_tiles.py` sees to it that this happens only where the result depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perpixel.errors import InputError
from perpixel.models.mask2former.contest import compete
from perpixel.models.mask2former.instance_kernel import CompiledInstances, Result, compiled_instances
from perpixel.models.mask2former.instances import Instances
from perpixel.models.mask2former.mask_tiles import Floats, Grid, Indices, MaskTiles, sigmoid
from perpixel.models.outputs import ModelOutput

if TYPE_CHECKING:
    from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput as Output

    TargetSizes = Sequence[tuple[int, int]] | Tensor | None

# Rounding differs between a bound and the value that it bounds; whatever is this close is looked at.
SLACK = 2e-6
# A query that cannot move any score of a tile by more than this counts with its middle there.
NEGLIGIBLE = 1e-8


@dataclass(eq=False)
class SemanticSegmentationPostProcessorOutput(ModelOutput):
    """A semantic segmentation with its scores.

    Attributes:
        segmentation: (h, w) int64, the class of each pixel.
        segmentation_scores: (k, h, w) float32, Σ over the queries of class probability × mask probability.
    """

    segmentation: Tensor | None = None
    segmentation_scores: Tensor | None = None


@torch.no_grad()
def semantic_segmentation(
    outputs: Output, target_sizes: TargetSizes = None, return_segmentation_scores: bool = False
) -> list[Any]:
    """Give every pixel the class with the highest Σ over queries of class probability × mask probability.

    Args:
        outputs: of `Mask2FormerForUniversalSegmentation`.
        target_sizes: (height, width) of each image; the mask logits' own size if not given.
        return_segmentation_scores: return the scores too, which takes classes × height × width floats.

    Returns:
        For each image an (h, w) int64 tensor of class ids, or a `SemanticSegmentationPostProcessorOutput`.

    Raises:
        InputError: there are not as many target sizes as images, or one is not positive.
    """
    results: list[Any] = []
    for classes, tiles in _images(outputs, target_sizes):
        weights = classes[:, :-1]  # (q, k)
        image = tiles(np.arange(len(classes)))
        results.append(_scored(weights, image) if return_segmentation_scores else _semantic(weights, image))
    return results


def _scored(weights: Tensor, tiles: MaskTiles) -> SemanticSegmentationPostProcessorOutput:
    """The plain rule, with all scores kept."""
    scores = torch.empty(weights.shape[1], tiles.height, tiles.width, device=weights.device)
    every = np.arange(len(weights))
    for i, j in np.ndindex(tiles.areas.shape):
        masks = tiles.values(every, i, j).sigmoid_()  # (q, rows, columns)
        rows, columns = tiles.place(i, j)
        scores[:, rows, columns] = (weights.T @ masks.flatten(1)).view(-1, *masks.shape[1:])
    return SemanticSegmentationPostProcessorOutput(scores.argmax(0), scores)


def _semantic(weights: Tensor, tiles: MaskTiles) -> Tensor:
    """The class of each pixel; a tile is computed for the classes and queries that its ranges leave open."""
    found = torch.empty(tiles.height, tiles.width, dtype=torch.int64, device=weights.device)
    shares: Floats = weights.cpu().numpy()  # (q, k)
    low, high = sigmoid(tiles.low), sigmoid(tiles.high)
    for i in range(len(tiles.rows)):
        least, most = low[:, i].T @ shares, high[:, i].T @ shares  # (columns, k)
        open_classes = ~(most < least.max(1, keepdims=True) - SLACK)
        for j in range(len(tiles.columns)):
            candidates = np.flatnonzero(open_classes[j])
            if len(candidates) > 1:
                candidates = _not_beaten(candidates, shares, low[:, i, j], high[:, i, j], least[j] + most[j])
            if len(candidates) == 1:
                found[tiles.place(i, j)] = int(candidates[0])
                continue
            own = shares[:, candidates]  # (q, m)
            spread = own.max(1) - own.min(1)
            moving = np.flatnonzero(~(spread * (high[:, i, j] - low[:, i, j]) <= NEGLIGIBLE))
            still = np.setdiff1d(np.arange(len(shares)), moving)
            base = ((low[still, i, j] + high[still, i, j]) / 2) @ own[still]  # (m,)
            masks = tiles.values(moving, i, j).sigmoid_()  # (n, rows, columns)
            factors = torch.from_numpy(np.ascontiguousarray(own[moving].T)).to(weights.device)
            scores = torch.addmm(torch.from_numpy(base).to(weights.device)[:, None], factors, masks.flatten(1))
            winner = torch.from_numpy(candidates).to(weights.device)[scores.max(0).indices]
            found[tiles.place(i, j)] = winner.view(masks.shape[1:])
    return found


def _not_beaten(candidates: Indices, shares: Floats, low: Floats, high: Floats, middle: Floats) -> Indices:
    """Drop the classes that lie below the tile's likeliest class at every pixel, whatever the masks do."""
    best = candidates[middle[candidates].argmax()]
    lead = shares[:, candidates] - shares[:, best, None]  # (q, m)
    most = high @ np.maximum(lead, 0) + low @ np.minimum(lead, 0)
    left: Indices = candidates[~(most < -SLACK)]
    return left


@torch.no_grad()
def panoptic_segmentation(
    outputs: Output,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Iterable[int] | None = None,
    target_sizes: TargetSizes = None,
) -> list[dict[str, Any]]:
    """Give every pixel to at most one segment.

    A query takes part if its likeliest class is an object's and has a probability above `threshold`. A pixel goes to
    the query with the highest class × mask probability, and is then kept where that mask's probability alone reaches
    `mask_threshold`. A query whose pixels, before that last test, are less than `overlap_mask_area_threshold` of its
    whole mask is mostly hidden by others, and dropped.

    Args:
        outputs: of `Mask2FormerForUniversalSegmentation`.
        threshold: class probability that a query must exceed.
        mask_threshold: mask probability that a pixel must reach.
        overlap_mask_area_threshold: share of its mask that a query must win.
        label_ids_to_fuse: classes of which all queries make one segment, such as sky. None are fused if not given.
        target_sizes: (height, width) of each image; the mask logits' own size if not given.

    Returns:
        For each image a dict: `segmentation`, (h, w) int32, the segment's id or 0, and `segments_info`, a list of
        dicts with `id` (1, 2, 3 …), `label_id`, `was_fused` and `score`, the class probability; of a fused segment
        the highest.

    Raises:
        InputError: there are not as many target sizes as images, or one is not positive.
    """
    fused = frozenset(int(label) for label in label_ids_to_fuse or ())
    results = []
    for classes, tiles in _images(outputs, target_sizes, on_processor=True):
        scores, labels = classes.max(1)
        kept = np.flatnonzero(((labels != classes.shape[1] - 1) & (scores > threshold)).numpy())
        image = tiles(kept)
        probabilities: Floats = scores.numpy()[kept]
        winner, won = compete(image, probabilities, _logit(mask_threshold), overlap_mask_area_threshold)
        numbers = np.zeros(len(kept) + 1, np.int32)
        segments: list[dict[str, Any]] = []
        shared: dict[int, dict[str, Any]] = {}
        names = labels.numpy()[kept]
        for k in np.flatnonzero(won).tolist():
            label, score = int(names[k]), round(float(probabilities[k]), 6)
            if label in shared:
                shared[label]["score"] = max(shared[label]["score"], score)
                numbers[k + 1] = shared[label]["id"]
                continue
            numbers[k + 1] = len(segments) + 1
            segments.append({"id": len(segments) + 1, "label_id": label, "was_fused": label in fused, "score": score})
            if label in fused:
                shared[label] = segments[-1]
        for band in image.rows:
            strip = winner[band.start : band.stop]
            numbers.take(strip, out=strip, mode="clip")
        segmentation = torch.from_numpy(winner).to(tiles.device)
        results.append({"segmentation": segmentation, "segments_info": segments})
    return results


@torch.no_grad()
def instance_segmentation(
    outputs: Output,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    target_sizes: TargetSizes = None,
    return_coco_annotation: bool = False,
    return_binary_maps: bool = False,
) -> list[dict[str, Any]]:
    """Find instances, each with a mask of its own; masks may overlap.

    Of all pairs of query and class the most probable are taken, as many as there are queries. The mask is where the
    mask's probability exceeds `mask_threshold`, the score is the class probability times the mean probability of the
    mask's pixels, and pairs with a score below `threshold` or without a pixel are dropped.

    Masks and RLEs are whole. The label map has room for one instance a pixel: higher scores come first, and an
    instance of which less than `overlap_mask_area_threshold` is left uncovered is dropped there, as in panoptic
    segmentation.

    Args:
        outputs: of `Mask2FormerForUniversalSegmentation`.
        threshold: the score that an instance must reach.
        mask_threshold: probability that a mask's pixel must exceed.
        overlap_mask_area_threshold: share of its mask that an instance must show in the label map; without meaning
            for masks and RLEs.
        target_sizes: (height, width) of each image; the mask logits' own size if not given.
        return_coco_annotation: return COCO RLEs.
        return_binary_maps: return one mask an instance.

    Returns:
        For each image a dict. `segmentation` is a label map, (h, w) int32 with the instance's id or -1; or for
        `return_binary_maps` (n, h, w) bool; or for `return_coco_annotation` a list of dicts with `size` and
        `counts`. `segments_info` is a list of dicts with `id` (0, 1, 2 …, the place in the list), `label_id`,
        `was_fused` (always False) and `score`, from the highest score down.

    Raises:
        InputError: both kinds of result are asked for, there are not as many target sizes as images, or one is not
            positive.
    """
    if return_coco_annotation and return_binary_maps:
        raise InputError("return_coco_annotation and return_binary_maps are both true: choose one of them")
    above = _logit(mask_threshold)
    results = []
    for classes, tiles in _images(outputs, target_sizes, on_processor=True):
        queries, labels, scores = _likeliest(classes[:, :-1], threshold)
        masks, place = np.unique(queries, return_inverse=True)
        instances = tiles.instances(masks, above, "encode" if return_coco_annotation else "paint")
        confidence, areas = instances.confidence()
        scores = scores * confidence[place]
        order = np.argsort(-scores, kind="stable")
        order = order[(scores[order] >= threshold) & (scores[order] > 0)]
        segmentation: Any
        if return_binary_maps:
            size = (len(order), instances.height, instances.width)
            segmentation = torch.zeros(size, dtype=torch.bool)
            for k, out in zip(order, segmentation, strict=True):
                instances.draw(int(place[k]), out)
            segmentation = segmentation.to(tiles.device)
        elif return_coco_annotation:
            segmentation = [instances.encode(int(place[k])) for k in order]
        else:
            shares = (overlap_mask_area_threshold * areas[place]).tolist()
            order = np.array([k for k in order.tolist() if instances.paint(int(place[k]), shares[k])], np.int64)
            segmentation = instances.label_map().to(tiles.device)
        segments = [
            {"id": n, "label_id": int(labels[k]), "was_fused": False, "score": round(float(scores[k]), 6)}
            for n, k in enumerate(order)
        ]
        results.append({"segmentation": segmentation, "segments_info": segments})
    return results


def _likeliest(weights: Tensor, threshold: float) -> tuple[Indices, Indices, npt.NDArray[np.float64]]:
    """The likeliest pairs of query and class, without those that no mask can lift to the threshold."""
    count, k = weights.shape
    scores, places = weights.flatten().topk(min(count, count * k))
    keep = scores >= threshold
    chosen: Indices = places[keep].numpy()
    return chosen // k, chosen % k, scores[keep].double().numpy()


class _Image:
    """One image's mask logits, to be cut into tiles for the queries that matter, and the device that they come from."""

    def __init__(
        self, logits: Tensor, covered: tuple[float, float] | None, size: tuple[int, int] | None, device: torch.device
    ) -> None:
        self.logits, self.covered, self.size, self.device = logits, covered, size, device

    def __call__(self, queries: Indices) -> MaskTiles:
        return MaskTiles(self.logits, queries, self.covered, self.size)

    def instances(self, queries: Indices, above: float, result: Result) -> Instances | CompiledInstances:
        """The same for instance segmentation, whose masks are where the logit exceeds `above`."""
        grid = Grid.of(self.logits.shape, self.covered, self.size)
        return compiled_instances(self.logits, queries, grid, above, result) or Instances(self(queries), above)


def _images(
    outputs: Output, target_sizes: TargetSizes, *, on_processor: bool = False
) -> Iterable[tuple[Tensor, _Image]]:
    """Each image's class probabilities, (q, k + 1) float32, and its masks.

    `on_processor` is for what decides tile by tile: on a GPU every such decision would wait for a copy of its tile, so
    all logits, which are small, come over at once.
    """
    classes, masks = outputs.class_queries_logits, outputs.masks_queries_logits
    covered = getattr(outputs, "mask_sizes", None)  # those of transformers have none
    if classes is None or masks is None:
        raise InputError("outputs lack class_queries_logits or masks_queries_logits: pass what the model returned")
    sizes: list[tuple[int, int] | None] = [None] * len(masks)
    if target_sizes is not None:
        sizes = [(int(height), int(width)) for height, width in target_sizes]
    if len(sizes) != len(masks):
        raise InputError(
            f"{len(sizes)} target sizes were given for {len(masks)} images: pass one (height, width) for each image"
        )
    for size in sizes:
        if size is not None and min(size) < 1:
            raise InputError(f"the target size {size} is not positive: pass the image's (height, width)")
    parts = [None] * len(masks) if covered is None else [(row[0], row[1]) for row in covered.tolist()]
    probabilities = classes.float().softmax(-1)
    for own, logits, size, part in zip(probabilities, masks, sizes, parts, strict=True):
        if on_processor:
            yield own.cpu(), _Image(logits.cpu(), part, size, masks.device)
        else:
            yield own, _Image(logits, part, size, masks.device)


def _logit(probability: float) -> float:
    """The logit of a probability as a float32, infinite for 0 and 1."""
    if not 0 <= probability <= 1:
        raise InputError(f"mask_threshold is {probability}: it is a probability, from 0 to 1")
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return float(np.float32(math.log(probability / (1 - probability))))
