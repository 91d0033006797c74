"""Swin's attention of an inference copy: one matrix product for query, key and value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from perpixel.layers.packed import PackedLinear
from perpixel.layers.transformer import softmax_attention, split_heads
from perpixel.layers.windows import relative_position_bias, with_shift_mask

if TYPE_CHECKING:
    from perpixel.backbones.swin import SwinSelfAttention


class PackedWindowAttention(PackedLinear):
    """`perpixel.backbones.swin.SwinSelfAttention` with one product for query, key and value.

    Args:
        attention: what it stands for; its table of biases is shared.
    """

    def __init__(self, attention: SwinSelfAttention) -> None:
        super().__init__([attention.query, attention.key, attention.value], ("query", "key", "value"))
        self.heads = attention.heads
        self.relative_position_bias_table = attention.relative_position_bias_table

    def forward(  # type: ignore[override]
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, (b · windows, n, c), as `SwinSelfAttention` does."""
        parts = super().forward(tokens).split(self.sizes, -1)  # type: ignore[no-untyped-call]
        query, key, value = (split_heads(part, self.heads) for part in parts)
        bias = relative_position_bias(self.relative_position_bias_table, round(tokens.shape[1] ** 0.5))
        return softmax_attention(query, key, value, with_shift_mask(bias, mask, len(tokens)), output_attentions)
