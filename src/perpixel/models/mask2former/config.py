"""The configuration of Mask2Former (arXiv 2112.01527)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from perpixel.backbones import config_from_dict
from perpixel.backbones.base import BackboneConfig
from perpixel.errors import ConfigError
from perpixel.models.backbone import resolve_backbone, without_backbone_name
from perpixel.models.labels import LabelledConfig

# Other names of two fields, which files and callers may use.
_ALIASES = {"hidden_size": "hidden_dim", "num_hidden_layers": "decoder_layers"}
# The transformer decoder looks at three maps, the pixel decoder makes them and one more.
LEVELS = 3


@dataclass
class Mask2FormerConfig(LabelledConfig):
    """The shape of a Mask2Former and the weights of its losses. Defaults are those of transformers.

    Args:
        backbone_config: configuration of the backbone, or its dictionary; a Swin-S if not given.
        feature_size: channels of the pixel decoder's three maps.
        mask_feature_size: channels of the mask features, and of the pixel decoder's feature pyramid.
        hidden_dim: channels of the transformer decoder; also called `hidden_size`.
        encoder_feedforward_dim: inner width of the pixel decoder's feed-forward networks.
        activation_function: of the transformer decoder's feed-forward networks, by name.
        encoder_layers: layers of the pixel decoder.
        decoder_layers: predictions of the transformer decoder, one more than it has layers (the first prediction
            is made from the queries themselves); also called `num_hidden_layers`.
        num_attention_heads: heads in both decoders.
        dropout: probability in both decoders, in [0, 1).
        dim_feedforward: inner width of the transformer decoder's feed-forward networks.
        pre_norm: normalise before each block of the transformer decoder rather than after it.
        enforce_input_projection: project the three maps even where feature_size equals hidden_dim.
        common_stride: the stride of the finest map that the pixel decoder makes.
        ignore_value: the id that segmentation maps use for pixels without a label.
        num_queries: how many segments an image has at most.
        no_object_weight: weight of the class "no object" in the class loss.
        class_weight: weight of the class loss.
        mask_weight: weight of the cross entropy of the masks.
        dice_weight: weight of the dice loss of the masks.
        train_num_points: points at which a mask's losses are sampled.
        oversample_ratio: how many times more points are drawn than used, to find the uncertain ones.
        importance_sample_ratio: the share of points that are the most uncertain ones.
        init_std: standard deviation of the starting weights that are drawn from a normal distribution.
        init_xavier_std: gain of those drawn by Xavier's rule.
        use_auxiliary_loss: whether every layer's prediction has a loss of its own.
        feature_strides: strides of the backbone's maps, from fine to coarse.
        output_auxiliary_logits: return the predictions of the earlier layers unless the call says otherwise.
        backbone: name of a backbone, a checkpoint or a timm model, to take the configuration from instead.
        use_pretrained_backbone: whether a new model starts from the weights of `backbone`.
        use_timm_backbone: whether `backbone` names a timm model.
        backbone_kwargs: further arguments for `backbone`, such as `{"out_indices": [1, 2, 3, 4]}`.

    Raises:
        ConfigError: for an unknown name or values that contradict each other.

    Example:
        >>> from perpixel.backbones.vit import ViTConfig
        >>> config = Mask2FormerConfig(ViTConfig(), hidden_dim=64, id2label={0: "sky", 1: "sea", 2: "land"})
        >>> config.hidden_size, config.num_labels
        (64, 3)
        >>> Mask2FormerConfig.from_dict(config.to_dict()) == config
        True
    """

    model_type: ClassVar[str] = "mask2former"

    backbone_config: BackboneConfig | dict[str, Any] | None = None
    feature_size: int = 256
    mask_feature_size: int = 256
    hidden_dim: int = 256
    encoder_feedforward_dim: int = 1024
    activation_function: str = "relu"
    encoder_layers: int = 6
    decoder_layers: int = 10
    num_attention_heads: int = 8
    dropout: float = 0.0
    dim_feedforward: int = 2048
    pre_norm: bool = False
    enforce_input_projection: bool = False
    common_stride: int = 4
    ignore_value: int = 255
    num_queries: int = 100
    no_object_weight: float = 0.1
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    train_num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    init_std: float = 0.02
    init_xavier_std: float = 1.0
    use_auxiliary_loss: bool = True
    feature_strides: list[int] = field(default_factory=lambda: [4, 8, 16, 32])
    output_auxiliary_logits: bool | None = None
    backbone: str | None = None
    use_pretrained_backbone: bool = False
    use_timm_backbone: bool = False
    backbone_kwargs: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.backbone_config = resolve_backbone(self, default_backbone)
        for name in ("hidden_dim", "feature_size"):
            if getattr(self, name) % self.num_attention_heads:
                raise ConfigError(
                    f"{name} is {getattr(self, name)} but there are {self.num_attention_heads} attention heads: "
                    f"it has to be divisible by num_attention_heads"
                )
        if self.hidden_dim % 4:
            raise ConfigError(f"hidden_dim is {self.hidden_dim}: the position embedding needs a multiple of 4")
        for name in ("decoder_layers", "num_queries", "encoder_layers", "train_num_points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it has to be at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}: it has to be at least 0 and below 1")
        if not 0 <= self.importance_sample_ratio <= 1:
            raise ConfigError(f"importance_sample_ratio is {self.importance_sample_ratio}: it has to be in [0, 1]")
        if self.oversample_ratio < 1:
            raise ConfigError(f"oversample_ratio is {self.oversample_ratio}: it has to be at least 1")

    @property
    def hidden_size(self) -> int:
        """Another name of `hidden_dim`."""
        return self.hidden_dim

    @hidden_size.setter
    def hidden_size(self, value: int) -> None:
        self.hidden_dim = value

    @property
    def num_hidden_layers(self) -> int:
        """Another name of `decoder_layers`."""
        return self.decoder_layers

    @num_hidden_layers.setter
    def num_hidden_layers(self, value: int) -> None:
        self.decoder_layers = value

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Build a config from a mapping such as `config.json` holds; see `Config.from_dict`."""
        # A file may hold both names; the field's own one counts.
        values = {_ALIASES.get(key, key): value for key, value in values.items() if _ALIASES.get(key) not in values}
        overrides = {_ALIASES.get(key, key): value for key, value in overrides.items()}
        return super().from_dict(values, **overrides)

    @classmethod
    def from_backbone_config(cls, backbone_config: BackboneConfig, **fields: Any) -> Self:
        """Build a config around a backbone's one.

        Args:
            backbone_config: the backbone's configuration.
            fields: any other field.
        """
        return cls(backbone_config=backbone_config, **fields)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-able values; a named backbone is written as the configuration it stands for."""
        return without_backbone_name(super().to_dict())


def default_backbone() -> BackboneConfig:
    """The Swin-S that transformers builds when nothing is said (Liu et al., 2021, arXiv 2103.14030)."""
    return config_from_dict(
        {
            "model_type": "swin",
            "depths": [2, 2, 18, 2],
            "drop_path_rate": 0.3,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        }
    )
