"""What training DPT and Depth Anything for depth adds to the loop: relative and metric targets, the loss, the measures.

"Vision Transformers for Dense Prediction", 2021, arXiv 2103.13413, section 4.1, and "Depth Anything V2", 2024, arXiv
2406.09414, section 5 for metric depth.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.data.augment import augment
from perpixel.data.samples import DepthSample
from perpixel.metrics.depth import DepthMeter
from perpixel.models.dpt.loss import (
    GRADIENT_WEIGHT,
    scale_and_shift_invariant_loss,
    silog_loss,
    to_unit_range,
    valid_depth,
)
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.tasks.dense import model_multiple
from perpixel.tasks.depth import DepthEstimator, estimate_depth
from perpixel.train.family import FamilyTask, hold_still, plain_model
from perpixel.train.recipe import Recipe
from perpixel.train.start import Start, plan_start
from perpixel.train.view import dense_view

CLASSES = {
    "dpt": "perpixel.models.dpt.model:DPTForDepthEstimation",
    "depth_anything": "perpixel.models.depth_anything.model:DepthAnythingForDepthEstimation",
}
TERMS = {"relative": {"data": 1.0, "gradient": GRADIENT_WEIGHT}, "metric": {"silog": 1.0}}
# Which pixels the papers measure: Eigen et al., 2014, and Garg et al., 2016.
COUNTED: dict[str, dict[str, Any]] = {
    "nyuv2": {"nearest": 1e-3, "farthest": 10.0, "crop": "eigen_nyu"},
    "kitti": {"nearest": 1e-3, "farthest": 80.0, "crop": "garg"},
}
# Metres; a head with a ReLU can say 0, of which there is no logarithm or quotient.
NEAREST = 1e-3


class DepthTask(FamilyTask[DepthSample]):
    """DPT or Depth Anything in the training loop.

    Which family follows from `start`, or else from `model.model_type`; DPT by default. The configuration's
    `depth_loss` says whether the model learns inverse depth up to scale and shift ("relative", measured after a least
    squares alignment) or metres ("metric", measured as they are).

    Args:
        recipe: the run's recipe.
    """

    headline = "abs_rel"
    larger_is_better = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        _ = self.parts
        self.terms = self.weights(TERMS[self.kind])
        self.crop(model_multiple(self.start.config))

    @cached_property
    def start(self) -> Start:
        """Which model is trained."""
        return plan_start(self.recipe.start, self.recipe.model, CLASSES)

    @property
    def kind(self) -> Literal["relative", "metric"]:
        """What the model learns."""
        config: Any = self.start.config
        found = config.depth_loss or getattr(config, "depth_estimation_type", None)
        return "metric" if found == "metric" else "relative"

    @cached_property
    def processor(self) -> DPTImageProcessor:
        """How images are prepared: with the colours of `start`, at the scale of the training crops."""
        return dense_view(self.start, self.recipe, self.parts[0])

    def prepare(self, sample: DepthSample, number: int) -> dict[str, Any]:
        """Make training item `number`: `pixel_values` (3, h, w), and `labels` (h, w), 0 where nothing was measured."""
        sample = augment(sample, self.recipe.augment, [self.recipe.seed, number])
        pixels = self.processor(
            sample.image, return_tensors="pt", do_resize=False, do_pad=False, input_data_format="channels_last"
        )["pixel_values"][0]
        labels = torch.from_numpy(sample.depth)
        if self.kind == "relative":
            labels = torch.where(labels > 0, 1 / labels, 0)
        return {"name": sample.name, "pixel_values": pixels, "labels": labels}

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss of a batch, and its terms for the log."""
        hold_still(model)
        labels = batch["labels"]
        depth = model(batch["pixel_values"]).predicted_depth.float()
        if depth.shape != labels.shape:
            depth = functional.interpolate(depth[:, None], size=labels.shape[1:], mode="bilinear")[:, 0]
        valid = valid_depth(depth, labels)
        if self.kind == "metric":
            terms = {"silog": silog_loss(depth, labels, valid)}
        else:
            target = to_unit_range(labels, valid)
            data, both = (
                scale_and_shift_invariant_loss(depth, target, valid, gradient_weight=weight, keep_order=True)
                for weight in (0.0, 1.0)
            )
            terms = {"data": data, "gradient": both - data}
        total = torch.stack([self.terms[name] * value for name, value in terms.items()]).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def meter(self) -> DepthMeter:
        """The measures of the papers, with their caps and crops for their data sets."""
        counted = COUNTED.get(self.recipe.data.layout, {})
        if self.kind == "metric":
            return DepthMeter(**counted)
        return DepthMeter(align="scale_shift", inverse=True, **counted)

    def measure(self, model: nn.Module, batch: dict[str, Any], meter: DepthMeter) -> None:
        """Add held-out images to the meter, each at its own size."""
        network: Any = plain_model(model)
        estimator = DepthEstimator(network, self.processor)
        for sample in batch["samples"]:
            found = estimate_depth(estimator, sample.image)
            meter.update(found.clip(min=NEAREST) if self.kind == "metric" else found, sample.depth)
