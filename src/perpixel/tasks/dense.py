"""What depth and segmentation with DPT have in common: which family a checkpoint is of, and how its images are made."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perpixel.errors import CheckpointError

if TYPE_CHECKING:
    from perpixel.models.dpt.processor import DPTImageProcessor

Source = str | os.PathLike[str]

# The means and deviations of ImageNet's colours, which backbones of these families were trained with.
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
IMAGENET_BACKBONES = ("dinov2", "dinov2_with_registers", "resnet", "swin")


def family_of(source: Source, families: tuple[str, ...]) -> str | None:
    """The model type of a checkpoint.

    Args:
        source: a Hub id, a folder, or a weights file.
        families: those that are looked for in a weights file without a config.

    Returns:
        the type, such as "dpt", as the checkpoint says it; None where it does not say.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read.
    """
    from perpixel.hub import catalog
    from perpixel.hub.load import load_json, load_state_dict

    entry = catalog.find_entry(source)
    if entry is not None:
        return entry.family
    path = Path(source)
    if not path.is_file():
        found = load_json(source, "config.json").get("model_type")
        return str(found) if found else None
    if (path.parent / "config.json").is_file():
        return family_of(path.parent, families)
    from perpixel.hub.keymaps import infer_config

    state = load_state_dict(path)
    return next((family for family in families if infer_config(state, family) is not None), None)


def dense_processor(source: Source | None, config: Any) -> DPTImageProcessor:
    """The preparation of images for a DPT or a Depth Anything: its own, but the image keeps its aspect.

    Args:
        source: where the model came from; None where it was given loaded.
        config: the model's configuration.

    Returns:
        A processor that resizes to a size which the model takes as it is, whatever the image's aspect.
    """
    from perpixel.hub import catalog
    from perpixel.models.dpt.processor import DPTImageProcessor

    settings: dict[str, Any] = {}
    if source is not None:
        place = Path(source).parent if Path(source).is_file() else source
        try:
            settings = DPTImageProcessor.from_pretrained(place).to_dict()
        except CheckpointError:
            # The weights were found, so only this file is missing, as beside the authors' original weights.
            settings = {}
        settings |= catalog.preset(source) or {}
    own = bool(settings)
    if not own and getattr(config.backbone_config, "model_type", None) in IMAGENET_BACKBONES:
        settings |= IMAGENET
    if not settings.get("do_resize", own):
        settings["size"] = native_side(config)
    multiple, wanted = model_multiple(config), int(settings.get("ensure_multiple_of", 1))
    changes = {
        "do_resize": True,
        "keep_aspect_ratio": True,
        "ensure_multiple_of": wanted if wanted % multiple == 0 else multiple,
        "do_pad": False,  # there is nothing left to fill up
    }
    return DPTImageProcessor.from_dict({**settings, **changes})


def native_side(config: Any) -> int:
    """The side in pixels of the images that a model was made for."""
    given: Any = getattr(config.backbone_config, "image_size", None) or getattr(config, "image_size", 384)
    return int(given if isinstance(given, int) else min(given))


def model_multiple(config: Any) -> int:
    """What the sides of a model's input have to be multiples of, so that all its maps fit each other.

    >>> from perpixel.models.dpt.config import DPTConfig
    >>> model_multiple(DPTConfig())
    32
    """
    backbone = config.backbone_config
    own = config.model_type == "dpt" and config.has_own_vit
    holder = config if own or backbone is None else backbone
    given = getattr(holder, "patch_size", None)
    patch: int = 1 if given is None else given if isinstance(given, int) else math.lcm(*given)
    if config.model_type == "depth_anything":
        return patch  # its neck brings the maps to one size
    depths = getattr(holder, "depths", None)
    if not own and depths is not None:
        # Stages of halving size: from a patch of 4 pixels on as a rule.
        return math.lcm(32, patch * 2 ** (len(depths) - 1))
    factors: list[float] = config.reassemble_factors
    return patch * max(1, math.ceil(1 / min(factors)))
