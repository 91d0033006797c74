"""From DPT's output to maps of the images' own sizes: depth, and the class of each pixel.

Both are enlarged bilinearly, each pixel at (i + 0.5) · covered / size − 0.5 as in `torch.nn.functional.interpolate`.
Depth then stays between its neighbours (the bicubic filter shoots over at edges). And a class whose scores lie below
those of another one all over a tile cannot win a pixel of it, so only the few others are enlarged there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from perpixel.errors import InputError
from perpixel.models.dpt.sizes import Size, Span

Part = tuple[Span, Span]

# Side of a tile in pixels of the result.
SIDE = 96


class Axis(NamedTuple):
    """Where each pixel of the result lies between two of the output along one axis."""

    lower: Tensor  # (n,) int64
    upper: Tensor  # (n,) int64
    share: Tensor  # (n,) float32, of the upper

    def weights(self, start: int, stop: int) -> tuple[slice, Tensor]:
        """What some pixels of the result read, and the weights (pixels, read) of that; each row sums to 1."""
        lower, upper, share = (values[start:stop] for values in self)
        first, last = int(lower[0]), int(upper[-1]) + 1
        weights = share.new_zeros(stop - start, last - first)
        weights.scatter_add_(1, (lower - first)[:, None], 1 - share[:, None])
        weights.scatter_add_(1, (upper - first)[:, None], share[:, None])
        return slice(first, last), weights


def axis(length: int, size: int, span: Span | None, device: Any = None) -> Axis:
    """Return the places of `size` pixels along an axis of `length`, within `span` of it.

    Pixels that `span` covers only in part belong to the margin too and are not read, if there are others.
    """
    start, covered = (0.0, float(length)) if span is None else (span.start, span.length)
    first, last = np.ceil(start - 1e-6), np.floor(start + covered - 1 + 1e-6)
    if first > last:
        first = last = np.clip(np.floor(start + covered / 2), 0, length - 1)
    position = ((np.arange(size) + 0.5) * covered / size - 0.5 + start).clip(first, last)
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, int(last))
    share = (position - lower).astype(np.float32)
    return Axis(*(torch.from_numpy(values).to(device) for values in (lower, upper, share)))


def interpolated(maps: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Interpolate maps (…, h, w) along both axes: (…, rows, columns), never outside the values that are read."""
    # lerp gives exactly a for equal ends, which a · (1 − t) + b · t does not.
    tall = torch.lerp(
        maps.index_select(-2, rows.lower), maps.index_select(-2, rows.upper), rows.share.to(maps.dtype)[:, None]
    )  # (…, rows, w)
    return torch.lerp(
        tall.index_select(-1, columns.lower), tall.index_select(-1, columns.upper), columns.share.to(maps.dtype)
    )


def depth_map(depth: Tensor, size: Size | None, part: Part | None = None) -> Tensor:
    """Resize a depth map bilinearly.

    Args:
        depth: (h, w), any floating type.
        size: height and width of the result; None leaves the map as it is.
        part: where the image lies in it; None for all of it.

    Returns:
        (*size), the same type; every value lies within the range of the values given.
    """
    if size is None:
        return depth
    axes = [
        axis(length, wanted, span, depth.device)
        for length, wanted, span in zip(depth.shape, size, part or (None, None), strict=True)
    ]
    precise = depth if depth.dtype == torch.float64 else depth.float()
    return interpolated(precise, *axes).to(depth.dtype)


@torch.no_grad()
def class_map(logits: Tensor, size: Size | None, part: Part | None = None) -> Tensor:
    """Return the class with the highest score for each pixel, of equal ones the first.

    Besides the result this takes the memory of one tile's scores, not that of the whole image's.

    Args:
        logits: (k, h, w).
        size: height and width of the result; None keeps that of the logits.
        part: where the image lies in them; None for all of them.

    Returns:
        (*size), int64.
    """
    if size is None:
        return highest(logits)
    found = torch.empty(size, dtype=torch.int64, device=logits.device)
    rows, columns = (
        axis(length, wanted, span, logits.device)
        for length, wanted, span in zip(logits.shape[1:], size, part or (None, None), strict=True)
    )
    across = [(slice(left, right), *columns.weights(left, right)) for left, right in _edges(size[1])]
    for top, bottom in _edges(size[0]):
        reach, down = rows.weights(top, bottom)
        band = logits[:, reach].float()  # (k, h, w)
        for place, read, weights in across:
            scores = band[:, :, read]
            likeliest = scores.sum((1, 2)).argmax()
            # What is not a number stays in.
            beaten = (scores - scores[likeliest]).amax((1, 2)) < 0  # (k,)
            left = torch.nonzero(~beaten)[:, 0]
            if len(left) == 1:
                found[top:bottom, place] = left
                continue
            wide = scores.index_select(0, left) @ weights.T  # (m, h, columns)
            found[top:bottom, place] = left[highest(torch.matmul(down, wide))]
    return found


def highest(scores: Tensor) -> Tensor:
    """Return `scores.argmax(0)`, (k, …) → (…) int64, of equal ones the first; torch's own takes ten times as long."""
    return scores.max(0).indices


@torch.no_grad()
def class_scores(logits: Tensor, size: Size | None, part: Part | None = None) -> Tensor:
    """Return the scores of all classes, (k, *size), in the logits' type; arguments as of `class_map`."""
    return logits if size is None else torch.stack([depth_map(plane, size, part) for plane in logits])


def _edges(size: int) -> list[tuple[int, int]]:
    count = max(1, round(size / SIDE))
    return list(itertools.pairwise(round(i * size / count) for i in range(count + 1)))


def read_sizes(given: Sequence[tuple[int, int]] | Tensor | None, count: int, name: str) -> list[Size | None]:
    """Return one height and width for each image.

    Raises:
        InputError: there are not as many as images, or one is not two whole numbers above 0.
    """
    if given is None:
        return [None] * count
    sizes = given.tolist() if isinstance(given, Tensor) else [list(size) for size in given]
    if len(sizes) != count:
        raise InputError(f"{name} has {len(sizes)} sizes for {count} images: pass (height, width) for each")
    for size in sizes:
        if len(size) != 2 or any(side != int(side) or side < 1 for side in size):
            raise InputError(f"{name} has {tuple(size)}: it has to be a height and a width above 0")
    return [(int(height), int(width)) for height, width in sizes]
