"""ADE20K as the scene parsing challenge has it: 150 classes, a hundred of them things."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perpixel.data.categories.ade20k import ADE20K
from perpixel.data.coco_files import CocoIndex, PanopticIndex
from perpixel.data.coco_panoptic import PanopticReader, of_kind
from perpixel.data.folders import Reader, list_files, pair_names, read_pixels
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
from perpixel.errors import InputError
from perpixel.images.labels import read_labels

__all__ = ["Ade20k"]

_FOLDERS = {"train": "training", "val": "validation"}
_EXPECTED = "ADEChallengeData2016 with images/ and annotations/ for training and validation"
# The label pictures count the classes from 1; 0 is everything else.
_SEMANTIC = {0: VOID, **{number + 1: number for number in range(len(ADE20K))}}
_THINGS = [number for number, thing in enumerate(ADE20K.things) if thing]
# Segment numbers of things begin above those of stuff, which are the classes' own from 1.
_FIRST_THING = 1000


class Ade20k(Reader[SegmentationSample]):
    """ADE20K's scene parsing data, ADEChallengeData2016.

    Read are `images/{training,validation}/NAME.jpg` and, by kind:

    - semantic: `annotations/{training,validation}/NAME.png`, 1…150, 0 is void;
    - instance: `ade20k_instance_{train,val}.json`, as Mask2Former's preparation for detectron2 writes it, or without
      it `annotations_instance/{training,validation}/NAME.png` (red the thing from 1, green its number);
    - panoptic: `ade20k_panoptic_{train,val}.json` with the folder `ade20k_panoptic_{train,val}/`, or without them
      `annotations` and `annotations_instance`, put together by the same rule: stuff first, things on top of it, and
      pixels of a thing without a number are void.

    Source: sceneparsing.csail.mit.edu, "Scene Parsing through ADE20K Dataset", Zhou et al., 2017. The annotations are
    under a BSD 3-clause licence, the photographs are for non-commercial research and education only.

    Args:
        root: ADEChallengeData2016, or the folder it is in.
        split: "train" or "val".
        kind: "semantic" (the default), "instance" (classes are the 100 things) or "panoptic".

    Raises:
        InputError: folders or files are absent, or, when it is read, a picture holds what is no class.
    """

    def __init__(self, root: str | Path, *, split: str = "train", kind: LabelKind | None = None) -> None:
        chosen = choose_kind(kind, ("semantic", "instance", "panoptic"), "ade20k")
        root = inner_root(Path(root), "images", ("ADEChallengeData2016",), _EXPECTED)
        part = official_split(split, "ade20k")
        images = list_files(root / "images" / _FOLDERS[part])
        self._instances: CocoIndex | None = None
        self._prepared: PanopticReader | None = None
        self._labels: tuple[Path, ...] = ()
        self._numbered: tuple[Path, ...] = ()
        listing = root / f"ade20k_{chosen}_{part}.json"
        if chosen != "semantic" and listing.is_file():
            names = self._open_listing(listing, root, images)
        else:
            folders = {
                "label picture": ("annotations", chosen != "instance"),
                "instance picture": ("annotations_instance", chosen != "semantic"),
            }
            files = {
                role: list_files(root / folder / _FOLDERS[part]) for role, (folder, needed) in folders.items() if needed
            }
            if not images or not all(files.values()):
                absent = " nor ".join(folders[role][0] for role, found in files.items() if not found) or "images"
                wanted = "" if chosen == "semantic" else f", nor is there {listing.name}"
                raise InputError(f"{root} holds no {absent} for {_FOLDERS[part]}{wanted}: expected is {_EXPECTED}")
            names = pair_names({"image": images, **files})
            self._labels = tuple(files["label picture"][name] for name in names) if "label picture" in files else ()
            if "instance picture" in files:
                self._numbered = tuple(files["instance picture"][name] for name in names)
        self._images = tuple(images[name] for name in names)
        super().__init__(chosen, names, things_of(ADE20K) if chosen == "instance" else ADE20K)

    def _open_listing(self, listing: Path, root: Path, images: dict[str, Path]) -> tuple[str, ...]:
        index: CocoIndex | PanopticIndex
        if "panoptic" in listing.name:
            index = PanopticIndex(listing, ADE20K)
        else:
            index = self._instances = CocoIndex(listing, things_of(ADE20K))
        names = tuple(Path(image.file_name).stem for image in index.images)
        if absent := [name for name in names if name not in images]:
            raise InputError(f"{listing} lists {listed(absent)}, but {root / 'images'} does not hold it: add it")
        if isinstance(index, PanopticIndex):
            paths = [images[name] for name in names]
            self._prepared = PanopticReader(index, paths, root / listing.stem, "panoptic", names)
        return names

    def read(self, place: int) -> SegmentationSample:
        """Read the sample at a place from 0."""
        name, image_path = self.names[place], self._images[place]
        if self._prepared is not None:
            return self._prepared.read(place)
        if self._instances is not None:
            image = read_pixels(image_path)
            objects = tuple(self._instances.objects(place, (image.shape[0], image.shape[1])))
            return SegmentationSample(name, image, "instance", None, objects)
        ids = np.zeros((1, 1), np.int32)
        if self._labels:
            path = self._labels[place]
            labels = class_numbers(read_ids(path), _SEMANTIC, path, "ADE20K's pictures hold 1…150, and 0 for no class")
            if self.kind == "semantic":
                return semantic_sample(name, image_path, labels, path)
            stuff = ~np.array([*ADE20K.things, True])[labels]  # VOID is the last place, and no stuff
            ids = np.where(stuff, labels + 1, 0)  # (h, w)
        path = self._numbered[place]
        numbered = _thing_numbers(path)
        if self._labels and ids.shape != numbered.shape:
            raise InputError(f"{path} and {self._labels[place]} have different sizes: copy or download them again")
        ids = np.where(numbered > 0, numbered, ids)  # (h, w)
        found = (int(value) for value in np.unique(ids) if value)
        segments = {value: LabelledObject(_class_of(value, path)) for value in found}
        return of_kind(panoptic_sample(name, image_path, ids, segments, path), self.kind, ADE20K)


def _thing_numbers(path: Path) -> AnyArray:
    """(h, w) int32, for each pixel of a thing a number that tells its class and which one it is; 0 elsewhere."""
    picture = read_labels(path)
    if picture.ndim != 3:
        raise InputError(f"{path} is grey: ADE20K's instance pictures have the thing in red, its number in green")
    things, numbers = picture[..., 0].astype(np.int32), picture[..., 1].astype(np.int32)
    return np.asarray(np.where(numbers > 0, _FIRST_THING + 256 * things + numbers, 0))


def _class_of(segment: int, path: Path) -> int:
    if segment < _FIRST_THING:
        return segment - 1
    thing = (segment - _FIRST_THING) // 256
    if not 1 <= thing <= len(_THINGS):
        raise InputError(f"{path} holds the thing {thing} in red: ADE20K has 1…{len(_THINGS)}, download it again")
    return _THINGS[thing - 1]
