"""DPT's heads: depth, classes, and the second segmentation head for training.

"Vision Transformers for Dense Prediction", Ranftl et al., 2021, arXiv 2103.13413, supplementary material, figures 1
and 2. Parameter names are those of the Hugging Face checkpoints.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.errors import InputError
from perpixel.layers.bound import NonNegative
from perpixel.layers.precision import ExactConv2d
from perpixel.models.dpt.config import DPTConfig

# Channels before the depth head's last convolution, dropout of the auxiliary head: both fixed in the paper's code.
DEPTH_CHANNELS = 32
AUXILIARY_DROPOUT = 0.1


class DPTDepthEstimationHead(nn.Module):
    """Three convolutions to a depth that is never negative; the size doubles after the first."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        channels = config.fusion_hidden_size
        self.projection = nn.Conv2d(channels, channels, kernel_size=3, padding=1) if config.add_projection else None
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels // 2, kernel_size=3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(channels // 2, DEPTH_CHANNELS, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            ExactConv2d(DEPTH_CHANNELS, 1, kernel_size=1),
            NonNegative(),
        )
        start_above_zero(cast(nn.Conv2d, self.head[4]))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, 2 h, 2 w)."""
        if self.projection is not None:
            x = functional.relu(self.projection(x), inplace=True)
        return cast(Tensor, self.head(x)).squeeze(1)


def start_above_zero(last: nn.Conv2d) -> None:
    """Let a new head start at a depth of about one: a ReLU that is zero everywhere would never learn."""
    if not last.weight.is_meta and last.bias is not None:
        nn.init.ones_(last.bias)


class DPTSemanticSegmentationHead(nn.Module):
    """A convolution, batch norm, and the classes' logits at twice the size."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        assert config.num_labels is not None
        self.head = _classifier(config.fusion_hidden_size, config.num_labels, config.semantic_classifier_dropout)
        self.head.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, k, 2 h, 2 w)."""
        return cast(Tensor, self.head(x))


class DPTAuxiliaryHead(nn.Module):
    """The second head, whose loss helps the training."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        assert config.num_labels is not None
        self.head = _classifier(config.fusion_hidden_size, config.num_labels, AUXILIARY_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, k, h, w)."""
        return cast(Tensor, self.head(x))


def _classifier(channels: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        ExactConv2d(channels, classes, kernel_size=1),
    )


def segmentation_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The mean cross entropy over the pixels that have a class.

    Args:
        logits: (b, k, h, w), resized bilinearly to the labels' size.
        labels: (b, H, W) whole numbers from 0 to k - 1, or `ignore_index`.
        ignore_index: the label of pixels that do not count.

    Returns:
        a scalar; 0 where no pixel counts.

    Raises:
        InputError: the labels' shape, type or values do not fit.

    Example:
        >>> loss = segmentation_loss(torch.zeros(1, 2, 2, 2), torch.tensor([[[0, 1], [255, 255]]]), 255)
        >>> round(loss.item(), 4)
        0.6931
    """
    labels = class_labels(labels, len(logits), logits.shape[1], ignore_index)
    logits = functional.interpolate(logits.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)
    total = functional.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="sum")
    # The mean over no pixels would be NaN and spoil every weight.
    return total / (labels != ignore_index).sum().clamp(min=1)


def class_labels(labels: Tensor, images: int, classes: int, ignore_index: int) -> Tensor:
    """Return (b, H, W) class labels as int64.

    Raises:
        InputError: they do not fit the model.
    """
    if labels.ndim != 3 or len(labels) != images:
        raise InputError(f"labels is {tuple(labels.shape)} for {images} images: ({images}, height, width) is needed")
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels is {labels.dtype}: classes are whole numbers, use labels.long()")
    labels = labels.long()
    counted = labels[labels != ignore_index]
    if counted.numel():
        low, high = torch.stack(counted.aminmax()).tolist()
        if low < 0 or high >= classes:
            raise InputError(
                f"labels has the classes {low} to {high} but the model has {classes}, 0 to {classes - 1}: set "
                f"num_labels, or {ignore_index} where a pixel has no class"
            )
    return labels
