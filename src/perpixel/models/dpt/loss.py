"""The training losses of depth: up to scale and shift for relative models, scale-invariant logarithms for metric ones.

Relative: Towards Robust Monocular Depth Estimation: Mixing Datasets for Zero-shot Cross-dataset Transfer (MiDaS), 2019,
arXiv 1907.01341, section 5, with which DPT was trained (arXiv 2103.13413, section 4.1).
Metric: Depth Map Prediction from a Single Image using a Multi-Scale Deep Network, 2014, arXiv 1406.2283, section 3.2
(SILog), in the form of From Big to Small (BTS), 2019, arXiv 1907.10326, section 3.3: weight 0.85 and a square root.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from perpixel.errors import ConfigError, InputError

# Weight and number of scales of the gradient matching: MiDaS, section 5.
GRADIENT_WEIGHT = 0.5
SCALES = 4
# λ and α of BTS, section 3.3.
VARIANCE_FOCUS = 0.85
SILOG_FACTOR = 10.0
# What a prediction that hardly follows its target, or runs against it, is scaled as if it followed by.
LEAST_CORRELATION = 0.25
# Metres; below a millimetre the logarithm goes on as its tangent, so that 0 and less have a finite gradient.
NEAREST = 1e-3


def depth_loss(
    kind: Literal["relative", "metric"], prediction: Tensor, labels: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Compare a predicted with a true depth map.

    Labels that are 0, negative, NaN or infinite count as not measured, and so do pixels where `mask` is False: neither
    they nor what was predicted there have a part in the loss or in its gradients. Images without any valid pixel add
    nothing; a batch without any has a loss of 0 and gradients of 0.

    Args:
        kind: "relative" for models that predict inverse depth up to scale and shift, as DPT and Depth Anything do: the
            labels are then inverse depths too, in any unit (1 / metres, or disparities in pixels), large means near.
            They are scaled to [0, 1] for each image, so that neither the unit nor the range of an image changes how
            the terms of the loss are balanced. "metric" for models that predict depth: labels in metres, large means
            far.
        prediction: (b, h, w), any floating type; half precision is computed in float32.
        labels: (b, h, w), any real type.
        mask: (b, h, w), bool or numbers, where the labels are valid; None for all.

    Returns:
        A scalar. "relative": `scale_and_shift_invariant_loss` with `keep_order`; "metric": `silog_loss`.

    Raises:
        ConfigError: another kind.
        InputError: shapes that differ.

    Example:
        >>> metres = torch.tensor([[[1.0, 2.0], [4.0, 0.0]]])  # the last pixel was not measured
        >>> inverse = torch.where(metres > 0, 1 / metres, 0)
        >>> [round(float(depth_loss("relative", guess, inverse)), 4) for guess in (3 * inverse + 5, -inverse)]
        [0.0, 0.4823]
        >>> round(float(depth_loss("metric", metres + 1, metres)), 4)
        2.5798
    """
    if kind not in ("relative", "metric"):
        raise ConfigError(f"the kind of depth loss is {kind!r}: it has to be 'relative' or 'metric'")
    valid = valid_depth(prediction, labels, mask)
    if kind == "metric":
        return silog_loss(prediction, labels, valid)
    return scale_and_shift_invariant_loss(prediction, to_unit_range(labels, valid), valid, keep_order=True)


def valid_depth(prediction: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return where there is a depth to learn: labels that are finite and above 0, and `mask` if given.

    Args:
        prediction: (b, h, w), for its shape and device.
        labels: (b, h, w), any real type.
        mask: (b, h, w), bool or numbers.

    Returns:
        (b, h, w) bool.

    Raises:
        InputError: shapes that differ.
    """
    _check_shapes(prediction, labels, mask)
    labels = labels.to(prediction.device)
    # A label beyond the range of float32 becomes infinite there.
    valid = (labels > 0) & labels.to(_precise(prediction).dtype).isfinite()
    return valid if mask is None else valid & mask.to(prediction.device, torch.bool)


def scale_and_shift_invariant_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    gradient_weight: float = GRADIENT_WEIGHT,
    scales: int = SCALES,
    keep_order: bool = False,
) -> Tensor:
    """The loss of MiDaS, section 5: half the mean square after the best scale and shift, and the gradient matching.

    Every valid pixel of the batch weighs the same. (The paper's code calls this the batch-based reduction.)

    Args:
        prediction: (b, h, w).
        target: (b, h, w). 0 and negative numbers count here; those that are not finite do not.
        mask: (b, h, w), bool or numbers, where the target is valid; None for all.
        gradient_weight: of the gradient matching.
        scales: of the gradient matching.
        keep_order: the best scale of a prediction that runs against the target is negative, so in the paper's form an
            inverted prediction is as good as an upright one, and a model with a new head may stay inverted. With this
            the scale is that of a correlation of at least 0.25, so inverted predictions fit badly and are turned
            round. Predictions with a higher correlation give the same loss.

    Returns:
        A scalar; it does not change when the prediction is multiplied by a positive number or shifted.
    """
    prediction, target, valid = _prepared(prediction, target, mask)
    scale, shift = _least_squares(prediction, target, valid, keep_order=keep_order)
    aligned = scale[:, None, None] * prediction + shift[:, None, None]  # (b, h, w)
    residual = torch.where(valid, aligned - target, 0)
    data = residual.square().sum() / (2 * valid.sum().clamp(min=1))
    return data + gradient_weight * _gradient_matching(residual, valid, scales)


def scale_and_shift(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return for each image the scale s and the shift t with the least Σ (s · prediction + t − target)².

    Args:
        prediction: (b, h, w).
        target: (b, h, w).
        mask: (b, h, w), bool or numbers, where the target is valid; None for all.

    Returns:
        Two tensors (b,). Where the prediction is constant, which leaves the scale open, it is 0 and the shift is the
        mean of the target; without valid pixels both are 0.

    Example:
        >>> scale, shift = scale_and_shift(torch.tensor([[[0.0, 1.0, 9.0]]]), torch.tensor([[[1.0, 3.0, torch.nan]]]))
        >>> scale.item(), shift.item()
        (2.0, 1.0)
    """
    return _least_squares(*_prepared(prediction, target, mask))


def gradient_matching_loss(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, scales: int = SCALES
) -> Tensor:
    """Mean absolute gradient of the difference, both directions together, summed over halved resolutions.

    Differences between neighbours count where both are valid; each scale is divided by its number of valid pixels.
    An image with a side of one pixel has no gradient along it.

    Args:
        prediction: (b, h, w), already aligned with the target.
        target: (b, h, w).
        mask: (b, h, w), bool or numbers, where the target is valid; None for all.
        scales: how many; scale k reads every 2^k-th row and column.

    Returns:
        A scalar.

    Example:
        >>> slope = torch.arange(4.0).expand(1, 4, 4)
        >>> gradient_matching_loss(slope, torch.zeros(1, 4, 4), scales=1).item()  # 12 steps of 1 in 16 pixels
        0.75
    """
    prediction, target, valid = _prepared(prediction, target, mask)
    return _gradient_matching(prediction - target, valid, scales)


def silog_loss(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, variance_focus: float = VARIANCE_FOCUS
) -> Tensor:
    """10 · √(mean(g²) − `variance_focus` · mean(g)²) for each image, g = log prediction − log target; their mean.

    Args:
        prediction: (b, h, w), metres. Below a millimetre the logarithm goes on as its tangent.
        target: (b, h, w), metres. What is not above 0 and finite does not count.
        mask: (b, h, w), bool or numbers, where the target is valid; None for all.
        variance_focus: 1 ignores a factor common to an image's whole depth, 0 is the plain root mean square.

    Returns:
        A scalar, the mean over the images with valid pixels.

    Example:
        >>> ones = torch.ones(1, 2, 2)
        >>> f"{silog_loss(torch.e * ones, ones).item():.4f}"  # 10 · √(1 − 0.85)
        '3.8730'
    """
    if not 0 <= variance_focus <= 1:
        raise ConfigError(f"variance_focus is {variance_focus!r}: it has to lie in 0…1")
    prediction, target, valid = _prepared(prediction, target, valid_depth(prediction, target, mask))
    difference = _log(torch.where(valid, prediction, 1)) - torch.where(valid, target, 1).log()  # (b, h, w)
    count = valid.sum((1, 2)).clamp(min=1)
    mean = difference.sum((1, 2)) / count
    spread = torch.where(valid, difference - mean[:, None, None], 0).square().sum((1, 2)) / count
    # The same sum, written so that rounding cannot make it negative.
    squared = spread + (1 - variance_focus) * mean.square()  # (b,)
    # The root has an infinite slope at 0, where there is nothing left to learn.
    positive = squared > torch.finfo(squared.dtype).tiny
    root = torch.where(positive, torch.where(positive, squared, 1).sqrt(), squared)
    return SILOG_FACTOR * root.sum() / valid.any(2).any(1).sum().clamp(min=1)


def _log(depth: Tensor) -> Tensor:
    floor = depth.clamp(min=NEAREST)
    return floor.log() + (depth - floor) / NEAREST


def _least_squares(
    prediction: Tensor, target: Tensor, valid: Tensor, *, keep_order: bool = False
) -> tuple[Tensor, Tensor]:
    """Both are centred first: the textbook's 2 × 2 system cancels where the spread is small beside the mean."""
    count = valid.sum((1, 2)).clamp(min=1)
    means = prediction.sum((1, 2)) / count, target.sum((1, 2)) / count  # (b,)
    centred, wanted = (
        torch.where(valid, values - mean[:, None, None], 0)
        for values, mean in zip((prediction, target), means, strict=True)
    )
    variance = centred.square().sum((1, 2)) / count
    # What is left of a constant after the rounding of its mean is no spread.
    least = (16 * torch.finfo(prediction.dtype).eps * means[0].detach()).square()
    varies = variance > least.clamp(min=torch.finfo(prediction.dtype).tiny)
    covariance = (centred * wanted).sum((1, 2)) / count
    scale = torch.where(varies, covariance, 0) / torch.where(varies, variance, 1)
    if keep_order:
        spread = (wanted.square().sum((1, 2)) / count).sqrt()
        upright = LEAST_CORRELATION * torch.where(varies, spread, 0) / torch.where(varies, variance, 1).sqrt()
        # The loss stays continuous, and its gradient too: for a correlation r it goes from 1 − r² to its tangent.
        scale = torch.maximum(scale, upright)
    return scale, means[1] - scale * means[0]


def _gradient_matching(residual: Tensor, valid: Tensor, scales: int) -> Tensor:
    total = residual.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        values, known = residual[:, ::step, ::step], valid[:, ::step, ::step]
        across = torch.where(known[:, :, 1:] & known[:, :, :-1], values.diff(dim=2).abs(), 0)
        down = torch.where(known[:, 1:] & known[:, :-1], values.diff(dim=1).abs(), 0)
        total = total + (across.sum() + down.sum()) / known.sum().clamp(min=1)
    return total


def to_unit_range(labels: Tensor, valid: Tensor) -> Tensor:
    """Scale the valid labels of each image to [0, 1]; constant ones become 0.

    Args:
        labels: (b, h, w), any real type.
        valid: (b, h, w) bool, see `valid_depth`.

    Returns:
        (b, h, w), 0 where not valid.
    """
    labels = _precise(labels).to(valid.device)
    low = torch.where(valid, labels, torch.inf).amin((1, 2), keepdim=True)  # (b, 1, 1)
    high = torch.where(valid, labels, -torch.inf).amax((1, 2), keepdim=True)
    span = torch.where(high > low, high - low, 1)
    return torch.where(valid, labels - low, 0) / span


def _prepared(prediction: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return both in one precise type with 0 where the target is not valid, and where it is valid.

    This comes before all arithmetic: 0 · NaN is NaN, in gradients too.
    """
    _check_shapes(prediction, target, mask)
    prediction = _precise(prediction)
    target = target.to(prediction.device, prediction.dtype)
    valid = target.isfinite()
    if mask is not None:
        valid = valid & mask.to(prediction.device, torch.bool)
    return torch.where(valid, prediction, 0), torch.where(valid, target, 0), valid


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _check_shapes(prediction: Tensor, labels: Tensor, mask: Tensor | None) -> None:
    if prediction.ndim != 3 or not prediction.numel():
        raise InputError(f"the predicted depth has the shape {tuple(prediction.shape)}: it has to be (b, h, w)")
    for name, given in (("labels", labels), ("mask", mask)):
        if given is not None and given.shape != prediction.shape:
            raise InputError(
                f"{name} have the shape {tuple(given.shape)} but the predicted depth {tuple(prediction.shape)}: resize "
                "them to (b, h, w) of the prediction by nearest neighbour"
            )
