"""The shape of the plain vision transformer, Dosovitskiy et al., 2020, arXiv 2010.11929, section 3.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from perpixel.backbones.transformer import TransformerConfig


@dataclass
class ViTConfig(TransformerConfig):
    """The shape of a vision transformer. The defaults are those of google/vit-base-patch16-224.

    Args:
        hidden_size: width of the tokens; a multiple of `num_attention_heads`.
        num_hidden_layers: number of layers.
        num_attention_heads: attention heads of each layer.
        intermediate_size: width inside the feed-forward part.
        hidden_act: its activation.
        hidden_dropout_prob: dropout of embeddings and of what each part of a layer adds.
        attention_probs_dropout_prob: dropout of the attention weights.
        initializer_range: standard deviation of the random initial weights.
        layer_norm_eps: epsilon of the layer norms.
        image_size: the side, or (height, width), that the position embeddings are made for, in pixels.
        patch_size: the side, or (height, width), of a patch in pixels.
        num_channels: channels of the input.
        qkv_bias: whether query, key and value have biases.
        encoder_stride: upsampling of the masked-image decoder; kept for the file's sake.
        pooler_output_size: width of the pooled vector; `hidden_size` if not given.
        pooler_act: activation of the pooler.
        apply_layernorm: as a backbone, whether the final norm is applied to every feature map.

    Example:
        >>> config = ViTConfig(num_hidden_layers=3, out_features=["stage1", "stage3"])
        >>> config.out_indices
        [1, 3]
    """

    model_type: ClassVar[str] = "vit"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | list[int] = 224
    patch_size: int | list[int] = 16
    num_channels: int = 3
    qkv_bias: bool = True
    encoder_stride: int = 16
    pooler_output_size: int | None = None
    pooler_act: str = "tanh"
    apply_layernorm: bool = True

    def __post_init__(self) -> None:
        self.pooler_output_size = self.pooler_output_size or self.hidden_size
        super().__post_init__()
        self._check_grid()
