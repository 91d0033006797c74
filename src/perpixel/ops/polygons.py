"""From a mask to polygons, along the borders between pixels, so that drawing them gives the mask back exactly."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError

__all__ = ["polygons_from_mask"]

AnyArray = npt.NDArray[Any]
Vertex = tuple[int, int]  # x, y

# Directions in the order in which one turns right: x to the right, y down.
EAST, SOUTH, WEST, NORTH = range(4)


class _Segment(NamedTuple):
    """A straight piece of outline, with foreground on its right."""

    start: Vertex
    end: Vertex
    direction: int


def polygons_from_mask(mask: AnyArray) -> list[list[float]]:
    """Trace the outlines of a mask as COCO polygons.

    Every 4-connected part of the mask gives one polygon. A hole is part of the polygon around it: the outline goes
    down a vertical cut without width to the hole, around the hole, and back up, which is the only way in which COCO's
    polygons can have holes. `rle_from_polygons` and pycocotools draw exactly the mask again.

    Args:
        mask: (h, w) bool, or numbers of which every one but 0 is foreground.

    Returns:
        A list of polygons, each [x0, y0, x1, y1, …] in pixels, where (0, 0) is the upper left corner of the image;
        none for an empty mask. Only corners are listed, and no polygon has fewer than four points.

    Raises:
        InputError: the mask has not two dimensions.

    Example:
        >>> polygons_from_mask(np.array([[0, 1, 1], [0, 1, 1]]))
        [[1.0, 0.0, 3.0, 0.0, 3.0, 2.0, 1.0, 2.0]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise InputError(f"a mask of shape {mask.shape} has no outlines: pass (height, width)")
    filled = np.pad(mask != 0, 1)
    segments = _segments(filled)
    loops = _loops(segments)
    outer = [loop for loop in loops if _area(segments, loop) > 0]
    holes = [loop for loop in loops if _area(segments, loop) < 0]
    attached = _attach(segments, holes)
    return [_emit(segments, loop, attached) for loop in outer]


def _segments(filled: npt.NDArray[np.bool_]) -> list[_Segment]:
    """The horizontal pieces of outline, row by row from the left, then the vertical ones."""
    inner = filled.astype(np.int8)
    horizontal = inner[1:, 1:-1] - inner[:-1, 1:-1]  # (h + 1, w); 1: foreground below, outline runs east
    vertical = (inner[1:-1, :-1] - inner[1:-1, 1:]).T  # (w + 1, h); 1: foreground left, outline runs south
    found = []
    for lines, forwards, backwards in ((horizontal, EAST, WEST), (vertical, SOUTH, NORTH)):
        padded = np.pad(lines, ((0, 0), (1, 1)))
        changed = padded[:, 1:] != padded[:, :-1]
        rows, starts = np.nonzero(changed & (padded[:, 1:] != 0))
        _, ends = np.nonzero(changed & (padded[:, :-1] != 0))
        signs = lines[rows, starts]
        for row, start, end, sign in zip(rows.tolist(), starts.tolist(), ends.tolist(), signs.tolist(), strict=True):
            first, last = ((start, row), (end, row)) if forwards == EAST else ((row, start), (row, end))
            found.append(_Segment(first, last, forwards) if sign > 0 else _Segment(last, first, backwards))
    return found


def _loops(segments: list[_Segment]) -> list[list[int]]:
    leaving = {(segment.start, segment.direction): number for number, segment in enumerate(segments)}
    used = [False] * len(segments)
    loops = []
    for first in range(len(segments)):
        loop: list[int] = []
        number = first
        while not used[number]:
            used[number] = True
            loop.append(number)
            segment = segments[number]
            # Where two parts touch at a corner both turns exist; the right one stays with the same part.
            right = leaving.get((segment.end, (segment.direction + 1) % 4))
            number = leaving[segment.end, (segment.direction - 1) % 4] if right is None else right
        if loop:
            loops.append(loop)
    return loops


def _area(segments: list[_Segment], loop: list[int]) -> int:
    """Positive where foreground is inside, negative for a hole."""
    return sum((s.start[0] - s.end[0]) * s.start[1] for s in (segments[number] for number in loop))


def _attach(segments: list[_Segment], holes: list[list[int]]) -> dict[int, list[list[int]]]:
    """Give each hole to the piece of outline straight above its upper left corner; the hole begins at that corner."""
    columns: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    starts = set()
    turned = []
    for hole in holes:
        top = min(
            (segments[n].end[1], segments[n].end[0], i) for i, n in enumerate(hole) if segments[n].direction == WEST
        )
        turned.append(hole[top[2] + 1 :] + hole[: top[2] + 1])
        starts.add(top[1])
    # Only the columns that some hole's cut goes up in are looked at.
    wanted = sorted(starts)
    for number, segment in enumerate(segments):
        if segment.direction == EAST:
            low, high = bisect_right(wanted, segment.start[0] - 1), bisect_right(wanted, segment.end[0] - 1)
            for column in wanted[low:high]:
                columns[column].append((segment.start[1], number))
    attached: defaultdict[int, list[list[int]]] = defaultdict(list)
    for hole in turned:
        column, row = segments[hole[0]].start
        above = columns[column]
        attached[above[bisect_right(above, (row, -1)) - 1][1]].append(hole)
    return attached


def _emit(segments: list[_Segment], loop: list[int], attached: dict[int, list[list[int]]]) -> list[float]:
    polygon: list[float] = []
    # What is still to be written, last first: a segment, or a vertex on the way back from a hole.
    pending: list[int | Vertex] = list(reversed(loop))
    while pending:
        item = pending.pop()
        if isinstance(item, tuple):
            polygon.extend((float(item[0]), float(item[1])))
            continue
        segment = segments[item]
        polygon.extend((float(segment.start[0]), float(segment.start[1])))
        cuts = sorted(attached.get(item, ()), key=lambda hole: segments[hole[0]].start[0], reverse=True)
        for hole in cuts:
            corner = segments[hole[0]].start
            foot = (corner[0], segment.start[1])
            pending.extend((foot, corner, *reversed(hole), foot))
    return polygon
