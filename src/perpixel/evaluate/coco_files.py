"""COCO's JSON files, predicted and true: results against instances, and panoptic files with their PNGs.

The formats are those of https://cocodataset.org/#format-data and #format-results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from perpixel.data.coco_files import CocoImage, CocoIndex, PanopticIndex, sample_names
from perpixel.data.samples import VOID, Categories, LabelledObject, SegmentationSample
from perpixel.data.segmentation import read_ids
from perpixel.errors import InputError
from perpixel.evaluate.judges import FoundObject, PanopticPrediction
from perpixel.evaluate.pairs import stand_in
from perpixel.evaluate.report import Failure
from perpixel.evaluate.tally import Case
from perpixel.images.read import read_photo
from perpixel.ops.label_map import relabelled
from perpixel.ops.rle import Rle, decode_rle, encode_rle, rle_area, rle_from_polygons

__all__ = ["CocoCases", "instance_cases", "panoptic_cases"]

Annotation = Mapping[str, Any]


@dataclass(frozen=True)
class CocoCases:
    """The images of two COCO files: classes, names, and what has no partner; `read` makes the case of a number."""

    categories: Categories
    names: tuple[str, ...]
    read: Callable[[int], Case]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Predictions:
    """A parsed JSON: the annotations by image id, and what it says of images and categories, if anything."""

    path: Path
    annotations: Mapping[int | str, list[Annotation]]
    stems: Mapping[int | str, str]
    labels: Mapping[int, str]


def instance_cases(predictions: Path, truth: Path, images: Path | None = None) -> CocoCases:
    """Pair COCO results with COCO instances.

    Args:
        predictions: a JSON: the results list of image_id, category_id, segmentation (RLE or polygons) and score; or
            a whole data set with scores, as `perpixel segment --coco` writes. The images of a whole data set are
            paired by file name if its ids mean others, and its categories by name.
        truth: COCO's instances JSON.
        images: the folder of the photographs, for the report.

    Raises:
        InputError: no such file, not this format, or nothing in common.
    """
    true = CocoIndex(truth)
    guess = _predictions(predictions)
    numbers, notes = _numbers(guess, true.categories)
    partners, failures = _partners(guess, true.images, truth)
    names = sample_names([image.file_name for image in true.images])

    def read(place: int) -> Case:
        size = _size(true.images[place], truth)
        found = [
            FoundObject(_mask(each, size, guess.path), numbers[each["category_id"]], _score(each, guess.path))
            for each in guess.annotations.get(partners[place], [])
            if _known(each, numbers, guess)
        ]
        objects = tuple(true.objects(place, size))
        sample = SegmentationSample(names[place], stand_in(size), kind="instance", objects=objects)
        return Case(found, sample, _photo(images, true.images[place], size))

    return CocoCases(true.categories, names, read, failures, notes)


def panoptic_cases(predictions: Path, truth: Path, images: Path | None = None) -> CocoCases:
    """Pair two COCO panoptic files.

    Args:
        predictions: the JSON, or a folder with one JSON in it. Its PNGs lie in a folder of the JSON's name without
            the suffix, or beside the JSON. Images and categories are paired as in `instance_cases`.
        truth: the same.
        images: the folder of the photographs, for the report.

    Raises:
        InputError: no such file, not this format, or nothing in common.
    """
    truth = _json_in(truth, "truth")
    true = PanopticIndex(truth)
    guess = _predictions(_json_in(predictions, "predictions"))
    numbers, notes = _numbers(guess, true.categories)
    partners, failures = _partners(guess, true.images, truth)
    all_names = sample_names([image.file_name for image in true.images])
    places = [place for place, partner in enumerate(partners) if partner in guess.annotations]
    failures += tuple(
        Failure(all_names[place], f"{guess.path} has no annotation of this image: add its prediction")
        for place in range(len(partners))
        if partners[place] not in guess.annotations
    )

    def read(number: int) -> Case:
        place = places[number]
        labels, objects = _true_segments(true, place)
        (annotation, *_) = guess.annotations[partners[place]]
        prediction = _found_segments(annotation, numbers, guess)
        if prediction.labels.shape != labels.shape:
            raise InputError(
                f"the PNG of {annotation['file_name']} is {_size_words(prediction.labels)} but the truth is "
                f"{_size_words(labels)} (width×height): resize it by nearest neighbour"
            )
        sample = SegmentationSample(
            all_names[place], stand_in(labels.shape), kind="panoptic", labels=labels, objects=objects
        )
        size = (labels.shape[0], labels.shape[1])
        return Case(prediction, sample, _photo(images, true.images[place], size))

    names = tuple(all_names[place] for place in places)
    return CocoCases(true.categories, names, read, failures, notes)


def _json_in(path: Path, role: str) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        raise InputError(f"the {role} {path} is a folder with {len(found)} JSON files: name the one that is meant")
    return found[0]


def _predictions(path: Path) -> _Predictions:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"the predictions {path} do not exist: check the path") from None
    except OSError as error:
        raise InputError(f"the predictions {path} cannot be read: {error.strerror or error}; name a JSON") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the predictions {path} are no JSON ({error}): write them again") from error
    rows = content if isinstance(content, list) else content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"the predictions {path} have no annotations: give a list of results, or COCO's data set")
    whole = content if isinstance(content, dict) else {}
    annotations: dict[int | str, list[Annotation]] = {}
    for row in rows:
        image = row.get("image_id") if isinstance(row, dict) else None
        if not isinstance(image, (int, str)):
            raise InputError(f"the predictions {path} have an entry without image_id: give each one its image's")
        annotations.setdefault(image, []).append(row)
    try:
        stems = {row["id"]: _stem(row["file_name"]) for row in whole.get("images", [])}
        labels = {int(row["id"]): str(row["name"]) for row in whole.get("categories", [])}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the predictions {path} have an image or a category that is none ({error!r})") from error
    return _Predictions(path, annotations, stems, labels)


def _numbers(guess: _Predictions, categories: Categories) -> tuple[dict[int, int], tuple[str, ...]]:
    """The class for each category id of the predictions: by id, or by name where the ids mean other classes."""
    by_id = categories.numbers
    if all(each in by_id and categories.names[by_id[each]] == name for each, name in guess.labels.items()):
        return by_id, ()
    by_name = {name: number for number, name in enumerate(categories.names)}
    found = {each: by_name[name] for each, name in guess.labels.items() if name in by_name}
    if not found:
        raise InputError(
            f"no category of {guess.path} has the name of one of the truth's ({', '.join(categories.names[:8])} …): "
            "give both the same categories"
        )
    lost = [name for name in guess.labels.values() if name not in by_name]
    words = f"; not counted, as the truth has no such: {', '.join(lost[:8])}{' …' if len(lost) > 8 else ''}"
    return found, (f"the categories are paired by name{words if lost else ''}",)


def _partners(
    guess: _Predictions, images: Sequence[CocoImage], truth: Path
) -> tuple[list[int | str], tuple[Failure, ...]]:
    """The predictions' id of each true image, and what is predicted for none of them."""
    own = {image.identifier: _stem(image.file_name) for image in images}
    if any(own.get(number, stem) != stem for number, stem in guess.stems.items()) or (
        guess.stems and not own.keys() & guess.stems.keys()
    ):
        by_stem = {stem: number for number, stem in guess.stems.items()}
        # An id that nothing has, where there is no prediction.
        partners = [by_stem.get(own[image.identifier], f"no prediction for {image.identifier}") for image in images]
    else:
        partners = [image.identifier for image in images]
    known = set(partners)
    extra = [number for number in guess.annotations if number not in known]
    if extra and len(extra) == len(guess.annotations):
        raise InputError(
            f"no image of {guess.path} (such as image_id {extra[0]!r}) is in {truth}: use the ids of its images"
        )
    return partners, tuple(
        Failure(f"image_id {number}", f"{guess.path} predicts for an image that {truth} does not list: take it out")
        for number in extra
    )


def _known(annotation: Annotation, numbers: Mapping[int, int], guess: _Predictions) -> bool:
    """Whether the truth has the category; it must where the predictions do not say what their ids mean."""
    given = annotation.get("category_id")
    if given in numbers:
        return True
    if given in guess.labels:
        return False
    raise InputError(f"{guess.path} has the category_id {given!r}, which the truth does not: use the truth's ids")


def _mask(annotation: Annotation, size: tuple[int, int], path: Path) -> Rle:
    """A checked and compressed RLE of the image's size."""
    form = annotation.get("segmentation")
    if isinstance(form, list):
        return rle_from_polygons(form, *size)
    if not isinstance(form, dict):
        raise InputError(f"{path} has a result without a mask, in image {annotation['image_id']!r}: add segmentation")
    rle = cast(Rle, form)
    rle_area(rle)  # checks it
    if list(rle["size"]) != list(size):
        raise InputError(
            f"{path} has a mask of {rle['size'][1]}×{rle['size'][0]} for an image of {size[1]}×{size[0]} "
            "(width×height): write masks of the image's size"
        )
    return encode_rle(decode_rle(rle)) if isinstance(rle["counts"], list) else rle


def _score(annotation: Annotation, path: Path) -> float:
    score = annotation.get("score")
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
        raise InputError(f"{path} has the score {score!r}, and AP needs a number for each result: add it")
    return float(score)


def _found_segments(annotation: Annotation, numbers: Mapping[int, int], guess: _Predictions) -> PanopticPrediction:
    name, infos = annotation.get("file_name"), annotation.get("segments_info")
    if not isinstance(name, str) or not isinstance(infos, list) or not all(isinstance(info, dict) for info in infos):
        raise InputError(f"{guess.path} has an annotation without file_name or segments_info: is it panoptic?")
    ids = read_ids(_png_folder(guess.path) / name)
    kept = [info for info in infos if _known(info, numbers, guess)]
    labels = _places(ids, [info.get("id") for info in infos], guess.path, name)
    if len(kept) < len(infos):
        labels = _places(ids, [info["id"] for info in kept], None, name)
    return PanopticPrediction(labels, tuple(numbers[info["category_id"]] for info in kept))


def _true_segments(true: PanopticIndex, place: int) -> tuple[npt.NDArray[np.int32], tuple[LabelledObject, ...]]:
    name, segments = true.pictures[place], true.segments(place)
    ids = read_ids(_png_folder(true.path) / name)
    return _places(ids, list(segments), true.path, name), tuple(segments.values())


def _places(ids: npt.NDArray[Any], listed: Sequence[Any], path: Path | None, name: str) -> npt.NDArray[np.int32]:
    """The place of each pixel's segment in a list of ids, VOID for none; with `path` every segment must be in it."""
    wide = ids.astype(np.int32)
    if path is not None:
        stray = sorted(set(np.unique(wide).tolist()) - set(listed) - {0})
        if stray:
            raise InputError(f"{name} has the segment {stray[0]}, which {path} does not list: write both anew")
    return relabelled(wide, {int(each): place for place, each in enumerate(listed, 1)}) + np.int32(VOID)


def _png_folder(path: Path) -> Path:
    """COCO puts the PNGs of panoptic_val2017.json into panoptic_val2017; others put them beside the JSON."""
    folder = path.with_suffix("")
    return folder if folder.is_dir() else path.parent


def _size(image: CocoImage, path: Path) -> tuple[int, int]:
    if image.size is None:
        raise InputError(f"{path} does not say height and width of {image.file_name}: add them")
    return image.size


def _size_words(labels: npt.NDArray[Any]) -> str:
    return f"{labels.shape[1]}×{labels.shape[0]}"


def _stem(file_name: str) -> str:
    return PurePosixPath(str(file_name)).stem


def _photo(folder: Path | None, image: CocoImage, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    if folder is None:
        return None
    path = folder / image.file_name
    pixels = read_photo(path).rgb8
    if pixels.shape[:2] != size:
        raise InputError(f"the photograph {path} is not of the size of its labels: give the one that they are for")
    return pixels
