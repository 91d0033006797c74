"""The backbones, in one table that `AutoBackbone` reads. A new backbone is a new file and a new row."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from perpixel.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from perpixel.backbones.base import Backbone, BackboneConfig

# model_type: (module, config class, backbone class). Modules are imported when a row is used.
BACKBONES: dict[str, tuple[str, str, str]] = {
    "beit": ("perpixel.backbones.beit", "BeitConfig", "BeitBackbone"),
    "bit": ("perpixel.backbones.bit", "BitConfig", "BitBackbone"),
    "dinov2": ("perpixel.backbones.dinov2", "Dinov2Config", "Dinov2Backbone"),
    "dinov2_with_registers": (
        "perpixel.backbones.dinov2_with_registers",
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersBackbone",
    ),
    "resnet": ("perpixel.backbones.resnet", "ResNetConfig", "ResNetBackbone"),
    "swin": ("perpixel.backbones.swin", "SwinConfig", "SwinBackbone"),
    "swinv2": ("perpixel.backbones.swinv2", "Swinv2Config", "Swinv2Backbone"),
    "vit": ("perpixel.backbones.vit", "ViTConfig", "ViTBackbone"),
    "vitdet": ("perpixel.backbones.vitdet", "VitDetConfig", "VitDetBackbone"),
    "timm_backbone": ("perpixel.backbones.timm", "TimmBackboneConfig", "TimmBackbone"),
}


def _row(model_type: str | None) -> tuple[type[BackboneConfig], type[Backbone]]:
    if model_type not in BACKBONES:
        raise ConfigError(f"there is no backbone of model_type {model_type!r}: choose {', '.join(BACKBONES)}")
    module, config_name, backbone_name = BACKBONES[model_type]
    found = import_module(module)
    return getattr(found, config_name), getattr(found, backbone_name)


def config_from_dict(values: Mapping[str, Any], **overrides: Any) -> BackboneConfig:
    """Build the config that the `model_type` in `values` names.

    Args:
        values: field values, as `config.json` or `backbone_config` holds them.
        overrides: fields to change.

    Raises:
        ConfigError: there is no such backbone, or a field does not fit it.
    """
    return _row(values.get("model_type"))[0].from_dict(values, **overrides)


class AutoBackbone:
    """Builds the backbone that fits a config or a checkpoint.

    >>> from perpixel.backbones.vit import ViTConfig
    >>> config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, out_indices=[1, 2])
    >>> AutoBackbone.from_config(config).channels
    [32, 32]
    """

    def __init__(self) -> None:
        raise ConfigError("AutoBackbone is not built itself: call AutoBackbone.from_config or from_pretrained")

    @staticmethod
    def from_config(config: BackboneConfig) -> Backbone:
        """Build a backbone with fresh weights.

        Args:
            config: a backbone's config; that of a model with a backbone is taken for its `backbone_config`.
        """
        config = getattr(config, "backbone_config", config)
        backbone_class = _row(getattr(config, "model_type", None))[1]
        return backbone_class(config)

    @staticmethod
    def config_from_pretrained(
        source: str | PathLike[str],
        *,
        use_timm_backbone: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> BackboneConfig:
        """Read the config of a backbone without its weights.

        Args:
            source: a local folder, an embedded model's name or a Hub id; with `use_timm_backbone` the name of
                a timm model.
            use_timm_backbone: take `source` for the name of a timm model.
            revision: a branch, a tag or a commit on the Hub.
            token: an access token for private and gated models.
            cache_dir: where downloads are kept.
            local_files_only: never ask the network.
            overrides: fields to change, for instance `out_features` or `out_indices`.
        """
        if use_timm_backbone:
            return config_from_dict({"model_type": "timm_backbone", "backbone": str(source)}, **overrides)
        from perpixel.hub.load import load_json

        values = load_json(
            source,
            "config.json",
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        nested = values.get("backbone_config")
        if values.get("model_type") not in BACKBONES and isinstance(nested, dict):
            values = nested  # a matting or segmentation checkpoint: its backbone is meant
        return config_from_dict(values, **overrides)

    @staticmethod
    def from_pretrained(
        source: str | PathLike[str],
        *,
        use_timm_backbone: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        **overrides: Any,
    ) -> Backbone:
        """Build a backbone with the weights of a checkpoint, ready for inference.

        Args:
            source: a local folder, an embedded model's name or a Hub id; with `use_timm_backbone` the name of
                a timm model.
            use_timm_backbone: let timm build `source` and fetch its pretrained weights.
            revision: a branch, a tag or a commit on the Hub.
            token: an access token for private and gated models.
            cache_dir: where downloads are kept.
            local_files_only: never ask the network.
            dtype: the type of the weights; None is float32, "auto" is as stored.
            device: where the backbone goes; None is the CPU.
            overrides: fields of the config to change, for instance `out_features` or `out_indices`.
        """
        access: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
        }
        config = AutoBackbone.config_from_pretrained(source, use_timm_backbone=use_timm_backbone, **access, **overrides)
        backbone_class = _row(config.model_type)[1]
        if use_timm_backbone:
            from perpixel.backbones.timm import TimmBackbone, TimmBackboneConfig

            assert isinstance(config, TimmBackboneConfig)
            return TimmBackbone.from_timm(config, dtype=dtype, device=device)
        return backbone_class.from_pretrained(source, config=config, **access, dtype=dtype, device=device)
