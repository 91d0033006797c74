"""COCO's JSON files: read once, checked, and kept in a form that is small, and cheap to hand to many workers.

Source: https://cocodataset.org/#format-data, "Object detection" and "Panoptic segmentation".
"""

from __future__ import annotations

import gc
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from perpixel.data.folders import PICTURES
from perpixel.data.samples import Categories, LabelledObject
from perpixel.errors import InputError
from perpixel.ops.rle import Rle, decode_rle, encode_rle, rle_area, rle_from_polygons

__all__ = ["CocoImage", "CocoIndex", "PanopticIndex", "read_coco_json"]

Rows: TypeAlias = "list[dict[str, Any]]"
ImageId: TypeAlias = "int | str"


@dataclass(frozen=True)
class CocoImage:
    """A photograph that a COCO file lists.

    Attributes:
        identifier: its id; a number in COCO, a word in ADE20K and Cityscapes.
        file_name: from the folder of photographs.
        size: (height, width); None where the file does not say it.
    """

    identifier: ImageId
    file_name: str
    size: tuple[int, int] | None


def read_coco_json(path: Path) -> dict[str, Rows]:
    """Read a COCO file and check that it is one.

    Returns:
        its lists "images", "annotations" and "categories".

    Raises:
        InputError: it cannot be read, is no JSON, or lacks one of the lists.
    """
    try:
        content = _parsed(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the folder, the split, or name the file itself") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}): copy or download it again") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(_is_rows(content.get(part)) for part in parts):
        raise InputError(f"{path} is no COCO data set: it needs the lists images, annotations and categories")
    return {part: content[part] for part in parts}


def _parsed(text: bytes) -> Any:
    # JSON makes no cycles, but millions of lists, which the collector would walk through again and again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text)
    finally:
        if collecting:
            gc.enable()


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _field(row: Mapping[str, Any], key: str, kinds: type | tuple[type, ...], what: str, path: Path) -> Any:
    value = row.get(key)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise InputError(f"{path}: {what} has {key} {value!r}, which cannot be used: write the file anew")
    return value


def coco_categories(rows: Rows, path: Path) -> Categories:
    """The classes of a COCO file, in the order of their ids; without "isthing" all are things.

    Raises:
        InputError: there are none, one has no id or name, or two have the same id.
    """
    found = {}
    for row in rows:
        identifier = int(_field(row, "id", int, "a category", path))
        if identifier in found:
            raise InputError(f"{path} has two categories with the id {identifier}: give each its own")
        found[identifier] = (_field(row, "name", str, f"category {identifier}", path), bool(row.get("isthing", 1)))
    if not found:
        raise InputError(f"{path} has no categories: list the classes in it")
    ids = tuple(sorted(found))
    return Categories(tuple(found[i][0] for i in ids), ids, tuple(found[i][1] for i in ids))


def coco_images(rows: Rows, path: Path) -> list[CocoImage]:
    """The photographs that a COCO file lists.

    Raises:
        InputError: one has no id or file name, a name that leads out of the folder, or two have the same id or name.
    """
    found: dict[ImageId, CocoImage] = {}
    seen: set[str] = set()
    for row in rows:
        identifier: ImageId = _field(row, "id", (int, str), "an image", path)
        name = str(_field(row, "file_name", str, f"image {identifier!r}", path)).replace("\\", "/")
        inner = PurePosixPath(name)
        if inner.is_absolute() or ".." in inner.parts or not inner.name:
            raise InputError(f"{path}: image {identifier!r} is {name!r}, which leads out of the folder: mend its name")
        if identifier in found:
            raise InputError(f"{path} has two images with the id {identifier!r}: give each its own")
        if str(inner) in seen:
            raise InputError(f"{path} lists {name!r} twice: give its annotations to one image")
        seen.add(str(inner))
        height, width = row.get("height"), row.get("width")
        size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        found[identifier] = CocoImage(identifier, str(inner), size)
    return list(found.values())


def sample_names(files: Sequence[str]) -> tuple[str, ...]:
    """Names for files: without suffix, except where two would be the same.

    >>> sample_names(["a.jpg", "b.jpg", "b.png"])
    ('a', 'b.jpg', 'b.png')
    """
    stems = [name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix) else name for name in files]
    times: dict[str, int] = {}
    for stem in stems:
        times[stem] = times.get(stem, 0) + 1
    return tuple(stem if times[stem] == 1 else name for stem, name in zip(stems, files, strict=True))


class CocoIndex:
    """The objects of a COCO instances file, by image.

    The whole file is parsed at once, then kept in flat arrays: about 8 bytes a coordinate, and nothing that a worker
    process would have to copy.

    Attributes:
        path: the file.
        images: the photographs, in the order of the file.
        categories: the classes, by id.

    Args:
        path: the file.
        categories: the classes, if not those that the file lists.

    Raises:
        InputError: it is no COCO file, or an annotation is of no image, of no class, or without a mask.
    """

    def __init__(self, path: Path, categories: Categories | None = None) -> None:
        content = read_coco_json(path)
        self.path = path
        self.images = coco_images(content["images"], path)
        self.categories = categories or coco_categories(content["categories"], path)
        numbers = self.categories.numbers
        places = {image.identifier: place for place, image in enumerate(self.images)}
        by_image: list[Rows] = [[] for _ in self.images]
        for row in content["annotations"]:
            what = f"annotation {row.get('id')!r}"
            image = _field(row, "image_id", (int, str), what, path)
            if image not in places:
                raise InputError(f"{path}: {what} is of image {image!r}, which the file does not list: add it")
            category = _field(row, "category_id", int, what, path)
            if category not in numbers:
                raise InputError(f"{path}: {what} has category_id {category}, which is no category: add it")
            by_image[places[image]].append(row)
        self._first = array("q", [0])  # of each image, its first object
        self._categories = array("i")
        self._crowds = bytearray()
        self._areas = array("d")  # NaN where the file has none
        self._ids = array("q")
        self._parts = array("q", [0])  # of each object, its first polygon
        self._ends = array("q", [0])  # of each polygon, its first coordinate
        self._points = array("d")
        self._rles: dict[int, Rle] = {}
        for rows in by_image:
            for row in rows:
                self._add(row, numbers)
            self._first.append(len(self._categories))

    def _add(self, row: dict[str, Any], numbers: Mapping[int, int]) -> None:
        what = f"annotation {row.get('id')!r}"
        shape = row.get("segmentation")
        if isinstance(shape, dict):
            self._rles[len(self._categories)] = {"size": shape.get("size", []), "counts": shape.get("counts", "")}
        elif isinstance(shape, list):
            for polygon in shape:
                try:
                    self._points.extend(polygon)
                except TypeError:
                    raise InputError(
                        f"{self.path}: {what} has a segmentation that is neither an RLE nor a list of polygons "
                        "[[x0, y0, x1, y1, …], …]: write it anew"
                    ) from None
                self._ends.append(len(self._points))
        else:
            raise InputError(f"{self.path}: {what} has no segmentation, only a box perhaps: give polygons or an RLE")
        self._parts.append(len(self._ends) - 1)
        self._categories.append(numbers[row["category_id"]])
        self._crowds.append(bool(row.get("iscrowd", 0)))
        area = row.get("area")
        self._areas.append(float(area) if isinstance(area, int | float) else float("nan"))
        identifier = row.get("id")
        self._ids.append(identifier if isinstance(identifier, int) else -1)

    def count(self, image: int) -> int:
        """How many objects an image has, without the groups that were not separated."""
        objects = range(self._first[image], self._first[image + 1])
        return sum(not self._crowds[number] for number in objects)

    def objects(self, image: int, size: tuple[int, int]) -> Iterator[LabelledObject]:
        """The objects of an image, with masks of its size.

        Args:
            image: its place in `images`.
            size: (height, width) of the photograph.

        Raises:
            InputError: the photograph has another size than the file says, or a mask cannot be drawn.
        """
        height, width = size
        stated = self.images[image].size
        if stated is not None and stated != size:
            turned = stated == (width, height)
            raise InputError(
                f"{self.images[image].file_name} is {width}×{height} but {self.path} says {stated[1]}×{stated[0]} "
                "(width×height): "
                + ("its EXIF turns it, remove that" if turned else "use the photographs that the file was made for")
            )
        for number in range(self._first[image], self._first[image + 1]):
            try:
                rle = self._mask(number, height, width)
            except InputError as error:
                raise InputError(f"{self.path}: annotation {self._ids[number]}: {error}") from error
            area = self._areas[number]
            yield LabelledObject(
                self._categories[number], bool(self._crowds[number]), rle, None if area != area else area
            )

    def _mask(self, number: int, height: int, width: int) -> Rle:
        if number not in self._rles:
            outlines = [
                self._points[self._ends[part] : self._ends[part + 1]]
                for part in range(self._parts[number], self._parts[number + 1])
            ]
            return rle_from_polygons([outline.tolist() for outline in outlines], height, width)
        rle = self._rles[number]
        rle_area(rle)  # checks it
        if list(rle["size"]) != [height, width]:
            raise InputError(
                f"its RLE is {rle['size'][1]}×{rle['size'][0]} but the image is {width}×{height} (width×height): "
                "write it for the image's size"
            )
        # Plain run lengths become COCO's string, which is what every tool takes.
        return encode_rle(decode_rle(rle)) if isinstance(rle["counts"], list) else rle


class PanopticIndex:
    """The segments of a COCO panoptic file, by image.

    Attributes:
        path: the file.
        images: the photographs that have an annotation, in the order of the annotations.
        pictures: for each, the file name of its PNG.
        categories: the classes, by id.

    Args:
        path: the file.
        categories: the classes, if not those that the file lists.

    Raises:
        InputError: it is no COCO panoptic file, or an annotation is of no image or a segment of no class.
    """

    def __init__(self, path: Path, categories: Categories | None = None) -> None:
        content = read_coco_json(path)
        self.path = path
        self.categories = categories or coco_categories(content["categories"], path)
        numbers = self.categories.numbers
        listed = {image.identifier: image for image in coco_images(content["images"], path)}
        self.images: list[CocoImage] = []
        self.pictures: list[str] = []
        self._first = array("q", [0])
        self._ids = array("q")
        self._categories = array("i")
        self._crowds = bytearray()
        self._areas = array("d")
        for row in content["annotations"]:
            image = row.get("image_id")
            what = f"the annotation of image {image!r}"
            if image not in listed:
                raise InputError(f"{path}: {what} is of no image that the file lists, or there are two: mend the list")
            self.images.append(listed.pop(image))
            name = PurePosixPath(_field(row, "file_name", str, what, path))
            if name.is_absolute() or ".." in name.parts or name.suffix.lower() not in PICTURES:
                raise InputError(f"{path}: {what} has the file_name {str(name)!r}: give a PNG in the folder")
            self.pictures.append(str(name))
            segments = row.get("segments_info")
            if not _is_rows(segments):
                raise InputError(f"{path}: {what} has no segments_info: is this a file of instances, not panoptic?")
            used: set[int] = set()
            for segment in row["segments_info"]:
                category = _field(segment, "category_id", int, what, path)
                if category not in numbers:
                    raise InputError(f"{path}: {what} has category_id {category}, which is no category: add it")
                identifier = _field(segment, "id", int, what, path)
                if identifier in used:
                    raise InputError(f"{path}: {what} has two segments with the id {identifier}: give each its own")
                used.add(identifier)
                self._ids.append(identifier)
                self._categories.append(numbers[category])
                self._crowds.append(bool(segment.get("iscrowd", 0)))
                area = segment.get("area")
                self._areas.append(float(area) if isinstance(area, int | float) else float("nan"))
            self._first.append(len(self._ids))

    def segments(self, place: int) -> dict[int, LabelledObject]:
        """What the file says of each segment number of an image."""
        found = {}
        for number in range(self._first[place], self._first[place + 1]):
            area = self._areas[number]
            found[self._ids[number]] = LabelledObject(
                self._categories[number], bool(self._crowds[number]), None, None if area != area else area
            )
        return found
