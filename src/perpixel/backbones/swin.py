"""Swin: a vision transformer in four stages, which attends in windows that every second block shifts.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., 2021, arXiv 2103.14030,
section 3. Parameter names are those of the Hugging Face checkpoints (microsoft/swin-…).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.backbones.base import Backbone
from perpixel.backbones.swin_config import SwinConfig as SwinConfig
from perpixel.backbones.swin_embeddings import SwinEmbeddings
from perpixel.errors import ConfigError
from perpixel.layers.activation import activation
from perpixel.layers.drop_path import drop_path
from perpixel.layers.exporting import is_open, is_recorded
from perpixel.layers.transformer import Dense, softmax_attention, split_heads
from perpixel.layers.windows import (
    relative_position_bias,
    shift_mask,
    window_partition,
    window_unpartition,
    with_shift_mask,
)
from perpixel.models.base import Model
from perpixel.models.outputs import BackboneOutput, BaseModelOutputWithPooling

# Tokens that go through a feed-forward part at once at inference.
MLP_TOKENS = 8192


@dataclass(eq=False)
class SwinModelOutput(BaseModelOutputWithPooling):
    """The output of a `SwinModel`.

    Attributes:
        last_hidden_state: (b, h · w, c) of the last stage, normed.
        pooler_output: (b, c), its mean; absent where the model has no pooler.
        hidden_states: the embeddings and then what each stage hands on, (b, h · w, c), on request.
        attentions: the weights of each stage's last block, (b · windows, heads, n, n), on request.
        reshaped_hidden_states: `hidden_states` as maps, (b, c, h, w), on request.
    """

    reshaped_hidden_states: tuple[Tensor, ...] | None = None


class SwinPatchMerging(nn.Module):
    """Joins each 2×2 tokens into one of twice the width (section 3.1, "patch merging")."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, h, w, c) → (b, ⌈h/2⌉, ⌈w/2⌉, 2c)."""
        merged: Tensor = self.reduction(self.norm(self.quads(tokens)))
        return merged

    @staticmethod
    def quads(tokens: Tensor) -> Tensor:
        """Lay each 2×2 tokens side by side: (b, h, w, c) → (b, ⌈h/2⌉, ⌈w/2⌉, 4c)."""
        b, h, w, c = tokens.shape
        if h % 2 or w % 2:
            tokens = functional.pad(tokens, (0, 0, 0, w % 2, 0, h % 2))
        quads = tokens.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c)
        # Of the four, the checkpoints have the lower left one before the upper right one.
        return quads.permute(0, 1, 3, 4, 2, 5).flatten(3)  # (b, ⌈h/2⌉, ⌈w/2⌉, 4c)


class SwinSelfAttention(nn.Module):
    """Attention between the tokens of a window, biased by their relative positions (section 3.2, equation 4)."""

    def __init__(self, config: SwinConfig, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(width, width, bias=config.qkv_bias)
        self.key = nn.Linear(width, width, bias=config.qkv_bias)
        self.value = nn.Linear(width, width, bias=config.qkv_bias)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * config.window_size - 1) ** 2, heads))

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            tokens: (b · windows, n, c).
            mask: (windows, n, n), added to the scores.
            output_attentions: return the weights (b · windows, heads, n, n) too.
        """
        query, key, value = (split_heads(part(tokens), self.heads) for part in (self.query, self.key, self.value))
        bias = relative_position_bias(self.relative_position_bias_table, round(tokens.shape[1] ** 0.5))
        bias = with_shift_mask(bias, mask, len(tokens))
        dropout = self.dropout if self.training else 0.0
        return softmax_attention(query, key, value, bias, output_attentions, dropout=dropout)


class SwinAttention(nn.Module):
    """Window attention with its output projection."""

    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.self = attention
        self.output = Dense(width, width)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b · windows, n, c) to the same shape, with the weights if asked for."""
        mixed, weights = self.self(tokens, mask, output_attentions)
        return self.output(mixed), weights


class Windows(NamedTuple):
    """How a block cuts its map: the side of a window, by how much they are shifted, and then their `shift_mask`."""

    size: int
    shift: int = 0
    mask: Tensor | None = None


class SwinLayer(nn.Module):
    """One block: attention in windows, then the feed-forward part (section 3.2, equation 3)."""

    def __init__(self, config: SwinConfig, width: int, attention: nn.Module, drop_rate: float) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = SwinAttention(attention, width)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.intermediate = Dense(width, int(config.mlp_ratio * width))
        self.output = Dense(int(config.mlp_ratio * width), width)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_rate = drop_rate

    def forward(
        self, tokens: Tensor, windows: Windows, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, h, w, c) to the same shape, with the weights (b · windows, heads, n, n) if asked for."""
        x, weights = self._mix(tokens, windows, output_attentions)
        tokens = tokens + drop_path(x, self.drop_rate, self.training)
        if torch.is_grad_enabled() or self.training or is_recorded():
            return tokens + drop_path(self._mlp(tokens), self.drop_rate, self.training), weights
        # In bands and in place: inside, the tokens are four times as wide.
        for band in torch.split(tokens, max(1, MLP_TOKENS // (len(tokens) * tokens.shape[2])), dim=1):
            band += self._mlp(band)
        return tokens, weights

    def _mix(self, tokens: Tensor, windows: Windows, output_attentions: bool) -> tuple[Tensor, Tensor | None]:
        """What the attention adds, (b, h, w, c), and its weights if asked for."""
        x, weights = self._in_windows(self.layernorm_before(tokens), windows, output_attentions)
        return self.dropout(x), weights

    def _in_windows(self, x: Tensor, windows: Windows, output_attentions: bool) -> tuple[Tensor, Tensor | None]:
        """Fill up, shift, cut, attend, and undo it: (b, h, w, c) → the same shape."""
        (h, w, c), (size, shift, mask) = x.shape[1:], windows
        if is_open(h, w) or h % size or w % size:
            x = functional.pad(x, (0, 0, 0, -w % size, 0, -h % size))
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        padded = x.shape[1:3]
        x, weights = self.attention(window_partition(x, size).flatten(1, 2), mask, output_attentions)
        x = window_unpartition(x.reshape(-1, size, size, c), *padded)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :h, :w], weights

    def _mlp(self, tokens: Tensor) -> Tensor:
        """What the feed-forward part adds to (b, h, w, c)."""
        x: Tensor = self.dropout(self.output(self.activation(self.intermediate(self.layernorm_after(tokens)))))
        return x


class SwinStage(nn.Module):
    """Blocks of one resolution, with and without a shift in turn; then the merging for the next stage."""

    merging: ClassVar[type[SwinPatchMerging]] = SwinPatchMerging
    # How often the mask of shifted windows counts.
    mask_count: ClassVar[int] = 1

    def __init__(self, config: SwinConfig, index: int) -> None:
        super().__init__()
        first, last = sum(config.depths[:index]), max(sum(config.depths) - 1, 1)
        self.window_size = config.window_size
        self.blocks = nn.ModuleList(
            self._block(config, index, config.drop_path_rate * (first + i) / last) for i in range(config.depths[index])
        )
        self.downsample = self.merging(config.widths[index]) if index + 1 < config.num_layers else None
        self.gradient_checkpointing = False

    def _block(self, config: SwinConfig, index: int, drop_rate: float) -> SwinLayer:
        width = config.widths[index]
        return SwinLayer(config, width, SwinSelfAttention(config, width, config.num_heads[index]), drop_rate)

    def _sides(self, h: int, w: int, whole_windows: bool) -> tuple[int, int]:
        """The side of the windows on a map of h rows and w columns, and how far every second block shifts them."""
        if not whole_windows and min(h, w) <= self.window_size:
            return min(h, w), 0
        return self.window_size, self.window_size // 2

    def forward(
        self, tokens: Tensor, whole_windows: bool, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the blocks on (b, h, w, c).

        Args:
            tokens: the map.
            whole_windows: fill a map that is smaller than a window up with zeros; otherwise the window shrinks.
            output_attentions: return the last block's weights (b · windows, heads, n, n) too.

        Returns:
            What the next stage gets, (b, ⌈h/2⌉, ⌈w/2⌉, 2c), or (b, h, w, c) after the last; the map before the
            merging, (b, h, w, c); the weights.
        """
        h, w = tokens.shape[1:3]
        size, shift = self._sides(h, w, whole_windows)
        mask, weights = None, None
        if shift and len(self.blocks) > 1:
            mask = self.mask_count * shift_mask(h + -h % size, w + -w % size, size, shift, tokens)
        for i, block in enumerate(self.blocks):
            windows = Windows(size, shift, mask) if i % 2 else Windows(size)
            attend = output_attentions and i + 1 == len(self.blocks)
            if self.gradient_checkpointing and self.training:
                tokens, weights = checkpoint(block, tokens, windows, attend, use_reentrant=False)
            else:
                tokens, weights = block(tokens, windows, attend)
        return tokens if self.downsample is None else self.downsample(tokens), tokens, weights


class SwinEncoder(nn.Module):
    """The stages, one after another."""

    def __init__(self, config: SwinConfig, stage: type[SwinStage] = SwinStage) -> None:
        super().__init__()
        self.layers = nn.ModuleList(stage(config, i) for i in range(config.num_layers))

    def forward(
        self, tokens: Tensor, whole_windows: bool, output_attentions: bool = False
    ) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...] | None]:
        """Run the stages on (b, h, w, c).

        Returns:
            The given tokens and what each stage hands on; the given tokens and each stage's own map; the attention
            weights of each stage if asked for.
        """
        handed, own, attentions = [tokens], [tokens], []
        for stage in self.layers:
            tokens, before, weights = stage(tokens, whole_windows, output_attentions)
            handed.append(tokens)
            own.append(before)
            attentions.append(weights)
        return handed, own, tuple(attentions) if output_attentions else None


class SwinPreTrainedModel(Model):
    """What the model and the backbone have in common: the parts and their initial weights."""

    config_class = SwinConfig
    config: SwinConfig
    base_model_prefix = "swin"
    _stage: ClassVar[type[SwinStage]] = SwinStage
    # The table's indices are computed here; checkpoints before transformers 5 hold them.
    _keys_to_ignore_on_load_unexpected: ClassVar[tuple[str, ...]] = (r"relative_position_index$", r"mask_token$")

    def __init__(self, config: SwinConfig, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = SwinEmbeddings(config, use_mask_token)
        self.encoder = SwinEncoder(config, self._stage)


class SwinModel(SwinPreTrainedModel):
    """The Swin transformer: pixels in, the tokens of the last stage and their mean out.

    Example:
        >>> config = SwinConfig(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4)
        >>> output = SwinModel(config).eval()(torch.zeros(1, 3, 33, 47))
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 30, 16]), torch.Size([1, 16]))
    """

    _keys_to_ignore_on_load_missing = (r"mask_token$",)

    def __init__(self, config: SwinConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        """Build the model with fresh weights.

        Args:
            config: its shape.
            add_pooling_layer: whether there is a `pooler_output`.
            use_mask_token: whether patches can be masked (`bool_masked_pos`).
        """
        super().__init__(config, use_mask_token)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = nn.AdaptiveAvgPool1d(1) if add_pooling_layer else None
        self.num_features = config.hidden_size
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SwinModelOutput | tuple[Any, ...]:
        """Encode images of any size.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them.
            bool_masked_pos: (b, h · w), true where a patch is replaced by the mask token.
            interpolate_pos_encoding: resample absolute position embeddings, where there are any, to the size.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return what each stage hands on; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Raises:
            InputError: the shape is wrong, or the size is not that of absolute position embeddings.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        tokens = self.embeddings(pixel_values, bool_masked_pos, interpolate_pos_encoding)
        handed, _, attentions = self.encoder(tokens, whole_windows=False, output_attentions=attend)
        last = self.layernorm(handed[-1]).flatten(1, 2)  # (b, n, c)
        output = SwinModelOutput(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(last.transpose(1, 2)).flatten(1),  # (b, c)
            hidden_states=tuple(part.flatten(1, 2) for part in handed) if hidden else None,
            attentions=attentions,
            reshaped_hidden_states=tuple(part.permute(0, 3, 1, 2).contiguous() for part in handed) if hidden else None,
        )
        return self._result(output, return_dict)


class SwinBackbone(SwinPreTrainedModel, Backbone):
    """The Swin transformer as a backbone: a normed feature map of each stage that the config names, for any size.

    Example:
        >>> config = SwinConfig(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4, out_indices=[1, 2])
        >>> [tuple(part.shape) for part in SwinBackbone(config).eval()(torch.zeros(1, 3, 33, 47)).feature_maps]
        [(1, 8, 9, 12), (1, 16, 5, 6)]
    """

    # A backbone norms its maps, not the last tokens; a classifier has no norms of the maps.
    _keys_to_ignore_on_load_unexpected = (
        *SwinPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(swin\.)?layernorm\.",
    )
    _keys_to_ignore_on_load_missing = (r"^hidden_states_norms\.",)

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config)
        self.num_features = [config.embed_dim, *config.widths]
        self.hidden_states_norms = nn.ModuleDict(
            {name: nn.LayerNorm(self.out_feature_channels[name]) for name in self.out_features}
        )
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Returns:
            `feature_maps`, one (b, c, h, w) a stage of `out_features`; `hidden_states`, the embeddings and every
            stage's map before its norm, (b, c, h, w), and `attentions`, the weights of each stage's last block,
            if asked for; a tuple of these if `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        tokens = self.embeddings(pixel_values, interpolate_pos_encoding=True)
        _, own, attentions = self.encoder(tokens, whole_windows=True, output_attentions=attend)
        output = BackboneOutput(
            feature_maps=tuple(self._feature_map(own, name) for name in self.out_features),
            hidden_states=tuple(part.permute(0, 3, 1, 2).contiguous() for part in own) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)

    def _feature_map(self, maps: Sequence[Tensor], name: str) -> Tensor:
        if name not in self.hidden_states_norms:
            raise ConfigError(
                f"{name} came into out_features after the backbone was built, so it has no norm: "
                f"build the backbone with {self.out_features}"
            )
        normed: Tensor = self.hidden_states_norms[name](maps[self.stage_names.index(name)])
        return normed.permute(0, 3, 1, 2)  # (b, c, h, w), channels last in memory
