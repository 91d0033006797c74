"""A film in, its segments out, each with one id for as long as it is seen.

A segment is the one of the frame before that it overlaps most, among those of its label, after that one has been moved
along the optical flow. One that is lost for a few frames, behind something or in the model's doubt, keeps its id.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perpixel.images.read import Photo
from perpixel.images.video import Film
from perpixel.ops.flow import Motion, warp_nearest
from perpixel.ops.label_map import relabelled
from perpixel.ops.overlay import draw_overlay
from perpixel.results import Segment, Segments
from perpixel.results.segments import Kind
from perpixel.tasks.precision import Engine, Precision, Quantize
from perpixel.tasks.segmentation import Segmenter, labels_meant, load_segmenter, segment
from perpixel.tasks.video import FilmResults, FrameResult, Watch, as_film, followed, write_results

if TYPE_CHECKING:
    import torch

    from perpixel.tasks.segmentation import Network

__all__ = ["SegmentFilm", "Tracks", "segment_film"]

# A segment that shares less than this of its area (intersection over union) with one of the frame before is new.
LEAST_OVERLAP = 0.2
# For so many frames a lost segment is looked for.
PATIENCE = 10
# The second person gets the colour of a label far from the first one's.
COLOUR_STEP = 1009


def segment_film(
    film: str | os.PathLike[str] | Film,
    *,
    model: str | os.PathLike[str] | Network | Segmenter | None = None,
    kind: Kind | None = None,
    threshold: float = 0.5,
    labels: str | Iterable[str] | None = None,
    size: int | Mapping[str, int] | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    steady: bool = True,
) -> SegmentFilm:
    """Tell what is in every frame of a film, with the same id for the same thing.

    Args:
        film: a path, or what `perpixel.images.video.open_film` returned.
        model: as in `perpixel.segment`.
        kind: as in `perpixel.segment`.
        threshold: as in `perpixel.segment`.
        labels: as in `perpixel.segment`.
        size: as in `perpixel.segment`.
        device: as in `perpixel.segment`.
        dtype: as in `perpixel.segment`.
        engine: as in `perpixel.segment`.
        quantize: as in `perpixel.segment`.
        steady: keep ids from frame to frame; False numbers every frame anew.

    Returns:
        the film's segments, found when they are asked for; `.save("out.mp4")` draws them.

    Raises:
        InputError: a film that cannot be read, a kind that the model does not find, or a name that is no label.
        CheckpointError: a model that cannot be loaded.
        MissingDependencyError: without the extra `video`.

    Example:
        >>> segment_film("film.mp4").save("segments.mp4")  # doctest: +SKIP
    """
    opened = as_film(film)
    segmenter = load_segmenter(model, device, dtype, engine, quantize)
    wanted = None if labels is None else labels_meant(labels, segmenter.labels)
    return SegmentFilm(opened, segmenter, segmenter.kind(kind), threshold, wanted, size, steady)


class SegmentFilm(FilmResults[Segments]):
    """The segments of a film; made by `segment_film`."""

    def __init__(
        self,
        film: Film,
        segmenter: Segmenter,
        kind: Kind,
        threshold: float,
        labels: list[str] | None,
        size: int | Mapping[str, int] | None,
        steady: bool,
    ) -> None:
        """See `segment_film`."""
        self.film = film
        self._segmenter = segmenter
        self._kind = kind
        self._threshold = threshold
        self._labels = labels
        self._size = size
        self._steady = steady

    def __iter__(self) -> Iterator[FrameResult[Segments]]:
        """Frame by frame.

        Raises:
            InputError: after the last good frame of a film that breaks off.
        """
        tracks = Tracks()
        for frame, moves in followed(self.film):
            found = segment(
                Photo(frame.pixels),
                model=self._segmenter,
                kind=self._kind,
                threshold=self._threshold,
                labels=self._labels,
                size=self._size,
            )
            if self._steady:
                found = tracks.follow(found, None if moves is None else moves.back)
            yield FrameResult(frame, found, moves is None or moves.cut)

    def save(self, path: str | os.PathLike[str], *, sound: bool = True, watch: Watch | None = None) -> Path:
        """Write the film with its segments in colour, each in one colour for as long as it is seen.

        Args:
            path: .mp4, .mov, .mkv, .webm, or a folder of PNGs.
            sound: whether to carry the film's sound over.
            watch: called with the number of frames done.

        Returns:
            the path.

        Raises:
            InputError: another suffix, or what was wrong with the film; what was finished is kept.
            OutputError: the film cannot be written there.
        """
        painter = _Painter()
        return write_results(self, path, "picture", painter.draw, sound=sound, watch=watch)


@dataclass(frozen=True, eq=False)
class _Track:
    """A segment that is followed: its mask, moved along with every frame, and for how many frames it is lost."""

    label_id: int
    mask: NDArray[np.bool_]
    lost: int = 0


class Tracks:
    """The segments of the frames so far, and the ids that they have."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._last = 0

    def follow(self, found: Segments, move: Motion | None) -> Segments:
        """Give the segments of the next frame the ids of those that they go on from.

        Args:
            found: of the next frame.
            move: from this frame back to the one before; None for the first. After a cut all ids are new.

        Returns:
            the same segments with other ids.
        """
        if move is None or move.cut:
            self._tracks = {}
        else:
            self._tracks = {number: _moved(track, move) for number, track in self._tracks.items()}
        masks = {each.id: found.mask(each) for each in found}
        names = self._matched(found, masks)
        for each in found:
            if each.id not in names:
                self._last += 1
                names[each.id] = self._last
        for each in found:
            self._tracks[names[each.id]] = _Track(each.label_id, masks[each.id])
        seen = set(names.values())
        self._tracks = {
            number: track if number in seen else replace(track, lost=track.lost + 1)
            for number, track in self._tracks.items()
            if number in seen or track.lost < PATIENCE
        }
        return _renamed(found, names)

    def _matched(self, found: Segments, masks: Mapping[int, NDArray[np.bool_]]) -> dict[int, int]:
        """For segments that go on from a track its number, the best overlaps first."""
        pairs = []
        for each in found:
            for number, track in self._tracks.items():
                if track.label_id == each.label_id:
                    both = np.count_nonzero(masks[each.id] & track.mask)
                    either = each.area + np.count_nonzero(track.mask) - both
                    pairs.append((int(both) / max(int(either), 1), each.id, number))
        names: dict[int, int] = {}
        # A label that cannot be counted is one thing, wherever it is.
        stuff = {each.id for each in found if found.kind == "semantic" or each.is_thing is False}
        for share, segment_id, number in sorted(pairs, reverse=True):
            if (
                (share >= LEAST_OVERLAP or segment_id in stuff)
                and segment_id not in names
                and number not in names.values()
            ):
                names[segment_id] = number
        return names


class _Painter:
    """Draws segments with a colour for each id; what is alone with its label has the label's own."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}  # by id: which one of its label it is, from 0
        self._unseen: dict[int, int] = {}

    def draw(self, found: Segments) -> NDArray[np.uint8]:
        """The picture of a frame, (h, w, 3) uint8."""
        taken: set[tuple[int, int]] = set()
        for each in sorted(found, key=lambda each: each.id not in self._places):  # those known before go first
            place = self._places.get(each.id, 0)
            while (each.label_id, place) in taken:
                place += 1
            taken.add((each.label_id, place))
            self._places[each.id] = place
        self._forget({each.id for each in found})
        colours = {each.id: each.label_id + COLOUR_STEP * self._places[each.id] for each in found}
        names = {each.id: f"{each.label} {self._places[each.id] + 1}".removesuffix(" 1") for each in found}
        image = None if found.image is None else Photo(found.image).rgb8
        return draw_overlay(image, found.map, colours, names)

    def _forget(self, seen: set[int]) -> None:
        self._unseen = {number: 0 if number in seen else self._unseen.get(number, 0) + 1 for number in self._places}
        self._places = {number: place for number, place in self._places.items() if self._unseen[number] <= PATIENCE}


def _moved(track: _Track, move: Motion) -> _Track:
    return replace(track, mask=warp_nearest(track.mask.view(np.uint8), move.shift) > 0)


def _renamed(found: Segments, names: Mapping[int, int]) -> Segments:
    renamed: list[Segment] = [replace(each, id=names[each.id]) for each in found]
    masks = {names[each.id]: found.rle(each) for each in found} if found.kind == "instance" else None
    return Segments(
        relabelled(found.map, dict(names)),
        renamed,
        kind=found.kind,
        masks=masks,
        image=found.image,
        icc_profile=found.icc_profile,
    )
