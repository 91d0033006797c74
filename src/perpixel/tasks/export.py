"""A model in, a file for other programs out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perpixel.errors import ConfigError, InputError

if TYPE_CHECKING:
    from perpixel.export.about import About
    from perpixel.export.write import Export, Format
    from perpixel.models.base import Model
    from perpixel.tasks.depth import DepthEstimator
    from perpixel.tasks.segmentation import Segmenter

# What the sides of the two families' inputs have to be multiples of; the others' follows from their patches.
MULTIPLE = 32
# The size of a fixed file where none is asked for, unless the model was made for one.
SIDE = 512


def export(
    model: str | os.PathLike[str] | Model | DepthEstimator | Segmenter,
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    size: Sequence[int] | None = None,
    dynamic: bool | None = None,
    half: bool = False,
    tolerance: float | None = None,
) -> Export:
    """Write a model as a file that other programs run: ONNX, OpenVINO or `torch.export`.

    The file is run and compared with the model before it gets its name. It also holds what is needed to use it: the
    sizes that it takes, the preparation of the images, the configuration and the licence. `perpixel.load` and `model=`
    of every task take it.

    Args:
        model: an embedded name, a Hub id, a folder, or a loaded model with or without its image processor.
        path: where the file goes. OpenVINO's weights go beside it, `.bin`, and so do those of an ONNX model of more
            than 1.8 GB, `.onnx.data`.
        format: "onnx", "openvino" or "torch-export"; by the path's end, `.onnx`, `.xml` or `.pt2`, if not given.
        size: the height and width in pixels of a file that takes one size only.
        dynamic: whether height and width stay open, which is so unless a size is given. Then any multiples of the
            model's own do, 32 for most.
        half: store the weights in 16 bits: half the size, and numbers that differ a little. They become 32 bits again
            when the file runs.
        tolerance: the largest difference from the model that is accepted, as a share of the output's standard
            deviation: 1e-3 if not given, and 5e-2 with `half`.

    Returns:
        the path and all files, what the file says of itself, and the differences that were found.

    Raises:
        ConfigError: the model cannot be exported, or not so.
        OutputError: the file's numbers differ from the model's, or it cannot be written; nothing is left.
        CheckpointError: the model cannot be loaded.
        MissingDependencyError: the `export` extra is not installed.

    Example:
        >>> import perpixel as px
        >>> px.export("vitmatte-nano", "nano.onnx").path  # doctest: +SKIP
        >>> px.cutout("portrait.jpg", box=(60, 20, 440, 512), model="nano.onnx")  # doctest: +SKIP
    """
    from perpixel.export.write import FORMATS, SUFFIX, write_model

    target = Path(path)
    if format is None:
        format = next((form for form in FORMATS if SUFFIX[form] == target.suffix.lower()), None)
        if format is None:
            raise ConfigError(
                f"the format of {target} does not follow from its name: let it end in "
                f"{', '.join(SUFFIX.values())}, or give format="
            )
    if format not in FORMATS:
        raise ConfigError(f"format={format!r} is not known: use one of {', '.join(FORMATS)}")
    if dynamic and size is not None:
        raise ConfigError(f"size={tuple(size)} and dynamic=True exclude each other: give one of them")
    network, about = describe(model)
    fixed = _fixed(about, size) if size is not None or dynamic is False else None
    return write_model(network, target, settled(about, fixed, half), format, tolerance=tolerance)


def describe(model: str | os.PathLike[str] | Model | DepthEstimator | Segmenter) -> tuple[Model, About]:
    """Load a model, if it is not, and say of it what its file will say, with open sizes."""
    from perpixel import __version__
    from perpixel.export.about import OUTPUTS, About, Sizes
    from perpixel.export.runtime import is_exported
    from perpixel.hub import catalog
    from perpixel.tasks.dense import model_multiple
    from perpixel.tasks.depth import DepthEstimator
    from perpixel.tasks.load import task_of

    if is_exported(model):
        raise ConfigError(f"{model} is an exported model already: export the checkpoint that it came from")
    source = os.fspath(model) if isinstance(model, (str, os.PathLike)) else ""
    network, processor, kind = _parts(model, task_of(source) if source else None)
    name = type(network).__name__
    if name not in OUTPUTS:
        raise ConfigError(f"a {name} cannot be exported: give one of {', '.join(OUTPUTS)}, with its head")
    entry = catalog.find_entry(source) if source else None
    own = network.config.model_type in ("dpt", "depth_anything")
    if name in ("DPTForDepthEstimation", "DepthAnythingForDepthEstimation"):
        kind = DepthEstimator(network, processor, kind).output_kind
    return network, About(
        architecture=name,
        config=network.config.to_dict(),
        processor=processor.to_dict(),
        sizes=Sizes(model_multiple(network.config) if own else MULTIPLE),
        outputs=OUTPUTS[name],
        version=__version__,
        source=source if entry is not None or not Path(source).exists() else Path(source).name,
        licence=entry.licence if entry is not None else "",
        depth_kind=kind or "",
    )


def _parts(model: Any, task: str | None) -> tuple[Any, Any, Any]:
    """The network as it was trained, its processor and the kind of its depth, None where it says that itself."""
    from perpixel.tasks import depth, segmentation
    from perpixel.tasks.dense import dense_processor

    if task == "depth":
        # Not what the task runs, which may be prepared for it: the network as its file has it.
        network = depth._load(model)
        metric = depth._METRIC_NAMES.fullmatch(Path(model).name)
        return network, dense_processor(model, network.config), "metric" if metric else None
    if task == "segmentation":
        segmenter = segmentation._load(model, preset=True)
        return segmenter.network, segmenter.processor, None
    if task == "matting":
        from perpixel.models.vitmatte.model import VitMatteForImageMatting

        model = VitMatteForImageMatting.from_pretrained(model)
    if isinstance(model, (depth.DepthEstimator, segmentation.Segmenter)):
        return model.network, model.processor, getattr(model, "kind", None)
    return model, _processor(model), None


def _processor(network: Any) -> Any:
    """The preparation that the tasks take for a model that is given loaded."""
    from perpixel.tasks.dense import dense_processor
    from perpixel.tasks.segmentation import PAPER

    family = getattr(getattr(network, "config", None), "model_type", None)
    if family == "vitmatte":
        from perpixel.models.vitmatte.processor import VitMatteImageProcessor

        return VitMatteImageProcessor()
    if family == "mask2former":
        from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

        settings: Any = PAPER
        return Mask2FormerImageProcessor(**settings)
    if family in ("dpt", "depth_anything"):
        return dense_processor(None, network.config)
    raise ConfigError(
        f"a {type(network).__name__} cannot be exported: give a model for matting, segmentation or depth, or its name"
    )


def _fixed(about: About, size: Sequence[int] | None) -> tuple[int, int]:
    if size is not None:
        if len(size) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in size):
            raise InputError(f"size is {size!r}: give the height and the width in whole pixels, such as (512, 512)")
        return size[0], size[1]
    given = about.processor.get("size")
    side = SIDE
    if isinstance(given, dict):
        side = min(int(given.get("height") or given.get("shortest_edge") or SIDE), 1024)
    multiple = about.sizes.multiple
    side = max(1, round(side / multiple)) * multiple
    return side, side


def settled(about: About, fixed: tuple[int, int] | None, half: bool) -> About:
    """What a file says that takes one size only: its images are brought to that size, their aspect gives way."""
    from dataclasses import replace

    from perpixel.export.about import Sizes

    if fixed is None:
        return replace(about, half=half)
    processor = dict(about.processor)
    sides = {"height": fixed[0], "width": fixed[1]}
    if processor["image_processor_type"] == "DPTImageProcessor":
        processor |= {"size": sides, "do_resize": True, "keep_aspect_ratio": False, "do_pad": False}
    elif processor["image_processor_type"] == "Mask2FormerImageProcessor":
        processor |= {"size": sides, "do_resize": True, "size_divisor": 0, "pad_divisor": 0}
    return replace(about, half=half, processor=processor, sizes=Sizes(about.sizes.multiple, fixed))
