"""The result of segmentation: which thing each pixel belongs to, and what that thing is."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import InputError
from perpixel.images.depth import Pixels, to_uint8
from perpixel.ops.label_map import checked_map, numbers_in, painted, relabelled
from perpixel.results.labels import same_label
from perpixel.results.segment import Segment as Segment
from perpixel.results.segment import by_score, check_ids, ranked_map, ranked_masks

if TYPE_CHECKING:
    from perpixel.images.read import ImageLike
    from perpixel.ops.rle import Rle

Kind: TypeAlias = Literal["panoptic", "instance", "semantic"]
Drawn: TypeAlias = Literal["overlay", "map", "panoptic"]

KINDS = ("panoptic", "instance", "semantic")
_THUMBNAIL = 1024  # the longer side of the picture in a notebook


class Segments:
    """The segments of an image, the largest first, and the map that tells which of them each pixel belongs to.

    It is a sequence of `Segment`: `len(segments)`, `segments[0]` and `for segment in segments` work, and a slice
    gives `Segments` again. `mask` and `map` go by the segment's `id`.

    Attributes:
        map: (h, w), int32, the id of the segment at each pixel, 0 for none. Where instances overlap, the one with
            the higher score; `mask` gives each of them whole.
        kind: "panoptic", "instance" or "semantic".
        image: (h, w, 3), uint8 or uint16, the photograph in RGB, or None.
        icc_profile: the photograph's RGB profile; None means sRGB.

    >>> segments = Segments.from_map(np.array([[7, 7, 2]]), [{"id": 7, "label_id": 0, "score": 0.9}], {0: "cat"})
    >>> segments
    Segments(3×1, panoptic, 1 segment: cat)
    >>> segments[0].area, segments[0].box, segments.mask(1).tolist()
    (2, (0, 0, 2, 1), [[True, True, False]])
    """

    def __init__(
        self,
        map: NDArray[np.integer[Any]],
        segments: Iterable[Segment],
        *,
        kind: Kind = "panoptic",
        masks: Mapping[int, Rle] | None = None,
        image: Pixels | None = None,
        icc_profile: bytes | None = None,
    ) -> None:
        """Join a map and what is known of its segments; `from_map`, `from_masks` and `from_classes` find that out.

        Args:
            map: (h, w), whole numbers.
            segments: one for each number in the map, 0 apart.
            kind: what made them.
            masks: for overlapping segments the whole mask of each, by id, as COCO's compressed RLE.
            image: (h, w, 3), the photograph.
            icc_profile: the photograph's RGB profile.

        Raises:
            InputError: parts that do not fit together.
        """
        if kind not in KINDS:
            raise InputError(f"kind={kind!r} is not known: use one of {', '.join(KINDS)}")
        self.map = checked_map(map)
        self.kind: Kind = kind
        self._segments = tuple(segments)
        self._masks = None if masks is None else dict(masks)
        self._by_id = {segment.id: segment for segment in self._segments}
        self.image: NDArray[Any] | None = image
        self.icc_profile = icc_profile
        check_ids(self.map, self._segments, self._masks)
        if image is not None and (image.shape != (*self.map.shape, 3) or image.dtype not in (np.uint8, np.uint16)):
            raise InputError(
                f"the image is {image.dtype} {image.shape}, and uint8 or uint16 {(*self.map.shape, 3)} is needed: "
                "give the photograph that was segmented"
            )

    @classmethod
    def from_map(
        cls,
        map: NDArray[np.integer[Any]],
        infos: Sequence[Mapping[str, Any]],
        id2label: Mapping[int, str],
        *,
        kind: Kind = "panoptic",
        things: Iterable[int] | None = None,
        image: Pixels | None = None,
        icc_profile: bytes | None = None,
    ) -> Segments:
        """Build from a map and a list, as `post_process_panoptic_segmentation` returns them.

        Args:
            map: (h, w), the id of the segment at each pixel; ids that `infos` lacks mean nothing is there.
            infos: for each segment a dict of id, label_id, and where known score and was_fused. Segments without a
                pixel are left out, the others numbered from 1, the largest first.
            id2label: the names of the labels; without an entry it is `label 7`.
            kind: what made them.
            things: the labels that are countable, if known.
            image: as in the class.
            icc_profile: as in the class.
        """
        ranked, segments = ranked_map(checked_map(map), infos, id2label, things)
        return cls(ranked, segments, kind=kind, image=image, icc_profile=icc_profile)

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[Rle],
        infos: Sequence[Mapping[str, Any]],
        id2label: Mapping[int, str],
        size: tuple[int, int],
        *,
        kind: Kind = "instance",
        image: Pixels | None = None,
        icc_profile: bytes | None = None,
    ) -> Segments:
        """Build from whole masks that may overlap.

        Args:
            masks: of each segment, as COCO's compressed RLE.
            infos: for each mask a dict of label_id, and where known score. Empty masks are left out, the others
                numbered from 1, the largest first.
            id2label: the names of the labels.
            size: height and width of the image.
            kind: what made them.
            image: as in the class.
            icc_profile: as in the class.
        """
        whole, segments = ranked_masks(masks, infos, id2label)
        map = painted(by_score(segments, whole), size)
        return cls(map, segments, kind=kind, masks=whole, image=image, icc_profile=icc_profile)

    @classmethod
    def from_classes(
        cls,
        classes: NDArray[np.integer[Any]],
        id2label: Mapping[int, str],
        *,
        image: Pixels | None = None,
        icc_profile: bytes | None = None,
    ) -> Segments:
        """Build from a map of classes (h, w), as semantic segmentation gives; negative numbers mean nothing.

        Args:
            classes: (h, w), the label at each pixel.
            id2label: the names of the labels.
            image: as in the class.
            icc_profile: as in the class.
        """
        present = [value for value in numbers_in(checked_map(classes)) if value >= 0]
        infos = [{"id": label_id, "label_id": label_id} for label_id in present]
        return cls.from_map(classes, infos, id2label, kind="semantic", image=image, icc_profile=icc_profile)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.map.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.map.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self.width, self.height

    @property
    def label_map(self) -> NDArray[np.int32]:
        """(h, w), int32: the class at each pixel as the model numbers it, -1 for none."""
        return relabelled(self.map, {segment.id: segment.label_id + 1 for segment in self}) - np.int32(1)

    @property
    def labels(self) -> list[str]:
        """The names of the labels that were found, the one with the largest segment first."""
        return list(dict.fromkeys(segment.label for segment in self))

    def summary(self, most: int = 8) -> str:
        """What was found, in words, such as `sky, 2 person`; at most so many labels are named."""
        words = [f"{count} {label}" if count > 1 else label for label, count in Counter(s.label for s in self).items()]
        more = [f"{len(words) - most} more labels"] if len(words) > most else []
        return ", ".join(words[:most] + more)

    def mask(self, segment: int | Segment) -> NDArray[np.bool_]:
        """Where one segment is, whole even where another lies over it.

        Args:
            segment: its id, or itself.

        Returns:
            (h, w), bool.

        Raises:
            InputError: there is no such id.
        """
        segment_id = segment.id if isinstance(segment, Segment) else segment
        if segment_id not in self._by_id:
            raise InputError(f"there is no segment {segment_id}: {_ids(self._by_id)}")
        if self._masks is None:
            return np.asarray(self.map == segment_id)
        from perpixel.ops.rle import decode_rle

        return decode_rle(self._masks[segment_id])

    def rle(self, segment: int | Segment) -> Rle:
        """The same as `mask`, as COCO's compressed RLE: `{"size": [h, w], "counts": …}`."""
        segment_id = segment.id if isinstance(segment, Segment) else segment
        if self._masks is not None and segment_id in self._masks:
            return self._masks[segment_id]
        from perpixel.ops.rle import encode_rle

        return encode_rle(self.mask(segment_id))

    def filter(
        self,
        *,
        label: str | Iterable[str] | None = None,
        min_score: float | None = None,
        min_area: int | None = None,
    ) -> Segments:
        """Keep some of the segments; they keep their ids, and what lay under those that go is seen again.

        Args:
            label: a name or several, see `perpixel.results.labels.same_label`.
            min_score: segments without a score are kept.
            min_area: in pixels.
        """
        words = None if label is None else [label] if isinstance(label, str) else list(label)
        return self._only(
            segment
            for segment in self
            if (words is None or any(same_label(word, segment.label) for word in words))
            and (min_score is None or segment.score is None or segment.score >= min_score)
            and (min_area is None or segment.area >= min_area)
        )

    def overlay(
        self, image: ImageLike | None = None, *, opacity: float = 0.45, names: bool = True, scores: bool = False
    ) -> NDArray[np.uint8]:
        """The photograph with the segments in colour, their edges and their names.

        A label has the same colour in every picture.

        Args:
            image: another picture of the same size to draw on; by default the photograph.
            opacity: of the colours, from 0 to 1.
            names: whether to write the labels.
            scores: whether to write the scores too.

        Returns:
            (h, w, 3), uint8.

        Raises:
            InputError: a picture that cannot be read or has another size.
        """
        from perpixel.images.read import read_photo
        from perpixel.ops.overlay import draw_overlay

        ground = self.image if image is None else read_photo(image).pixels
        texts = {}
        if names:
            for segment in self:
                score = f" {segment.score:.0%}" if scores and segment.score is not None else ""
                texts[segment.id] = segment.label + score
        return draw_overlay(
            None if ground is None else to_uint8(ground),
            self.map,
            {segment.id: segment.label_id for segment in self},
            texts,
            opacity=opacity,
        )

    def to_coco(
        self,
        image_id: int = 0,
        *,
        polygons: bool = False,
        first_id: int = 1,
        category_ids: Mapping[int, int] | None = None,
    ) -> list[dict[str, Any]]:
        """The segments as annotations of COCO's detection format, see `perpixel.results.exports.coco_annotations`."""
        from perpixel.results.exports import coco_annotations

        return coco_annotations(self, image_id, polygons=polygons, first_id=first_id, category_ids=category_ids)

    def to_panoptic_png(
        self,
        path: str | os.PathLike[str],
        *,
        image_id: int = 0,
        category_ids: Mapping[int, int] | None = None,
    ) -> dict[str, Any]:
        """Write COCO's panoptic PNG and return its annotation, see `perpixel.results.exports.write_panoptic`."""
        from perpixel.results.exports import write_panoptic

        return write_panoptic(self, path, image_id=image_id, category_ids=category_ids)

    def to_supervision(self) -> Any:
        """As `supervision.Detections`, with the labels as `data["class_name"]`.

        Raises:
            MissingDependencyError: without the package `supervision`.
        """
        from perpixel.results.exports import supervision_detections

        return supervision_detections(self)

    def save(self, path: str | os.PathLike[str], what: Drawn | None = None) -> Path:
        """Save: `.json` becomes COCO annotations, a picture's suffix the overlay.

        Args:
            path: `.json` holds a complete COCO data set of this one image, masks as RLE. Pictures are `.png`,
                `.jpg`, `.webp`, `.tiff` or `.bmp`.
            what: for pictures: "overlay" (the default); "map", the ids in grey, of 8 bits up to 255 of them and
                else of 16, which `.png` and `.tiff` hold; or "panoptic", COCO's panoptic colours, `.png` only.

        Returns:
            the path.

        Raises:
            InputError: a suffix that does not hold what is asked.
            OutputError: the file cannot be written there.
        """
        from perpixel.results.exports import save

        return save(self, path, what)

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> Segments: ...
    def __getitem__(self, index: int | slice) -> Segment | Segments:
        """By place in the order, the largest first; not by id."""
        return self._only(self._segments[index]) if isinstance(index, slice) else self._segments[index]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def __repr__(self) -> str:
        number = len(self)
        found = f"{number} segment{'s' * (number > 1)}: {self.summary()}" if number else "nothing found"
        return f"Segments({self.width}×{self.height}, {self.kind}, {found})"

    def _repr_png_(self) -> bytes:
        """The overlay, for notebooks."""
        picture = Image.fromarray(self.overlay())
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    def _only(self, chosen: Iterable[Segment]) -> Segments:
        kept = tuple(chosen)
        if self._masks is None:
            masks, map = None, relabelled(self.map, {segment.id: segment.id for segment in kept})
        else:
            masks = {segment.id: self._masks[segment.id] for segment in kept}
            map = painted(by_score(kept, masks), (self.height, self.width))
        return Segments(map, kept, kind=self.kind, masks=masks, image=self.image, icc_profile=self.icc_profile)


def _ids(ids: Mapping[int, Segment]) -> str:
    return f"the ids are {', '.join(map(str, sorted(ids)))}" if ids else "nothing was found"
