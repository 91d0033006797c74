"""Check labelled images before a training: count what is there, and find what is wrong with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from perpixel.data.findings import Facts, Problem, look_over
from perpixel.data.matting_sets import COPY
from perpixel.data.samples import Categories, LabelKind, LabelledImages, Sample
from perpixel.errors import MissingDependencyError, PerpixelError, PerpixelWarning

__all__ = ["ClassCount", "Report", "check"]

# Depth outside of these is in no room, street or landscape that is learnt from: the unit is another one.
_NEAREST, _FARTHEST = 0.1, 200.0
_SMALL_SIDE = 32
_MOSTLY_VOID = 0.5
_FEW = 0.1
_RARE = 1e-5


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs.

    Attributes:
        name: of the class.
        images: how many have it.
        objects: how many there are, without groups that were not separated; None where there are only pixels.
        pixels: how many there are in all.
    """

    name: str
    images: int
    objects: int | None
    pixels: int


@dataclass
class Report:
    """What was found in a data set.

    Attributes:
        kind: what the samples are labelled with; None where the data set could not be opened.
        samples: how many the data set has.
        checked: how many were looked at, and could be read.
        smallest, largest: the photographs with the fewest and the most pixels, (height, width).
        sizes: how many different sizes there are.
        classes: how often each occurs; empty for mattes and depth.
        facts: what else was counted, in words that a program can read.
        problems: what should be mended.
        notes: what is worth knowing, and may be right.
    """

    kind: LabelKind | None
    samples: int
    checked: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    sizes: int = 0
    classes: list[ClassCount] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def check(
    data: LabelledImages[Any],
    *,
    limit: int | None = None,
    see: Callable[[int, str, Sample | None, list[Problem]], None] | None = None,
) -> Report:
    """Read every sample and report what is there and what is wrong.

    Files that cannot be read are reported, and the rest is checked all the same.

    Args:
        data: what is checked.
        limit: look at so many samples only, spread evenly.
        see: called after each sample with how many are done, its name, the sample (None if it could not be read) and
            what is wrong with it; for a progress bar or a contact sheet.

    Returns:
        the report; with no problem in it the data set is clean.

    Raises:
        MissingDependencyError: a package is missing without which no file can be read.
    """
    chosen = spread(len(data), len(data) if limit is None else limit)
    found: list[Facts] = []
    problems = list(_same_names(data.names))
    for done, index in enumerate(chosen, 1):
        name = data.names[index]
        sample, own = _read(data, index, name)
        if sample is not None:
            facts = look_over(sample, data.categories)
            own += facts.problems
            found.append(facts)
        problems += own
        if see is not None:
            see(done, name, sample, own)
    report = Report(data.kind, len(data), len(found), problems=problems)
    if not found:
        return report
    _count_sizes(found, report)
    report.problems += _same_pictures(found)
    if data.kind == "matting":
        _judge_mattes(found, report)
    elif data.kind == "depth":
        _judge_depth(found, report)
    elif data.categories is not None:
        _judge_classes(found, data.categories, report)
    return report


def spread(count: int, wanted: int) -> list[int]:
    """Places from 0 to `count` - 1, evenly spread, the first one included.

    >>> spread(10, 4)
    [0, 2, 5, 7]
    """
    return list(range(count)) if wanted >= count else [place * count // wanted for place in range(wanted)]


def _read(data: LabelledImages[Any], index: int, name: str) -> tuple[Sample | None, list[Problem]]:
    sample: Sample | None = None
    problems = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            sample = data[index]
        except MissingDependencyError:
            raise
        except PerpixelError as error:
            problems = [Problem(name, "reading", str(error))]
        except Exception as error:  # a check has to go on whatever one file does to a decoder
            problems = [Problem(name, "reading", f"it cannot be read: {type(error).__name__}: {error}")]
    said = [str(warning.message) for warning in caught if issubclass(warning.category, PerpixelWarning)]
    return sample, problems + [Problem(name, "mask", text) for text in dict.fromkeys(said)]


def _same_names(names: Sequence[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in names:
        # Windows and macOS take names that differ in case for one.
        if name.casefold() in seen:
            yield Problem(name, "duplicate", "another sample has this name: rename one of them")
        seen.add(name.casefold())


def _same_pictures(found: Sequence[Facts]) -> Iterator[Problem]:
    first: dict[bytes, str] = {}
    for facts in found:
        other = first.setdefault(facts.digest, facts.name)
        # Composites of one subject are never parted, so two on equal backgrounds do no harm.
        if other.partition(COPY)[0] != facts.name.partition(COPY)[0]:
            yield Problem(
                facts.name,
                "duplicate",
                f"the photograph is the same as that of {other}: keep one, else what is learnt is validated with",
            )


def _count_sizes(found: Sequence[Facts], report: Report) -> None:
    sizes = {facts.size for facts in found}
    report.sizes = len(sizes)
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    report.smallest, report.largest = ordered[0], ordered[-1]
    small = sum(min(facts.size) < _SMALL_SIDE for facts in found)
    if small:
        report.notes.append(f"photographs with a side under {_SMALL_SIDE} pixels: {small}")


def _judge_mattes(found: Sequence[Facts], report: Report) -> None:
    known = [facts for facts in found if facts.soft is not None]
    hard = [facts for facts in known if not facts.soft]
    pixels = sum(facts.size[0] * facts.size[1] for facts in known)
    report.facts["trimaps"] = sum(facts.trimap for facts in found)
    if known:
        report.facts["soft_share"] = sum(facts.soft or 0 for facts in known) / max(1, pixels)
    if hard and len(hard) == len(known):
        report.problems.append(
            Problem(
                None,
                "alpha",
                f"none of {len(known)} alphas is ever between 0 and 1: these are masks, and what is learnt from "
                "them has hard edges",
            )
        )
        return
    for facts in hard:
        if not any(problem.kind in ("empty", "full") for problem in facts.problems):
            report.problems.append(Problem(facts.name, "alpha", "the alpha is never between 0 and 1: it is a mask"))


def _judge_depth(found: Sequence[Facts], report: Report) -> None:
    depths = [facts.depth for facts in found if facts.depth is not None]
    if not depths:
        return
    middle = float(np.median([depth.middle for depth in depths]))
    report.facts |= {
        "nearest": min(depth.nearest for depth in depths),
        "median": middle,
        "farthest": max(depth.farthest for depth in depths),
        "measured_share": float(np.mean([depth.measured for depth in depths])),
    }

    def whole(message: str) -> None:
        report.problems.append(Problem(None, "depth", message))

    if sum(depth.farthest == 1 for depth in depths) > len(depths) / 2 and middle < 1:
        whole("most depth ends at exactly 1: it is relative, from 0 to 1, and metres are needed")
    elif not _NEAREST <= middle <= _FARTHEST:
        much = "many" if middle > _FARTHEST else "few"
        whole(
            f"the median depth is {middle:.4g} m, which is too {much} for metres: give the units per metre with the "
            "option scale, such as scale=1000 for millimetres, 256 for KITTI's files"
        )
    marks = [(facts.depth.farthest, facts.name) for facts in found if facts.depth is not None and facts.depth.apart]
    for mark in sorted({value for value, _ in marks}):
        names = [name for value, name in marks if value == mark]
        whole(
            f"{mark:.6g} m stands apart from all other depth in {_files(names)} of {len(found)}: if it says that "
            "nothing was measured, give the number in the file with the option invalid, such as invalid=65535"
        )


def _judge_classes(found: Sequence[Facts], categories: Categories, report: Report) -> None:
    pixels = np.stack([facts.pixels for facts in found])  # (n, k)
    objects = np.stack([facts.objects for facts in found])  # (n, k)
    # An object without pixels still makes its class occur.
    images = ((pixels > 0) | (objects > 0)).sum(0)
    counted = report.kind != "semantic"
    total = max(1, int(pixels.sum()))
    report.classes = [
        ClassCount(
            name,
            int(images[number]),
            int(objects[:, number].sum()) if counted else None,
            int(pixels[:, number].sum()),
        )
        for number, name in enumerate(categories.names)
    ]
    absent = [count.name for count in report.classes if not count.images]
    if absent and len(absent) < len(categories):
        more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
        report.notes.append(f"{len(absent)} of {len(categories)} classes never occur: {', '.join(absent[:8])}{more}")
    rare = [count for count in report.classes if count.images and not counted and count.pixels < _RARE * total]
    for count in rare[:8]:
        report.notes.append(
            f"{count.name} has {count.pixels} pixels in {count.images} of {len(found)} label pictures: is it a slip?"
        )
    if counted:
        report.facts |= {"objects": int(objects.sum()), "crowds": sum(facts.crowds for facts in found)}
        bare = sum(not facts.objects.any() for facts in found)
        if bare:
            report.notes.append(f"photographs without an object: {bare}")
    if report.kind == "instance":
        return
    void = np.array([facts.void for facts in found])
    share = float(void.sum() / sum(facts.size[0] * facts.size[1] for facts in found))
    report.facts["void_share"] = share
    if share > _MOSTLY_VOID:
        report.notes.append(f"{share:.0%} of all pixels are void: nothing is learnt there")
    if report.kind == "semantic":
        _judge_void(pixels, void, found, categories, report)
        _judge_lone_classes(pixels, found, categories, report)


def _judge_void(pixels: Any, void: Any, found: Sequence[Facts], categories: Categories, report: Report) -> None:
    """Find masks of 0 and 255 whose 255 was taken for void."""
    only_first = (pixels[:, 0] > 0) & (pixels[:, 1:].sum(1) == 0) & (void > 0)
    others = pixels[:, 1:].sum(1) > 0
    if not only_first.any() or (others & (void > 0)).any():
        return  # where void lies beside other classes, it is no class of its own
    first = categories.names[0]
    mend = f"if 255 marks an object, say so with the option mapping, such as mapping=0:{first},255:object"
    if others.any():
        names = [facts.name for facts, odd in zip(found, only_first, strict=True) if odd]
        message = (
            f"{_files(names)} hold nothing but class 0 and void, all others classes without "
            f"void: are some masks saved as 0 and 1, and some as 0 and 255? {mend}"
        )
    else:
        message = f"the label pictures hold nothing but class 0 ({first}) and void: {mend}"
    report.problems.append(Problem(None, "class", message))


def _judge_lone_classes(pixels: Any, found: Sequence[Facts], categories: Categories, report: Report) -> None:
    """Find the empty masks among label pictures: one class and nothing else, where nearly all others have more."""
    alone = (pixels > 0).sum(1) == 1
    if not alone.any() or len(categories) < 2:
        return
    if alone.mean() > _FEW:
        report.notes.append(f"label pictures with a single class: {int(alone.sum())} of {len(found)}")
        return
    for place in np.flatnonzero(alone).tolist():
        name = categories.names[int(np.argmax(pixels[place]))]
        report.problems.append(
            Problem(
                found[place].name,
                "empty",
                f"the labels hold nothing but {name}, while nearly all others hold more: is it empty?",
            )
        )


def _files(names: Sequence[str]) -> str:
    """`2 files (a, b)`."""
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} file{'s' if len(names) > 1 else ''} ({shown})"
