"""Mask2Former's pixel decoder: the backbone's maps exchange what they saw, and a fine map of embeddings comes out.

"Masked-attention Mask Transformer for Universal Image Segmentation", Cheng et al., 2022, arXiv 2112.01527, section 4.1:
six layers of multi-scale deformable attention over the maps at 1/32, 1/16 and 1/8, then one step of a feature pyramid
to 1/4. Parameter names are those of the Hugging Face checkpoints, below `pixel_level_module.decoder`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.errors import ConfigError, InputError
from perpixel.layers.deformable import MultiScaleDeformableAttention, Shapes, is_exporting, query_blocks
from perpixel.layers.pointwise import convolve_1x1
from perpixel.layers.position import sine_position_embedding
from perpixel.layers.precision import is_lowered
from perpixel.models.outputs import ModelOutput

if TYPE_CHECKING:
    from perpixel.models.mask2former.config import Mask2FormerConfig

# Section 4.1: three levels, and Deformable DETR's four points a head and level.
LEVELS = 3
POINTS = 4
# Section 4.1 of Group Normalization (arXiv 1803.08494).
GROUPS = 32


@dataclass(eq=False)
class Mask2FormerPixelDecoderOutput(ModelOutput):
    """What the pixel decoder gives.

    Attributes:
        multi_scale_features: three (b, c, h, w), at 1/32, 1/16 and 1/8 of the image.
        mask_features: (b, c, H / 4, W / 4), one embedding a pixel, which the queries' masks are dotted with.
        hidden_states: the tokens before the encoder and after each layer, (n, b, c), on request.
        attentions: the weights of each encoder layer, (n, b, heads, levels, points), on request.
    """

    multi_scale_features: tuple[Tensor, ...] | None = None
    mask_features: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Mask2FormerPixelDecoderEncoderLayer(nn.Module):
    """Deformable attention and a feed-forward network, each followed by its norm."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        channels = config.feature_size
        self.dropout = config.dropout
        self.self_attn = MultiScaleDeformableAttention(channels, config.num_attention_heads, LEVELS, POINTS)
        self.self_attn_layer_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, config.encoder_feedforward_dim)
        self.fc2 = nn.Linear(config.encoder_feedforward_dim, channels)
        self.activation = functional.relu
        self.final_layer_norm = nn.LayerNorm(channels)
        for linear in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, tokens: Tensor, positions: Tensor, references: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """(b, n, c) → (b, n, c) and the attention weights (b, n, heads, levels, points)."""
        attended, weights = self.self_attn(tokens, positions, references, shapes)
        return self._finish(tokens, attended), weights

    def update_(
        self, tokens: Tensor, positions: Tensor, references: Tensor, shapes: Shapes, keep_weights: bool
    ) -> Tensor | None:
        """`forward` in place and block by block, so that no tensor as wide as the feed-forward is n tokens long."""
        kept = []
        for image in tokens:
            table = self.self_attn.table(image, shapes)
            for block in query_blocks(len(image)):
                part = image[block]
                attended, weights = self.self_attn.attend(part + positions[0, block], references[block], table)
                image[block] = self._finish(part, attended)
                if keep_weights:
                    kept.append(weights)
        return torch.cat(kept).view(*tokens.shape[:2], *kept[0].shape[1:]) if keep_weights else None

    def _finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        tokens = self.self_attn_layer_norm(tokens + self._drop(attended))
        wide = self._drop(self.activation(self.fc1(tokens)))
        return cast(Tensor, self.final_layer_norm(tokens + self._drop(self.fc2(wide))))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.training and self.dropout else x


class Mask2FormerPixelDecoderEncoderOnly(nn.Module):
    """The layers of deformable attention."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Mask2FormerPixelDecoderEncoderLayer(config) for _ in range(config.encoder_layers))
        self.gradient_checkpointing = False

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        shapes: Shapes,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Run the layers.

        Args:
            tokens: (b, n, c), the levels' pixels one after the other; overwritten where no gradient is needed.
            positions: (1, n, c).
            shapes: (h, w) of every level.
            output_attentions: return the weights.
            output_hidden_states: return the tokens before each layer and after the last.

        Returns:
            (b, n, c), the hidden states (n, b, c) and the weights (n, b, heads, levels, points), as transformers has
            them: tokens first.
        """
        references = reference_points(shapes, tokens)
        states, attentions = [tokens], []
        # Elsewhere than on the CPU a few large operations are faster than many small ones.
        whole = torch.is_grad_enabled() or self.training or tokens.device.type != "cpu" or is_exporting()
        for layer in cast("list[Mask2FormerPixelDecoderEncoderLayer]", self.layers):
            weights: Tensor | None
            if not whole:
                tokens = tokens.clone() if output_hidden_states else tokens
                weights = layer.update_(tokens, positions, references, shapes, output_attentions)
            elif self.gradient_checkpointing and self.training:
                tokens, weights = checkpoint(layer, tokens, positions, references, shapes, use_reentrant=False)
            else:
                tokens, weights = layer(tokens, positions, references, shapes)
            if output_hidden_states:
                states.append(tokens)
            if output_attentions and weights is not None:
                attentions.append(weights)
        return (
            tokens,
            tuple(state.transpose(0, 1) for state in states) if output_hidden_states else None,
            tuple(weight.transpose(0, 1) for weight in attentions) if output_attentions else None,
        )


def reference_points(shapes: Shapes, like: Tensor) -> Tensor:
    """The centres of all pixels, (n, 2), x then y, as fractions of their level; float32 at least."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    levels = []
    for h, w in shapes:
        y = (torch.arange(h, dtype=dtype, device=like.device) + 0.5) / h
        x = (torch.arange(w, dtype=dtype, device=like.device) + 0.5) / w
        levels.append(torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=-1).flatten(0, 1))  # (h·w, 2)
    return torch.cat(levels)


class Mask2FormerPixelDecoder(nn.Module):
    """From the backbone's maps to three levels for the transformer decoder and one fine map for the masks.

    Args:
        config: the model's config; reads feature_size, mask_feature_size, feature_strides, common_stride,
            encoder_layers, encoder_feedforward_dim, num_attention_heads and dropout.
        feature_channels: channels of the backbone's maps, from the finest to the coarsest.
    """

    def __init__(self, config: Mask2FormerConfig, feature_channels: list[int]) -> None:
        super().__init__()
        channels = config.feature_size
        if channels % GROUPS:
            raise ConfigError(f"feature_size is {channels}: it must be divisible by {GROUPS}, the norm's groups")
        finest = min(config.feature_strides[-LEVELS:])
        self.fpn_levels = int(math.log2(finest) - math.log2(config.common_stride))
        if len(feature_channels) < LEVELS or not 0 <= self.fpn_levels <= len(feature_channels):
            raise ConfigError(
                f"the backbone gives {len(feature_channels)} maps, feature_strides is {list(config.feature_strides)} "
                f"and common_stride {config.common_stride}: at least {LEVELS} maps are needed, and a common_stride of "
                f"{finest} or the stride of a finer map"
            )
        self.feature_channels = list(feature_channels)
        self.level_embed = nn.Parameter(torch.empty(LEVELS, channels))
        self.input_projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, 1), nn.GroupNorm(GROUPS, channels))
            for width in reversed(feature_channels[-LEVELS:])
        )
        self.encoder = Mask2FormerPixelDecoderEncoderOnly(config)
        self.mask_projection = nn.Conv2d(channels, config.mask_feature_size, 1)
        for level, width in enumerate(feature_channels[: self.fpn_levels], start=1):
            lateral = nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.GroupNorm(GROUPS, channels))
            output = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, channels),
                nn.ReLU(inplace=True),
            )
            self.add_module(f"adapter_{level}", lateral)
            self.add_module(f"layer_{level}", output)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the starting weights of the projections, as the paper's code does; the encoder has set its own."""
        nn.init.normal_(self.level_embed)
        inputs = {id(module) for module in self.input_projections.modules()}
        for module in self.modules():
            if not isinstance(module, nn.Conv2d):
                continue
            if id(module) in inputs:
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.kaiming_uniform_(module.weight, a=1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self,
        features: list[Tensor] | tuple[Tensor, ...],
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> Mask2FormerPixelDecoderOutput:
        """Decode.

        Args:
            features: the backbone's maps (b, c, h, w), from the finest to the coarsest.
            output_attentions: return the encoder's attention weights.
            output_hidden_states: return the encoder's tokens before each layer and after the last.
        """
        if len(features) != len(self.feature_channels):
            raise InputError(f"{len(features)} feature maps were given but {len(self.feature_channels)} are needed")
        coarse = list(reversed(features[-LEVELS:]))
        shapes = [(x.shape[-2], x.shape[-1]) for x in coarse]
        tokens, hidden_states, attentions = self.encoder(
            self._tokens(coarse), self._positions(shapes, coarse[0]), shapes, output_attentions, output_hidden_states
        )
        levels = tokens.split([h * w for h, w in shapes], dim=1)
        # Tokens are maps whose channels are last in memory; all that follows is faster so.
        outputs = [
            level.unflatten(1, shape).permute(0, 3, 1, 2)  # (b, c, h, w)
            for level, shape in zip(levels, shapes, strict=True)
        ]
        fine = outputs[-1]
        for level in range(self.fpn_levels, 0, -1):
            fine = self._refine(fine, features[level - 1], level)
            outputs.append(fine)
        return Mask2FormerPixelDecoderOutput(
            multi_scale_features=tuple(outputs[:LEVELS]),
            mask_features=self._project(fine),
            hidden_states=hidden_states,
            attentions=attentions,
        )

    def _tokens(self, coarse: list[Tensor]) -> Tensor:
        levels = [
            _normed_1x1(project, x)
            for project, x in zip(cast("list[nn.Sequential]", self.input_projections), coarse, strict=True)
        ]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)  # (b, n, c)
        # Under autocast the sums that run through all layers stay in float32.
        return tokens.float() if is_lowered(tokens) else tokens

    def _positions(self, shapes: Shapes, like: Tensor) -> Tensor:
        """Where a pixel is, and on which level: (1, n, c)."""
        levels = []
        for embedding, (h, w) in zip(self.level_embed, shapes, strict=True):
            place = sine_position_embedding(h, w, len(embedding), dtype=embedding.dtype, device=like.device)
            levels.append(place.flatten(2).transpose(1, 2) + embedding)  # (1, h·w, c)
        return torch.cat(levels, dim=1)

    def _refine(self, coarse: Tensor, feature: Tensor, level: int) -> Tensor:
        """One step of the feature pyramid: (b, c, h, w) and the backbone's map of the finer level → its size."""
        x = functional.interpolate(coarse, size=feature.shape[-2:], mode="bilinear", align_corners=False)
        x += _normed_1x1(cast(nn.Sequential, self.get_submodule(f"adapter_{level}")), feature)
        # One by one, so that each map is freed once the next is there: they are the largest of all.
        for module in cast(nn.Sequential, self.get_submodule(f"layer_{level}")):
            x = module(x)
        return x

    def _project(self, fine: Tensor) -> Tensor:
        return convolve_1x1(self.mask_projection, fine)


def _normed_1x1(project: nn.Sequential, x: Tensor) -> Tensor:
    """A 1×1 convolution and its norm."""
    return cast(Tensor, project[1](convolve_1x1(project[0], x)))
