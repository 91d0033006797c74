"""The shape of ViTDet's backbone, Li et al., 2022, arXiv 2203.16527, section 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from perpixel.backbones.transformer import TransformerConfig
from perpixel.errors import ConfigError
from perpixel.models.fields import check_rate, pair


@dataclass
class VitDetConfig(TransformerConfig):
    """The shape of a ViTDet backbone.

    Args:
        hidden_size: width of a token.
        num_hidden_layers: how many transformer layers; the stages are `stem`, `stage1` … `stageN`.
        num_attention_heads: heads of each layer; must divide `hidden_size`.
        mlp_ratio: width of the hidden layer of each MLP as a multiple of `hidden_size`.
        hidden_act: activation of the MLPs and residual blocks.
        dropout_prob: dropout inside the MLPs.
        initializer_range: standard deviation of the random initial weights.
        layer_norm_eps: epsilon of the layer norms.
        image_size: height and width, in pixels, that the relative positions are stored for.
        pretrain_image_size: height and width, in pixels, that the absolute positions are stored for.
        patch_size: side of a patch in pixels.
        num_channels: channels of the input (4 for ViTMatte: RGB and trimap).
        qkv_bias: whether query, key and value have a bias.
        drop_path_rate: stochastic depth of the last layer; it grows linearly from 0.
        window_block_indices: the layers that attend in windows; the others attend globally.
        residual_block_indices: the layers that a convolutional residual block follows.
        use_absolute_position_embeddings: whether a position embedding is added to the patches.
        use_relative_position_embeddings: whether attention has decomposed relative positions.
        window_size: side of a window in patches.
        out_features: names of the stages that the backbone returns (the last one if none is named).
        out_indices: the same by index; 0 is the stem.

    Example:
        >>> config = VitDetConfig(hidden_size=64, num_attention_heads=2, num_hidden_layers=2)
        >>> config.stage_names, config.out_features
        (['stem', 'stage1', 'stage2'], ['stage2'])
    """

    model_type: ClassVar[str] = "vitdet"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float = 4
    hidden_act: str = "gelu"
    dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    image_size: int | list[int] = 224
    pretrain_image_size: int | list[int] = 224
    patch_size: int | list[int] = 16
    num_channels: int = 3
    qkv_bias: bool = True
    drop_path_rate: float = 0.0
    window_block_indices: list[int] = field(default_factory=list)
    residual_block_indices: list[int] = field(default_factory=list)
    use_absolute_position_embeddings: bool = True
    use_relative_position_embeddings: bool = False
    window_size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("image_size", "pretrain_image_size", "patch_size"):
            pair(getattr(self, name), name)
        check_rate(self.drop_path_rate, "drop_path_rate")
        for name in ("window_block_indices", "residual_block_indices"):
            outside = [i for i in getattr(self, name) if not 0 <= i < self.num_hidden_layers]
            if outside:
                raise ConfigError(
                    f"{name} names layer {outside[0]} of a backbone of {self.num_hidden_layers} layers: "
                    f"use 0 to {self.num_hidden_layers - 1}"
                )
        if self.window_block_indices and self.window_size < 1:
            raise ConfigError(
                f"window_block_indices is {self.window_block_indices} but window_size is {self.window_size}: "
                "set window_size to the side of a window, in patches"
            )
