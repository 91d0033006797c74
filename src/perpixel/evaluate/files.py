"""Files that any tool made, against the truth."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perpixel.data.samples import LABEL_KINDS, Categories, LabelKind
from perpixel.errors import InputError
from perpixel.evaluate.coco_files import instance_cases, panoptic_cases
from perpixel.evaluate.judges import judge_for
from perpixel.evaluate.pairs import (
    DEPTHS,
    LABELS,
    PICTURES,
    DepthFiles,
    label_categories,
    pair_files,
    paired_cases,
)
from perpixel.evaluate.report import Evaluation
from perpixel.evaluate.rules import Rules
from perpixel.evaluate.tally import Progress, measure, this_share

__all__ = ["evaluate_files"]

Given = str | os.PathLike[str]

_SUFFIXES = {
    "matting": (PICTURES, "alpha"),
    "semantic": (LABELS, "label map"),
    "depth": (DEPTHS, "depth"),
}


def evaluate_files(
    task: LabelKind,
    predictions: Given,
    truth: Given,
    *,
    trimaps: Given | None = None,
    images: Given | None = None,
    depth: DepthFiles | None = None,
    ignore: int | None = 255,
    num_labels: int | None = None,
    rules: Rules | Mapping[str, Any] | None = None,
    worst: int = 12,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure predictions in files.

    | task | predictions and truth |
    |---|---|
    | matting | folders of alphas, 8 or 16 bits, paired by stem |
    | semantic | folders of label maps (class numbers as grey values or palette indices), paired by stem |
    | instance | COCO's results JSON, and COCO's instances JSON |
    | panoptic | COCO's panoptic JSONs with their PNG folders |
    | depth | folders of 16-bit PNGs or NPY, TIFF, PFM, EXR, paired by stem |

    Args:
        task: which of these.
        predictions: a folder or a file.
        truth: the same.
        trimaps: for matting, the folder of trimaps, paired by stem: only unknown pixels are counted.
        images: the folder of the photographs, for the report only.
        depth: what the numbers of depth mean.
        ignore: the number that truth's label maps have where nothing is counted; None for none.
        num_labels: how many classes label maps have; up to 256 if not given.
        rules: the protocol, as `perpixel.evaluate.rules.Rules` or a dict of its fields such as {"crop": "garg"};
            that of the papers by default.
        worst: how many of the worst images the report shows.
        progress: called after each image with how many are done, and of how many.

    Returns:
        the measures. Missing, extra, unreadable and wrong-sized files are its `failures`.

    Raises:
        InputError: nothing can be paired, or what was given is for another task.
    """
    began = time.perf_counter()
    rules = Rules.of(rules)
    if task not in LABEL_KINDS:
        raise InputError(f"task={task!r} is not known: use one of {', '.join(LABEL_KINDS)}")
    for name, given, only in (("trimaps", trimaps, "matting"), ("num_labels", num_labels, "semantic")):
        if given is not None and task != only:
            raise InputError(f"{name} is for {only}, and {task} is measured: leave it out")
    if depth is not None and depth != DepthFiles() and task != "depth":
        raise InputError(f"scale, truth_scale and inverse are for depth, and {task} is measured: leave them out")
    for name in ("threshold", "overlap_threshold", "size", "max_memory", "band", "inverse_scale", "inverse_shift"):
        if getattr(rules, name) is not None:
            raise InputError(f"{name} is for a model, and files are measured as they are: leave it out")
    depth = depth or DepthFiles()
    guesses, truths = Path(predictions), Path(truth)
    photos = None if images is None else Path(images)
    categories: Categories | None = None
    notes: tuple[str, ...] = ()
    if task in ("instance", "panoptic"):
        found = (instance_cases if task == "instance" else panoptic_cases)(guesses, truths, photos)
        categories, names, read = found.categories, found.names, found.read
        failures, notes = found.failures, found.notes
    else:
        paired = pair_files(guesses, truths, *_SUFFIXES[task])
        categories = label_categories(num_labels) if task == "semantic" else None
        read = paired_cases(
            task,
            paired,
            trimaps=None if trimaps is None else Path(trimaps),
            images=photos,
            depth=depth,
            ignore=ignore,
        )
        names, failures = paired.names, paired.failures
    judge = judge_for(task, rules, categories, trimaps=trimaps is not None)
    share = this_share()
    mine = share.of(len(names))
    tally = measure(
        judge, ((number, names[number]) for number in mine), read, total=len(mine), worst=worst, progress=progress
    )
    tally = share.joined(tally)
    settings = {
        "predictions": str(predictions),
        "truth": str(truth),
        "trimaps": None if trimaps is None else str(trimaps),
        "scale": depth.scale,
        "truth_scale": depth.truth_scale,
        "align": rules.depth_align(depth.inverse) if task == "depth" else None,
        "ignore": ignore if task == "semantic" else None,
        **rules.given(),
    }
    measures = tally.judge.compute()
    if task == "semantic" and num_labels is None:  # of the 256 possible classes only those that occur
        measures = {name: value for name, value in measures.items() if "/" not in name or value == value}
    return Evaluation(
        task=task,
        headline=judge.headline,
        measures=measures,
        rows=tally.ordered_rows(),
        failures=(*failures, *tally.ordered_failures()),
        settings={name: value for name, value in settings.items() if value is not None},
        seconds=time.perf_counter() - began,
        ranked_by=judge.ranked_by,
        worst=tally.worst.cases(),
        notes=notes,
    )
