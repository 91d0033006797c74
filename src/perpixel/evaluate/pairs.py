"""Predictions and truth in folders: who belongs to whom, by the files' stems, and how each task's files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perpixel.data.folders import list_files
from perpixel.data.samples import VOID, Categories, DepthSample, MattingSample, SegmentationSample
from perpixel.errors import InputError
from perpixel.evaluate.judges import DepthPrediction
from perpixel.evaluate.report import Failure
from perpixel.evaluate.tally import Case
from perpixel.images.labels import read_labels
from perpixel.images.planes import PLANES
from perpixel.images.read import read_mask, read_photo, read_trimap
from perpixel.ops.trimap import snap_trimap
from perpixel.results.depth_files import load, sidecar

__all__ = ["DepthFiles", "Paired", "label_categories", "pair_files", "paired_cases", "stand_in"]

AnyArray = npt.NDArray[Any]

PICTURES = frozenset({".png", ".tif", ".tiff", ".bmp", ".webp", ".jpg", ".jpeg"})
LABELS = frozenset({".png", ".tif", ".tiff", ".bmp"})
DEPTHS = frozenset(PLANES)
# 8-bit label maps hold no more.
MOST_LABELS = 256


@dataclass(frozen=True)
class Paired:
    """What was found: the files of each name, and what has no partner."""

    names: tuple[str, ...]
    predictions: Mapping[str, Path]
    truths: Mapping[str, Path]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class DepthFiles:
    """What the numbers in depth files mean.

    Attributes:
        scale: how many units of the predictions are a metre: 1000 for millimetres, 256 for KITTI's PNGs. Needed for
            whole numbers without perpixel's JSON beside them; floats are metres without it.
        truth_scale: the same for the truth; by default as for the predictions.
        inverse: the predictions are inverse depth without unit.
    """

    scale: float | None = None
    truth_scale: float | None = None
    inverse: bool = False

    def __post_init__(self) -> None:
        for name in ("scale", "truth_scale"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} is {value}: give how many units are a metre, such as 1000 for millimetres")


def pair_files(predictions: Path, truth: Path, suffixes: frozenset[str], what: str) -> Paired:
    """Pair the files of two folders by their path from there without the suffix; or two files.

    Args:
        predictions: a folder, or a file.
        truth: the same.
        suffixes: which files count in a folder.
        what: the files are, for messages.

    Raises:
        InputError: one of the two does not exist, no file counts, or two files have one name.
    """
    for path, role in ((predictions, "predictions"), (truth, "truth")):
        if not path.exists():
            raise InputError(f"the {role} {path} do not exist: check the path")
    if predictions.is_file() and truth.is_file():
        return Paired((truth.stem,), {truth.stem: predictions}, {truth.stem: truth}, ())
    for path, other, role in ((predictions, truth, "predictions"), (truth, predictions, "truth")):
        if not path.is_dir():
            raise InputError(f"the {role} {path} is a file but {other} is a folder: give two folders, or two files")
    guesses, truths = list_files(predictions, suffixes), list_files(truth, suffixes)
    for found, folder in ((guesses, predictions), (truths, truth)):
        if not found:
            raise InputError(f"{folder} holds no {what} ({', '.join(sorted(suffixes))}): check the folder")
    names = tuple(name for name in truths if name in guesses)
    failures = [
        Failure(name, f"there is no prediction for {path}: put {name}.png into {predictions}")
        for name, path in truths.items()
        if name not in guesses
    ]
    failures += [
        Failure(name, f"there is no truth for {path}: put {name}.png into {truth}, or take the prediction out")
        for name, path in guesses.items()
        if name not in truths
    ]
    return Paired(names, guesses, truths, tuple(failures))


def label_categories(num_labels: int | None) -> Categories:
    """Classes called by their numbers.

    Raises:
        InputError: not a number of classes.
    """
    count = MOST_LABELS if num_labels is None else num_labels
    if count < 1:
        raise InputError(f"num_labels is {count}: give how many classes there are, at least 1")
    return Categories(tuple(str(number) for number in range(count)))


def paired_cases(
    task: str,
    paired: Paired,
    *,
    trimaps: Path | None,
    images: Path | None,
    depth: DepthFiles,
    ignore: int | None,
) -> Callable[[int], Case]:
    """How the case of each name is read, for the tasks whose files are one an image.

    Args:
        task: "matting", "semantic" or "depth".
        paired: the files.
        trimaps: for matting, a folder of trimaps of the same stems, or a file.
        images: a folder of the photographs, for the report.
        depth: what the numbers of depth mean.
        ignore: the number of truth that is not counted, in label maps.
    """
    beside = {
        role: None if folder is None else _beside(folder, role)
        for role, folder in (("trimap", trimaps), ("photograph", images))
    }

    def path_of(role: str, name: str) -> Path | None:
        found = beside[role]
        if found is None:
            return None
        if isinstance(found, Path):
            return found
        if name not in found:
            raise InputError(f"there is no {role} for {name}: put {name}.png beside the other {role}s")
        return found[name]

    def photo(name: str, size: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
        path = path_of("photograph", name)
        if path is None:
            return None
        pixels = read_photo(path).rgb8
        _same(pixels.shape, size, "photograph", path)
        return pixels

    def matting(name: str) -> Case:
        true, pred = read_mask(paired.truths[name]), read_mask(paired.predictions[name])
        _same(pred.shape, true.shape, "prediction", paired.predictions[name])
        path = path_of("trimap", name)
        trimap = None if path is None else snap_trimap(read_trimap(path))
        if trimap is not None:
            _same(trimap.shape, true.shape, "trimap", path)
            if not (trimap == 128).any():
                raise InputError(f"{path} has no unknown pixel (128), so nothing would be counted: check the trimap")
        return Case(pred, MattingSample(name, stand_in(true.shape), true, trimap), photo(name, true.shape))

    def semantic(name: str) -> Case:
        true, pred = (_plane(paths[name]) for paths in (paired.truths, paired.predictions))
        _same(pred.shape, true.shape, "prediction", paired.predictions[name])
        if ignore is not None:
            true, pred = (np.where(labels == ignore, VOID, labels) for labels in (true, pred))
        labels = np.asarray(true, np.int32)
        truth = SegmentationSample(name, stand_in(labels.shape), kind="semantic", labels=labels)
        return Case(np.asarray(pred, np.int32), truth, photo(name, labels.shape))

    def depths(name: str) -> Case:
        own_scale = depth.scale if depth.truth_scale is None else depth.truth_scale
        true, known = _depth(paired.truths[name], own_scale, inverse=False)
        pred, valid = _depth(paired.predictions[name], depth.scale, inverse=depth.inverse)
        _same(pred.shape, true.shape, "prediction", paired.predictions[name])
        true = np.where(known, true, 0).astype(np.float32)
        guess = DepthPrediction(np.where(valid, pred, np.nan), depth.inverse)
        return Case(guess, DepthSample(name, stand_in(true.shape), true), photo(name, true.shape))

    read = {"matting": matting, "semantic": semantic, "depth": depths}[task]
    return lambda number: read(paired.names[number])


def stand_in(size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """(h, w, 3): the image of a sample without a photograph; it takes no memory."""
    return np.broadcast_to(np.uint8(0), (size[0], size[1], 3))


def _beside(folder: Path, role: str) -> dict[str, Path] | Path:
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"the folder of {role}s {folder} does not exist: check the path")
    found = list_files(folder, PICTURES)
    if not found:
        raise InputError(f"{folder} holds no {role}: check the folder")
    return found


def _plane(path: Path) -> AnyArray:
    labels = read_labels(path)
    if labels.ndim != 2:
        raise InputError(f"{path} is a picture in colour, and a label map is one plane of class numbers")
    if labels.dtype == np.bool_:
        return labels.astype(np.int32)
    if labels.dtype.kind not in "iu":
        raise InputError(f"{path} holds {labels.dtype}, and a label map holds whole numbers")
    return labels.astype(np.int64)


def _depth(path: Path, scale: float | None, *, inverse: bool) -> tuple[AnyArray, npt.NDArray[np.bool_]]:
    described = sidecar(path).is_file()
    if described:
        values, valid, kind = load(path, None, None, 0.0)
        if (kind == "inverse") != inverse:
            mend = "leave --inverse out" if inverse else "say --inverse" if path else ""
            raise InputError(f"{path} holds {kind} depth, as {sidecar(path).name} says: {mend}")
        return values, valid
    if scale is None and path.suffix.lower() == ".png":
        if not inverse:
            raise InputError(f"{path} holds whole numbers: say how many are a metre, such as --scale 1000")
        scale = 1.0  # inverse depth is of any scale
    values, valid, _ = load(path, "inverse" if inverse else "metric", 1 / scale if scale else None, 0.0)
    return values, valid & np.isfinite(values)


def _same(size: tuple[int, ...], needed: tuple[int, ...], role: str, path: Path | None) -> None:
    if size[:2] != needed[:2]:
        raise InputError(
            f"the {role} {path} is {size[1]}×{size[0]} but the truth is {needed[1]}×{needed[0]} (width×height): "
            "resize it to the size of the truth"
        )
