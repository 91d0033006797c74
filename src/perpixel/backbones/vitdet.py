"""ViTDet's backbone: a plain vision transformer that attends in windows, with a few global blocks.

"Exploring Plain Vision Transformer Backbones for Object Detection", Li et al., 2022, arXiv 2203.16527, section 3
("Backbone adaptation"). ViTMatte (arXiv 2305.15272, section 3.3) adds a convolutional residual block after some of
the layers. Parameter names are those of the Hugging Face checkpoints.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.backbones.base import Backbone
from perpixel.backbones.vitdet_config import VitDetConfig as VitDetConfig
from perpixel.errors import ConfigError, InputError
from perpixel.layers.activation import activation
from perpixel.layers.attention import attention_weights, attention_with_positions
from perpixel.layers.drop_path import drop_path
from perpixel.layers.exporting import is_open, is_recorded
from perpixel.layers.windows import window_partition, window_unpartition
from perpixel.models.base import Model
from perpixel.models.fields import pair
from perpixel.models.outputs import BackboneOutput, BaseModelOutput

# Tokens that go through an MLP at once at inference.
MLP_TOKENS = 8192


class Region(NamedTuple):
    """A rectangle of an image's grid of patches: where it starts, and the size of the whole grid."""

    top: int
    left: int
    height: int
    width: int


class VitDetEmbeddings(nn.Module):
    """Patches as tokens, plus the absolute position embedding, resampled to the input's grid."""

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__()
        patch = config.patch
        image = pair(config.pretrain_image_size, "pretrain_image_size")
        self.patch_size = patch
        self.num_channels = config.num_channels
        self.position_embeddings: nn.Parameter | None = None
        if config.use_absolute_position_embeddings:
            positions = (image[0] // patch[0]) * (image[1] // patch[1]) + 1  # a class token stands first
            self.position_embeddings = nn.Parameter(torch.zeros(1, positions, config.hidden_size))
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, kernel_size=patch, stride=patch)

    def forward(self, pixel_values: Tensor, region: Region | None = None) -> Tensor:
        """(b, c, H, W) → (b, h, w, hidden_size)."""
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.num_channels:
            raise InputError(
                f"pixel_values has shape {tuple(pixel_values.shape)}: this backbone needs "
                f"(batch, {self.num_channels}, height, width)"
            )
        if pixel_values.shape[2] < self.patch_size[0] or pixel_values.shape[3] < self.patch_size[1]:
            raise InputError(
                f"pixel_values is {pixel_values.shape[3]}×{pixel_values.shape[2]} (width×height), smaller than one "
                f"{self.patch_size[1]}×{self.patch_size[0]} patch: pad it, as the image processor does"
            )
        tokens: Tensor = self.projection(pixel_values).permute(0, 2, 3, 1)  # (b, h, w, c)
        if self.position_embeddings is not None:
            h, w = tokens.shape[1:3]
            top, left, height, width = region or Region(0, 0, h, w)
            tokens = tokens + self.positions(height, width)[:, top : top + h, left : left + w]
        return tokens.contiguous()

    def positions(self, height: int, width: int) -> Tensor:
        """The position embedding of a grid: (1, height, width, hidden_size), resampled bicubically."""
        assert self.position_embeddings is not None
        grid = self.position_embeddings[:, 1:]
        side = round(grid.shape[1] ** 0.5)
        if side * side != grid.shape[1]:
            raise ConfigError(f"{grid.shape[1]} absolute positions are no square: pretrain_image_size must be square")
        if not is_open(height, width) and (side, side) == (height, width):
            return grid.reshape(1, height, width, -1)
        square = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, c, side, side)
        resized = functional.interpolate(square, size=(height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)  # (1, h, w, c)


class VitDetAttention(nn.Module):
    """Multi-head attention over a grid of tokens with decomposed relative positions."""

    def __init__(self, config: VitDetConfig, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        width = config.hidden_size // config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, config.hidden_size * 3, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.rel_pos_h: nn.Parameter | None = None
        self.rel_pos_w: nn.Parameter | None = None
        if config.use_relative_position_embeddings:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid[0] - 1, width))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid[1] - 1, width))

    def forward(
        self, tokens: Tensor, output_attentions: bool = False, span: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(b, h, w, c) → the same, and (b, heads, h·w, h·w) weights if asked for."""
        b, h, w, c = tokens.shape
        qkv = self.qkv(tokens).reshape(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # each (b, heads, n, d)
        weights = None
        if output_attentions:
            weights = attention_weights(query, key, self.rel_pos_h, self.rel_pos_w, h, w, span)
            mixed = weights @ value
        else:
            mixed = attention_with_positions(query, key, value, self.rel_pos_h, self.rel_pos_w, h, w, span)
        mixed = mixed.transpose(1, 2).reshape(b, h, w, c)
        return self.proj(mixed), weights


class VitDetLayerNorm(nn.Module):
    """Layer norm over the channels; the parameters of the checkpoints, with a fixed epsilon of 1e-6."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) → the same."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class VitDetResBottleneckBlock(nn.Module):
    """Convolutions 1×1, 3×3, 1×1 around a shortcut (arXiv 2203.16527, section 3, "convolutional propagation")."""

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__()
        outer, inner = config.hidden_size, config.hidden_size // 2
        self.conv1 = nn.Conv2d(outer, inner, 1, bias=False)
        self.norm1 = VitDetLayerNorm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.norm2 = VitDetLayerNorm(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.norm3 = VitDetLayerNorm(outer)
        self.activate = activation(config.hidden_act)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, h, w, c) → the same. A 1×1 convolution is a linear map of the tokens as they lie."""
        x: Tensor = self.activate(self.norm1(functional.linear(tokens, self.conv1.weight.flatten(1))))
        x = self.conv2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (b, h, w, c / 2)
        x = self.activate(self.norm2(x))
        change: Tensor = self.norm3(functional.linear(x, self.conv3.weight.flatten(1)))
        return tokens + change


class VitDetMlp(nn.Module):
    """Two linear maps around an activation."""

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__()
        hidden = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, hidden)
        self.fc2 = nn.Linear(hidden, config.hidden_size)
        self.activate = activation(config.hidden_act)
        self.drop = nn.Dropout(config.dropout_prob)

    def forward(self, tokens: Tensor) -> Tensor:
        """(…, c) → the same."""
        hidden = self.drop(self.activate(self.fc1(tokens)))
        out: Tensor = self.drop(self.fc2(hidden))
        return out


class VitDetLayer(nn.Module):
    """One transformer layer, in windows or global, with an optional convolutional residual block after it."""

    def __init__(self, config: VitDetConfig, index: int) -> None:
        super().__init__()
        self.window_size = config.window_size if index in config.window_block_indices else 0
        grid = (self.window_size,) * 2 if self.window_size else config.grid
        self.drop_rate = config.drop_path_rate * index / max(1, config.num_hidden_layers - 1)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = VitDetAttention(config, grid)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VitDetMlp(config)
        self.residual: VitDetResBottleneckBlock | None = None
        if index in config.residual_block_indices:
            self.residual = VitDetResBottleneckBlock(config)

    def forward(
        self, tokens: Tensor, output_attentions: bool = False, region: Region | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(b, h, w, c) → the same, and the attention weights (b · windows, heads, n, n) if asked for."""
        h, w = tokens.shape[1:3]
        x = self.norm1(tokens)
        if self.window_size:
            x = window_partition(x, self.window_size)
        span = None if self.window_size or region is None else (region.height, region.width)
        x, weights = self.attention(x, output_attentions, span)
        if self.window_size:
            x = window_unpartition(x, h, w)
        tokens = tokens + drop_path(x, self.drop_rate, self.training)
        if torch.is_grad_enabled() or self.training or is_recorded():
            tokens = tokens + drop_path(self.mlp(self.norm2(tokens)), self.drop_rate, self.training)
        else:
            # In bands and in place: the MLP is four times as wide as the tokens.
            for band in torch.split(tokens, max(1, MLP_TOKENS // w), dim=1):
                band += self.mlp(self.norm2(band))
        if self.residual is not None:
            tokens = self.residual(tokens)
        return tokens, weights

    def at(self, tokens: Tensor, wanted: Tensor, region: Region | None = None) -> Tensor:
        """(b, h, w, c) → the same, right at least where `wanted`, (b, h, w) bool, is True."""
        mapped: Tensor = self(tokens, region=region)[0]
        return mapped


class VitDetEncoder(nn.Module):
    """The transformer layers, one after another."""

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(VitDetLayer(config, i) for i in range(config.num_hidden_layers))
        self.gradient_checkpointing = False

    def forward(
        self,
        tokens: Tensor,
        keep: set[int],
        output_attentions: bool = False,
        region: Region | None = None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, dict[int, Tensor], tuple[Tensor, ...] | None]:
        """Run all layers on (b, h, w, c) tokens, the last one at least where `wanted`, (b, h, w) bool, is True.

        Returns:
            The last tokens; of the stages named in `keep` (0 is the stem) the tokens as (b, c, h, w); and the attention
            weights if asked for.
        """
        kept = {0: tokens.permute(0, 3, 1, 2)} if 0 in keep else {}
        attentions: list[Tensor] = []
        for i, layer in enumerate(self.layer, start=1):
            if self.gradient_checkpointing and self.training:
                tokens, weights = checkpoint(layer, tokens, output_attentions, region, use_reentrant=False)
            elif wanted is not None and i == len(self.layer) and not output_attentions:
                tokens, weights = cast(VitDetLayer, layer).at(tokens, wanted, region), None
            else:
                tokens, weights = layer(tokens, output_attentions, region)
            if i in keep:
                kept[i] = tokens.permute(0, 3, 1, 2)  # (b, c, h, w)
            if weights is not None:
                attentions.append(weights)
        return tokens, kept, tuple(attentions) if output_attentions else None


class VitDetPreTrainedModel(Model):
    """What the model and the backbone have in common: the parts and their initial weights."""

    config_class = VitDetConfig
    config: VitDetConfig
    base_model_prefix = "vitdet"

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__(config)
        self.embeddings = VitDetEmbeddings(config)
        self.encoder = VitDetEncoder(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        deviation = self.config.initializer_range
        if isinstance(module, VitDetEmbeddings) and module.position_embeddings is not None:
            nn.init.trunc_normal_(module.position_embeddings, std=deviation)
        elif isinstance(module, VitDetAttention) and module.rel_pos_h is not None and module.rel_pos_w is not None:
            nn.init.trunc_normal_(module.rel_pos_h, std=deviation)
            nn.init.trunc_normal_(module.rel_pos_w, std=deviation)
        elif isinstance(module, VitDetResBottleneckBlock):
            # The block starts as an identity.
            nn.init.zeros_(module.norm3.weight)


class VitDetModel(VitDetPreTrainedModel):
    """ViTDet's transformer: pixels in, one token a patch out.

    Example:
        >>> import torch
        >>> model = VitDetModel(VitDetConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2)).eval()
        >>> model(torch.zeros(1, 3, 48, 64)).last_hidden_state.shape
        torch.Size([1, 32, 3, 4])
    """

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Returns:
            `last_hidden_state` (b, hidden_size, h, w), `hidden_states` of the stem and every layer if asked for,
            `attentions` if asked for; a tuple of these if `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        count = self.config.num_hidden_layers
        keep = set(range(count + 1)) if hidden else {count}
        _, kept, attentions = self.encoder(self.embeddings(pixel_values), keep, attend)
        output = BaseModelOutput(
            last_hidden_state=kept[count] if count else None,
            hidden_states=tuple(kept[i] for i in range(count + 1)) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)


class VitDetBackbone(VitDetPreTrainedModel, Backbone):
    """ViTDet as a backbone: feature maps of the stages that the configuration names.

    Example:
        >>> import torch
        >>> config = VitDetConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, out_indices=[1, 2])
        >>> [tuple(m.shape) for m in VitDetBackbone(config).eval()(torch.zeros(1, 3, 48, 64)).feature_maps]
        [(1, 32, 3, 4), (1, 32, 3, 4)]
    """

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        region: Region | None = None,
        wanted: Tensor | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Args:
            pixel_values: (b, c, H, W).
            output_hidden_states: whether to return the maps of all stages.
            output_attentions: whether to return the attention weights.
            return_dict: False for a tuple.
            region: which part of a larger image the pixels are, if they are one: positions are then those of the
                whole image, so that a tile is seen as in its place.
            wanted: (b, h, w) bool, the tokens that the last layer has to give; it may leave others at 0. All of them
                if not given.

        Returns:
            `feature_maps`, one (b, hidden_size, h, w) a stage of `out_features`; `hidden_states` and `attentions`
            if asked for; a tuple of these if `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        names = self.config.stage_names
        stages = [names.index(name) for name in self.out_features]
        keep = set(range(len(names))) if hidden else set(stages)
        _, kept, attentions = self.encoder(self.embeddings(pixel_values, region), keep, attend, region, wanted)
        output = BackboneOutput(
            feature_maps=tuple(kept[i] for i in stages),
            hidden_states=tuple(kept[i] for i in range(len(names))) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)
