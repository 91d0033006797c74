"""The configuration of Depth Anything (arXiv 2401.10891 and 2406.09414)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from perpixel.backbones import config_from_dict
from perpixel.backbones.base import BackboneConfig
from perpixel.errors import ConfigError
from perpixel.models.backbone import giving_tokens, resolve_backbone, without_backbone_name
from perpixel.models.config import Config


@dataclass
class DepthAnythingConfig(Config):
    """The shape of a Depth Anything model. The defaults are those of the small one.

    Args:
        backbone_config: configuration of the backbone, or its dictionary; the DINOv2-S of the paper if not given. The
            neck arranges tokens into maps itself, so `reshape_hidden_states` becomes False.
        patch_size: side of a patch in pixels, that of the backbone.
        initializer_range: kept for the file's sake; neck and head start as the authors' do.
        reassemble_hidden_size: width of the backbone's tokens.
        reassemble_factors: how many times each map becomes larger, or smaller where below 1.
        neck_hidden_sizes: channels of each map.
        fusion_hidden_size: channels of the fusion.
        head_in_index: which output of the fusion the head takes.
        head_hidden_size: channels of the head before its last convolution.
        depth_estimation_type: "relative" is inverse depth without a unit, "metric" is depth in metres.
        max_depth: the farthest depth of a metric model, in metres: 20 indoors, 80 outdoors. A relative model's output
            is multiplied by it too, as in transformers; None is 1.
        backbone: name of a backbone, a checkpoint or a timm model, to take the configuration from instead.
        use_pretrained_backbone: whether a new model starts from the weights of `backbone`.
        use_timm_backbone: whether `backbone` names a timm model.
        backbone_kwargs: further arguments for `backbone`.
        depth_loss: how the model is trained: "relative" is free of scale and shift, "metric" is in metres; None is
            `depth_estimation_type`. transformers has no such field; it is written to files only where it is set.

    Raises:
        ConfigError: for an unknown name or values that contradict each other.

    Example:
        >>> config = DepthAnythingConfig(depth_estimation_type="metric", max_depth=20)
        >>> config.backbone_config.hidden_size, config.max_depth
        (384, 20)
        >>> DepthAnythingConfig.from_dict(config.to_dict()) == config
        True
    """

    model_type: ClassVar[str] = "depth_anything"

    backbone_config: BackboneConfig | dict[str, Any] | None = None
    patch_size: int | list[int] = 14
    initializer_range: float = 0.02
    reassemble_hidden_size: int = 384
    reassemble_factors: list[float] = field(default_factory=lambda: [4, 2, 1, 0.5])
    neck_hidden_sizes: list[int] = field(default_factory=lambda: [48, 96, 192, 384])
    fusion_hidden_size: int = 64
    head_in_index: int = -1
    head_hidden_size: int = 32
    depth_estimation_type: Literal["relative", "metric"] = "relative"
    max_depth: float | None = 1
    backbone: str | None = None
    use_pretrained_backbone: bool = False
    use_timm_backbone: bool = False
    backbone_kwargs: dict[str, Any] | None = None
    depth_loss: Literal["relative", "metric"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.backbone_config = giving_tokens(resolve_backbone(self, default_backbone))
        if self.max_depth is not None and self.max_depth <= 0:
            raise ConfigError(f"max_depth is {self.max_depth}: it has to be above 0, in metres")
        if not -len(self.neck_hidden_sizes) <= self.head_in_index < len(self.neck_hidden_sizes):
            raise ConfigError(
                f"head_in_index is {self.head_in_index} but the fusion has {len(self.neck_hidden_sizes)} outputs, "
                "one for each of neck_hidden_sizes: use -1 for the last one"
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-able values; a named backbone is written as the configuration it stands for."""
        values = without_backbone_name(super().to_dict())
        if self.depth_loss is None:
            del values["depth_loss"]
        return values


def default_backbone() -> BackboneConfig:
    """The DINOv2-S with the last four layers' tokens, as in transformers."""
    return config_from_dict(
        {
            "model_type": "dinov2",
            "image_size": 518,
            "hidden_size": 384,
            "num_attention_heads": 6,
            "out_indices": [9, 10, 11, 12],
            "reshape_hidden_states": False,
        }
    )
