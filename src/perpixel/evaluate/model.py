"""A model over a data set."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perpixel.data.layouts import open_dataset
from perpixel.data.samples import LabelKind
from perpixel.errors import InputError
from perpixel.evaluate.judges import judge_for
from perpixel.evaluate.predict import model_name, predictor_for, with_trimap
from perpixel.evaluate.report import Evaluation
from perpixel.evaluate.rules import Rules
from perpixel.evaluate.tally import Case, Progress, measure, this_share

if TYPE_CHECKING:
    import torch

    from perpixel.tasks.precision import Engine, Precision, Quantize

__all__ = ["evaluate"]

# These have labels for a test split, on which papers report; of the others only the validation split's are public.
TESTED = ("composition-1k", "distinctions-646", "nyuv2", "kitti")


def evaluate(
    model: Any,
    *,
    dataset: str,
    root: str | os.PathLike[str],
    split: str | None = None,
    task: LabelKind | None = None,
    limit: int | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    options: Mapping[str, Any] | None = None,
    rules: Rules | Mapping[str, Any] | None = None,
    worst: int = 12,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on labelled images, as its users get it: through `perpixel.matte`, `segment` or `depth`.

    Under `accelerate launch` the images are shared out among the processes; every one of them returns the same
    evaluation, which is that of a single process. Only sums, a few numbers an image and the pictures of the worst
    are held, so memory does not grow with the size of the images' number.

    Args:
        model: an embedded name, a Hub id, a folder, or a loaded model, as the task takes it.
        dataset: a layout, such as "coco-panoptic"; see `perpixel.data.layouts`.
        root: the data set's folder.
        split: which part of it; the one that papers report on if not given, "test" or "validation".
        task: what is measured, where the data set is labelled with more than one thing; its own by default.
        limit: only the first images; all by default.
        device: where to compute; the CPU if not given, or each process's own accelerator where there are several.
        dtype: "bf16" or "fp16" measures the model in half precision, as the tasks take it.
        engine: "openvino" measures it as OpenVINO runs it.
        quantize: "int8" measures it in 8 bits, which it was brought to before, see `perpixel.tasks`' `calibration`.
        options: further options of the layout's reader.
        rules: the protocol, as `perpixel.evaluate.rules.Rules` or a dict of its fields such as {"crop": "garg"};
            that of the papers by default.
        worst: how many of the worst images the report shows.
        progress: called after each image with how many are done, and of how many.

    Returns:
        the measures. Images that could not be read or predicted are its `failures`.

    Raises:
        ConfigError: no such layout or option.
        InputError: no such folder, rules of another task, or labels that are not the data set's.
        CheckpointError: the model cannot be loaded.

    >>> found = evaluate("vitmatte-nano", dataset="matte-folder", root="mattes")  # doctest: +SKIP
    >>> found.measures["sad"]  # doctest: +SKIP
    1.7
    """
    began = time.perf_counter()
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: give the number of images to measure, at least 1")
    split = split or ("test" if dataset in TESTED else "validation")
    data = open_dataset(dataset, os.fspath(root), split=split, kind=task, **(options or {}))
    rules = Rules.of(rules)
    judge = judge_for(data.kind, rules, data.categories)
    share = this_share()
    predictor = predictor_for(data.kind, model, data.categories, rules, device or share.device, dtype, engine, quantize)
    names = data.names
    mine = share.of(len(data) if limit is None else min(limit, len(data)))

    def case(number: int) -> Case:
        sample = with_trimap(data[number], rules.band)
        return Case(predictor.predict(sample), sample, sample.image)

    tally = measure(
        judge, ((number, names[number]) for number in mine), case, total=len(mine), worst=worst, progress=progress
    )
    tally = share.joined(tally)
    settings = {
        "model": model_name(model),
        "dataset": dataset,
        "root": str(root),
        "split": split,
        "options": dict(options or {}),
        "limit": limit,
        "dtype": None if dtype is None else str(dtype),
        "engine": engine,
        "quantize": quantize,
        **rules.given(),
        **predictor.settings,
    }
    return Evaluation(
        task=data.kind,
        headline=judge.headline,
        measures=tally.judge.compute(),
        rows=tally.ordered_rows(),
        failures=tally.ordered_failures(),
        settings={name: value for name, value in settings.items() if value not in (None, {})},
        seconds=time.perf_counter() - began,
        ranked_by=judge.ranked_by,
        worst=tally.worst.cases(),
        notes=predictor.notes,
    )
