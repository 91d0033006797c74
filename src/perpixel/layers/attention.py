"""Attention with decomposed relative positions that never holds the whole score matrix.

The bias is that of MViTv2 (Li et al., 2022, arXiv 2112.01526, section 4.1) as ViTDet uses it (Li et al., 2022,
arXiv 2203.16527): a query at row i, column j adds `q · R_h[i - i']` and `q · R_w[j - j']` to its score against the
key at row i', column j'. For N tokens the plain formulation builds several N×N matrices a head; here N×N is built
only where N is a window, and longer sequences go through in blocks of queries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.layers.exporting import is_open, is_recorded
from perpixel.layers.packed import has_packing
from perpixel.layers.precision import full_precision

# Up to this many tokens the biased scores of all heads together are small, and one fused call is fastest.
SHORT_SEQUENCE = 512
# Scores of one block of queries against all keys: 4 MB of float32 stays near the core's cache.
BLOCK_SCORES = 1 << 20


def distance_vectors(table: Tensor, size: int, span: int | None = None) -> Tensor:
    """Turn a table of position vectors around, from the farthest row (or column) before to the farthest behind.

    Args:
        table: (2 L - 1, d), one vector a distance; resampled linearly where L is not `size`.
        size: how many rows (or columns) there are.
        span: how many the whole image has, if these are a part of it; the table is resampled to the whole.

    Returns:
        (d, 2 size - 1): column k belongs to the distance size - 1 - k.

    Example:
        >>> distance_vectors(torch.arange(3.0)[:, None], 2)
        tensor([[2., 1., 0.]])
    """
    span = size if span is None else span
    if table.shape[0] != 2 * span - 1:
        table = functional.interpolate(table.T[None], size=2 * span - 1, mode="linear")[0].T  # (2 span - 1, d)
    return table[span - size : span + size - 1].flip(0).T  # (d, 2 size - 1)


def position_scores(query: Tensor, rows: Tensor, columns: Tensor, top: int = 0, left: int = 0) -> tuple[Tensor, Tensor]:
    """Scores of the queries of a rectangle of the grid against every row and every column of the grid.

    Args:
        query: (…, r, c, d) unscaled queries.
        rows: (d, 2 h - 1), the `distance_vectors` of the grid's h rows.
        columns: (d, 2 w - 1), those of its w columns.
        top: the grid's row where the rectangle starts.
        left: the grid's column where it starts.

    Returns:
        (…, r, c, h) and (…, r, c, w), views of somewhat larger tensors.
    """
    h, w = (rows.shape[1] + 1) // 2, (columns.shape[1] + 1) // 2
    by_row = (query @ rows.to(query.dtype)).contiguous()  # (…, r, c, 2 h - 1)
    by_column = (query @ columns.to(query.dtype)).contiguous()  # (…, r, c, 2 w - 1)
    # The distances that a query needs start one place earlier for each row (or column) further on.
    *outer, over_rows, over_columns, _ = by_row.stride()
    by_row = by_row.as_strided(
        (*query.shape[:-1], h), (*outer, over_rows - 1, over_columns, 1), by_row.storage_offset() + h - 1 - top
    )
    *outer, over_rows, over_columns, _ = by_column.stride()
    by_column = by_column.as_strided(
        (*query.shape[:-1], w), (*outer, over_rows, over_columns - 1, 1), by_column.storage_offset() + w - 1 - left
    )
    return by_row, by_column


def _bias(query: Tensor, rows: Tensor, columns: Tensor, top: int = 0, left: int = 0) -> Tensor:
    by_row, by_column = position_scores(query, rows, columns, top, left)
    scores = by_row[..., :, None] + by_column[..., None, :]  # (b, heads, r, c, h, w)
    return scores.flatten(-2).flatten(2, 3)  # (b, heads, r·c, h·w)


def plain_bias(query: Tensor, table_h: Tensor, table_w: Tensor) -> Tensor:
    """What decomposed relative positions add to the scores, by operators that every exported format has.

    Args:
        query: (b, heads, h, w, d), unscaled; the sizes of the grid may be left open.
        table_h: (2 L - 1, d) row vectors.
        table_w: (2 L - 1, d) column vectors.

    Returns:
        (b, heads, h·w, h·w).
    """
    b, heads, h, w, d = query.shape
    rows, columns = _pair_vectors(table_h, h), _pair_vectors(table_w, w)  # (h, h, d) and (w, w, d)
    by_row = query.reshape(b * heads, h, w, d).transpose(0, 1).reshape(h, b * heads * w, d)
    by_row = (by_row @ rows.transpose(1, 2)).reshape(h, b * heads, w, h).transpose(0, 1)  # (b·heads, h, w, h)
    by_column = query.reshape(b * heads * h, w, d).transpose(0, 1) @ columns.transpose(1, 2)  # (w, b·heads·h, w)
    by_column = by_column.transpose(0, 1).reshape(b * heads, h, w, w)
    return (by_row[..., None] + by_column[..., None, :]).reshape(b, heads, h * w, h * w)


def _pair_vectors(table: Tensor, size: int) -> Tensor:
    """The vector of every two rows (or columns), (size, size, d): query, key."""
    if is_open(size) or table.shape[0] != 2 * size - 1:
        table = functional.interpolate(table.T[None], size=2 * size - 1, mode="linear")[0].T  # (2 size - 1, d)
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places + size - 1]


def attention_with_positions(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table_h: Tensor | None,
    table_w: Tensor | None,
    height: int,
    width: int,
    span: tuple[int, int] | None = None,
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
        span: rows and columns of the whole image's grid, if this grid is a part of it.

    Returns:
        (b, heads, n, d). The memory beside the arguments grows linearly with n once n exceeds 512, with gradients
        too: a block's scores are computed again in the backward pass.
    """
    if table_h is None or table_w is None:
        return functional.scaled_dot_product_attention(query, key, value)
    b, heads, n, d = query.shape
    if is_recorded() and span is None:
        bias = plain_bias(query.reshape(b, heads, height, width, d), table_h, table_w)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    whole = (height, width) if span is None else span
    rows, columns = distance_vectors(table_h, height, whole[0]), distance_vectors(table_w, width, whole[1])
    grid = query.reshape(b, heads, height, width, d)
    if n <= SHORT_SEQUENCE:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=_bias(grid, rows, columns))
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value, rows, columns))
    if not with_gradient and is_quick(query):
        return _blocks_on_cpu(grid, key, value, rows, columns)
    if not with_gradient and query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        # Fused attention with a mask is slower still in half precision: in float32 these calls take half its time.
        with full_precision(query):
            return _blocks_on_cpu(*(x.float() for x in (grid, key, value, rows, columns))).to(query.dtype)
    blocks = []
    for window in _rectangles(height, width, _block_length(n, b * heads)):
        top, left = window[0].start, window[1].start
        arguments = (grid[:, :, window[0], window[1]], key, value, rows, columns, top, left)
        if with_gradient:
            blocks.append(checkpoint(_attend, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            blocks.append(_attend(*arguments))
    return torch.cat(blocks, dim=2)  # (b, heads, n, d)


def is_quick(x: Tensor) -> bool:
    """Whether a tensor is float32 on a processor and needs no gradient, so that the calls made for that serve it."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and x.requires_grad)
    )


def attend_from(
    qkv: Tensor,
    places: Tensor,
    table_h: Tensor,
    table_w: Tensor,
    height: int,
    width: int,
    span: tuple[int, int] | None = None,
) -> Tensor:
    """As `attention_with_positions`, of some queries of one image; float32 on a processor, without gradient.

    Args:
        qkv: (n, 3, heads, d): query, key and value of every token.
        places: (m,) int64, the tokens whose queries count.
        table_h: (2 L - 1, d) row vectors.
        table_w: (2 L - 1, d) column vectors.
        height: rows of the grid, n = height · width.
        width: columns of the grid.
        span: see `attention_with_positions`.

    Returns:
        (m, heads · d).
    """
    n, _, heads, d = qkv.shape
    m = len(places)
    whole = (height, width) if span is None else span
    vectors = distance_vectors(table_h, height, whole[0]), distance_vectors(table_w, width, whole[1])
    # The distance to the grid's first row (or column) is that many places before the last.
    starts = height - 1 - places // width, width - 1 - places % width
    from_rows, from_columns = (
        start[:, None] + torch.arange(size) for start, size in zip(starts, (height, width), strict=True)
    )
    length = max(32, min(512, BLOCK_SCORES * 2 // n))
    scores, out = qkv.new_empty(min(length, m), n), qkv.new_empty(m, heads, d)
    for j in range(heads):
        query = qkv[places, 0, j]  # (m, d)
        keys, mix = qkv[:, 1, j].T.contiguous(), _mixer(qkv[:, 2, j], length)
        by_row = torch.gather(query @ vectors[0], 1, from_rows)  # (m, h)
        by_column = torch.gather(query @ vectors[1], 1, from_columns)  # (m, w)
        query *= d**-0.5
        for at in range(0, m, length):
            part = slice(at, min(at + length, m))
            block = scores[: part.stop - at]
            torch.add(by_row[part, :, None], by_column[part, None, :], out=block.view(-1, height, width))
            block.addmm_(query[part], keys)
            torch.softmax(block, dim=-1, out=block)
            out[part, j] = mix(block)
    return out.flatten(1)


def _mixer(values: Tensor, length: int) -> Callable[[Tensor], Tensor]:
    """The product of weights (length, n) with values (n, d), which are laid out for it only once."""
    if not has_packing():
        values = values.contiguous()
        return lambda weights: weights @ values
    packed = torch.ops.mkldnn._reorder_linear_weight(values.T.contiguous(), length)
    return lambda weights: torch.ops.mkldnn._linear_pointwise(weights, packed, None, "none", [], "")


def attention_weights(
    query: Tensor,
    key: Tensor,
    table_h: Tensor | None,
    table_w: Tensor | None,
    height: int,
    width: int,
    span: tuple[int, int] | None = None,
) -> Tensor:
    """The whole matrix of attention weights, for those who ask to see it.

    The arguments are those of `attention_with_positions`.

    Returns:
        (b, heads, n, n), each row sums to 1.
    """
    scores: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (b, heads, n, n)
    if table_h is not None and table_w is not None:
        whole = (height, width) if span is None else span
        grid = query.reshape(*query.shape[:2], height, width, -1)  # (b, heads, h, w, d)
        rows, columns = distance_vectors(table_h, height, whole[0]), distance_vectors(table_w, width, whole[1])
        scores = scores + _bias(grid, rows, columns)
    return scores.softmax(dim=-1)


def _block_length(n: int, heads: int) -> int:
    return max(32, min(512, BLOCK_SCORES * 8 // (n * heads)))


def _rectangles(height: int, width: int, tokens: int) -> list[tuple[slice, slice]]:
    """Cut a grid into some whole rows at a time, or into parts of a row where one has more tokens than asked for."""
    rows, columns = max(1, tokens // width), min(width, max(1, tokens))
    return [
        (slice(top, min(top + rows, height)), slice(left, min(left + columns, width)))
        for top in range(0, height, rows)
        for left in range(0, width, columns)
    ]


def _attend(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, top: int, left: int) -> Tensor:
    bias = _bias(query, rows, columns, top, left)
    return functional.scaled_dot_product_attention(query.flatten(2, 3), key, value, attn_mask=bias)


def _blocks_on_cpu(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    # Fused CPU attention with a mask is slower than these four calls on one reused buffer.
    b, heads, height, width, d = query.shape
    n = height * width
    length = max(32, min(512, BLOCK_SCORES * 2 // n))
    bands = _rectangles(height, width, BLOCK_SCORES // (height + width))
    scores = query.new_empty(length, n)
    out = query.new_empty(b, n, heads, d)
    for i in range(b):
        for j in range(heads):
            keys = key[i, j].T.contiguous()  # (d, n)
            mix = _mixer(value[i, j], length)
            for window in bands:
                band = query[i, j, window[0], window[1]]  # (r, c, d)
                by_row, by_column = position_scores(band, rows, columns, window[0].start, window[1].start)
                by_row, by_column = by_row.flatten(0, 1), by_column.flatten(0, 1)  # (r·c, h) and (r·c, w)
                scaled = band.flatten(0, 1) * d**-0.5  # (r·c, d)
                first = window[0].start * width + window[1].start
                for at in range(0, len(scaled), length):
                    part = slice(at, min(at + length, len(scaled)))
                    block = scores[: part.stop - at]  # (length, n)
                    torch.add(by_row[part, :, None], by_column[part, None, :], out=block.view(-1, height, width))
                    block.addmm_(scaled[part], keys)
                    torch.softmax(block, dim=-1, out=block)
                    out[i, first + at : first + part.stop, j] = mix(block)
    return out.transpose(1, 2)  # (b, heads, n, d)
