"""The right image processor for a checkpoint, by the class that its `preprocessor_config.json` names."""

from __future__ import annotations

import importlib
from typing import Any, Never

from perpixel.errors import ConfigError
from perpixel.models.processing import PROCESSOR_NAME, ImageProcessor, Source, load_settings

# image_processor_type: (module, class)
IMAGE_PROCESSORS: dict[str, tuple[str, str]] = {
    "VitMatteImageProcessor": ("perpixel.models.vitmatte.processor", "VitMatteImageProcessor"),
    "Mask2FormerImageProcessor": ("perpixel.models.mask2former.processor", "Mask2FormerImageProcessor"),
    # Depth Anything's checkpoints name it too.
    "DPTImageProcessor": ("perpixel.models.dpt.processor", "DPTImageProcessor"),
}

# transformers has several implementations of one processor; here there is one.
_VARIANTS = ("Fast", "Pil")

# Many of Mask2Former's checkpoints name the processor of its predecessor, which is the same.
_SAME = {"MaskFormerImageProcessor": "Mask2FormerImageProcessor"}


class AutoImageProcessor:
    """Make the image processor of any checkpoint: `AutoImageProcessor.from_pretrained(…)`."""

    def __init__(self, *_: Never, **__: Never) -> None:
        raise ConfigError(
            "AutoImageProcessor holds no settings itself: use AutoImageProcessor.from_pretrained(…), or a "
            f"class such as {next(iter(IMAGE_PROCESSORS))}"
        )

    @classmethod
    def from_pretrained(
        cls,
        source: Source,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Source | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> ImageProcessor:
        """Read `preprocessor_config.json` and build the processor that it names.

        Args:
            source: a local folder, the JSON file itself, a name that `perpixel models` lists, or a Hub id.
            revision: a branch, a tag or a commit on the Hub.
            token: an access token for private and gated models.
            cache_dir: where downloads are kept.
            local_files_only: never ask the network.
            overrides: settings to change.

        Raises:
            CheckpointError: there is no such file.
            ConfigError: the file names no processor, or one that perpixel does not have.
        """
        values = load_settings(
            source, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        return _processor_class(values, source).from_dict(values, **overrides)


def _processor_class(values: dict[str, Any], source: Source) -> type[ImageProcessor]:
    given = values.get("image_processor_type") or values.get("feature_extractor_type")
    known = ", ".join(IMAGE_PROCESSORS)
    if not given:
        raise ConfigError(
            f"{PROCESSOR_NAME} of {source} has no image_processor_type: use the class itself, one of {known}"
        )
    name = str(given).replace("FeatureExtractor", "ImageProcessor")
    for variant in _VARIANTS:
        name = name.removesuffix(variant)
    name = _SAME.get(name, name)
    if name not in IMAGE_PROCESSORS:
        raise ConfigError(f"{source} needs a {given}, which perpixel does not have: it has {known}")
    module, attribute = IMAGE_PROCESSORS[name]
    found: type[ImageProcessor] = getattr(importlib.import_module(module), attribute)
    return found
