"""The configuration of DPT (arXiv 2103.13413)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from perpixel.backbones import config_from_dict
from perpixel.backbones.base import BackboneConfig
from perpixel.backbones.vit_config import ViTConfig
from perpixel.errors import ConfigError
from perpixel.models.backbone import giving_tokens, resolve_backbone, without_backbone_name
from perpixel.models.labels import LabelledConfig

# How many of the hybrid's maps come from its convolutional stages; the others come from the transformer.
HYBRID_STAGES = 2


@dataclass
class DPTConfig(LabelledConfig):
    """The shape of a DPT. The defaults are those of transformers: DPT's own ViT of base size.

    There are three kinds. Without `backbone_config` the model has a ViT of its own, which the first group of fields
    describes. With `is_hybrid` a convolutional backbone (a BiT) makes that ViT's tokens. Otherwise `backbone_config`
    replaces the ViT: DINOv2 and BEiT give tokens, Swin v2 and other backbones with stages of different sizes give maps.

    Args:
        hidden_size: width of the tokens; a multiple of `num_attention_heads`.
        num_hidden_layers: number of layers.
        num_attention_heads: attention heads of each layer.
        intermediate_size: width inside the feed-forward part.
        hidden_act: its activation, and that of the readout "project".
        hidden_dropout_prob: dropout of embeddings and of what each part of a layer adds.
        attention_probs_dropout_prob: dropout of the attention weights.
        initializer_range: standard deviation of the ViT's random initial weights.
        layer_norm_eps: epsilon of the layer norms.
        image_size: the side, or [height, width], that the position embeddings are made for, in pixels.
        patch_size: the side, or [height, width], of a patch in pixels.
        num_channels: channels of the input.
        is_hybrid: whether a convolutional backbone makes the ViT's tokens.
        qkv_bias: whether query, key and value have biases.
        backbone_out_indices: the ViT's layers, counted from 0, whose tokens the neck takes. The hybrid takes the maps
            of two convolutional stages in place of the first two.
        readout_type: what becomes of the class token: "ignore"; "add" adds it to every other token; "project" mixes it
            into every other token by a linear layer.
        reassemble_factors: how many times each map becomes larger, or smaller where below 1.
        neck_hidden_sizes: channels of each map.
        fusion_hidden_size: channels of the fusion and of the heads.
        head_in_index: which output of the fusion the head takes.
        use_batch_norm_in_fusion_residual: whether the fusion's residual units have batch norms.
        use_bias_in_fusion_residual: whether their convolutions have biases; None: where there is no batch norm.
        add_projection: whether the depth head has one convolution more.
        use_auxiliary_head: whether segmentation has a second head for training.
        auxiliary_loss_weight: weight of that head's loss.
        semantic_loss_ignore_index: the label of pixels that are left out of the loss.
        semantic_classifier_dropout: dropout of the segmentation head.
        backbone_featmap_shape: of the hybrid, [batch, channels, height, width] of the backbone's last map; only the
            channels count, the size follows from the image.
        neck_ignore_stages: of the hybrid, the maps that go through the neck as they are.
        backbone_config: configuration of the backbone, or its dictionary; of the hybrid a BiT-50 if not given. DPT
            arranges tokens into maps itself, so `reshape_hidden_states` becomes False.
        pooler_output_size: width of the pooled vector of `DPTModel`; `hidden_size` if not given.
        pooler_act: activation of the pooler.
        backbone: name of a backbone, a checkpoint or a timm model, to take the configuration from instead.
        use_pretrained_backbone: whether a new model starts from the weights of `backbone`.
        use_timm_backbone: whether `backbone` names a timm model.
        backbone_kwargs: further arguments for `backbone`, such as `{"out_indices": [3, 6, 9, 12]}`.
        depth_loss: how depth is trained: "relative" is free of scale and shift, "metric" is in metres; None is
            "relative". transformers has no such field; it is written to files only where it is set.

    Raises:
        ConfigError: for an unknown name or values that contradict each other.

    Example:
        >>> config = DPTConfig(readout_type="ignore", id2label={0: "sky", 1: "sea", 2: "land"})
        >>> config.num_labels, config.pooler_output_size
        (3, 768)
        >>> DPTConfig.from_dict(config.to_dict()) == config
        True
    """

    model_type: ClassVar[str] = "dpt"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | list[int] = 384
    patch_size: int | list[int] = 16
    num_channels: int = 3
    is_hybrid: bool = False
    qkv_bias: bool = True
    backbone_out_indices: list[int] | None = field(default_factory=lambda: [2, 5, 8, 11])
    readout_type: Literal["ignore", "add", "project"] = "project"
    reassemble_factors: list[float] = field(default_factory=lambda: [4, 2, 1, 0.5])
    neck_hidden_sizes: list[int] = field(default_factory=lambda: [96, 192, 384, 768])
    fusion_hidden_size: int = 256
    head_in_index: int = -1
    use_batch_norm_in_fusion_residual: bool = False
    use_bias_in_fusion_residual: bool | None = None
    add_projection: bool = False
    use_auxiliary_head: bool = True
    auxiliary_loss_weight: float = 0.4
    semantic_loss_ignore_index: int = 255
    semantic_classifier_dropout: float = 0.1
    backbone_featmap_shape: list[int] | None = field(default_factory=lambda: [1, 1024, 24, 24])
    neck_ignore_stages: list[int] = field(default_factory=lambda: [0, 1])
    backbone_config: BackboneConfig | dict[str, Any] | None = None
    pooler_output_size: int | None = None
    pooler_act: str = "tanh"
    backbone: str | None = None
    use_pretrained_backbone: bool = False
    use_timm_backbone: bool = False
    backbone_kwargs: dict[str, Any] | None = None
    depth_loss: Literal["relative", "metric"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.backbone_config = self._resolve_backbone()
        if not self.is_hybrid:
            self.backbone_featmap_shape = None
            self.neck_ignore_stages = []
        self.pooler_output_size = self.pooler_output_size or self.hidden_size
        if self.has_own_vit:
            self._check_vit()
        if not -len(self.neck_hidden_sizes) <= self.head_in_index < len(self.neck_hidden_sizes):
            raise ConfigError(
                f"head_in_index is {self.head_in_index} but the fusion has {len(self.neck_hidden_sizes)} outputs, "
                "one for each of neck_hidden_sizes: use -1 for the last one"
            )

    @property
    def has_own_vit(self) -> bool:
        """Whether the model has DPT's own ViT, alone or as the hybrid's second part."""
        return self.is_hybrid or self.backbone_config is None

    @property
    def vit(self) -> ViTConfig:
        """The layers of DPT's own ViT, as the config of a plain one."""
        return ViTConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            hidden_act=self.hidden_act,
            hidden_dropout_prob=self.hidden_dropout_prob,
            attention_probs_dropout_prob=self.attention_probs_dropout_prob,
            initializer_range=self.initializer_range,
            layer_norm_eps=self.layer_norm_eps,
            image_size=self.image_size,
            patch_size=self.patch_size,
            num_channels=self.num_channels,
            qkv_bias=self.qkv_bias,
            pooler_output_size=self.pooler_output_size,
            pooler_act=self.pooler_act,
        )

    @property
    def vit_stages(self) -> list[int]:
        """The ViT's layers that the neck takes, counted from 1 as hidden states are."""
        indices = self.backbone_out_indices or []
        return [index + 1 for index in (indices[HYBRID_STAGES:] if self.is_hybrid else indices)]

    def _resolve_backbone(self) -> BackboneConfig | None:
        if self.is_hybrid:
            if isinstance(self.backbone_config, dict):
                self.backbone_config = {"model_type": "bit", **self.backbone_config}
            return resolve_backbone(self, default_hybrid_backbone)
        named = (self.backbone, self.use_pretrained_backbone, self.use_timm_backbone, self.backbone_kwargs)
        if self.backbone_config is None and not any(named):
            return None
        return giving_tokens(resolve_backbone(self, default_hybrid_backbone))

    def _check_vit(self) -> None:
        vit = self.vit  # its own checks
        if self.is_hybrid and self.readout_type != "project":
            raise ConfigError(f"readout_type is {self.readout_type!r} but the hybrid has 'project' only: leave it out")
        stages, maps = self.vit_stages, len(self.neck_hidden_sizes)
        if wrong := [stage - 1 for stage in stages if not 1 <= stage <= vit.num_hidden_layers]:
            raise ConfigError(
                f"backbone_out_indices {wrong} are none of the {vit.num_hidden_layers} layers: "
                f"choose from 0 to {vit.num_hidden_layers - 1}"
            )
        if stages != sorted(set(stages)):
            raise ConfigError(f"backbone_out_indices is {self.backbone_out_indices}: it has to rise")
        if len(stages) + HYBRID_STAGES * self.is_hybrid != maps:
            raise ConfigError(
                f"backbone_out_indices is {self.backbone_out_indices} but there are {maps} neck_hidden_sizes: "
                "give one index for each"
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-able values; a named backbone is written as the configuration it stands for."""
        values = without_backbone_name(super().to_dict())
        if self.depth_loss is None:
            del values["depth_loss"]
        return values


def default_hybrid_backbone() -> BackboneConfig:
    """The three stages of a ResNet-50 in the form of BiT, as the hybrid of the paper has them (section 3.1)."""
    return config_from_dict(
        {
            "model_type": "bit",
            "global_padding": "same",
            "layer_type": "bottleneck",
            "depths": [3, 4, 9],
            "out_features": ["stage1", "stage2", "stage3"],
            "embedding_dynamic_padding": True,
        }
    )
