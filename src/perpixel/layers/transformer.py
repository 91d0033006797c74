"""What the vision transformers share: cutting into patches, attention, and the stack of layers.

"An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et al., 2020,
arXiv 2010.11929, section 3.1. ViT, DINOv2, BEiT and DPT are built of these parts, and their checkpoints name the
parameters alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.errors import InputError


class PatchFields(Protocol):
    """What cutting into patches needs of a config."""

    num_channels: int
    hidden_size: int

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""


class AttentionFields(Protocol):
    """What self-attention needs of a config."""

    hidden_size: int
    num_attention_heads: int
    attention_probs_dropout_prob: float

    @property
    def qkv_bias(self) -> bool:
        """Whether query, key and value have biases."""


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(b, n, c) → (b, heads, n, c / heads)."""
    b, n, c = tokens.shape
    return tokens.reshape(b, n, heads, c // heads).transpose(1, 2)


def softmax_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    output_attentions: bool = False,
    *,
    dropout: float = 0.0,
    scale: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Softmax attention (arXiv 1706.03762, section 3.2.1); the weights exist only where they are asked for.

    Args:
        query: (b, heads, n, d).
        key: likewise.
        value: likewise.
        mask: bool, false where a token must not be looked at, or a bias that is added to the scores; any shape
            that broadcasts to (b, heads, n, n).
        output_attentions: return the weights too.
        dropout: of the weights.
        scale: factor of the scores; None is d ** -0.5.

    Returns:
        (b, n, heads · d) and the weights (b, heads, n, n).
    """
    if not output_attentions:
        mixed = functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scale)
        return mixed.transpose(1, 2).flatten(2), None
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)  # (b, heads, n, n)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = functional.dropout(scores.softmax(dim=-1), dropout)
    return (weights @ value).transpose(1, 2).flatten(2), weights


class ViTPatchEmbeddings(nn.Module):
    """Cuts the image into patches and maps each to a token (section 3.1, equation 1)."""

    def __init__(self, config: PatchFields) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch, stride=config.patch
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map (b, c, H, W) pixels to (b, hidden, h, w) tokens on their grid."""
        channels, patch = self.projection.in_channels, self.projection.kernel_size
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels:
            raise InputError(f"pixel_values is {tuple(pixel_values.shape)}: it has to be (b, {channels}, H, W)")
        if pixel_values.shape[2] < patch[0] or pixel_values.shape[3] < patch[1]:
            raise InputError(
                f"pixel_values is {pixel_values.shape[3]}×{pixel_values.shape[2]} (width×height), smaller than "
                f"one {patch[1]}×{patch[0]} patch: pad or enlarge it"
            )
        tokens: Tensor = self.projection(pixel_values.to(self.projection.weight.dtype))  # (b, hidden, h, w)
        return tokens


def hide_patches(tokens: Tensor, mask_token: Tensor | None, masked: Tensor) -> Tensor:
    """Put the mask token in the place of some patches, for a training that restores them (arXiv 2106.08254).

    Args:
        tokens: (b, n, hidden), of the patches alone.
        mask_token: (…, hidden); None where the model has none.
        masked: (b, n), true where a patch is replaced.

    Raises:
        InputError: there is no mask token, or `masked` does not fit the tokens.
    """
    if mask_token is None:
        raise InputError("bool_masked_pos needs a mask token: build the model with use_mask_token=True")
    if masked.shape != tokens.shape[:2]:
        raise InputError(
            f"bool_masked_pos is {tuple(masked.shape)} but the images have {tokens.shape[1]} patches: "
            f"give {tuple(tokens.shape[:2])}"
        )
    return torch.where(masked.bool()[..., None], mask_token.to(tokens.dtype), tokens)


def seen_tokens(attention_mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    """Return the mask for `softmax_attention`, bool (b, 1, 1, n), of one that is zero for what is not looked at.

    Raises:
        InputError: the mask is not (b, n) as the tokens (b, n, hidden) are.
    """
    if attention_mask is None:
        return None
    if attention_mask.shape != tokens.shape[:2]:
        raise InputError(
            f"attention_mask is {tuple(attention_mask.shape)}: there are {tokens.shape[1]} tokens an image, "
            f"so give {tuple(tokens.shape[:2])}"
        )
    return attention_mask.bool()[:, None, None]


def patches_as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay the patches, which come last, on their grid: (b, …+ h·w, hidden) → (b, hidden, h, w)."""
    return tokens[:, -grid[0] * grid[1] :].transpose(1, 2).reshape(len(tokens), -1, *grid)


class ViTSelfAttention(nn.Module):
    """The three projections and the attention between them."""

    def __init__(self, config: AttentionFields) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the weights if asked for; masks as in `softmax_attention`."""
        query, key, value = (split_heads(part(tokens), self.heads) for part in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        return softmax_attention(query, key, value, mask, output_attentions, dropout=dropout)


class Dense(nn.Module):
    """A linear map; one class for all places where the checkpoints call it "dense"."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs)."""
        mapped: Tensor = self.dense(tokens)
        return mapped


class ViTAttention(nn.Module):
    """Multi-head self-attention with its output projection (appendix A)."""

    def __init__(self, config: AttentionFields) -> None:
        super().__init__()
        self.attention = ViTSelfAttention(config)
        self.output = Dense(config.hidden_size, config.hidden_size)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the weights if asked for."""
        mixed, weights = self.attention(tokens, mask, output_attentions)
        return self.output(mixed), weights


class LayerStack(nn.Module):
    """Layers one after another, each called as `ViTLayer` is."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)
        self.gradient_checkpointing = False

    def forward(
        self, tokens: Tensor, keep: set[int], mask: Any = None, output_attentions: bool = False
    ) -> tuple[Tensor, dict[int, Tensor], tuple[Tensor, ...] | None]:
        """Run the layers.

        Args:
            tokens: (b, n, hidden).
            keep: the stages whose output is wanted; 0 is before the first layer.
            mask: what each layer gets as its mask.
            output_attentions: keep the attention weights.

        Returns:
            The last tokens; those after each stage in `keep` (0 is before the first layer); the attention weights
            of each layer if asked for.
        """
        kept = {0: tokens} if 0 in keep else {}
        attentions = []
        for stage, layer in enumerate(self.layer, start=1):
            if self.gradient_checkpointing and self.training:
                tokens, weights = checkpoint(layer, tokens, mask, output_attentions, use_reentrant=False)
            else:
                tokens, weights = layer(tokens, mask, output_attentions)
            if stage in keep:
                kept[stage] = tokens
            attentions.append(weights)
        return tokens, kept, tuple(attentions) if output_attentions else None
