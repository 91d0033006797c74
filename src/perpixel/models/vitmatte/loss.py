"""The training loss of ViTMatte (arXiv 2305.15272, section 4.1): separate L1, Laplacian pyramid, gradient penalty.

The Laplacian term is that of Hou and Liu, 2019 ("Context-Aware Image Matting", section 3.3), the gradient penalty that
of Dai et al., 2022 ("Boosting Robustness of Image Matting with Context Assembling and Strong Data Augmentation").
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PYRAMID_LEVELS = 5
# Weight of the pull towards flat alphas inside the gradient penalty.
FLATNESS = 0.01


def matting_loss(alphas: Tensor, labels: Tensor, unknown: Tensor) -> dict[str, Tensor]:
    """Compare predicted with true alphas.

    Args:
        alphas: (b, 1, h, w) predicted, in [0, 1].
        labels: (b, 1, h, w) true, in [0, 1].
        unknown: (b, 1, h, w) bool, where the trimap is unknown.

    Returns:
        The terms `known`, `unknown`, `laplacian` and `gradient`, scalars; the loss is their sum.

    Example:
        >>> alphas = torch.full((1, 1, 32, 32), 0.25)
        >>> terms = matting_loss(alphas, torch.zeros_like(alphas), alphas > 0)
        >>> float(terms["unknown"]), float(terms["known"])
        (0.25, 0.0)
    """
    alphas, labels = alphas.float(), labels.float()
    difference = (alphas - labels).abs()
    return {
        "known": _mean_where(difference, ~unknown),
        "unknown": _mean_where(difference, unknown),
        "laplacian": laplacian_loss(alphas, labels),
        "gradient": gradient_penalty(alphas, labels, unknown),
    }


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def laplacian_loss(alphas: Tensor, labels: Tensor, levels: int = PYRAMID_LEVELS) -> Tensor:
    """L1 distance of the Laplacian pyramids; level i, which has a quarter of the pixels of level i-1, weighs 2^i.

    Args:
        alphas: (b, 1, h, w) predicted.
        labels: (b, 1, h, w) true.
        levels: how many levels; fewer are used where an image is too small for them.

    Returns:
        A scalar, divided by `levels`.
    """
    # The pyramid is linear, so the pyramid of the difference is the difference of the pyramids.
    current = alphas - labels
    total = current.new_zeros(())
    for level in range(levels):
        height, width = current.shape[-2:]
        if min(height, width) < 2:
            break
        current = functional.pad(current, (0, width % 2, 0, height % 2), mode="replicate")
        smaller = _blur(current)[..., ::2, ::2]  # (b, 1, h / 2, w / 2)
        restored = functional.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + 2**level * (current - restored).abs().mean()
        current = smaller
    return total / levels


def _blur(x: Tensor) -> Tensor:
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    height, width = x.shape[-2:]
    mode = "reflect" if min(height, width) > 2 else "replicate"
    x = functional.conv2d(functional.pad(x, (2, 2, 0, 0), mode=mode), taps.view(1, 1, 1, 5))
    return functional.conv2d(functional.pad(x, (0, 0, 2, 2), mode=mode), taps.view(1, 1, 5, 1))


def gradient_penalty(alphas: Tensor, labels: Tensor, unknown: Tensor) -> Tensor:
    """L1 distance of the Sobel gradients in the unknown region, and a small pull towards flat alphas.

    Args:
        alphas: (b, 1, h, w) predicted.
        labels: (b, 1, h, w) true.
        unknown: (b, 1, h, w) bool.

    Returns:
        A scalar, averaged over the unknown pixels and summed over the two directions.
    """
    sobel = alphas.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([sobel, sobel.T])[:, None]  # (2, 1, 3, 3)
    predicted = functional.conv2d(functional.pad(alphas, (1, 1, 1, 1), mode="replicate"), kernels)  # (b, 2, h, w)
    true = functional.conv2d(functional.pad(labels, (1, 1, 1, 1), mode="replicate"), kernels)
    values = (predicted - true).abs() + FLATNESS * predicted.abs()
    return _mean_where(values.sum(dim=1, keepdim=True), unknown)
