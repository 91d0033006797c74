"""An exported file against the model that it came from, on random images of several sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from perpixel.errors import OutputError
from perpixel.export.about import Sizes
from perpixel.export.model import TensorsOnly, channels_of
from perpixel.export.runtime import ExportedModel

# Of the standard deviation of the model's own output.
TOLERANCE = 1e-3
# Weights of 16 bits have 11 bits of their own: each is off by up to 5e-4, and a model adds many up.
HALF_TOLERANCE = 5e-2
# Shares of the values that may be farther off: a query of Mask2Former looks where its mask reaches 0, so a value that
# lies on this line goes to the one side here and to the other there, and what follows differs.
OUTLIERS = {"class_queries_logits": 0.02, "masks_queries_logits": 0.02}
# Small sizes, in multiples of the model's own, and one in pixels that has many windows and tokens.
SMALL = ((2, 3), (5, 3))
LARGE = (416, 544)


@dataclass(frozen=True)
class Difference:
    """How far a file is from its model at one size.

    Attributes:
        height: rows of the input.
        width: its columns.
        largest: the largest difference, as a share of the output's standard deviation, outliers that are allowed left
            out.
    """

    height: int
    width: int
    largest: float


def check(
    wrapper: TensorsOnly, exported: ExportedModel, *, tolerance: float = TOLERANCE, seed: int = 0
) -> list[Difference]:
    """Compare.

    Args:
        wrapper: the model.
        exported: the opened file.
        tolerance: the largest difference that is accepted, as a share of the output's standard deviation.
        seed: of the random images.

    Returns:
        what was found, one a size.

    Raises:
        OutputError: they differ by more.
    """
    found = []
    for place, (height, width) in enumerate(sizes_to_check(exported.about.sizes)):
        pixels = random_pixels(channels_of(wrapper.model), height, width, seed + place)
        with torch.no_grad():
            expected = wrapper(pixels)
        own = exported.tensors(pixels)
        shares = [
            difference(own[name], tensor, OUTLIERS.get(name, 0.0))
            for name, tensor in zip(wrapper.names, expected, strict=True)
        ]
        found.append(Difference(height, width, max(shares)))
        if not found[-1].largest <= tolerance:
            raise OutputError(
                f"the exported {type(wrapper.model).__name__} differs from the model by {found[-1].largest:.2g} of "
                f"the output's deviation at {width}×{height} (width×height), and {tolerance:g} is allowed: the file "
                "is not kept; try another format, or one size (--fixed)"
            )
    return found


def sizes_to_check(sizes: Sizes) -> list[tuple[int, int]]:
    """Sizes that a file takes: the only one twice, or several.

    >>> sizes_to_check(Sizes(32))
    [(64, 96), (160, 96), (416, 576)]
    >>> sizes_to_check(Sizes(14, (28, 42)))
    [(28, 42), (28, 42)]
    """
    if sizes.fixed is not None:
        return [sizes.fixed, sizes.fixed]
    multiple = sizes.multiple
    rows, columns = (max(3, side // multiple) for side in LARGE)
    return [(h * multiple, w * multiple) for h, w in (*SMALL, (rows, columns + 1))]


def random_pixels(channels: int, height: int, width: int, seed: int) -> Tensor:
    """(1, channels, height, width): soft noise as of a photograph, and as the fourth channel a trimap."""
    maker = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, max(2, height // 16), max(2, width // 16), generator=maker)
    soft = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    pixels = soft + 0.2 * torch.randn(1, channels, height, width, generator=maker)
    if channels == 4:
        pixels[:, 3:] = ((soft[:, 3:] > -0.3).float() + (soft[:, 3:] > 0.5).float()) / 2
    return pixels


def difference(found: Tensor, expected: Tensor, outliers: float = 0.0) -> float:
    """The largest difference of two tensors of any one shape, as a share of the second's standard deviation.

    Args:
        found: what is checked.
        expected: what it should be.
        outliers: the share of the values that is left out, the worst ones.

    Returns:
        infinity where the shapes differ or something is no number.
    """
    if found.shape != expected.shape or not found.numel():
        return float("inf")
    apart = (found.double() - expected.double()).abs().flatten().numpy()
    if not np.isfinite(apart).all():
        return float("inf")
    deviation = float(expected.double().std()) if expected.numel() > 1 else 0.0
    # A constant output has no deviation: then its own size is what counts.
    scale = deviation or float(expected.abs().max()) or 1.0
    kept = np.sort(apart)[: max(1, len(apart) - int(outliers * len(apart)))]
    return float(kept[-1]) / scale
