"""Multi-scale deformable attention: every query looks at a few points of several maps, wherever it likes.

"Deformable DETR: Deformable Transformers for End-to-End Object Detection", Zhu et al., 2021, arXiv 2010.04159,
section 4.1, equation 3. A query predicts, for each head, level and point, an offset from its own place and a weight;
the values at those places are read bilinearly and summed by weight. The cost is linear in the number of queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.errors import ConfigError, InputError
from perpixel.layers.deformable_kernel import KernelTable, kernel, kernel_table
from perpixel.layers.exporting import is_open

# Queries that are sampled at once: the indices and weights of their corners then stay in the core's cache.
QUERY_BLOCK = 1024

Shapes = Sequence[tuple[int, int]]


def is_exporting() -> bool:
    """Whether the running code is being traced, compiled or exported: then only plain operators may be used."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    return tracing or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()


def _kernel_table(value: Tensor, shapes: Shapes) -> KernelTable | None:
    """One image's values, (n, heads, d), for the compiled loop; None where it cannot be used."""
    plain = value.device.type == "cpu" and value.dtype != torch.float64 and type(value) in (Tensor, nn.Parameter)
    if not plain or is_exporting() or (torch.is_grad_enabled() and value.requires_grad):
        return None
    n, heads, d = value.shape
    # The loop reads 32 numbers at once, as wide as heads are in the paper, and counts with 32 bits.
    if d % 32 or not 0 < (heads * n + 1) * d < 2**31:
        return None
    return None if kernel() is None else kernel_table(value, shapes)


def query_blocks(count: int) -> Iterator[slice]:
    """Cut `count` queries into blocks of `QUERY_BLOCK`.

    Example:
        >>> [(block.start, block.stop) for block in query_blocks(1500)]
        [(0, 1024), (1024, 1500)]
    """
    for start in range(0, count, QUERY_BLOCK):
        yield slice(start, min(start + QUERY_BLOCK, count))


def multi_scale_deformable_attention(
    value: Tensor, spatial_shapes: Shapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Read all levels bilinearly at the locations and sum by weight; what lies outside a level counts as 0.

    Args:
        value: (b, n, heads, d), the levels' pixels one after the other, each level row by row.
        spatial_shapes: (h, w) of every level; n = Σ h · w.
        sampling_locations: (b, q, heads, levels, points, 2), x then y, as fractions of the level: (0, 0) is its upper
            left corner, (1, 1) its lower right one. Anything beyond is allowed.
        attention_weights: (b, q, heads, levels, points).

    Returns:
        (b, q, heads · d), in the dtype of `value`; half precision is summed in float32.

    Example:
        >>> value = torch.arange(4.0).view(1, 4, 1, 1)  # a map of 2×2 pixels
        >>> middle = torch.full((1, 1, 1, 1, 1, 2), 0.5)
        >>> multi_scale_deformable_attention(value, [(2, 2)], middle, torch.ones(1, 1, 1, 1, 1))
        tensor([[[1.5000]]])
    """
    n = sum(h * w for h, w in spatial_shapes)
    if not is_exporting() and value.shape[1] != n:
        raise InputError(f"value has {value.shape[1]} pixels but spatial_shapes {list(spatial_shapes)} has {n}")
    dtype = torch.promote_types(value.dtype, torch.float32)
    locations, weights = sampling_locations.to(dtype), attention_weights.to(dtype)
    if value.device.type != "cpu" or is_exporting():
        return sample_with_grids(value.to(dtype), spatial_shapes, locations, weights).to(value.dtype)
    gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (value, locations, weights))
    extents = _extents(spatial_shapes, locations)[:, None]  # (levels, 1, 2)
    images = []
    for image, where, by in zip(value, locations, weights, strict=True):
        fast = None if gradient else _kernel_table(image, spatial_shapes)
        if fast is not None:
            origin, each = where.new_zeros(len(where), 2), (*where.shape[:2], -1)
            images.append(fast.sample(origin, (where * extents).reshape(each), by.reshape(each)))
            continue
        table = value_table(image, spatial_shapes)
        blocks = []
        for block in query_blocks(len(where)):
            arguments = (table, where[block], by[block])
            # The corners' indices and weights are seven times as large as all else: cheaper to find them twice.
            blocks.append(checkpoint(sample, *arguments, use_reentrant=False) if gradient else sample(*arguments))
        images.append(torch.cat(blocks))
    return torch.stack(images).to(value.dtype)


def sample_with_grids(value: Tensor, spatial_shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """`multi_scale_deformable_attention` by `grid_sample`: good on accelerators, and ONNX knows it."""
    b, _, heads, d = value.shape
    grids = 2 * locations - 1
    out: Tensor | None = None
    start = 0
    for level, (h, w) in enumerate(spatial_shapes):
        plane = value[:, start : start + h * w].permute(0, 2, 3, 1).reshape(b * heads, d, h, w)  # (b·heads, d, h, w)
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (b·heads, q, points, 2)
        read = functional.grid_sample(plane, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        by = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (b·heads, q, points)
        part = (read * by[:, None]).sum(-1)  # (b·heads, d, q)
        out = part if out is None else out + part
        start += h * w
    assert out is not None
    return out.view(b, heads, d, -1).permute(0, 3, 1, 2).flatten(2)  # (b, q, heads·d)


class ValueTable(NamedTuple):
    """One image's values as a table of rows, one a head and pixel, that `sample` looks up.

    Every level has a frame of zeros, one pixel wide, so that points at the edge need no case of their own.
    """

    rows: Tensor
    heads: int
    shapes: Shapes


def value_table(value: Tensor, spatial_shapes: Shapes) -> ValueTable:
    """Lay out the values of one image, (n, heads, d), as a table of float32 (or float64) rows."""
    heads, d = value.shape[1:]
    framed = [(h + 2) * (w + 2) for h, w in spatial_shapes]
    dtype = torch.promote_types(value.dtype, torch.float32)
    # Head by head: successive queries of one head read neighbouring rows, which are then still in the cache.
    table = value.new_zeros(heads, sum(framed), d, dtype=dtype)
    start = first = 0
    for (h, w), size in zip(spatial_shapes, framed, strict=True):
        plane = table[:, first : first + size].view(heads, h + 2, w + 2, d)  # (heads, h + 2, w + 2, d)
        plane[:, 1:-1, 1:-1] = value[start : start + h * w].view(h, w, heads, d).permute(2, 0, 1, 3)
        start += h * w
        first += size
    return ValueTable(table.flatten(0, 1), heads, spatial_shapes)


def sample(table: ValueTable, locations: Tensor, weights: Tensor) -> Tensor:
    """Look up one image's points in the table and sum them by weight.

    Args:
        table: the image's values.
        locations: (q, heads, levels, points, 2), x then y, as fractions of the level.
        weights: (q, heads, levels, points).

    Returns:
        (q, heads · d), in the table's dtype.
    """
    q, heads, _, points, _ = locations.shape
    rows = table.rows
    sizes = torch.tensor([(w, h) for h, w in table.shapes], dtype=rows.dtype, device=rows.device)
    bounds = sizes.repeat_interleave(points, 0).flatten()  # (levels·points·2), x and y in turn
    places = locations.transpose(0, 1).flatten(3).flatten(2) * bounds - 0.5  # (heads, q, levels·points·2)
    # One pixel beyond the edge the frame's zeros are all that is read, so farther points may be moved there.
    places = torch.minimum(places.clamp(min=-1), bounds)
    with torch.no_grad():
        low = torch.minimum(places.floor(), bounds - 1)
        indices = _corner_rows(table, low, points)
    beyond = (places - low).view(heads, q, -1, 2)  # (heads, q, levels·points, 2)
    x, y = beyond.unbind(-1)
    by = weights.transpose(0, 1).flatten(2)  # (heads, q, levels·points)
    lower = by * y
    upper = by - lower
    upper_right, lower_right = upper * x, lower * x
    corners = torch.cat([upper - upper_right, upper_right, lower - lower_right, lower_right], dim=-1)
    out = functional.embedding_bag(
        indices.flatten(0, 1), rows, mode="sum", per_sample_weights=corners.flatten(0, 1)
    )  # (heads·q, d)
    return out.view(heads, q, -1).transpose(0, 1).reshape(q, -1)  # (q, heads·d)


def _corner_rows(table: ValueTable, low: Tensor, points: int) -> Tensor:
    """The rows of the four pixels around each place: (heads, q, 4 · levels · points) int32."""
    widths = [w + 2 for _, w in table.shapes]
    starts = [0]
    for h, w in table.shapes:
        starts.append(starts[-1] + (h + 2) * (w + 2))
    per_head = starts.pop()
    width = _integers(widths, low).repeat_interleave(points)  # (levels·points)
    # The frame shifts every pixel by one row and one column.
    first = _integers([start + w + 1 for start, w in zip(starts, widths, strict=True)], low)
    corners = torch.stack([torch.zeros_like(width), torch.ones_like(width), width, width + 1])  # (4, levels·points)
    corners += first.repeat_interleave(points)
    # What is not a number becomes the lowest integer, which must not become a row.
    x, y = low.int().clamp_(min=-1).view(*low.shape[:2], -1, 2).unbind(-1)  # (heads, q, levels·points)
    rows = y * width
    rows += x
    rows += _integers([head * per_head for head in range(table.heads)], low)[:, None, None]
    return (rows[:, :, None] + corners).flatten(2)


def _extents(shapes: Shapes, like: Tensor) -> Tensor:
    """Width and height of every level, (levels, 2)."""
    sides = [side for h, w in shapes for side in (w, h)]
    if is_open(*sides):
        return torch.stack([like.new_full((), side) for side in sides]).view(-1, 2)
    return like.new_tensor(sides).view(-1, 2)


def _integers(numbers: list[int], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32, device=like.device)


class MultiScaleDeformableAttention(nn.Module):
    """Multi-scale deformable attention of the pixels of several levels to one another.

    Args:
        channels: width of the tokens; divisible by `heads`.
        heads: attention heads.
        levels: how many maps there are.
        points: how many points a head reads in each map.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"{channels} channels cannot be shared by {heads} attention heads: they must divide it")
        self.heads = heads
        self.levels = levels
        self.points = points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with equal weights, each head looking into a direction of its own (the paper's appendix A.4)."""
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions /= directions.abs().amax(-1, keepdim=True)  # on the square of the nearest pixels
        steps = torch.arange(1, self.points + 1)[:, None] * directions[:, None, None]  # (heads, 1, points, 2)
        self.sampling_offsets.bias.copy_(steps.expand(-1, self.levels, -1, -1).flatten())

    def forward(
        self, tokens: Tensor, positions: Tensor, reference_points: Tensor, spatial_shapes: Shapes
    ) -> tuple[Tensor, Tensor]:
        """Let every pixel attend.

        Args:
            tokens: (b, n, c), the levels' pixels one after the other.
            positions: (1 or b, n, c), added to the tokens that ask, not to the values.
            reference_points: (n, 2), x then y of each pixel's centre as fractions of its level.
            spatial_shapes: (h, w) of every level.

        Returns:
            (b, n, c) and the attention weights (b, n, heads, levels, points).
        """
        locations, weights = self._where(tokens + positions, reference_points, spatial_shapes)
        value = self.value_proj(tokens).view(*tokens.shape[:2], self.heads, -1)  # (b, n, heads, d)
        out = multi_scale_deformable_attention(value, spatial_shapes, locations, weights)
        return self.output_proj(out), weights

    def table(self, tokens: Tensor, spatial_shapes: Shapes) -> ValueTable | KernelTable:
        """The values of one image's tokens (n, c), for `attend`; without a gradient where the loop is compiled."""
        value = self.value_proj(tokens).view(len(tokens), self.heads, -1)  # (n, heads, d)
        return _kernel_table(value, spatial_shapes) or value_table(value, spatial_shapes)

    def attend(
        self, queries: Tensor, reference_points: Tensor, table: ValueTable | KernelTable
    ) -> tuple[Tensor, Tensor]:
        """`forward` for a few queries of one image: (q, c) with positions and (q, 2) → (q, c) and their weights."""
        if isinstance(table, ValueTable):
            locations, weights = self._where(queries, reference_points, table.shapes)
            out = sample(table, locations, weights)
        else:
            weights = self._weights(queries)
            offsets = self.sampling_offsets(queries).view(len(queries), self.heads, -1)  # (q, heads, levels·points·2)
            out = table.sample(reference_points, offsets, weights.flatten(2))
        return self.output_proj(out.to(queries.dtype)), weights

    def _where(self, queries: Tensor, reference_points: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Locations (…, q, heads, levels, points, 2) and weights (…, q, heads, levels, points), at least float32."""
        dtype = torch.promote_types(queries.dtype, torch.float32)
        each = (*queries.shape[:-1], self.heads)
        slots = self.levels * self.points
        # Levels, points, x and y as one dimension: operations over a last dimension of two are slow.
        sizes = _extents(shapes, reference_points).repeat_interleave(self.points, 0).flatten()
        offsets = self.sampling_offsets(queries).to(dtype).view(*each, -1) / sizes  # (…, q, heads, slots·2)
        locations = offsets + reference_points.repeat(1, slots)[:, None]
        return locations.view(*each, self.levels, self.points, 2), self._weights(queries)

    def _weights(self, queries: Tensor) -> Tensor:
        """The weights of the points, (…, q, heads, levels, points), at least float32."""
        dtype = torch.promote_types(queries.dtype, torch.float32)
        scores = self.attention_weights(queries).to(dtype).view(*queries.shape[:-1], self.heads, -1)
        # A softmax over the first dimension is several times faster than one over a short last dimension.
        weights = scores.movedim(-1, 0).contiguous().softmax(0).movedim(0, -1)
        shaped: Tensor = weights.reshape(*queries.shape[:-1], self.heads, self.levels, self.points)
        return shaped
