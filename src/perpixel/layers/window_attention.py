"""Attention in the windows of a grid with decomposed relative positions, for inference on a processor.

One window after the other, whose scores stay in the core's cache: no copy of all windows is made, no bias of all pairs
of tokens, and no query is computed that stands for a token beyond the grid's edge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perpixel.layers.attention import distance_vectors


def attend_in_windows(qkv: Tensor, outside: Tensor, heads: int, size: int, table_h: Tensor, table_w: Tensor) -> Tensor:
    """Softmax attention within windows that start at the grid's first token.

    Args:
        qkv: (b, h, w, 3 · heads · d) float32: query, key, value, each head by head.
        outside: (3 · heads · d,), what stands for those of a token that fills a window beyond the grid's edge.
        heads: how many heads there are.
        size: side of a window.
        table_h: (2 L - 1, d) row vectors, see `perpixel.layers.attention`.
        table_w: (2 L - 1, d) column vectors.

    Returns:
        (b, h, w, heads · d).
    """
    b, h, w, _ = qkv.shape
    parts = qkv.view(b, h, w, 3, heads, -1)
    d = parts.shape[-1]
    beyond = outside.view(3, heads, 1, 1, d)
    # Rows and columns side by side, so that one product gives both.
    vectors = torch.cat([distance_vectors(table_h, size), distance_vectors(table_w, size)], dim=1)  # (d, 4 size - 2)
    scores, out = qkv.new_empty(heads * size**4), qkv.new_empty(b, h, w, heads, d)
    for i in range(b):
        for top in range(0, h, size):
            for left in range(0, w, size):
                part = parts[i, top : top + size, left : left + size].permute(2, 3, 0, 1, 4)  # (3, heads, r, c, d)
                r, c = part.shape[2:4]
                if (r, c) != (size, size):
                    filled = beyond.repeat(1, 1, size, size, 1)
                    filled[:, :, :r, :c] = part
                    key, value = filled[1], filled[2]
                else:
                    key, value = part[1], part[2]
                mixed = _attend(part[0], key, value, vectors, scores[: heads * r * c * size**2])
                out[i, top : top + r, left : left + c] = mixed.permute(1, 2, 0, 3)
    return out.flatten(3)


def _attend(query: Tensor, key: Tensor, value: Tensor, vectors: Tensor, scores: Tensor) -> Tensor:
    """Of (heads, r, c, d) queries, the first rows and columns, with (heads, size, size, d) keys and values."""
    heads, r, c, d = query.shape
    size = key.shape[1]
    query = query.reshape(heads, r * c, d)
    by = query @ vectors  # (heads, r·c, 4 size - 2)
    pitch = by.shape[2]
    # The distances that a query needs start one place earlier for each row (or column) further on.
    strides = (r * c * pitch, c * pitch - 1, pitch, 1)
    by_row = by.as_strided((heads, r, c, size), strides, by.storage_offset() + size - 1)
    strides = (r * c * pitch, c * pitch, pitch - 1, 1)
    by_column = by.as_strided((heads, r, c, size), strides, by.storage_offset() + 3 * size - 2)
    block = scores.view(heads, r * c, size * size)
    torch.add(by_row[..., None], by_column[..., None, :], out=block.view(heads, r, c, size, size))
    block.baddbmm_(query, key.reshape(heads, size * size, d).transpose(1, 2), alpha=d**-0.5)
    torch.softmax(block, dim=-1, out=block)
    return torch.bmm(block, value.reshape(heads, size * size, d)).view(heads, r, c, d)
