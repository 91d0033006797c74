"""What training segmentation adds to the loop: Mask2Former for every kind, DPT for classes.

"Masked-attention Mask Transformer for Universal Image Segmentation", 2022, arXiv 2112.01527, section 4.1, and "Vision
Transformers for Dense Prediction", 2021, arXiv 2103.13413, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from perpixel.data.augment import augment
from perpixel.data.samples import VOID, Categories, SegmentationSample
from perpixel.errors import ConfigError, InputError
from perpixel.metrics.meter import Meter
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
from perpixel.models.mask2former.targets import CompressedMasks
from perpixel.tasks.dense import IMAGENET, model_multiple
from perpixel.tasks.segmentation import PAPER
from perpixel.train.family import FamilyTask, hold_still, plain_model
from perpixel.train.recipe import Recipe
from perpixel.train.start import Start, plan_start
from perpixel.train.view import dense_view, seen_size, start_colours

CLASSES = {
    "mask2former": "perpixel.models.mask2former.model:Mask2FormerForUniversalSegmentation",
    "dpt": "perpixel.models.dpt.model:DPTForSemanticSegmentation",
}
HEADLINES = {"semantic": "mean_iou", "instance": "ap", "panoptic": "pq"}
# The terms of each family's loss, by the field of the configuration that holds the weight.
TERMS = {
    "mask2former": {"class": "class_weight", "mask": "mask_weight", "dice": "dice_weight"},
    "dpt": {"auxiliary": "auxiliary_loss_weight"},
}
# Of the evaluation of the paper's code: instances of any score count for AP, panoptic segments from this one on.
PANOPTIC_THRESHOLD = 0.8

Labels = npt.NDArray[np.int32]


class SegmentationTask(FamilyTask[SegmentationSample]):
    """Mask2Former or DPT in the training loop.

    Which family follows from `start`, or else from `model.model_type`; Mask2Former by default. The classes are those
    of the data.

    Args:
        recipe: the run's recipe.
    """

    larger_is_better = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.headline = HEADLINES[recipe.task]
        found = self.parts[0].categories
        if found is None:
            raise ConfigError(f"the layout {recipe.data.layout!r} names no classes: choose one for segmentation")
        self.categories: Categories = found
        self.family: str = self.start.config.model_type
        if self.family == "dpt" and recipe.task != "semantic":
            raise ConfigError(f"a DPT tells classes, not the segments of task {recipe.task!r}: use a Mask2Former")
        self.crop(model_multiple(self.start.config) if self.family == "dpt" else 1)

    @cached_property
    def start(self) -> Start:
        """Which model is trained."""
        recipe = self.recipe
        labels = self.categories.id2label
        numbers = {name: number for number, name in reversed(labels.items())}
        fields: dict[str, Any] = {"id2label": labels, "label2id": numbers}
        planned = plan_start(recipe.start, recipe.model, CLASSES, fields=fields)
        terms = TERMS[planned.config.model_type]
        chosen = self.weights({name: float(getattr(planned.config, field)) for name, field in terms.items()})
        for name, field in terms.items():
            setattr(planned.config, field, chosen[name])
        return planned

    @cached_property
    def processor(self) -> Any:
        """How images are prepared: with the colours of `start`, at the scale of the training crops."""
        start = self.start
        if self.family == "dpt":
            return dense_view(start, self.recipe, self.parts[0])
        size = seen_size(self.recipe.augment, self.parts[0])
        colours = start_colours(start) or IMAGENET
        changes: dict[str, Any] = {"do_resize": False} if size is None else {"size": size}
        return Mask2FormerImageProcessor.from_dict({**colours, **PAPER, **changes}, **self.recipe.processor)

    # The data

    def prepare(self, sample: SegmentationSample, number: int) -> dict[str, Any]:
        """Make training item `number`: `pixel_values` and the family's labels."""
        sample = augment(sample, self.recipe.augment, [self.recipe.seed, number])
        changes = {"do_pad": False} if self.family == "dpt" else {"pad_divisor": 0}
        pixels = self.processor(
            sample.image, return_tensors="pt", do_resize=False, input_data_format="channels_last", **changes
        )["pixel_values"][0]
        if self.family == "dpt":
            assert sample.labels is not None
            ignored = self.start.config.semantic_loss_ignore_index  # type: ignore[attr-defined]
            labels = np.where(sample.labels == VOID, ignored, sample.labels).astype(np.int64)
            return {"name": sample.name, "pixel_values": pixels, "labels": torch.from_numpy(labels)}
        masks, classes = targets(sample)
        return {"name": sample.name, "pixel_values": pixels, "mask_labels": masks, "class_labels": classes}

    def collate(self, items: Sequence[Any]) -> dict[str, Any]:
        """Make a batch; masks and classes stay lists, as each image has its own number of them."""
        if isinstance(items[0], dict) and "mask_labels" in items[0]:
            lists: dict[str, Any] = {name: [item[name] for item in items] for name in ("mask_labels", "class_labels")}
            pixels = torch.stack([item["pixel_values"] for item in items])  # (b, 3, h, w)
            return {"names": [item["name"] for item in items], "pixel_values": pixels, **lists}
        return super().collate(items)

    # Learning and measuring

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, weighted as the configuration says."""
        hold_still(model)
        if self.family == "dpt":
            return cast(Tensor, model(batch["pixel_values"], labels=batch["labels"]).loss), {}
        network: Any = plain_model(model)
        # Outside of the model's forward, for the terms; with the same numbers.
        outputs = model(batch["pixel_values"], output_auxiliary_logits=True)
        losses = network.criterion(
            outputs.masks_queries_logits,
            outputs.class_queries_logits,
            batch["mask_labels"],
            batch["class_labels"],
            outputs.auxiliary_logits if network.config.use_auxiliary_loss else None,
        )
        names = {"class": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
        return network.criterion.total(losses), {name: float(losses[key].detach()) for name, key in names.items()}

    def meter(self) -> Meter:
        """What the papers print: mean IoU, AP or panoptic quality."""
        if self.recipe.task == "semantic":
            from perpixel.metrics.semantic import SemanticMeter

            return SemanticMeter(len(self.categories), self.categories.names)
        if self.recipe.task == "instance":
            from perpixel.metrics.instances import InstanceMeter

            return InstanceMeter(self.categories)
        from perpixel.metrics.panoptic import PanopticMeter

        return PanopticMeter(self.categories)

    def measure(self, model: nn.Module, batch: dict[str, Any], meter: Any) -> None:
        """Add held-out images to the meter, each at its own size."""
        network: Any = plain_model(model)
        processor = self.processor
        for sample in batch["samples"]:
            inputs = processor(sample.image, return_tensors="pt", input_data_format="channels_last")
            pixels = inputs["pixel_values"].to(device=network.device, dtype=network.dtype)
            if self.family == "dpt":
                outputs = network(pixels)
            else:
                outputs = network(pixels, pixel_mask=inputs["pixel_mask"].to(network.device))
            size = [sample.image.shape[:2]]
            if self.recipe.task == "semantic":
                found = processor.post_process_semantic_segmentation(outputs, target_sizes=size)[0]
                meter.update(found.cpu().numpy(), sample.labels)
            elif self.recipe.task == "instance":
                found = processor.post_process_instance_segmentation(
                    outputs, threshold=0.0, target_sizes=size, return_coco_annotation=True
                )[0]
                pairs = zip(found["segmentation"], found["segments_info"], strict=True)
                predictions = [(rle, info["label_id"], info["score"]) for rle, info in pairs]
                truth = [(item.rle, item.category, item.crowd, item.area) for item in sample.objects]
                meter.update(sample.name, size[0], predictions, truth)
            else:
                stuff = {number for number, thing in enumerate(self.categories.things) if not thing}
                found = processor.post_process_panoptic_segmentation(
                    outputs, PANOPTIC_THRESHOLD, label_ids_to_fuse=stuff, target_sizes=size
                )[0]
                # Segments are numbered from 1 and 0 is none; places in the list of classes start at 0.
                places = found["segmentation"].cpu().numpy().astype(np.int32) - 1
                meter.update(
                    places,
                    [info["label_id"] for info in found["segments_info"]],
                    sample.labels,
                    [item.category for item in sample.objects],
                    [item.crowd for item in sample.objects],
                )


def targets(sample: SegmentationSample) -> tuple[Tensor | CompressedMasks, Tensor]:
    """What Mask2Former learns of a sample: a mask and a class for each region that has one.

    Args:
        sample: of any kind; crowds and void pixels belong to no region.

    Returns:
        Masks, (n, h, w) bool, or compressed where objects may overlap; and classes (n,) int64.

    Raises:
        InputError: a sample of no kind of segmentation.
    """
    height, width = sample.image.shape[:2]
    if sample.kind == "instance":
        objects = [item for item in sample.objects if item.rle is not None and not item.crowd]
        compressed = CompressedMasks.from_coco([item.rle for item in objects], height, width)
        return compressed, torch.tensor([item.category for item in objects], dtype=torch.int64)
    if sample.labels is None:
        raise InputError(f"{sample.name} has no label map: read the data set again as {sample.kind}")
    places = np.unique(sample.labels[sample.labels != VOID])
    if sample.kind == "panoptic":
        places = np.array([place for place in places if not sample.objects[place].crowd], np.int64)
        classes = [sample.objects[place].category for place in places]
    else:
        classes = places.tolist()
    masks = torch.from_numpy(sample.labels[None] == places[:, None, None])  # (n, h, w)
    return masks, torch.tensor(classes, dtype=torch.int64)
