"""The configuration of ViTMatte (arXiv 2305.15272)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from perpixel.backbones.base import BackboneConfig
from perpixel.backbones.vitdet import VitDetConfig
from perpixel.errors import ConfigError
from perpixel.models.backbone import resolve_backbone, without_backbone_name
from perpixel.models.config import Config


@dataclass
class VitMatteConfig(Config):
    """The shape of a ViTMatte model. The defaults are those of `hustvl/vitmatte-small-composition-1k`.

    Args:
        backbone_config: configuration of the backbone, or its dictionary; the ViTDet-S of the paper if not given.
        backbone: name of a backbone, a checkpoint or a timm model, to take the configuration from instead.
        use_pretrained_backbone: whether a new model starts from the weights of `backbone`.
        use_timm_backbone: whether `backbone` names a timm model.
        backbone_kwargs: further arguments for `backbone`, such as `{"out_indices": [3]}`.
        hidden_size: channels of the backbone's feature map, the decoder's input.
        batch_norm_eps: epsilon of the decoder's batch norms.
        initializer_range: standard deviation of the random initial weights.
        convstream_hidden_sizes: channels of the detail branch at 1/2, 1/4 and 1/8 of the input size.
        fusion_hidden_sizes: channels of the fusion blocks, from 1/8 to full size; one more than the detail branch has.

    Raises:
        ConfigError: for an unknown name or values that contradict each other.

    Example:
        >>> config = VitMatteConfig()
        >>> config.hidden_size, config.backbone_config.num_channels
        (384, 4)
        >>> VitMatteConfig.from_dict(config.to_dict()) == config
        True
    """

    model_type: ClassVar[str] = "vitmatte"

    backbone_config: BackboneConfig | dict[str, Any] | None = None
    backbone: str | None = None
    use_pretrained_backbone: bool = False
    use_timm_backbone: bool = False
    backbone_kwargs: dict[str, Any] | None = None
    hidden_size: int = 384
    batch_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    convstream_hidden_sizes: list[int] = field(default_factory=lambda: [48, 96, 192])
    fusion_hidden_sizes: list[int] = field(default_factory=lambda: [256, 128, 64, 32])

    def __post_init__(self) -> None:
        super().__post_init__()
        self.backbone_config = resolve_backbone(self, small_backbone)
        if len(self.fusion_hidden_sizes) != len(self.convstream_hidden_sizes) + 1:
            raise ConfigError(
                f"fusion_hidden_sizes has {len(self.fusion_hidden_sizes)} sizes and convstream_hidden_sizes has "
                f"{len(self.convstream_hidden_sizes)}: the fusion needs exactly one more"
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-able values; a named backbone is written as the configuration it stands for."""
        return without_backbone_name(super().to_dict())


def small_backbone() -> VitDetConfig:
    """The ViTDet-S that the paper builds on (arXiv 2305.15272, section 4.1 and table 5)."""
    return VitDetConfig(
        num_channels=4,
        image_size=512,
        hidden_size=384,
        num_attention_heads=6,
        use_relative_position_embeddings=True,
        window_size=14,
        window_block_indices=[0, 1, 3, 4, 6, 7, 9, 10],
        residual_block_indices=[2, 5, 8, 11],
        out_features=["stage12"],
    )
