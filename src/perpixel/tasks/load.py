"""Any model by its name, ready for the task that it is for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from perpixel.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from perpixel.export.runtime import ExportedModel
    from perpixel.models.vitmatte.model import VitMatteForImageMatting
    from perpixel.tasks.depth import DepthEstimator
    from perpixel.tasks.segmentation import Segmenter


def load(
    model: str | os.PathLike[str], device: str | torch.device | None = None
) -> VitMatteForImageMatting | Segmenter | DepthEstimator | ExportedModel:
    """Load a model once, for many calls of the task that it is for.

    Args:
        model: an embedded name, a Hub id, a folder, or a file that `perpixel.export` wrote (`.onnx`, `.xml`, `.pt2`).
        device: where to compute, such as "cuda"; the CPU if not given. Exported files run on the CPU.

    Returns:
        what `perpixel.matte` and `cutout`, `segment`, or `depth` and `bokeh` take as `model`.

    Raises:
        CheckpointError: there is no such model, or it is for none of these tasks.

    Example:
        >>> network = load("vitmatte-nano")
        >>> type(network).__name__
        'VitMatteForImageMatting'
    """
    from perpixel.export.runtime import is_exported, open_exported
    from perpixel.tasks.depth import load_depth_model
    from perpixel.tasks.matting import load_matting_model
    from perpixel.tasks.segmentation import load_segmenter

    if is_exported(model):
        opened: Any = open_exported(model).to(device)
        if opened.task == "depth":
            return load_depth_model(opened)
        return load_segmenter(opened) if opened.task == "segmentation" else cast("ExportedModel", opened)
    task = task_of(model)
    if task == "depth":
        return load_depth_model(model, device)
    return load_segmenter(model, device) if task == "segmentation" else load_matting_model(model, device)


def task_of(source: str | os.PathLike[str]) -> str:
    """What a checkpoint is for: "matting", "segmentation" or "depth".

    >>> task_of("vitmatte-nano")
    'matting'

    Raises:
        CheckpointError: it does not say, or is for none of these.
    """
    from perpixel.hub.load import load_json
    from perpixel.tasks.dense import family_of

    family = family_of(source, ("vitmatte", "mask2former", "depth_anything", "dpt"))
    known = {"vitmatte": "matting", "mask2former": "segmentation", "depth_anything": "depth"}
    if family in known:
        return known[family]
    if family == "dpt":
        from pathlib import Path

        place = Path(source).parent if Path(source).is_file() else source
        try:
            names = load_json(place, "config.json").get("architectures") or []
        except CheckpointError:
            names = []
        return "segmentation" if "DPTForSemanticSegmentation" in names else "depth"
    raise CheckpointError(
        f"{source} is {'a ' + family if family else 'of no known family'}, and no task of perpixel has such models: "
        f"give one of the type {', '.join([*known, 'dpt'])}"
    )
