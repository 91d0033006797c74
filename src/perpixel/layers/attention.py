"""Attention with decomposed relative positions that never holds the whole score matrix.

The bias is that of MViTv2 (Li et al., 2022, arXiv 2112.01526, section 4.1) as ViTDet uses it (Li et al., 2022,
arXiv 2203.16527): a query at row i, column j adds `q · R_h[i - i']` and `q · R_w[j - j']` to its score against the
key at row i', column j'. For N tokens the plain formulation builds several N×N matrices a head; here N×N is built
only where N is a window, and longer sequences go through in blocks of queries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

# Up to this many tokens the biased scores of all heads together are small, and one fused call is fastest.
SHORT_SEQUENCE = 512
# Scores of one block of queries against all keys: 4 MB of float32 stays near the core's cache.
BLOCK_SCORES = 1 << 20


def relative_positions(table: Tensor, size: int) -> Tensor:
    """Look up the position vector of every pair of rows (or columns).

    Args:
        table: (2 L - 1, d), one vector a distance; resampled linearly where L is not `size`.
        size: how many rows (or columns) there are.

    Returns:
        (size, size, d): entry [i, j] belongs to the distance i - j.

    Example:
        >>> relative_positions(torch.arange(3.0)[:, None], 2)[..., 0]
        tensor([[1., 0.],
                [2., 1.]])
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        table = functional.interpolate(table.T[None], size=length, mode="linear")[0].T  # (2 size - 1, d)
    index = torch.arange(size, device=table.device)
    return table[index[:, None] - index[None, :] + size - 1]  # (size, size, d)


def position_scores(query: Tensor, table_h: Tensor, table_w: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Scores of every query against every row and every column.

    Args:
        query: (b, heads, n, d) unscaled queries, n = height · width in row-major order.
        table_h: (2 L - 1, d) vectors of the row distances.
        table_w: (2 L - 1, d) vectors of the column distances.
        height: rows of tokens.
        width: columns of tokens.

    Returns:
        (b, heads, n, height) and (b, heads, n, width).
    """
    b, heads, n, d = query.shape
    grid = query.reshape(b * heads, height, width, d)
    rows = relative_positions(table_h, height).to(query.dtype)  # (h, h, d)
    columns = relative_positions(table_w, width).to(query.dtype)  # (w, w, d)
    by_row = torch.matmul(grid, rows.transpose(1, 2))  # (b·heads, h, w, h)
    by_column = torch.matmul(grid.transpose(1, 2), columns.transpose(1, 2)).transpose(1, 2)  # (b·heads, h, w, w)
    return by_row.reshape(b, heads, n, height), by_column.reshape(b, heads, n, width)


def _bias(by_row: Tensor, by_column: Tensor) -> Tensor:
    scores = by_row[..., :, None] + by_column[..., None, :]  # (…, n, h, w)
    return scores.flatten(-2)  # (…, n, h·w)


def attention_with_positions(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table_h: Tensor | None,
    table_w: Tensor | None,
    height: int,
    width: int,
) -> Tensor:
    """Softmax attention over a grid of tokens, with decomposed relative positions if tables are given.

    Args:
        query: (b, heads, n, d), unscaled; the scale is d ** -0.5.
        key: (b, heads, n, d).
        value: (b, heads, n, d).
        table_h: (2 L - 1, d) row vectors, or None for attention without positions.
        table_w: (2 L - 1, d) column vectors, or None.
        height: rows of the grid, n = height · width.
        width: columns of the grid.

    Returns:
        (b, heads, n, d). The memory beside the arguments grows linearly with n once n exceeds 512, with gradients
        too: a block's scores are computed again in the backward pass.
    """
    if table_h is None or table_w is None:
        return functional.scaled_dot_product_attention(query, key, value)
    by_row, by_column = position_scores(query, table_h, table_w, height, width)
    n = query.shape[2]
    if n <= SHORT_SEQUENCE:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=_bias(by_row, by_column))
    if torch.is_grad_enabled() and (query.requires_grad or by_row.requires_grad):
        return _blocks_with_gradient(query, key, value, by_row, by_column)
    if query.device.type == "cpu" and query.dtype == torch.float32:
        return _blocks_on_cpu(query, key, value, by_row, by_column)
    rows = _block_length(n, heads=query.shape[0] * query.shape[1])
    blocks = [
        _attend(
            query[:, :, at : at + rows],
            key,
            value,
            by_row[:, :, at : at + rows],
            by_column[:, :, at : at + rows],
        )
        for at in range(0, n, rows)
    ]
    return torch.cat(blocks, dim=2)  # (b, heads, n, d)


def attention_weights(query: Tensor, key: Tensor, by_row: Tensor | None, by_column: Tensor | None) -> Tensor:
    """The whole matrix of attention weights, for those who ask to see it: (b, heads, n, n)."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (b, heads, n, n)
    if by_row is not None and by_column is not None:
        scores = scores + _bias(by_row, by_column)
    return scores.softmax(dim=-1)


def _block_length(n: int, heads: int = 1) -> int:
    return max(32, min(512, BLOCK_SCORES * 8 // (n * heads)))


def _attend(query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=_bias(by_row, by_column))


def _blocks_with_gradient(query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    n = query.shape[2]
    rows = _block_length(n, heads=query.shape[0] * query.shape[1])
    blocks = []
    for at in range(0, n, rows):
        part = slice(at, at + rows)
        arguments = (query[:, :, part], key, value, by_row[:, :, part], by_column[:, :, part])
        blocks.append(checkpoint(_attend, *arguments, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(blocks, dim=2)  # (b, heads, n, d)


def _blocks_on_cpu(query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    # Fused CPU attention with a mask is slower than these four calls on one reused buffer.
    b, heads, n, d = query.shape
    height, width = by_row.shape[-1], by_column.shape[-1]
    rows = max(32, min(512, BLOCK_SCORES * 2 // n))
    scores = query.new_empty(rows, n)
    out = query.new_empty(b, n, heads, d)
    for i in range(b):
        for j in range(heads):
            scaled = query[i, j] * d**-0.5  # (n, d)
            keys = key[i, j].T.contiguous()  # (d, n)
            values = value[i, j].contiguous()  # (n, d)
            for at in range(0, n, rows):
                part = slice(at, min(at + rows, n))
                block = scores[: part.stop - at]  # (rows, n)
                torch.add(
                    by_row[i, j, part, :, None],
                    by_column[i, j, part, None, :],
                    out=block.view(-1, height, width),
                )
                block.addmm_(scaled[part], keys)
                torch.softmax(block, dim=-1, out=block)
                out[i, part, j] = block @ values
    return out.transpose(1, 2)  # (b, heads, n, d)
