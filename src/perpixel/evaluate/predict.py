"""A model's predictions for measuring: the library's finished tasks, so that what is measured is what people get."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perpixel.data.samples import VOID, Categories, LabelKind, MattingSample, Sample
from perpixel.errors import InputError
from perpixel.evaluate.judges import DepthPrediction, FoundObject, PanopticPrediction
from perpixel.evaluate.labels import match_labels
from perpixel.evaluate.rules import Rules
from perpixel.ops.trimap import trimap_from_alpha

__all__ = ["Predictor", "model_name", "predictor_for", "with_trimap"]


@dataclass(frozen=True)
class Predictor:
    """A loaded model as one function from a sample to a prediction, and what there is to tell of it."""

    predict: Callable[[Any], Any]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def predictor_for(
    task: LabelKind,
    model: Any,
    categories: Categories | None,
    rules: Rules,
    device: Any = None,
    dtype: Any = None,
    engine: Any = None,
    quantize: Any = None,
) -> Predictor:
    """Load a model for a task.

    Args:
        task: what it is to predict.
        model: an embedded name, a Hub id, a folder, or a loaded model, as the task takes it.
        categories: the data set's classes, for segmentation.
        rules: how it predicts.
        device: where.
        dtype: in which precision, as the tasks take it.
        engine: by what, likewise.
        quantize: in how many bits, likewise.

    Raises:
        CheckpointError: it cannot be loaded, or is of another task.
        InputError: its labels are not the data set's.
    """
    if task == "matting":
        return _matting(model, rules, device, dtype, engine, quantize)
    if task == "depth":
        return _depth(model, rules, device, dtype, engine, quantize)
    if categories is None:
        raise InputError(f"the data set tells no classes, and {task} needs them: use a layout of segmentation")
    return _segments(task, model, categories, rules, device, dtype, engine, quantize)


def with_trimap(sample: Sample, band: float | None) -> Sample:
    """A matting sample with a trimap, made of its alpha where it has none; any other sample as it is.

    Raises:
        InputError: there is none, and no band to make one with.
    """
    if not isinstance(sample, MattingSample) or sample.trimap is not None:
        return sample
    if band is None:
        raise InputError(
            f"{sample.name} has no trimap, and matting needs one: add them to the set, or give a band to make them "
            "from the true alphas, such as 10 pixels"
        )
    return replace(sample, trimap=trimap_from_alpha(sample.alpha, band=band))


def _matting(model: Any, rules: Rules, device: Any, dtype: Any, engine: Any, quantize: Any) -> Predictor:
    from perpixel.tasks.matting import load_matting_model, matte

    network = load_matting_model(model, device, dtype, engine, quantize)

    def predict(sample: MattingSample) -> npt.NDArray[np.float32]:
        assert sample.trimap is not None  # `with_trimap` saw to it
        return matte(sample.image, sample.trimap, model=network, max_memory=rules.max_memory).alpha

    return Predictor(predict, {"input": "whole image" if rules.max_memory is None else "as memory allows"})


def _depth(model: Any, rules: Rules, device: Any, dtype: Any, engine: Any, quantize: Any) -> Predictor:
    from perpixel.tasks.depth import depth, load_depth_model

    if rules.size is not None and not isinstance(rules.size, int):
        raise InputError(f"size is {rules.size!r}: for depth it is one number of pixels, such as 518")
    estimator = load_depth_model(model, device, dtype, engine, quantize)
    inverse = estimator.output_kind == "inverse"
    side = rules.size

    if rules.inverse_scale is not None and not inverse:
        raise InputError("inverse_scale is for models of inverse depth, and this one gives metres: leave it out")

    def predict(sample: Sample) -> DepthPrediction:
        found = depth(sample.image, model=estimator, size=side, max_memory=rules.max_memory)
        if rules.inverse_scale is None:
            return DepthPrediction(found.values, inverse)
        return DepthPrediction(found.values * rules.inverse_scale + (rules.inverse_shift or 0.0), inverse)

    settings = {"predicts": "inverse depth" if inverse else "metres", "align": rules.depth_align(inverse)}
    return Predictor(predict, {**settings, "input": side or _input(estimator.processor)})


def _segments(
    task: LabelKind,
    model: Any,
    categories: Categories,
    rules: Rules,
    device: Any,
    dtype: Any,
    engine: Any,
    quantize: Any,
) -> Predictor:
    from perpixel.tasks.segmentation import load_segmenter, segment

    segmenter = load_segmenter(model, device, dtype, engine, quantize)
    segmenter.kind(task)  # type: ignore[arg-type]
    numbers, notes = match_labels(segmenter.labels, categories)
    things = {label for label, number in numbers.items() if categories.things[number]}
    settings: dict[str, Any] = {"input": rules.size or _input(segmenter.processor)}
    options: dict[str, Any] = {"model": segmenter, "kind": task, "size": rules.size}
    if task != "semantic":
        settings["threshold"] = options["threshold"] = rules.score(task)
        options["things"] = things
    if rules.overlap_threshold is not None:
        options["overlap_threshold"] = rules.overlap_threshold
    table = _table(numbers)

    def semantic(sample: Sample) -> npt.NDArray[np.int32]:
        return _mapped(segment(sample.image, **options).label_map, table)

    def instances(sample: Sample) -> list[FoundObject]:
        found = segment(sample.image, **options)
        return [
            FoundObject(found.rle(each), numbers[each.label_id], 1.0 if each.score is None else each.score)
            for each in found
            if each.label_id in numbers
        ]

    def panoptic(sample: Sample) -> PanopticPrediction:
        found = segment(sample.image, **options)
        kept = [each for each in found if each.label_id in numbers]
        places = _table({each.id: place for place, each in enumerate(kept)})
        return PanopticPrediction(_mapped(found.map, places), tuple(numbers[each.label_id] for each in kept))

    chosen: dict[str, Callable[[Any], Any]] = {"semantic": semantic, "instance": instances, "panoptic": panoptic}
    return Predictor(chosen[task], settings, notes)


def model_name(model: Any) -> str:
    """How a report calls a model: as it was given, or its class."""
    if isinstance(model, (str, os.PathLike)):
        return str(model)
    network = getattr(model, "network", model)
    return str(getattr(network, "name_or_path", "") or type(network).__name__)


def _table(numbers: Mapping[int, int]) -> npt.NDArray[np.int32]:
    """From a label to a class; the last entry, which -1 reads, and every gap are VOID."""
    table = np.full(max(numbers, default=-1) + 2, VOID, np.int32)
    for label, number in numbers.items():
        table[label] = number
    return table


def _mapped(labels: npt.NDArray[np.int32], table: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    inside = np.where((labels < 0) | (labels >= len(table) - 1), -1, labels)
    return np.asarray(table[inside], np.int32)


def _input(processor: Any) -> Any:
    """The size that a processor brings images to, in its own words."""
    if not getattr(processor, "do_resize", False):
        return "as it is"
    size = processor.size
    return dict(size) if isinstance(size, Mapping) else size
