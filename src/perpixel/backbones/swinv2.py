"""Swin v2: Swin with cosine attention, biases from a small network, and norms after the parts of a block.

"Swin Transformer V2: Scaling Up Capacity and Resolution", Liu et al., 2021, arXiv 2111.09883, section 3. Parameter
names are those of the Hugging Face checkpoints (microsoft/swinv2-…).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.backbones.base import Backbone
from perpixel.backbones.swin import SwinModelOutput
from perpixel.backbones.swin_embeddings import SwinEmbeddings
from perpixel.backbones.swinv2_config import Swinv2Config as Swinv2Config
from perpixel.layers.activation import activation
from perpixel.layers.drop_path import drop_path
from perpixel.layers.transformer import Dense
from perpixel.layers.windows import relative_position_bias, shift_mask, window_partition, window_unpartition
from perpixel.models.base import Model
from perpixel.models.outputs import BackboneOutput

# Tokens that go through a feed-forward part at once at inference.
MLP_TOKENS = 8192
# Cosines are multiplied by at most this (section 3.2).
LARGEST_SCALE = 100.0
# Biases lie between 0 and this.
LARGEST_BIAS = 16.0
# Width of the network that makes them.
BIAS_WIDTH = 512
# The mask of shifted windows counts twice in transformers; scores reach 100, so once would not keep all tokens apart.
MASK_COUNT = 2


def relative_coordinates(size: int, pretrained: int, like: Tensor) -> Tensor:
    """The offsets between the tokens of a window, on a logarithmic scale (section 3.3, equation 4).

    Args:
        size: side of the window.
        pretrained: side of the windows of the training, whose largest offsets become ±log₈ 9; 0 is `size`.
        like: gives the type and the device.

    Returns:
        ((2·size - 1)², 2): rows, columns.

    Example:
        >>> relative_coordinates(2, 0, torch.zeros(1))[:3]
        tensor([[-1.0566, -1.0566],
                [-1.0566,  0.0000],
                [-1.0566,  1.0566]])
    """
    steps = torch.arange(1 - size, size, dtype=torch.float32, device=like.device)
    steps = steps / max((pretrained or size) - 1, 1) * 8
    steps = (steps.sign() * torch.log2(steps.abs() + 1) / 3).to(like.dtype)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)


class Swinv2PatchMerging(nn.Module):
    """Joins each 2×2 tokens into one of twice the width; the norm comes last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, h, w, c) → (b, ⌈h/2⌉, ⌈w/2⌉, 2c)."""
        b, h, w, c = tokens.shape
        if h % 2 or w % 2:
            tokens = functional.pad(tokens, (0, 0, 0, w % 2, 0, h % 2))
        quads = tokens.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c)
        # Of the four, the checkpoints have the lower left one before the upper right one.
        quads = quads.permute(0, 1, 3, 4, 2, 5).flatten(3)  # (b, ⌈h/2⌉, ⌈w/2⌉, 4c)
        merged: Tensor = self.norm(self.reduction(quads))
        return merged


class Swinv2SelfAttention(nn.Module):
    """Attention by the cosine of queries and keys, biased by relative positions (sections 3.2 and 3.3)."""

    def __init__(self, config: Swinv2Config, width: int, heads: int, pretrained: int) -> None:
        super().__init__()
        self.heads = heads
        self.pretrained = pretrained
        self.dropout = config.attention_probs_dropout_prob
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.continuous_position_bias_mlp = nn.Sequential(
            nn.Linear(2, BIAS_WIDTH), nn.ReLU(inplace=True), nn.Linear(BIAS_WIDTH, heads, bias=False)
        )
        self.query = nn.Linear(width, width, bias=config.qkv_bias)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=config.qkv_bias)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            tokens: (b · windows, n, c).
            mask: (windows, n, n), added to the scores.
            output_attentions: return the weights (b · windows, heads, n, n) too.
        """
        query, key, value = (
            part(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (b · windows, heads, n, d)
            for part in (self.query, self.key, self.value)
        )
        scale = self.logit_scale.clamp(max=math.log(LARGEST_SCALE)).exp()  # (heads, 1, 1)
        query = functional.normalize(query, dim=-1) * scale
        key = functional.normalize(key, dim=-1)
        bias = self._bias(round(tokens.shape[1] ** 0.5))[None]
        if mask is not None:
            bias = bias + mask[:, None]  # (windows, heads, n, n)
            batch = len(tokens) // len(mask)
            bias = bias.expand(batch, *bias.shape).flatten(0, 1)  # (b · windows, heads, n, n)
        dropout = self.dropout if self.training else 0.0
        if not output_attentions:
            mixed = functional.scaled_dot_product_attention(query, key, value, bias, dropout, scale=1.0)
            return mixed.transpose(1, 2).flatten(2), None  # (b · windows, n, c)
        scores = query @ key.transpose(2, 3) + bias  # (b · windows, heads, n, n)
        weights = functional.dropout(scores.softmax(dim=-1), dropout, self.training)
        return (weights @ value).transpose(1, 2).flatten(2), weights  # (b · windows, n, c)

    def _bias(self, size: int) -> Tensor:
        """The biases of a window of `size`, (heads, size², size²)."""
        table = self.continuous_position_bias_mlp(relative_coordinates(size, self.pretrained, self.logit_scale))
        return relative_position_bias(LARGEST_BIAS * table.sigmoid(), size)


class Swinv2Attention(nn.Module):
    """Window attention with its output projection."""

    def __init__(self, config: Swinv2Config, width: int, heads: int, pretrained: int) -> None:
        super().__init__()
        self.self = Swinv2SelfAttention(config, width, heads, pretrained)
        self.output = Dense(width, width)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b · windows, n, c) to the same shape, with the weights if asked for."""
        mixed, weights = self.self(tokens, mask, output_attentions)
        return self.output(mixed), weights


class Swinv2Layer(nn.Module):
    """One block: attention in windows and the feed-forward part, each with its norm at the end (section 3.2)."""

    def __init__(self, config: Swinv2Config, width: int, heads: int, pretrained: int, drop_rate: float) -> None:
        super().__init__()
        self.attention = Swinv2Attention(config, width, heads, pretrained)
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.intermediate = Dense(width, int(config.mlp_ratio * width))
        self.output = Dense(int(config.mlp_ratio * width), width)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_rate = drop_rate

    def forward(
        self, tokens: Tensor, size: int, shift: int, mask: Tensor | None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, h, w, c) to the same shape.

        Args:
            tokens: the map.
            size: side of a window.
            shift: rows and columns by which the windows are shifted.
            mask: that of `shift_mask`, where they are.
            output_attentions: return the weights (b · windows, heads, n, n) too.
        """
        h, w, c = tokens.shape[1:]
        x = functional.pad(tokens, (0, 0, 0, -w % size, 0, -h % size)) if h % size or w % size else tokens
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        padded = x.shape[1:3]
        x, weights = self.attention(window_partition(x, size).flatten(1, 2), mask, output_attentions)
        x = window_unpartition(x.reshape(-1, size, size, c), *padded)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        x = self.layernorm_before(self.dropout(x[:, :h, :w]))
        tokens = tokens + drop_path(x, self.drop_rate, self.training)
        if torch.is_grad_enabled() or self.training:
            return tokens + drop_path(self._mlp(tokens), self.drop_rate, self.training), weights
        # In bands and in place: inside, the tokens are four times as wide.
        for band in torch.split(tokens, max(1, MLP_TOKENS // (len(tokens) * w)), dim=1):
            band += self._mlp(band)
        return tokens, weights

    def _mlp(self, tokens: Tensor) -> Tensor:
        x = self.output(self.activation(self.intermediate(tokens)))
        normed: Tensor = self.layernorm_after(self.dropout(x))
        return normed


class Swinv2Stage(nn.Module):
    """Blocks of one resolution, with and without a shift in turn; then the merging for the next stage."""

    def __init__(self, config: Swinv2Config, index: int) -> None:
        super().__init__()
        width, heads, first = config.widths[index], config.num_heads[index], sum(config.depths[:index])
        pretrained, last = config.pretrained_window_sizes[index], max(sum(config.depths) - 1, 1)
        self.size, self.shift = config.windows[index], config.shifts[index]
        self.blocks = nn.ModuleList(
            Swinv2Layer(config, width, heads, pretrained, config.drop_path_rate * (first + i) / last)
            for i in range(config.depths[index])
        )
        self.downsample = Swinv2PatchMerging(width) if index + 1 < config.num_layers else None
        self.gradient_checkpointing = False

    def forward(self, tokens: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the blocks on (b, h, w, c); a map that windows do not divide is filled up with zeros.

        Returns:
            What the next stage gets, (b, ⌈h/2⌉, ⌈w/2⌉, 2c), or (b, h, w, c) after the last; the map before the
            merging, (b, h, w, c); the last block's weights (b · windows, heads, n, n) if asked for.
        """
        h, w = tokens.shape[1:3]
        size, mask, weights = self.size, None, None
        if self.shift and len(self.blocks) > 1:
            mask = MASK_COUNT * shift_mask(h + -h % size, w + -w % size, size, self.shift, tokens)
        for i, block in enumerate(self.blocks):
            options = (size, self.shift, mask) if i % 2 else (size, 0, None)
            attend = output_attentions and i + 1 == len(self.blocks)
            if self.gradient_checkpointing and self.training:
                tokens, weights = checkpoint(block, tokens, *options, attend, use_reentrant=False)
            else:
                tokens, weights = block(tokens, *options, attend)
        return tokens if self.downsample is None else self.downsample(tokens), tokens, weights


class Swinv2Encoder(nn.Module):
    """The stages, one after another."""

    def __init__(self, config: Swinv2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Swinv2Stage(config, i) for i in range(config.num_layers))

    def forward(
        self, tokens: Tensor, output_attentions: bool = False
    ) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...] | None]:
        """Run the stages on (b, h, w, c).

        Returns:
            The given tokens and what each stage hands on; the given tokens and each stage's own map; the attention
            weights of each stage if asked for.
        """
        handed, own, attentions = [tokens], [tokens], []
        for stage in self.layers:
            tokens, before, weights = stage(tokens, output_attentions)
            handed.append(tokens)
            own.append(before)
            attentions.append(weights)
        return handed, own, tuple(attentions) if output_attentions else None


class Swinv2PreTrainedModel(Model):
    """What the model and the backbone have in common: the parts and their initial weights."""

    config_class = Swinv2Config
    config: Swinv2Config
    base_model_prefix = "swinv2"
    # Coordinates and indices are computed here; checkpoints before transformers 5 hold them.
    _keys_to_ignore_on_load_unexpected: ClassVar[tuple[str, ...]] = (
        r"relative_position_index$",
        r"relative_coords_table$",
        r"mask_token$",
    )

    def __init__(self, config: Swinv2Config, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = SwinEmbeddings(config, use_mask_token)
        self.encoder = Swinv2Encoder(config)


class Swinv2Model(Swinv2PreTrainedModel):
    """Swin v2: pixels in, the tokens of the last stage and their mean out.

    Example:
        >>> config = Swinv2Config(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4)
        >>> output = Swinv2Model(config).eval()(torch.zeros(1, 3, 33, 47))
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 30, 16]), torch.Size([1, 16]))
    """

    _keys_to_ignore_on_load_missing = (r"mask_token$",)

    def __init__(self, config: Swinv2Config, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
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
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> SwinModelOutput | tuple[Any, ...]:
        """Encode images of any size.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them.
            bool_masked_pos: (b, h · w), true where a patch is replaced by the mask token.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return what each stage hands on; None is the config's choice.
            interpolate_pos_encoding: resample absolute position embeddings, where there are any, to the size.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Raises:
            InputError: the shape is wrong, or the size is not that of absolute position embeddings.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        tokens = self.embeddings(pixel_values, bool_masked_pos, interpolate_pos_encoding)
        handed, _, attentions = self.encoder(tokens, output_attentions=attend)
        last = self.layernorm(handed[-1]).flatten(1, 2)  # (b, n, c)
        output = SwinModelOutput(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(last.transpose(1, 2)).flatten(1),  # (b, c)
            hidden_states=tuple(part.flatten(1, 2) for part in handed) if hidden else None,
            attentions=attentions,
            reshaped_hidden_states=tuple(part.permute(0, 3, 1, 2).contiguous() for part in handed) if hidden else None,
        )
        return self._result(output, return_dict)


class Swinv2Backbone(Swinv2PreTrainedModel, Backbone):
    """Swin v2 as a backbone: the feature map of each stage that the config names, as it is, for any size.

    Example:
        >>> config = Swinv2Config(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4, out_indices=[1, 2])
        >>> [tuple(part.shape) for part in Swinv2Backbone(config).eval()(torch.zeros(1, 3, 33, 47)).feature_maps]
        [(1, 8, 9, 12), (1, 16, 5, 6)]
    """

    # A backbone has no norm of the last tokens.
    _keys_to_ignore_on_load_unexpected = (
        *Swinv2PreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(swinv2\.)?layernorm\.",
    )

    def __init__(self, config: Swinv2Config) -> None:
        super().__init__(config)
        self.num_features = [config.embed_dim, *config.widths]
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Returns:
            `feature_maps`, one (b, c, h, w) a stage of `out_features`; `hidden_states`, the embeddings and every
            stage's tokens, (b, h · w, c), and `attentions`, the weights of each stage's last block, if asked for; a
            tuple of these if `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        tokens = self.embeddings(pixel_values, interpolate_pos_encoding=True)
        _, own, attentions = self.encoder(tokens, output_attentions=attend)
        output = BackboneOutput(
            feature_maps=tuple(
                own[self.stage_names.index(name)].permute(0, 3, 1, 2).contiguous() for name in self.out_features
            ),
            hidden_states=tuple(part.flatten(1, 2) for part in own) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)
