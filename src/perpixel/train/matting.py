"""What training ViTMatte adds to the loop: composites and crops, trimaps drawn anew, the loss, the measures.

"Boosting Image Matting with Pretrained Plain Vision Transformers", 2023, arXiv 2305.15272, section 4.1; the crops and
trimaps are those of "Deep Image Matting", Xu et al., 2017, arXiv 1703.03872, section 4.1.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from perpixel.data.augment import augment
from perpixel.data.composites import CompositeDataset
from perpixel.data.folders import read_pixels
from perpixel.data.light import studio
from perpixel.data.matting_sets import composite
from perpixel.data.photos import Split, find_images
from perpixel.data.samples import MattingSample
from perpixel.data.trimaps import UNKNOWN, dilate_trimap, edges
from perpixel.errors import ConfigError
from perpixel.metrics.matting import MattingMeter
from perpixel.models.fields import nearest
from perpixel.models.vitmatte.loss import matting_loss
from perpixel.models.vitmatte.model import VitMatteForImageMatting
from perpixel.models.vitmatte.processor import DEFAULT_DIVISOR, VitMatteImageProcessor
from perpixel.ops.trimap import trimap_from_alpha
from perpixel.tasks.matting import estimate_alpha
from perpixel.train.family import FamilyTask, HeldOut, hold_still, opened, plain_model
from perpixel.train.recipe import Recipe
from perpixel.train.start import Start, plan_start

CLASSES = {"vitmatte": "perpixel.models.vitmatte.model:VitMatteForImageMatting"}
TERMS = {"known": 1.0, "unknown": 1.0, "laplacian": 1.0, "gradient": 1.0}
# The layout of composites that are drawn on the fly, and what its options may be.
DRAWN = "composites"
DRAWN_OPTIONS = ("backgrounds", "foregrounds", "include", "size")
DRAWN_SAMPLES = 64
# By how many pixels a trimap for training is widened at most; a trimap for measuring, where the data have none.
WIDEST = 30
BAND = 10.0
# An alpha this close to 0 or 1 is less than half a step of 8 bits away.
EXACT = 0.5 / 255

Pixels = npt.NDArray[np.uint8]


class MattingTask(FamilyTask[MattingSample]):
    """ViTMatte in the training loop.

    The layout "composites" draws its samples, with the options `backgrounds`, `foregrounds`, `include` and `size` of
    `CompositeDataset`; a part of the pictures is held out unless the recipe names other `validation`. All other layouts
    are read: training crops lie around unknown pixels, their trimaps are drawn anew each time, and subjects whose own
    colours are known are laid over random pictures of the option `backgrounds`.

    Args:
        recipe: the run's recipe.
    """

    headline = "sad"
    larger_is_better = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.processor:
            raise ConfigError(
                f"processor is {recipe.processor}: images for matting are prepared in one way, leave it out"
            )
        self.terms = self.weights(TERMS)
        self.drawn = recipe.data.layout == DRAWN
        if self.drawn:
            for name in recipe.data.options:
                if name not in DRAWN_OPTIONS:
                    raise ConfigError(f"the layout {DRAWN!r} has no option {name!r}{nearest(name, DRAWN_OPTIONS)}")
        else:
            self.crop(DEFAULT_DIVISOR)
            _ = self.parts, self.backgrounds

    @cached_property
    def start(self) -> Start:
        """Which model is trained."""
        return plan_start(self.recipe.start, self.recipe.model, CLASSES)

    @cached_property
    def processor(self) -> VitMatteImageProcessor:
        """How images are prepared: as `perpixel.matte` does, whatever the checkpoint."""
        return VitMatteImageProcessor()

    @cached_property
    def backgrounds(self) -> tuple[Path, ...]:
        """The pictures that subjects are laid over."""
        given = self.recipe.data.options.get("backgrounds")
        return tuple(find_images(given)) if given else ()

    def model(self) -> nn.Module:
        """A new model, started as the recipe says, in the memory format that its convolutions are fastest with."""
        return super().model().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    # The data

    def training_data(self, length: int) -> Dataset[Any]:
        """Items 0 … length - 1 of the endless training stream."""
        return self._drawn("train", length) if self.drawn else super().training_data(length)

    def validation_data(self) -> Dataset[Any]:
        """The held-out samples."""
        if self.drawn and self.recipe.validation is not None:
            return HeldOut(opened(self.recipe.validation, "matting"))
        if self.drawn:
            return self._drawn("validation", self.recipe.validation_samples or DRAWN_SAMPLES)
        return super().validation_data()

    def _drawn(self, split: Split, length: int) -> CompositeDataset:
        options = self.recipe.data.options
        return CompositeDataset(
            options.get("backgrounds") or [],
            options.get("foregrounds") or None,
            size=int(options.get("size", 256)),
            length=length,
            seed=self.recipe.seed,
            split=split,
            include=options.get("include") or None,
        )

    def prepare(self, sample: MattingSample, number: int) -> dict[str, Any]:
        """Make training item `number`: `pixel_values` (4, h, w) and `labels` (1, h, w)."""
        rng = np.random.default_rng([self.recipe.seed, number, 1])
        if sample.foreground is not None and (self.backgrounds or self.recipe.data.layout == "rgba"):
            sample = replace(sample, image=self._composed(rng, sample.foreground, sample.alpha))
        if sample.trimap is None:
            # For the place of the crop; a hard edge is unknown too.
            around = np.where(edges(_exact(sample.alpha)), np.uint8(UNKNOWN), np.uint8(0))
            sample = replace(sample, trimap=around)
        sample = augment(sample, self.recipe.augment, [self.recipe.seed, number])
        alpha = _exact(sample.alpha)
        inner, outer = (int(width) for width in rng.integers(1, WIDEST + 1, 2))
        pixels = self.processor(
            sample.image,
            dilate_trimap(alpha, inner, outer),
            return_tensors="pt",
            do_pad=False,
            input_data_format="channels_last",
        )["pixel_values"][0]
        return {"name": sample.name, "pixel_values": pixels, "labels": torch.from_numpy(alpha[None])}

    def _composed(self, rng: np.random.Generator, foreground: Pixels, alpha: npt.NDArray[np.float32]) -> Pixels:
        height, width = alpha.shape
        if self.backgrounds:
            picture = read_pixels(self.backgrounds[int(rng.integers(len(self.backgrounds)))])
            backdrop = _window(rng, picture, (height, width))
        else:
            drawn = studio(rng, max(height, width))[:height, :width]
            backdrop = np.round(255 * drawn.clip(0, 1)).astype(np.uint8)
        return composite(foreground, backdrop, alpha)

    # Learning and measuring

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss of a batch, and its terms for the log."""
        hold_still(model)
        pixel_values = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        alphas = model(pixel_values).alphas
        trimap = pixel_values[:, 3:4]
        terms = matting_loss(alphas, batch["labels"], (trimap > 0.25) & (trimap < 0.75))
        total = torch.stack([self.terms[name] * value for name, value in terms.items()]).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def meter(self) -> MattingMeter:
        """SAD, MSE, gradient and connectivity, over the unknown pixels and over all."""
        return MattingMeter()

    def measure(self, model: nn.Module, batch: dict[str, Any], meter: MattingMeter) -> None:
        """Add held-out images to the meter, each at its own size."""
        network = plain_model(model)
        assert isinstance(network, VitMatteForImageMatting)
        if "samples" not in batch:
            pixel_values = batch["pixel_values"].to(network.device)
            alphas = network(pixel_values).alphas[:, 0].float().cpu().numpy()
            for alpha, pixels, labels in zip(alphas, pixel_values, batch["labels"], strict=True):
                trimap = np.round(255 * pixels[3].cpu().numpy()).astype(np.uint8)
                meter.update(_known(alpha, trimap), labels[0].cpu().numpy(), trimap)
            return
        for sample in batch["samples"]:
            trimap = trimap_from_alpha(sample.alpha, band=BAND) if sample.trimap is None else sample.trimap
            alpha = estimate_alpha(network, sample.image, trimap)
            meter.update(_known(alpha, trimap), sample.alpha, trimap)


def _exact(alpha: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    alpha = alpha.astype(np.float32)
    alpha[alpha < EXACT] = 0.0
    alpha[alpha > 1 - EXACT] = 1.0
    return alpha


def _known(alpha: npt.NDArray[np.float32], trimap: Pixels) -> npt.NDArray[np.float32]:
    """What the trimap says where it says it, else the estimate."""
    return np.where(trimap == UNKNOWN, alpha, trimap / np.float32(255)).astype(np.float32)


def _window(rng: np.random.Generator, picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A random part of a picture at a size, mirrored half of the time."""
    rows, columns = picture.shape[:2]
    # Between the whole picture, as far as its aspect fits, and a third of it.
    ratio = min(rows / size[0], columns / size[1]) * rng.uniform(1 / 3, 1)
    cut = [max(1, round(side * ratio)) for side in size]
    top, left = int(rng.integers(rows - min(cut[0], rows) + 1)), int(rng.integers(columns - min(cut[1], columns) + 1))
    part = picture[top : top + cut[0], left : left + cut[1]]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    way = cv2.INTER_AREA if ratio > 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(part), (size[1], size[0]), interpolation=way)
    return np.asarray(resized, np.uint8)
