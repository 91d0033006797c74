"""Cityscapes: streets seen from a car, 19 classes, eight of them things."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perpixel.data.categories.cityscapes import CITYSCAPES, LABEL_IDS
from perpixel.data.coco_files import PanopticIndex
from perpixel.data.coco_panoptic import PanopticReader, of_kind
from perpixel.data.folders import Reader, list_files, pair_names
from perpixel.data.samples import VOID, LabelKind, LabelledObject, SegmentationSample
from perpixel.data.segmentation import (
    AnyArray,
    choose_kind,
    class_numbers,
    inner_root,
    listed,
    official_split,
    panoptic_sample,
    read_ids,
    semantic_sample,
    things_of,
)
from perpixel.errors import ConfigError, InputError

__all__ = ["Cityscapes"]

_EXPECTED = "leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png"
_IMAGE = "_leftImg8bit.png"
_NUMBERS = {**dict.fromkeys(LABEL_IDS, VOID), **CITYSCAPES.numbers}
# An instance picture says label · 1000 + number for a single object, and the plain label for a group or stuff.
_SINGLE = 1000


class Cityscapes(Reader[SegmentationSample]):
    """Cityscapes, from its own pictures.

    Read are `leftImg8bit/{split}/CITY/NAME_leftImg8bit.png` and, by kind:

    - semantic: `gtFine/{split}/CITY/NAME_gtFine_labelIds.png`; labels that are not evaluated are void;
    - instance: `…_gtFine_instanceIds.png`; a thing's label without a number is a group, an object with `crowd`;
    - panoptic: `gtFine/cityscapes_panoptic_{split}.json` with its folder where they are, as the authors'
      createPanopticImgs.py writes them, else `…_gtFine_instanceIds.png` by the same rule.

    Source: cityscapes-dataset.com, "The Cityscapes Dataset for Semantic Urban Scene Understanding", Cordts et al.,
    2016, arXiv 1604.01685; free for non-commercial use, after registration.

    Args:
        root: the folder with leftImg8bit and gtFine.
        split: "train" or "val"; the labels of "test" are not published. "train_extra" with coarse labels.
        kind: "semantic" (the default), "instance" (classes are the 8 things) or "panoptic".
        labels: "gtFine", or "gtCoarse" for the coarse ones.

    Raises:
        InputError: folders or files are absent, or, when it is read, a picture holds what is no label.
    """

    def __init__(
        self, root: str | Path, *, split: str = "train", kind: LabelKind | None = None, labels: str = "gtFine"
    ) -> None:
        chosen = choose_kind(kind, ("semantic", "instance", "panoptic"), "cityscapes")
        if labels not in ("gtFine", "gtCoarse"):
            raise ConfigError(f"Cityscapes has no labels {labels!r}: use 'gtFine' or 'gtCoarse'")
        coarse = labels == "gtCoarse" and split == "train_extra"
        part = split if coarse else official_split(split, "cityscapes")
        root = inner_root(Path(root), "leftImg8bit", ("cityscapes",), _EXPECTED)
        images = list_files(root / "leftImg8bit" / part, ending=_IMAGE)
        listing = root / labels / f"cityscapes_panoptic_{part}.json"
        self._prepared: PanopticReader | None = None
        self._labels: tuple[Path, ...] = ()
        if chosen == "panoptic" and listing.is_file():
            names = self._open_listing(listing, images)
        else:
            ending = f"_{labels}_{'labelIds' if chosen == 'semantic' else 'instanceIds'}.png"
            files = list_files(root / labels / part, ending=ending)
            if not images or not files:
                raise InputError(f"{root} holds no *{_IMAGE if files else ending} for {part}: expected is {_EXPECTED}")
            names = pair_names({"image": images, "label picture": files})
            self._labels = tuple(files[name] for name in names)
        self._images = tuple(images[name] for name in names)
        super().__init__(chosen, names, things_of(CITYSCAPES) if chosen == "instance" else CITYSCAPES)

    def _open_listing(self, listing: Path, images: dict[str, Path]) -> tuple[str, ...]:
        index = PanopticIndex(listing, CITYSCAPES)
        # The ids are the photographs' names without their city's folder.
        by_id = {name.rpartition("/")[2]: name for name in images}
        if absent := [image.identifier for image in index.images if image.identifier not in by_id]:
            raise InputError(f"{listing} lists {listed(absent)}, but leftImg8bit does not hold it: add the photographs")
        names = tuple(by_id[str(image.identifier)] for image in index.images)
        paths = [images[name] for name in names]
        self._prepared = PanopticReader(index, paths, listing.with_suffix(""), "panoptic", names)
        return names

    def read(self, place: int) -> SegmentationSample:
        """Read the sample at a place from 0."""
        if self._prepared is not None:
            return self._prepared.read(place)
        name, image_path, path = self.names[place], self._images[place], self._labels[place]
        ids = read_ids(path)
        if self.kind == "semantic":
            labels = class_numbers(ids, _NUMBERS, path, "Cityscapes' labels are 0…33, use the files *_labelIds.png")
            return semantic_sample(name, image_path, labels, path)
        segments, void = _segments(ids, path)
        return of_kind(panoptic_sample(name, image_path, ids, segments, path, void), self.kind, CITYSCAPES)


def _segments(ids: AnyArray, path: Path) -> tuple[dict[int, LabelledObject], list[int]]:
    """What the numbers of an instance picture mean, and those that mean nothing that is evaluated."""
    segments, void = {}, []
    for value in np.unique(ids).tolist():
        single = value >= _SINGLE
        label = value // _SINGLE if single else value
        if label not in LABEL_IDS:
            raise InputError(
                f"{path} holds {value}, which is no label from 0 to 33, nor one times 1000 and a number: use the "
                "files *_instanceIds.png"
            )
        number = _NUMBERS[label]
        if number == VOID:
            void.append(value)
        else:
            segments[value] = LabelledObject(number, crowd=CITYSCAPES.things[number] and not single)
    # Something has to be void for the table of numbers not to be empty.
    return segments, void or [VOID]
