"""What the page shows of segments: the picture to click on, the chosen one, and those that are hidden."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.depth import to_uint8
from perpixel.ops.label_map import painted, relabelled
from perpixel.ops.overlay import draw_overlay, label_colour
from perpixel.results.segment import by_score
from perpixel.results.segments import Segments

Picture = NDArray[np.uint8]
Map = NDArray[np.int32]

# The longer side of the picture on the page: names drawn into a smaller one are blurred when the page enlarges it,
# and a larger one only takes longer to draw, to send and to show.
LEAST_SIDE, MOST_SIDE = 1000, 1280
# A click so far beside a segment still means it, as a share of the longer side: a fingertip is that wide on a phone.
REACH = 0.012
# How much of the light is left around the chosen segment.
DIMMED = 0.4
# What is chosen when a segment that covers nearly all is clicked is still seen by its outline alone.
OUTLINE = 0.003


@dataclass(frozen=True, eq=False)
class SegmentView:
    """Segments as the page shows them; every change gives a new one.

    Attributes:
        found: all the segments.
        shown: those that are not hidden; what lay under a hidden one is seen again.
        ground: (h, w, 3) uint8, the photograph at the page's size; dark grey without a photograph.
        map: (h, w) int32, the id of the shown segment at each pixel of `ground`, 0 for none.
        chosen: the id of the highlighted segment, or None.
        hidden: the ids of the hidden segments.

    >>> infos = [{"id": 1, "label_id": 0}, {"id": 2, "label_id": 1}]
    >>> view = open_view(Segments.from_map(np.array([[1, 1, 2]]), infos, {}))
    >>> view.map.shape, view.at(10, 5), view.at(900, 5)
    ((333, 1000), 1, 2)
    >>> view.hide(1).shown
    Segments(3×1, panoptic, 1 segment: label 1)
    """

    found: Segments
    shown: Segments
    ground: Picture
    map: Map
    chosen: int | None = None
    hidden: frozenset[int] = frozenset()

    def at(self, x: float, y: float) -> int | None:
        """The id of the segment at a pixel of the picture, or close to it; None where there is none.

        Args:
            x: from the left, in pixels of `ground`.
            y: from the top.
        """
        height, width = self.map.shape
        column, row = int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))
        if self.map[row, column]:
            return int(self.map[row, column])
        reach = max(1, round(REACH * max(height, width)))
        top, left = max(0, row - reach), max(0, column - reach)
        around = self.map[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.nonzero(around)
        if not len(rows):
            return None
        distance = np.hypot(rows + top - row, columns + left - column)
        nearest = int(distance.argmin())
        return int(around[rows[nearest], columns[nearest]]) if distance[nearest] <= reach else None

    def choose(self, segment: int | None) -> SegmentView:
        """Highlight a segment, or with None no one."""
        return replace(self, chosen=None if segment is None else self._known(segment))

    def hide(self, segment: int) -> SegmentView:
        """Without a segment; nothing else is chosen in its place."""
        chosen = None if segment == self.chosen else self.chosen
        return replace(self._with(self.hidden | {self._known(segment)}), chosen=chosen)

    def show(self, segment: int) -> SegmentView:
        """With a hidden segment again, which is then the chosen one."""
        return replace(self._with(self.hidden - {self._known(segment)}), chosen=segment)

    def show_all(self) -> SegmentView:
        """With all the segments."""
        return self._with(frozenset())

    def picture(self, *, opacity: float = 0.45, names: bool = True) -> Picture:
        """The photograph with the shown segments in colour, and all around the chosen one dimmed.

        Args:
            opacity: of the colours, from 0 to 1.
            names: whether to write the labels; while one is chosen, none is written.

        Returns:
            (h, w, 3) uint8, of the size of `ground`.
        """
        label_ids = {segment.id: segment.label_id for segment in self.shown}
        lit_one = self.chosen is not None and self.chosen not in self.hidden
        # Dimmed names could not be read, and the chosen one's is beside the picture.
        texts = {segment.id: segment.label for segment in self.shown} if names and not lit_one else {}
        drawn = draw_overlay(self.ground, self.map, label_ids, texts, opacity=opacity)
        if self.chosen is None or not lit_one:
            return drawn
        inside = _resized_mask(self.found.mask(self.chosen), self.map.shape)
        dimmed: Picture = np.rint(drawn * np.float32(DIMMED)).astype(np.uint8)
        own = {self.chosen: label_ids[self.chosen]}
        lit = draw_overlay(self.ground, np.where(inside, np.int32(self.chosen), np.int32(0)), own, opacity=opacity / 3)
        np.copyto(dimmed, lit, where=inside[..., None])
        _outline(dimmed, inside, label_colour(own[self.chosen]))
        return dimmed

    def _known(self, segment: int) -> int:
        self.found.mask(segment)  # refuses an id that is none
        return segment

    def _with(self, hidden: frozenset[int]) -> SegmentView:
        if hidden == self.hidden:
            return self
        shown = without(self.found, hidden)
        return replace(self, shown=shown, map=_resized_map(shown.map, self.map.shape), hidden=hidden)


def open_view(found: Segments) -> SegmentView:
    """The first view of segments: all shown, none chosen."""
    scale = np.clip(max(found.size), LEAST_SIDE, MOST_SIDE) / max(found.size)
    width, height = (max(1, round(side * scale)) for side in found.size)
    if found.image is None:
        ground = np.full((height, width, 3), 40, np.uint8)
    else:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        ground = np.asarray(cv2.resize(to_uint8(found.image), (width, height), interpolation=how), np.uint8)
    return SegmentView(found, found, ground.reshape(height, width, 3), _resized_map(found.map, (height, width)))


def without(found: Segments, hidden: Collection[int]) -> Segments:
    """The segments but for some; they keep their ids, and what lay under those that go is seen again.

    Args:
        found: the segments.
        hidden: the ids of those to leave out.

    >>> infos = [{"id": 1, "label_id": 0}, {"id": 2, "label_id": 0}]
    >>> without(Segments.from_map(np.array([[1, 1, 2]]), infos, {0: "cat"}), {1}).map.tolist()
    [[0, 0, 2]]
    """
    if not hidden:
        return found
    kept = [segment for segment in found if segment.id not in hidden]
    if found.kind == "instance":
        masks = {segment.id: found.rle(segment) for segment in kept}
        map = painted(by_score(kept, masks), (found.height, found.width))
    else:
        masks, map = None, relabelled(found.map, {segment.id: segment.id for segment in kept})
    return Segments(map, kept, kind=found.kind, masks=masks, image=found.image, icc_profile=found.icc_profile)


def chosen_mask(view: SegmentView) -> Picture:
    """The chosen segment at the photograph's own size, as a mask for Cut out.

    Returns:
        (h, w) uint8, 255 inside; whole even where another segment lies over it.

    Raises:
        InputError: none is chosen.
    """
    if view.chosen is None:
        raise InputError("no segment is chosen: click one in the picture or in the table")
    return np.where(view.found.mask(view.chosen), np.uint8(255), np.uint8(0))


def _resized_map(map: Map, size: tuple[int, ...]) -> Map:
    resized = cv2.resize(map, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.int32).reshape(size)


def _resized_mask(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    grey = mask.astype(np.uint8) * np.uint8(255)
    return np.asarray(cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)).reshape(size) >= 128


def _outline(picture: Picture, inside: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    """A line of the segment's colour between two thin white ones, which is seen on light and on dark."""
    thick = max(1, round(OUTLINE * max(inside.shape)))
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, (255, 255, 255), thick + 4, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, thick, cv2.LINE_AA)
