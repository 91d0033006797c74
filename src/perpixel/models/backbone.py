"""How a model's configuration names its backbone, and how the model builds it: one rule for every family."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

from perpixel.backbones import AutoBackbone, config_from_dict
from perpixel.backbones.base import Backbone, BackboneConfig
from perpixel.errors import ConfigError

_NAMING = ("backbone", "use_pretrained_backbone", "use_timm_backbone", "backbone_kwargs")


class HasBackbone(Protocol):
    """The five fields that choose a backbone."""

    backbone_config: BackboneConfig | dict[str, Any] | None
    backbone: str | None
    use_pretrained_backbone: bool
    use_timm_backbone: bool
    backbone_kwargs: dict[str, Any] | None


def resolve_backbone(config: HasBackbone, default: Callable[[], BackboneConfig]) -> BackboneConfig:
    """Return the backbone's configuration: the one that is given, that of the named backbone, or the default.

    Raises:
        ConfigError: the fields contradict each other, or there is no such backbone.
    """
    if config.backbone_config is not None and config.backbone is not None:
        raise ConfigError("both backbone_config and backbone are given: give one of them")
    if config.backbone_config is not None and config.backbone_kwargs:
        raise ConfigError("backbone_kwargs goes with backbone: put its values into backbone_config")
    for name in _NAMING[1:]:
        if (value := getattr(config, name)) and config.backbone is None:
            raise ConfigError(f"{name} is {value} but no backbone is named: set backbone to a checkpoint or a model")
    if isinstance(config.backbone_config, dict):
        return config_from_dict(config.backbone_config)
    if config.backbone_config is not None:
        return config.backbone_config
    if config.backbone is not None:
        return AutoBackbone.config_from_pretrained(
            config.backbone, use_timm_backbone=config.use_timm_backbone, **(config.backbone_kwargs or {})
        )
    return default()


def without_backbone_name(values: dict[str, Any]) -> dict[str, Any]:
    """Return what is saved: a named backbone is written as the `backbone_config` that it stands for."""
    return {key: value for key, value in values.items() if key not in _NAMING}


def giving_tokens(config: BackboneConfig) -> BackboneConfig:
    """Return the configuration with all tokens as the output, for a model that makes maps of them itself."""
    if getattr(config, "reshape_hidden_states", False):
        config = copy.copy(config)
        config.reshape_hidden_states = False
    return config


def build_backbone(config: HasBackbone) -> Backbone:
    """Build the backbone, with the named weights where the configuration asks for them, else with new ones."""
    if config.backbone is not None and config.use_pretrained_backbone:
        backbone = AutoBackbone.from_pretrained(
            config.backbone, use_timm_backbone=config.use_timm_backbone, **(config.backbone_kwargs or {})
        )
        return backbone.train()  # like the rest of the model, which is new
    assert isinstance(config.backbone_config, BackboneConfig)
    return AutoBackbone.from_config(config.backbone_config)
