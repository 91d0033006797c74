"""Look one sample over: what it holds, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from perpixel.data.samples import VOID, Categories, DepthSample, MattingSample, Sample, SegmentationSample
from perpixel.errors import InputError
from perpixel.ops.rle import rle_area

__all__ = ["DepthFacts", "Facts", "Problem", "ProblemKind", "look_over"]

ProblemKind = Literal["reading", "size", "class", "empty", "full", "mask", "alpha", "trimap", "depth", "duplicate"]
Counts = npt.NDArray[np.int64]

# A trimap says what is certain. So much of it may contradict the alpha, as thin hair at its edge does.
_CONTRADICTION = 0.05
# Fewer measured pixels than this are a failure of the sensor: a LiDAR's sparse points are about 4 %.
_LEAST_MEASURED = 0.001
# A largest depth that stands apart from all others by so much, and at so many pixels, is a mark and no distance.
_APART, _MARKED_PIXELS = 0.8, 10


@dataclass(frozen=True)
class Problem:
    """Something that should be mended before a training.

    Attributes:
        sample: its name; None for the data set as a whole.
        kind: what it is about, for programs.
        message: what was found and what to do, for people.
    """

    sample: str | None
    kind: ProblemKind
    message: str


@dataclass(frozen=True)
class DepthFacts:
    """The measured depth of one photograph, in metres.

    Attributes:
        nearest, middle, farthest: its smallest value, its median, its largest.
        measured: the share of pixels with a depth.
        apart: whether the largest value stands apart from all others, as a mark for "nothing measured" does.
    """

    nearest: float
    middle: float
    farthest: float
    measured: float
    apart: bool


@dataclass
class Facts:
    """What one sample holds.

    Attributes:
        name: of the sample.
        size: (height, width) of the photograph.
        digest: of its pixels, the same for equal photographs.
        problems: what is wrong with it.
        pixels: of each class; empty without classes.
        objects: of each class, without crowds.
        crowds: groups that were not separated.
        void: pixels without a class or segment.
        soft: alphas strictly between 0 and 1; None where there is no alpha.
        trimap: whether there is one.
        depth: what was measured; None without depth, or where nothing was.
    """

    name: str
    size: tuple[int, int]
    digest: bytes = b""
    problems: list[Problem] = field(default_factory=list)
    pixels: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    objects: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    crowds: int = 0
    void: int = 0
    soft: int | None = None
    trimap: bool = False
    depth: DepthFacts | None = None

    def add(self, kind: ProblemKind, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.name, kind, message))


def look_over(sample: Sample, categories: Categories | None) -> Facts:
    """Count what a sample holds, and find what is wrong with it.

    Args:
        sample: as its reader gave it.
        categories: the classes of its data set.

    Returns:
        facts with problems; planes of a wrong size are not looked into.
    """
    height, width = sample.image.shape[:2]
    classes = 0 if categories is None else len(categories)
    digest = hashlib.blake2b(sample.image.tobytes(), digest_size=16)
    digest.update(repr(sample.image.shape).encode())
    facts = Facts(sample.name, (height, width), digest.digest())
    facts.pixels, facts.objects = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    coarse = sample.image[::16, ::16]  # which tells nearly always that there is more than one colour
    if height * width > 1 and (coarse == coarse[0, 0]).all() and (sample.image == sample.image[0, 0]).all():
        facts.add("empty", "the photograph has a single colour: look whether the file is whole")
    if isinstance(sample, MattingSample):
        _look_at_matte(sample, facts)
    elif isinstance(sample, DepthSample):
        _look_at_depth(sample, facts)
    elif isinstance(sample, SegmentationSample):
        names = () if categories is None else categories.names
        if sample.kind == "semantic":
            _look_at_classes(sample, facts)
        elif sample.kind == "panoptic":
            _look_at_segments(sample, facts)
        else:
            _look_at_objects(sample, names, facts)
    return facts


def _fits(plane: npt.NDArray[Any] | None, role: str, facts: Facts) -> bool:
    """Whether there is a plane of the photograph's size; another size is a problem."""
    if plane is None or plane.shape[:2] == facts.size:
        return plane is not None
    height, width = facts.size
    facts.add("size", f"the {role} is {plane.shape[1]}×{plane.shape[0]} but the image is {width}×{height}")
    return False


def _look_at_classes(sample: SegmentationSample, facts: Facts) -> None:
    labels = sample.labels
    if labels is None or not _fits(labels, "label map", facts):
        return
    facts.pixels = _areas(labels, len(facts.pixels), "labels hold", "classes", facts)
    if facts.void == labels.size:
        facts.add("empty", "no pixel has a class, all are void")


def _look_at_segments(sample: SegmentationSample, facts: Facts) -> None:
    labels = sample.labels
    if labels is None or not _fits(labels, "label map", facts):
        return
    areas = _areas(labels, len(sample.objects), "label map holds", "segments", facts)
    for place, item in enumerate(sample.objects):
        _count(item.category, item.crowd, int(areas[place]), f"segment {place}", facts)
    if facts.void == labels.size:
        facts.add("empty", "no pixel has a segment, all are void")


def _areas(labels: npt.NDArray[np.int32], count: int, what: str, of: str, facts: Facts) -> Counts:
    """Count the pixels of each number below `count`, and the void ones; other numbers are a problem."""
    if labels.min() < VOID or labels.max() >= count:
        strange = (labels < VOID) | (labels >= count)
        facts.add("class", f"the {what} {_listed(np.unique(labels[strange]))} but the {count} {of} are 0…{count - 1}")
        labels = labels[~strange]
    areas = np.bincount(labels.ravel() - VOID, minlength=count + 1)
    facts.void = int(areas[0])
    return areas[1:]


def _look_at_objects(sample: SegmentationSample, names: Sequence[str], facts: Facts) -> None:
    seen: Counter[tuple[int, str]] = Counter()
    for place, item in enumerate(sample.objects):
        if item.rle is None:
            facts.add("mask", f"object {place} has no mask")
            continue
        try:
            area = rle_area(item.rle)
        except InputError as error:
            facts.add("mask", f"object {place}: {error}")
            continue
        size = tuple(item.rle["size"])
        if size != facts.size:
            height, width = facts.size
            facts.add("size", f"the mask of object {place} is {size[1]}×{size[0]} but the image is {width}×{height}")
            continue
        _count(item.category, item.crowd, area, f"object {place}", facts)
        if area == facts.size[0] * facts.size[1] > 1 and not item.crowd:
            facts.add("full", f"the mask of object {place} covers the whole image: look whether it is inverted")
        seen[item.category, str(item.rle["counts"])] += area > 0
    for (category, _), times in seen.items():
        if times > 1:
            name = names[category] if 0 <= category < len(names) else category
            facts.add("duplicate", f"{times} objects of class {name} have the very same mask: keep one")


def _count(category: int, crowd: bool, area: int, what: str, facts: Facts) -> None:
    classes = len(facts.pixels)
    if not area:
        facts.add("empty", f"{what} has no pixel: remove it or draw it")
    if not 0 <= category < classes:
        facts.add("class", f"{what} is of class {category} but the {classes} classes are 0…{classes - 1}")
        return
    facts.pixels[category] += area
    facts.objects[category] += not crowd
    facts.crowds += crowd


def _look_at_matte(sample: MattingSample, facts: Facts) -> None:
    alpha, trimap = sample.alpha, sample.trimap
    facts.trimap = trimap is not None
    _fits(sample.foreground, "foreground", facts)
    has_trimap = _fits(trimap, "trimap", facts)
    if not _fits(alpha, "alpha", facts):
        return
    if not np.isfinite(alpha).all() or alpha.min() < 0 or alpha.max() > 1:
        facts.add("alpha", "the alpha leaves the range from 0 to 1")
        return
    facts.soft = int(((alpha > 0) & (alpha < 1)).sum())
    if not alpha.any():
        facts.add("empty", "the alpha is 0 everywhere: there is no subject")
    elif alpha.min() == 1:
        facts.add("full", "the alpha is 1 everywhere: there is no background")
    if trimap is None or not has_trimap:
        return
    if strange := _listed(np.setdiff1d(trimap, (0, 128, 255))):
        facts.add("trimap", f"the trimap holds {strange}: it must be 0, 128 or 255")
    if not (trimap == 128).any():
        facts.add("trimap", "the trimap has no unknown pixel: there is nothing to learn in it")
    wrong = ((trimap == 255) & (alpha < 0.5)) | ((trimap == 0) & (alpha > 0.5))
    certain = int((trimap != 128).sum())
    if certain and (share := wrong.sum() / certain) > _CONTRADICTION:
        facts.add("trimap", f"the trimap contradicts the alpha at {share:.0%} of its certain pixels: is it inverted?")


def _look_at_depth(sample: DepthSample, facts: Facts) -> None:
    depth = sample.depth
    if not _fits(depth, "depth", facts):
        return
    if not np.isfinite(depth).all() or depth.min() < 0:
        facts.add("depth", "the depth has negative or infinite values: 0 stands for nothing measured")
    known = depth[np.isfinite(depth) & (depth > 0)]
    measured = known.size / depth.size
    if not known.size:
        facts.add("depth", "no pixel has a depth: look at the file, and at the options scale and invalid")
        return
    near, middle, far = float(known.min()), float(np.median(known)), float(known.max())
    at_most = known == known.max()
    others = known[~at_most]
    apart = bool(others.size and int(at_most.sum()) >= _MARKED_PIXELS and others.max() < _APART * far)
    facts.depth = DepthFacts(near, middle, far, measured, apart)
    if known.size > 1 and near == far:
        facts.add("depth", f"the depth is {far:.4g} m everywhere: look whether the file holds distances")
    elif measured < _LEAST_MEASURED:
        facts.add("depth", f"only {known.size} pixels have a depth")


def _listed(numbers: npt.NDArray[Any], shown: int = 8) -> str:
    words = ", ".join(str(number) for number in numbers[:shown].tolist())
    return words + ", …" if len(numbers) > shown else words
