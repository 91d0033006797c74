"""Attention inside windows of a grid: cutting, sewing, shifting, and the biases that belong to it.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., 2021, arXiv 2103.14030,
section 3.2. Windows without a shift are also those of ViTDet (arXiv 2203.16527, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from perpixel.layers.exporting import is_open

# Added to the score of two tokens that only the cyclic shift has brought into one window.
APART = -100.0


def window_partition(tokens: Tensor, size: int) -> Tensor:
    """Cut a grid into windows; the last row and column of windows are filled up with zeros.

    Args:
        tokens: (b, h, w, c).
        size: side of a window.

    Returns:
        (b · windows, size, size, c), windows in row-major order.
    """
    b, h, w, c = tokens.shape
    rows, columns = (h + size - 1) // size, (w + size - 1) // size
    # With sizes that are left open nothing may depend on whether there is something to fill up.
    if is_open(h, w) or h % size or w % size:
        tokens = functional.pad(tokens, (0, 0, 0, columns * size - w, 0, rows * size - h))
    tokens = tokens.reshape(b, rows, size, columns, size, c).transpose(2, 3)  # (b, rows, columns, size, size, c)
    return tokens.reshape(-1, size, size, c)


def window_unpartition(windows: Tensor, height: int, width: int) -> Tensor:
    """Undo `window_partition`: (b · windows, size, size, c) → (b, height, width, c)."""
    _, size, _, c = windows.shape
    rows, columns = (height + size - 1) // size, (width + size - 1) // size
    grid = windows.reshape(-1, rows, columns, size, size, c).transpose(2, 3)  # (b, rows, size, columns, size, c)
    return grid.reshape(-1, rows * size, columns * size, c)[:, :height, :width]


def relative_position_bias(table: Tensor, size: int) -> Tensor:
    """Spread the biases of relative positions over the pairs of a window's tokens (section 3.2, equation 4).

    Args:
        table: ((2·side - 1)², heads), one row an offset in rows and columns, for windows of up to `side`.
        size: side of the window; a smaller one has the offsets in the middle of the table.

    Returns:
        (heads, size², size²): query, key.

    Example:
        >>> relative_position_bias(torch.arange(9.0)[:, None], 2)[0].int().tolist()
        [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    """
    full = round(len(table) ** 0.5)
    spare = (full + 1) // 2 - size
    offsets = table.reshape(full, full, -1)[spare : full - spare, spare : full - spare]  # (2s-1, 2s-1, heads)
    # Element [a, b, head, p, q] is that of the offset (a + p, b + q); the query stands at (p, q), and the key
    # at (size - 1 - a, size - 1 - b). So no table of indices has to be kept.
    spread = offsets.unfold(0, size, 1).unfold(1, size, 1).flip(0, 1)  # (key row, key column, heads, row, column)
    return spread.permute(2, 3, 4, 0, 1).reshape(-1, size * size, size * size)  # (heads, n, n)


def with_shift_mask(bias: Tensor, mask: Tensor | None, count: int) -> Tensor:
    """Join what is added to the scores of `count` windows.

    Args:
        bias: (heads, n, n), the biases of relative positions.
        mask: (windows, n, n) of `shift_mask`, which repeats from image to image; None where nothing is shifted.
        count: b · windows.

    Returns:
        (1 or b · windows, heads, n, n).
    """
    if mask is None:
        return bias[None]
    joint = bias + mask[:, None]  # (windows, heads, n, n)
    return joint.expand(count // len(mask), *joint.shape).flatten(0, 1)


def shift_mask(height: int, width: int, size: int, shift: int, like: Tensor) -> Tensor:
    """Keep tokens apart that are neighbours only because the grid was rolled (section 3.2, figure 4).

    Args:
        height: rows of the grid, a multiple of `size`.
        width: columns of the grid, a multiple of `size`.
        size: side of a window.
        shift: rows and columns that the grid was rolled by, up and to the left.
        like: gives the type and the device.

    Returns:
        (windows, size², size²), 0 or `APART`, to be added to the scores.
    """
    # Along an axis only the last window holds two parts: what was there, and what the roll brought from the front.
    rows = torch.arange(height, device=like.device) >= height - shift
    columns = torch.arange(width, device=like.device) >= width - shift
    parts = (rows[:, None] * 2 + columns).to(like.dtype)[None, :, :, None]  # (1, h, w, 1)
    parts = window_partition(parts, size).flatten(1)  # (windows, n)
    apart = parts[:, :, None] != parts[:, None, :]  # (windows, n, n)
    return torch.zeros(apart.shape, dtype=like.dtype, device=like.device).masked_fill_(apart, APART)
