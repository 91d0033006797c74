"""DINOv2: a vision transformer with LayerScale, trained without labels; the backbone of Depth Anything.

"DINOv2: Learning Robust Visual Features without Supervision", Oquab et al., 2023, arXiv 2304.07193, section 5 and
appendix B. The same with registers is in `dinov2_with_registers`. Parameter names are those of the Hugging Face
checkpoints (facebook/dinov2-…).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.transformer import TokenBackbone, TokenModel, TransformerConfig
from perpixel.layers.activation import activation
from perpixel.layers.drop_path import drop_path
from perpixel.layers.position import resample_positions
from perpixel.layers.transformer import (
    LayerStack,
    ViTAttention,
    ViTPatchEmbeddings,
    hide_patches,
    patches_as_map,
)
from perpixel.models.fields import check_rate
from perpixel.models.outputs import BaseModelOutputWithPooling


@dataclass
class Dinov2Shape(TransformerConfig):
    """The fields that DINOv2 with and without registers have in common; see `Dinov2Config`."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float = 4
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    image_size: int | list[int] = 224
    patch_size: int | list[int] = 14
    num_channels: int = 3
    qkv_bias: bool = True
    layerscale_value: float = 1.0
    drop_path_rate: float = 0.0
    use_swiglu_ffn: bool = False
    apply_layernorm: bool = True
    reshape_hidden_states: bool = True

    def __post_init__(self) -> None:
        check_rate(self.drop_path_rate, "drop_path_rate")
        # Of these two, transformers refuses a file that has 1 instead of 1.0 and 4.0 instead of 4.
        self.layerscale_value = float(self.layerscale_value)
        self.mlp_ratio = int(self.mlp_ratio) if self.mlp_ratio == int(self.mlp_ratio) else self.mlp_ratio
        super().__post_init__()
        self._check_grid()


@dataclass
class Dinov2Config(Dinov2Shape):
    """The shape of a DINOv2 transformer. The defaults are those of facebook/dinov2-base but for `image_size`.

    Args:
        hidden_size: width of the tokens; a multiple of `num_attention_heads`.
        num_hidden_layers: number of layers.
        num_attention_heads: attention heads of each layer.
        mlp_ratio: width inside the feed-forward part, as a multiple of the tokens'.
        hidden_act: its activation; a gated part has SiLU whatever stands here.
        hidden_dropout_prob: dropout of the embeddings.
        attention_probs_dropout_prob: dropout of the attention weights.
        initializer_range: standard deviation of the random initial weights.
        layer_norm_eps: epsilon of the layer norms.
        image_size: the side, or (height, width), that the position embeddings are made for, in pixels.
        patch_size: the side, or (height, width), of a patch in pixels.
        num_channels: channels of the input.
        qkv_bias: whether query, key and value have biases.
        layerscale_value: what LayerScale starts with.
        drop_path_rate: stochastic depth, the same for every layer (appendix B.2 of the paper).
        use_swiglu_ffn: whether the feed-forward part is gated, as in facebook/dinov2-giant.
        apply_layernorm: as a backbone, whether the final norm is applied to every feature map.
        reshape_hidden_states: as a backbone, whether feature maps are (b, c, h, w) without the class token or all
            tokens, (b, n, c).
        use_mask_token: whether patches can be masked (`bool_masked_pos`).

    Example:
        >>> Dinov2Config(num_hidden_layers=4, out_indices=[1, 4]).out_features
        ['stage1', 'stage4']
    """

    model_type: ClassVar[str] = "dinov2"

    use_mask_token: bool = True


class Dinov2Embeddings(nn.Module):
    """Class token, patch tokens and learned positions, for images of any size."""

    antialias: ClassVar[bool] = False

    def __init__(self, config: Dinov2Shape, use_mask_token: bool) -> None:
        super().__init__()
        self.grid = config.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.mask_token = nn.Parameter(torch.zeros(1, config.hidden_size)) if use_mask_token else None
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1] + 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens (b, 1 + h·w, hidden) and their grid (h, w).

        Args:
            pixel_values: (b, c, H, W); what is left over beside whole patches is not seen.
            bool_masked_pos: (b, h·w), true where a patch is replaced by the mask token.
        """
        plane = self.patch_embeddings(pixel_values)  # (b, hidden, h, w)
        rows, columns = plane.shape[2:]
        tokens = plane.flatten(2).transpose(1, 2)  # (b, h·w, hidden)
        if bool_masked_pos is not None:
            tokens = hide_patches(tokens, self.mask_token, bool_masked_pos)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)  # (b, 1 + h·w, hidden)
        positions = resample_positions(
            self.position_embeddings, self.grid, (rows, columns), antialias=self.antialias
        )  # (1, 1 + h·w, hidden)
        return self.dropout(tokens + positions), (rows, columns)


class Dinov2LayerScale(nn.Module):
    """A learned factor for each channel of what a branch adds ("Going deeper with Image Transformers", 2103.17239)."""

    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.full((width,), value))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale (…, width)."""
        return tokens * self.lambda1


class Dinov2MLP(nn.Module):
    """The feed-forward part."""

    def __init__(self, config: Dinov2Shape) -> None:
        super().__init__()
        inner = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, inner)
        self.fc2 = nn.Linear(inner, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (…, hidden) to the same shape."""
        mapped: Tensor = self.fc2(self.activation(self.fc1(tokens)))
        return mapped


class Dinov2SwiGLUFFN(nn.Module):
    """The gated feed-forward part of the largest model ("GLU Variants Improve Transformer", arXiv 2002.05202)."""

    def __init__(self, config: Dinov2Shape) -> None:
        super().__init__()
        # Two thirds of the width have as many weights as the ungated part; the authors round up to whole eights.
        inner = -(-int(int(config.hidden_size * config.mlp_ratio) * 2 / 3) // 8) * 8
        self.weights_in = nn.Linear(config.hidden_size, 2 * inner)
        self.weights_out = nn.Linear(inner, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (…, hidden) to the same shape."""
        gate, value = self.weights_in(tokens).chunk(2, dim=-1)  # (…, inner) each
        mapped: Tensor = self.weights_out(functional.silu(gate) * value)
        return mapped


class Dinov2Layer(nn.Module):
    """One layer: attention, then the feed-forward part, each normed before, scaled and added after."""

    def __init__(self, config: Dinov2Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ViTAttention(config)
        self.layer_scale1 = Dinov2LayerScale(config.hidden_size, config.layerscale_value)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Dinov2SwiGLUFFN(config) if config.use_swiglu_ffn else Dinov2MLP(config)
        self.layer_scale2 = Dinov2LayerScale(config.hidden_size, config.layerscale_value)
        self.drop_rate = config.drop_path_rate

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the attention weights if asked for."""
        added, weights = self.attention(self.norm1(tokens), mask, output_attentions)
        tokens = tokens + drop_path(self.layer_scale1(added), self.drop_rate, self.training)
        added = self.layer_scale2(self.mlp(self.norm2(tokens)))
        return tokens + drop_path(added, self.drop_rate, self.training), weights


class Dinov2PreTrainedModel(TokenModel):
    """What the models and the backbones have in common: the parts and their initial weights.

    A subclass passes the embeddings, whose `mask_token` checkpoints of either kind may or may not have.
    """

    config: Any
    base_model_prefix = "dinov2"
    _keys_to_ignore_on_load_unexpected: ClassVar[tuple[str, ...]] = (r"mask_token$",)
    _keys_to_ignore_on_load_missing: ClassVar[tuple[str, ...]] = (r"mask_token$",)

    def __init__(self, config: Dinov2Shape) -> None:
        super().__init__(config)
        self.embeddings = self._build_embeddings()
        self.encoder = LayerStack(Dinov2Layer(config) for _ in range(config.num_hidden_layers))
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def _build_embeddings(self) -> Dinov2Embeddings:
        return Dinov2Embeddings(self.config, self.config.use_mask_token)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Dinov2Embeddings):
            nn.init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)
            nn.init.trunc_normal_(module.cls_token, std=self.config.initializer_range)


class Dinov2Model(Dinov2PreTrainedModel):
    """DINOv2: pixels in, one token a patch and one for the image out.

    Example:
        >>> import torch
        >>> model = Dinov2Model(Dinov2Config(hidden_size=32, num_attention_heads=2, num_hidden_layers=2)).eval()
        >>> model(torch.zeros(1, 3, 28, 42)).last_hidden_state.shape
        torch.Size([1, 7, 32])
    """

    config_class: ClassVar[type[Dinov2Shape]] = Dinov2Config

    def __init__(self, config: Dinov2Shape) -> None:
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode images of any size from one patch.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them.
            bool_masked_pos: (b, h · w), true where a patch is replaced by the mask token.
            attention_mask: (b, n), zero where a token must not be looked at.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the embeddings and every layer's output; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Returns:
            `last_hidden_state` (b, n, hidden) after the final norm, with n = 1 + h · w, and the registers after the
            first where there are any; `pooler_output` (b, hidden), its class token; `hidden_states` before the final
            norm and `attentions` if asked for.

        Raises:
            InputError: the image is smaller than a patch, or a mask does not fit it.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        stages = list(range(self.config.num_hidden_layers + 1)) if hidden else []
        last, kept, attentions, _ = self._encode(pixel_values, bool_masked_pos, attention_mask, stages, attend)
        last = self.layernorm(last)
        output = BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=last[:, 0],
            hidden_states=tuple(kept[i] for i in stages) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)


class Dinov2Backbone(Dinov2PreTrainedModel, TokenBackbone):
    """DINOv2 as a backbone: feature maps of the stages that the config names, for any size from one patch.

    Example:
        >>> import torch
        >>> config = Dinov2Config(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, out_indices=[1, 2])
        >>> [tuple(m.shape) for m in Dinov2Backbone(config).eval()(torch.zeros(1, 3, 28, 42)).feature_maps]
        [(1, 32, 2, 3), (1, 32, 2, 3)]
    """

    config_class: ClassVar[type[Dinov2Shape]] = Dinov2Config

    def __init__(self, config: Dinov2Shape) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.post_init()

    def _maps(self, tokens: list[Tensor], grid: tuple[int, int]) -> tuple[Tensor, ...]:
        if self.config.apply_layernorm:
            tokens = [self.layernorm(part) for part in tokens]
        if self.config.reshape_hidden_states:
            tokens = [patches_as_map(part, grid) for part in tokens]
        return tuple(tokens)
