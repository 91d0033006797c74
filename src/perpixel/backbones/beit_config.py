"""The shape of BEiT, "BERT Pre-Training of Image Transformers", Bao et al., 2021, arXiv 2106.08254, section 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from perpixel.backbones.transformer import TransformerConfig
from perpixel.errors import ConfigError
from perpixel.models.fields import check_rate


@dataclass
class BeitConfig(TransformerConfig):
    """The shape of a BEiT transformer. The defaults are those of transformers.

    Args:
        vocab_size: number of visual words of the masked-image decoder; kept for the file's sake.
        hidden_size: width of the tokens; a multiple of `num_attention_heads`.
        num_hidden_layers: number of layers.
        num_attention_heads: attention heads of each layer.
        intermediate_size: width inside the feed-forward part.
        hidden_act: its activation.
        hidden_dropout_prob: dropout of embeddings and of what each part of a layer adds.
        attention_probs_dropout_prob: dropout of the attention weights.
        initializer_range: standard deviation of the random initial weights.
        layer_norm_eps: epsilon of the layer norms.
        image_size: the side, or (height, width), that positions are made for, in pixels.
        patch_size: the side, or (height, width), of a patch in pixels.
        num_channels: channels of the input.
        use_mask_token: whether patches can be masked (`bool_masked_pos`).
        use_absolute_position_embeddings: whether a position embedding is added to the tokens.
        use_relative_position_bias: whether each layer has biases for the offset between two patches.
        use_shared_relative_position_bias: whether all layers have such biases in common.
        layer_scale_init_value: what LayerScale starts with; 0 for none.
        drop_path_rate: stochastic depth of the last layer; it grows linearly from 0.
        use_mean_pooling: whether `pooler_output` is the normed mean of the patches or the normed class token.
        pool_scales: sizes in the pyramid pooling of the segmentation head; kept for the file's sake, as are the next.
        use_auxiliary_head: whether segmentation is trained with a second head.
        auxiliary_loss_weight: weight of its loss.
        auxiliary_channels: its width.
        auxiliary_num_convs: its convolutions.
        auxiliary_concat_input: whether it sees its input again.
        semantic_loss_ignore_index: the label that no loss counts.
        add_fpn: as a backbone, whether four feature maps are brought to 4, 2, 1 and 1/2 times their size.
        reshape_hidden_states: as a backbone, whether feature maps are (b, c, h, w) without the class token or all
            tokens, (b, 1 + h · w, c).

    Example:
        >>> BeitConfig(image_size=384, use_relative_position_bias=True, out_indices=[3, 6, 9, 12]).grid
        (24, 24)
    """

    model_type: ClassVar[str] = "beit"

    vocab_size: int = 8192
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
    use_mask_token: bool = False
    use_absolute_position_embeddings: bool = False
    use_relative_position_bias: bool = False
    use_shared_relative_position_bias: bool = False
    layer_scale_init_value: float = 0.1
    drop_path_rate: float = 0.1
    use_mean_pooling: bool = True
    pool_scales: list[int] = field(default_factory=lambda: [1, 2, 3, 6])
    use_auxiliary_head: bool = True
    auxiliary_loss_weight: float = 0.4
    auxiliary_channels: int = 256
    auxiliary_num_convs: int = 1
    auxiliary_concat_input: bool = False
    semantic_loss_ignore_index: int = 255
    add_fpn: bool = False
    reshape_hidden_states: bool = True

    def __post_init__(self) -> None:
        check_rate(self.drop_path_rate, "drop_path_rate")
        self.layer_scale_init_value = float(self.layer_scale_init_value)  # transformers refuses an int in the file
        super().__post_init__()
        self._check_grid()
        if self.add_fpn and len(self.out_indices or []) != 4:
            raise ConfigError(
                f"add_fpn makes a pyramid of four feature maps but out_indices is {self.out_indices}: "
                "name four stages, such as [3, 5, 7, 11]"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Build a config from a mapping such as `config.json` holds; see `Config.from_dict`."""
        values = dict(values)
        older = values.pop("segmentation_indices", None)  # the name of `out_indices` in the first checkpoints
        if older is not None and values.get("out_indices") is None and values.get("out_features") is None:
            values["out_indices"] = older
        return super().from_dict(values, **overrides)

    @property
    def qkv_bias(self) -> bool:
        """Query and value always have biases; the key never has, softmax would not see it."""
        return True
