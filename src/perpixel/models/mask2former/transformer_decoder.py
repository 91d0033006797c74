"""The transformer decoder of Mask2Former: queries that become segments.

"Masked-attention Mask Transformer for Universal Image Segmentation", Cheng et al., 2022, arXiv 2112.01527. Section 3.2
describes the decoder: masked attention (3.2.1), one map of the pixel decoder after the other (3.2.2), and attention to
the image before attention among the queries (3.2.3). Parameter names are those of the Hugging Face checkpoints.

A query attends to the places that its mask of the layer before covers. The attention needs this mask at the size of
a small map, so the mask features are shrunk once a map and the product is taken there: bilinear resampling and the
product with the query commute, and the full-size masks need not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.layers.activation import activation
from perpixel.layers.position import sine_position_embedding
from perpixel.layers.precision import full_precision
from perpixel.models.mask2former.config import LEVELS, Mask2FormerConfig


@dataclass
class DecoderOutput:
    """What the transformer decoder gives.

    Attributes:
        last_hidden_state: (b, q, c).
        masks_queries_logits: (b, q, h, w) for the queries and for each layer's output, or only for the last.
        intermediate_hidden_states: (q, b, c) after the final norm, for the queries and for each layer's output.
        hidden_states: the same before that norm, on request.
        attentions: (b, heads, q, q) of each layer's self-attention, on request.
    """

    last_hidden_state: Tensor
    masks_queries_logits: tuple[Tensor, ...]
    intermediate_hidden_states: tuple[Tensor, ...]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


def _heads(x: Tensor, heads: int) -> Tensor:
    b, n, width = x.shape
    return x.view(b, n, heads, width // heads).transpose(1, 2)  # (b, heads, n, d)


class Mask2FormerAttention(nn.Module):
    """Self-attention among the queries; their positions go into queries and keys, not into values."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, positions: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """(b, q, c), positions (q, c) → (b, q, c), and the weights (b, heads, q, q) if asked for."""
        placed = x + positions
        query, key = (_heads(layer(placed), self.heads) for layer in (self.q_proj, self.k_proj))
        value = _heads(self.v_proj(x), self.heads)  # (b, heads, q, d)
        rate = self.dropout if self.training else 0.0
        weights = None
        if output_attentions:
            weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(-1)  # (b, heads, q, q)
            mixed = functional.dropout(weights, rate) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights  # (b, q, c)


class MaskedAttention(nn.Module):
    """Attention of the queries to the places of a map that their masks cover (section 3.2.1).

    The parameters are those of `torch.nn.MultiheadAttention`, which the checkpoints come from.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        """Mix the values.

        Args:
            query: (b, q, c), with positions.
            key: (b, n, c), with positions.
            value: (b, n, c).
            allowed: (b, 1, q, n) bool, at least one place a query.

        Returns:
            (b, q, c).
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            _heads(functional.linear(x, weight, bias), self.heads)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        rate = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=rate)
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).flatten(2)))


class Mask2FormerMaskedAttentionDecoderLayer(nn.Module):
    """Masked attention, self-attention, feed-forward network: in this order (section 3.2.3)."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        width, heads = config.hidden_dim, config.num_attention_heads
        self.pre_norm, self.dropout = config.pre_norm, config.dropout
        self.activation = activation(config.activation_function)
        self.self_attn = Mask2FormerAttention(width, heads, config.dropout)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.cross_attn = MaskedAttention(width, heads, config.dropout)
        self.cross_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.dim_feedforward)
        self.fc2 = nn.Linear(config.dim_feedforward, width)
        self.final_layer_norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, gain=config.init_xavier_std)
        for attention in (self.self_attn, self.cross_attn):
            for name, parameter in attention.named_parameters():
                if name.endswith("bias"):
                    nn.init.zeros_(parameter)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        key: Tensor,
        value: Tensor,
        allowed: Tensor,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Update the queries.

        Args:
            x: (b, q, c).
            positions: (q, c), the queries' positions.
            key: (b, n, c), the map with its positions.
            value: (b, n, c), the map.
            allowed: (b, 1, q, n) bool, where each query may look.
            output_attentions: whether to return the weights of the self-attention.

        Returns:
            (b, q, c), and (b, heads, q, q) or None.
        """
        normed = self._before(x, self.cross_attn_layer_norm)
        x = self._after(x, self.cross_attn(normed + positions, key, value, allowed), self.cross_attn_layer_norm)
        normed = self._before(x, self.self_attn_layer_norm)
        mixed, weights = self.self_attn(normed, positions, output_attentions)
        x = self._after(x, mixed, self.self_attn_layer_norm)
        inner = self.activation(self.fc1(self._before(x, self.final_layer_norm)))
        inner = self.fc2(functional.dropout(inner, self.dropout, self.training))
        return self._after(x, inner, self.final_layer_norm), weights

    def _before(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        return cast(Tensor, norm(x)) if self.pre_norm else x

    def _after(self, x: Tensor, update: Tensor, norm: nn.LayerNorm) -> Tensor:
        x = x + functional.dropout(update, self.dropout, self.training)
        return x if self.pre_norm else cast(Tensor, norm(x))


class Mask2FormerMaskPredictor(nn.Module):
    """From a query to the vector whose product with the mask features is the query's mask."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.mask_embedder = nn.Sequential(
            nn.Sequential(nn.Linear(width, width), nn.ReLU()),
            nn.Sequential(nn.Linear(width, width), nn.ReLU()),
            nn.Sequential(nn.Linear(width, config.mask_feature_size)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, q, c) → (b, q, c')."""
        return cast(Tensor, self.mask_embedder(x)).to(x.dtype)


def mask_logits(embeddings: Tensor, features: Tensor) -> Tensor:
    """(b, q, c) vectors and (b, c, h, w) features → (b, q, h, w) logits."""
    with full_precision(features):  # what counts is the sign
        logits = torch.bmm(embeddings, features.flatten(2).to(embeddings.dtype))
    return logits.view(*embeddings.shape[:2], *features.shape[2:])


def attention_region(embeddings: Tensor, features: Tensor) -> Tensor:
    """Where each query may look: in its mask, or everywhere where the mask is empty.

    Args:
        embeddings: (b, q, c), the queries' mask vectors.
        features: (b, c, h, w), the mask features at the size of the map that is attended to.

    Returns:
        (b, 1, q, h·w) bool.
    """
    with torch.no_grad():
        inside = mask_logits(embeddings, features).flatten(2) >= 0  # (b, q, n)
        return (inside | ~inside.any(-1, keepdim=True))[:, None]  # (b, 1, q, n)


class Mask2FormerMaskedAttentionDecoder(nn.Module):
    """The layers, each with the next of the three maps, and a prediction before the first and after each."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Mask2FormerMaskedAttentionDecoderLayer(config) for _ in range(config.decoder_layers - 1)
        )
        self.layernorm = nn.LayerNorm(config.hidden_dim)
        self.mask_predictor = Mask2FormerMaskPredictor(config)
        self.gradient_checkpointing = False

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        mask_features: Tensor,
        sizes: Sequence[tuple[int, int]],
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        every_mask: bool = True,
    ) -> DecoderOutput:
        """Let the queries look at the maps, round robin.

        Args:
            queries: (b, q, c).
            positions: (q, c).
            keys: the maps with their positions, (b, n, c) each.
            values: the maps, (b, n, c) each.
            mask_features: (b, c', h, w).
            sizes: rows and columns of each map.
            output_hidden_states: whether to return the queries before each layer and after the last.
            output_attentions: whether to return the weights of the self-attention.
            every_mask: False to return the masks of the last layer only.
        """
        shrunken = [
            functional.interpolate(mask_features.detach(), size=size, mode="bilinear", align_corners=False)
            for size in sizes[: len(self.layers)]
        ]  # (b, c', h, w) each
        x = queries
        states, normed, vectors = [x], [self.layernorm(x)], []
        attentions: list[Tensor] = []
        vectors.append(self.mask_predictor(normed[-1]))
        for i, layer in enumerate(self.layers):
            level = i % LEVELS
            allowed = attention_region(vectors[-1], shrunken[level])
            arguments = (x, positions, keys[level], values[level], allowed, output_attentions)
            if self.gradient_checkpointing and self.training:
                x, weights = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                x, weights = layer(*arguments)
            states.append(x)
            normed.append(self.layernorm(x))
            vectors.append(self.mask_predictor(normed[-1]))
            if weights is not None:
                attentions.append(weights)
        wanted = vectors if every_mask else vectors[-1:]
        return DecoderOutput(
            last_hidden_state=x,
            masks_queries_logits=tuple(mask_logits(vector, mask_features) for vector in wanted),
            intermediate_hidden_states=tuple(state.transpose(0, 1) for state in normed),
            hidden_states=tuple(state.transpose(0, 1) for state in states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class Mask2FormerTransformerModule(nn.Module):
    """The decoder with what it starts from: the queries, and the maps with their positions and level vectors."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.queries_embedder = nn.Embedding(config.num_queries, width)
        self.queries_features = nn.Embedding(config.num_queries, width)
        self.input_projections = nn.ModuleList(_projection(config) for _ in range(LEVELS))
        self.decoder = Mask2FormerMaskedAttentionDecoder(config)
        self.level_embed = nn.Embedding(LEVELS, width)

    def forward(
        self,
        multi_scale_features: Sequence[Tensor],
        mask_features: Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        every_mask: bool = True,
    ) -> DecoderOutput:
        """Find the segments.

        Args:
            multi_scale_features: three maps (b, c, h, w) from coarse to fine.
            mask_features: (b, c', H / 4, W / 4).
            output_hidden_states: see `Mask2FormerMaskedAttentionDecoder.forward`.
            output_attentions: likewise.
            every_mask: likewise.
        """
        keys, values = [], []
        for level, features in enumerate(multi_scale_features):
            value = self.input_projections[level](features).flatten(2).transpose(1, 2)  # (b, n, c)
            values.append(value + self.level_embed.weight[level])
            h, w = features.shape[2:]
            places = sine_position_embedding(h, w, value.shape[-1], dtype=value.dtype, device=value.device)
            keys.append(values[-1] + places.flatten(2).transpose(1, 2))  # (b, n, c)
        return cast(
            DecoderOutput,
            self.decoder(
                self.queries_features.weight.expand(len(mask_features), -1, -1),  # (b, q, c)
                self.queries_embedder.weight,
                keys,
                values,
                mask_features,
                [tuple(features.shape[2:]) for features in multi_scale_features],
                output_hidden_states,
                output_attentions,
                every_mask,
            ),
        )


def _projection(config: Mask2FormerConfig) -> nn.Module:
    if config.feature_size == config.hidden_dim and not config.enforce_input_projection:
        return nn.Sequential()  # has no parameters, gives its input
    projection = nn.Conv2d(config.feature_size, config.hidden_dim, 1)
    nn.init.xavier_uniform_(projection.weight, gain=config.init_xavier_std)
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)
    return projection
