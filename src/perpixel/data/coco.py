"""COCO's detection format: one JSON file with the outlines of every object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from perpixel.data.coco_files import CocoIndex, sample_names
from perpixel.data.folders import Reader, read_pixels
from perpixel.data.samples import VOID, Categories, LabelKind, LabelledObject, SegmentationSample
from perpixel.data.segmentation import choose_kind, official_split
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle, rle_area

__all__ = ["CocoInstances", "draw_classes"]

BACKGROUND = "background"


class CocoInstances(Reader[SegmentationSample]):
    """Objects with outlines, in COCO's format: COCO itself, or any data set exported that way.

    Read are `annotations/instances_{split}2017.json` and the photographs in `{split}2017/`, or the files that
    `annotations` and `images` name. Outlines may be polygons, compressed RLE or plain run lengths. Groups that were
    not separated (`iscrowd`) are objects with `crowd`. Photographs without objects are samples too.

    COCO 2017 (cocodataset.org, "Microsoft COCO", Lin et al., 2014, arXiv 1405.0312): annotations under CC BY 4.0, the
    photographs under Flickr's terms of use. The file of its training part takes some 20 s and 3 GB to open,
    of which 300 MB remain.

    Args:
        root: the data set's folder.
        split: "train" or "val"; with `annotations` it only fills `{split}` in the two paths.
        kind: "instance", or "semantic" for the class of each pixel, where small objects lie on top of large ones.
        annotations: another JSON file, from `root`.
        images: another folder of photographs, from `root`.
        year: of COCO's own files.
        background: for "semantic": a class number 0 called "background" for pixels without an object; else those are
            void, and nothing is learnt about them.
        skip_empty: leave out photographs without an object, as is usual in training.

    Attributes:
        image_ids: the JSON's id of each sample.

    Raises:
        InputError: the JSON is absent or wrong, it lists nothing, or, when it is read, a photograph is.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        year: int = 2017,
        background: bool = True,
        skip_empty: bool = False,
    ) -> None:
        chosen = choose_kind(kind, ("instance", "semantic"), "coco")
        root = Path(root)
        if (annotations is None) != (images is None):
            raise ConfigError("annotations and images belong together: name the JSON file and the folder, or neither")
        if annotations is None or images is None:
            split = official_split(split, "coco")
            annotations, images = f"annotations/instances_{{split}}{year}.json", f"{{split}}{year}"
        self._index = CocoIndex(root / str(annotations).replace("{split}", split))
        self._folder = root / str(images).replace("{split}", split)
        listed = range(len(self._index.images))
        self._places = tuple(place for place in listed if not skip_empty or self._index.count(place))
        if not self._places:
            raise InputError(f"{self._index.path} lists no image{' with objects' if skip_empty else ''}: fill it")
        self._background = background and chosen == "semantic"
        names = sample_names([self._index.images[place].file_name for place in self._places])
        categories = self._index.categories
        if self._background:
            # The files' ids begin at 1 where they have a meaning at all; 0 is free or means the same.
            free = min(0, *categories.ids) - 1 if 0 in categories.ids else 0
            categories = Categories(
                (BACKGROUND, *categories.names), (free, *categories.ids), (False, *categories.things)
            )
        super().__init__(chosen, names, categories)

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The JSON's id of each sample."""
        return tuple(self._index.images[place].identifier for place in self._places)

    def read(self, place: int) -> SegmentationSample:
        """Read the sample at a place from 0."""
        number = self._places[place]
        image = read_pixels(self._folder / self._index.images[number].file_name)
        size = (image.shape[0], image.shape[1])
        objects = tuple(self._index.objects(number, size))
        name = self.names[place]
        if self.kind == "instance":
            return SegmentationSample(name, image, "instance", None, objects)
        labels = draw_classes(objects, size)
        if self._background:
            labels += 0 - VOID  # the background is class 0, which moves all others up by one
        return SegmentationSample(name, image, "semantic", labels)


def draw_classes(objects: tuple[LabelledObject, ...], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Draw objects into one map of classes: groups first, then large ones, the smallest on top.

    Args:
        objects: each with its `rle`.
        size: (height, width).

    Returns:
        (h, w) int32, VOID where there is no object.
    """
    labels = np.full(size, VOID, np.int32)
    masks = [(item.category, item.crowd, item.rle) for item in objects if item.rle is not None]
    for category, _, rle in sorted(masks, key=lambda mask: (not mask[1], -rle_area(mask[2]))):
        labels[decode_rle(rle)] = category
    return labels
