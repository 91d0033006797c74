"""Swin v2: Swin with cosine attention, biases from a small network, and norms after the parts of a block.

"Swin Transformer V2: Scaling Up Capacity and Resolution", Liu et al., 2021, arXiv 2111.09883, section 3. Parameter
names are those of the Hugging Face checkpoints (microsoft/swinv2-…).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.base import Backbone
from perpixel.backbones.swin import (
    SwinLayer,
    SwinModel,
    SwinModelOutput,
    SwinPatchMerging,
    SwinPreTrainedModel,
    SwinStage,
    Windows,
)
from perpixel.backbones.swin_config import SwinConfig
from perpixel.backbones.swinv2_config import Swinv2Config as Swinv2Config
from perpixel.layers.transformer import softmax_attention, split_heads
from perpixel.layers.windows import relative_position_bias, with_shift_mask
from perpixel.models.outputs import BackboneOutput

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


class Swinv2PatchMerging(SwinPatchMerging):
    """Joins each 2×2 tokens into one of twice the width; the norm comes last."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, h, w, c) → (b, ⌈h/2⌉, ⌈w/2⌉, 2c)."""
        merged: Tensor = self.norm(self.reduction(self.quads(tokens)))
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
        query, key, value = (split_heads(part(tokens), self.heads) for part in (self.query, self.key, self.value))
        scale = self.logit_scale.clamp(max=math.log(LARGEST_SCALE)).exp()  # (heads, 1, 1)
        query = functional.normalize(query, dim=-1) * scale
        key = functional.normalize(key, dim=-1)
        bias = with_shift_mask(self._bias(round(tokens.shape[1] ** 0.5)), mask, len(tokens))
        dropout = self.dropout if self.training else 0.0
        return softmax_attention(query, key, value, bias, output_attentions, dropout=dropout, scale=1.0)

    def _bias(self, size: int) -> Tensor:
        """The biases of a window of `size`, (heads, size², size²)."""
        table = self.continuous_position_bias_mlp(relative_coordinates(size, self.pretrained, self.logit_scale))
        return relative_position_bias(LARGEST_BIAS * table.sigmoid(), size)


class Swinv2Layer(SwinLayer):
    """One block: attention in windows and the feed-forward part, each with its norm at the end (section 3.2)."""

    def _mix(self, tokens: Tensor, windows: Windows, output_attentions: bool) -> tuple[Tensor, Tensor | None]:
        x, weights = self._in_windows(tokens, windows, output_attentions)
        return self.layernorm_before(self.dropout(x)), weights

    def _mlp(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.layernorm_after(self.dropout(self.output(self.activation(self.intermediate(tokens)))))
        return x


class Swinv2Stage(SwinStage):
    """Blocks of one resolution, whose windows follow from the config and not from the map."""

    merging = Swinv2PatchMerging
    mask_count = MASK_COUNT

    def __init__(self, config: Swinv2Config, index: int) -> None:
        super().__init__(config, index)
        self.size, self.shift = config.windows[index], config.shifts[index]

    def _block(self, config: SwinConfig, index: int, drop_rate: float) -> Swinv2Layer:
        assert isinstance(config, Swinv2Config)
        width, pretrained = config.widths[index], config.pretrained_window_sizes[index]
        attention = Swinv2SelfAttention(config, width, config.num_heads[index], pretrained)
        return Swinv2Layer(config, width, attention, drop_rate)

    def _sides(self, h: int, w: int, whole_windows: bool) -> tuple[int, int]:
        return self.size, self.shift


class Swinv2PreTrainedModel(SwinPreTrainedModel):
    """What the model and the backbone have in common: the parts and their initial weights."""

    config_class = Swinv2Config
    config: Swinv2Config
    base_model_prefix = "swinv2"
    _stage = Swinv2Stage
    # Coordinates and indices are computed here; checkpoints before transformers 5 hold them.
    _keys_to_ignore_on_load_unexpected = (
        *SwinPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"relative_coords_table$",
    )


class Swinv2Model(Swinv2PreTrainedModel, SwinModel):
    """Swin v2: pixels in, the tokens of the last stage and their mean out.

    Example:
        >>> config = Swinv2Config(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4)
        >>> output = Swinv2Model(config).eval()(torch.zeros(1, 3, 33, 47))
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 30, 16]), torch.Size([1, 16]))
    """

    # transformers has the arguments in another order than those of Swin.
    def forward(  # type: ignore[override]
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> SwinModelOutput | tuple[Any, ...]:
        """Encode images of any size; see `SwinModel.forward`."""
        return super().forward(
            pixel_values,
            bool_masked_pos,
            interpolate_pos_encoding,
            output_attentions,
            output_hidden_states,
            return_dict,
        )


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
        _, own, attentions = self.encoder(tokens, whole_windows=True, output_attentions=attend)
        output = BackboneOutput(
            feature_maps=tuple(
                own[self.stage_names.index(name)].permute(0, 3, 1, 2).contiguous() for name in self.out_features
            ),
            hidden_states=tuple(part.flatten(1, 2) for part in own) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)
