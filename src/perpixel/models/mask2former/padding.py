"""A batch of padded images as groups of equal size, and their outputs on the common canvas again.

The paper pads each image with zeros to a multiple of 32 and takes that for the image. So does every group here: what
an image gets does not depend on how far the others of its batch reach.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from perpixel.errors import InputError
from perpixel.models.outputs import Mask2FormerModelOutput

# The backbone's coarsest stride.
MULTIPLE = 32
# Outputs with the queries before the batch, (q, b, c), and those that are maps of the image, (b, …, h, w).
_QUERIES_FIRST = ("transformer_decoder_hidden_states", "transformer_decoder_intermediate_states")
_MAPS = (
    "encoder_last_hidden_state",
    "pixel_decoder_last_hidden_state",
    "encoder_hidden_states",
    "pixel_decoder_hidden_states",
    "masks_queries_logits",
)


@dataclass(frozen=True)
class Group:
    """Images of a batch that are computed together: their places in it, and the rows and columns they are cut to."""

    images: list[int]
    height: int
    width: int


def image_sizes(pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[int, int]]:
    """Rows and columns of each image in a padded batch.

    Args:
        pixel_values: (b, 3, H, W).
        pixel_mask: (b, H, W), not 0 where the image is; it lies in the upper left corner.

    Raises:
        InputError: the mask does not fit the pixels, or has an image without any.
    """
    b, _, height, width = pixel_values.shape
    if pixel_mask.shape != (b, height, width):
        raise InputError(
            f"pixel_mask has shape {tuple(pixel_mask.shape)} but pixel_values {tuple(pixel_values.shape)}: "
            f"it has to be {(b, height, width)}"
        )
    inside = pixel_mask != 0
    rows, columns = inside.any(2), inside.any(1)  # (b, H) and (b, W)
    # The last row (or column) of the image counts, whatever holes the mask has before it.
    sides = []
    for taken in (rows, columns):
        places = torch.arange(1, taken.shape[1] + 1, device=taken.device)
        sides.append((taken * places).amax(1).tolist())
    sizes = [(int(h), int(w)) for h, w in zip(*sides, strict=True)]
    if any(not h for h, _ in sizes):
        raise InputError(f"pixel_mask is 0 everywhere for image {sizes.index((0, 0))}: it has to be 1 on its pixels")
    return sizes


def groups_of(sizes: Sequence[tuple[int, int]], height: int, width: int, *, one_by_one: bool = False) -> list[Group]:
    """Put images of the same size, rounded up to a multiple of 32 within the canvas, together.

    Args:
        sizes: rows and columns of each image.
        height: rows of the canvas.
        width: columns.
        one_by_one: give each image a group of its own, so that its sums are rounded as if it came alone.

    >>> groups_of([(40, 64), (96, 70), (64, 33)], 96, 96)
    [Group(images=[0, 2], height=64, width=64), Group(images=[1], height=96, width=96)]
    """
    found: dict[tuple[int, ...], list[int]] = {}
    for i, (h, w) in enumerate(sizes):
        extent = (min(-(-h // MULTIPLE) * MULTIPLE, height), min(-(-w // MULTIPLE) * MULTIPLE, width))
        found.setdefault((*extent, i if one_by_one else 0), []).append(i)
    return [Group(images, *extent[:2]) for extent, images in found.items()] or [Group([], height, width)]


def covered(
    sizes: Sequence[tuple[int, int]], groups: Sequence[Group], outputs: Sequence[Mask2FormerModelOutput]
) -> Tensor:
    """Rows and columns of its masks that each image covers, (b, 2) float32."""
    result = torch.zeros(len(sizes), 2)
    for group, output in zip(groups, outputs, strict=True):
        assert output.masks_queries_logits is not None
        rows, columns = output.masks_queries_logits[-1].shape[2:]
        for i in group.images:
            h, w = sizes[i]
            result[i] = torch.tensor([h * rows / group.height, w * columns / group.width])
    return result


def join(
    groups: Sequence[Group], outputs: Sequence[Mask2FormerModelOutput], height: int, width: int
) -> Mask2FormerModelOutput:
    """Put the groups' outputs into one for the whole batch; maps are 0 beyond the group's size.

    Args:
        groups: the groups of one batch.
        outputs: the output of each.
        height: rows of the batch's pixels.
        width: columns.
    """
    order = torch.tensor([i for group in groups for i in group.images]).argsort()
    joined = Mask2FormerModelOutput()
    for item in dataclasses.fields(joined):
        values = [getattr(output, item.name) for output in outputs]
        if values[0] is None:
            continue
        dim = 1 if item.name in _QUERIES_FIRST else 0
        canvas = (height, width) if item.name in _MAPS else None
        many = isinstance(values[0], tuple)
        whole = [
            _join_one(list(parts), groups, order, dim, canvas)
            for parts in zip(*(value if many else (value,) for value in values), strict=True)
        ]
        setattr(joined, item.name, tuple(whole) if many else whole[0])
    return joined


def _join_one(
    parts: list[Tensor], groups: Sequence[Group], order: Tensor, dim: int, canvas: tuple[int, int] | None
) -> Tensor:
    if canvas is not None:
        sizes = [
            [_on_canvas(part.shape[2], group.height, canvas[0]), _on_canvas(part.shape[3], group.width, canvas[1])]
            for part, group in zip(parts, groups, strict=True)
        ]
        rows, columns = (max(side) for side in zip(*sizes, strict=True))
        parts = [functional.pad(part, (0, columns - part.shape[3], 0, rows - part.shape[2])) for part in parts]
    return torch.cat(parts, dim).index_select(dim, order.to(parts[0].device))


def _on_canvas(side: int, extent: int, canvas: int) -> int:
    """How long a map's side is for the whole canvas, where it is `side` for `extent` pixels; rounded up."""
    return side if extent == canvas else -(-canvas * side // extent)
