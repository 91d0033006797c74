"""The shape of a Swin transformer, "Swin Transformer", Liu et al., 2021, arXiv 2103.14030, section 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from perpixel.backbones.base import BackboneConfig
from perpixel.backbones.transformer import PatchGrid
from perpixel.errors import ConfigError
from perpixel.models.fields import check_rate


@dataclass
class SwinConfig(PatchGrid, BackboneConfig):
    """The shape of a Swin transformer. The defaults are those of microsoft/swin-tiny-patch4-window7-224.

    Args:
        image_size: the side, or (height, width), in pixels that absolute position embeddings are made for.
        patch_size: the side, or (height, width), of a patch in pixels.
        num_channels: channels of the input.
        embed_dim: width of the tokens of the first stage; every further stage doubles it.
        depths: blocks of each stage.
        num_heads: attention heads of each stage; they have to divide its width.
        window_size: side of a window in tokens.
        mlp_ratio: width inside the feed-forward part, as a multiple of the tokens'.
        qkv_bias: whether query, key and value have biases.
        hidden_dropout_prob: dropout of embeddings and of what each part of a block adds.
        attention_probs_dropout_prob: dropout of the attention weights.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        hidden_act: activation of the feed-forward parts.
        use_absolute_embeddings: whether a position embedding is added to the patches.
        initializer_range: standard deviation of the random initial weights.
        layer_norm_eps: epsilon of the layer norms in the blocks and of the last one.
        encoder_stride: upsampling of the masked-image decoder; kept for the file's sake.

    Example:
        >>> config = SwinConfig(out_indices=[1, 4])
        >>> config.out_features, config.hidden_size, config.num_layers
        (['stage1', 'stage4'], 768, 4)
    """

    model_type: ClassVar[str] = "swin"

    image_size: int | list[int] = 224
    patch_size: int | list[int] = 4
    num_channels: int = 3
    embed_dim: int = 96
    depths: list[int] = field(default_factory=lambda: [2, 2, 6, 2])
    num_heads: list[int] = field(default_factory=lambda: [3, 6, 12, 24])
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    drop_path_rate: float = 0.1
    hidden_act: str = "gelu"
    use_absolute_embeddings: bool = False
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    encoder_stride: int = 32
    num_layers: int = field(init=False, repr=False)
    hidden_size: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.depths or len(self.depths) != len(self.num_heads) or min(self.depths) < 1:
            raise ConfigError(
                f"depths is {list(self.depths)} and num_heads is {list(self.num_heads)}: "
                "both need one positive number for each stage"
            )
        for width, heads in zip(self.widths, self.num_heads, strict=True):
            if heads < 1 or width % heads:
                raise ConfigError(f"num_heads has {heads} for a stage {width} wide: the heads must divide the width")
        if self.window_size < 1:
            raise ConfigError(f"window_size is {self.window_size}: it has to be at least 1")
        check_rate(self.drop_path_rate, "drop_path_rate")
        self._check_grid()
        self.num_layers = len(self.depths)
        self.hidden_size = self.widths[-1]
        self._name_stages(self.num_layers)
        super().__post_init__()

    @property
    def widths(self) -> list[int]:
        """Width of the tokens in each stage."""
        return [self.embed_dim * 2**i for i in range(len(self.depths))]
