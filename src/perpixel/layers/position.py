"""Where a pixel is: in sines and cosines, or in learned vectors that another grid needs.

The sines are the fixed encoding of "Attention Is All You Need" (Vaswani et al., 2017, arXiv 1706.03762, section 3.5),
spread over two dimensions as in DETR (Carion et al., 2020, arXiv 2005.12872, appendix A.4).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from perpixel.layers.exporting import is_open

# Keeps the division of an empty row or column finite.
EPSILON = 1e-6


def sine_position_embedding(
    height: int,
    width: int,
    channels: int,
    *,
    mask: Tensor | None = None,
    temperature: float = 10000.0,
    normalize: bool = True,
    scale: float = 2 * math.pi,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Embed rows in the first half of the channels, columns in the second half.

    Args:
        height: rows.
        width: columns.
        channels: how many channels come out; divisible by 4.
        mask: (b, h, w) bool, true for the pixels that belong to the image; only they are counted. All do if not given.
        temperature: the slowest wave is this many times slower than the fastest.
        normalize: count from 0 to `scale` whatever the size, instead of in pixels.
        scale: what the last row and column become.
        dtype: of the result; the computation is in float32, or in float64 for float64.
        device: where it is computed; the mask's if there is one.

    Returns:
        (b, channels, h, w), b = 1 without a mask. The channels lie together in memory, so
        `.flatten(2).transpose(1, 2)` is a free view as tokens.

    Example:
        >>> sine_position_embedding(2, 3, 8).shape
        torch.Size([1, 8, 2, 3])
    """
    work = torch.promote_types(dtype, torch.float32)
    if mask is None:
        rows = torch.arange(1, height + 1, dtype=work, device=device)[None, :, None]  # (1, h, 1)
        columns = torch.arange(1, width + 1, dtype=work, device=device)[None, None]  # (1, 1, w)
    else:
        rows, columns = mask.cumsum(1, dtype=work), mask.cumsum(2, dtype=work)  # (b, h, w)
    if normalize:
        rows = rows / (rows[:, -1:] + EPSILON) * scale
        columns = columns / (columns[:, :, -1:] + EPSILON) * scale
    waves = torch.arange(channels // 4, dtype=work, device=rows.device)
    periods = temperature ** (waves / (channels // 4))  # (channels / 4)
    parts = [_waves(place, periods).to(dtype).expand(-1, height, width, -1) for place in (rows, columns)]
    return torch.cat(parts, dim=-1).permute(0, 3, 1, 2)  # (b, channels, h, w)


def _waves(place: Tensor, periods: Tensor) -> Tensor:
    """Sine and cosine in turn, from the fastest wave to the slowest: (…) → (…, 2 · periods)."""
    angles = place[..., None] / periods
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def resample_positions(
    learned: Tensor,
    grid: tuple[int, int],
    size: tuple[int, int],
    *,
    first: int = 1,
    mode: str = "bicubic",
    antialias: bool = False,
) -> Tensor:
    """Bring learned position embeddings to another grid, by their place in the image (arXiv 2010.11929, section 3.2).

    Args:
        learned: (1, first + h · w, c).
        grid: the rows and columns h, w that they were learned for.
        size: the rows and columns that are needed.
        first: how many of them belong to tokens without a place, such as the class token; these stay.
        mode: "bicubic" or "bilinear".
        antialias: whether a smaller grid gets averages rather than samples.

    Returns:
        (1, first + rows · columns, c); `learned` itself where the grid is the same.

    Example:
        >>> resample_positions(torch.zeros(1, 5, 8), (2, 2), (3, 4)).shape
        torch.Size([1, 13, 8])
    """
    if not is_open(*size) and size == grid:
        return learned
    rest = learned[:, first:].transpose(1, 2).reshape(1, -1, *grid)  # (1, c, h, w)
    # In half precision the weights of the resampling would be too coarse.
    rest = rest.to(torch.promote_types(rest.dtype, torch.float32))
    plane = functional.interpolate(rest, size=size, mode=mode, align_corners=False, antialias=antialias)
    plane = plane.to(learned.dtype).flatten(2).transpose(1, 2)  # (1, rows · columns, c)
    return torch.cat([learned[:, :first], plane], dim=1)
