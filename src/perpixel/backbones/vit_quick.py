"""The plain vision transformer's layers at inference: the same numbers in fewer passes, and of handier shapes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.dinov2 import Dinov2Layer
from perpixel.backbones.vit import ViTLayer
from perpixel.layers.exporting import is_open
from perpixel.layers.packed import PackedLinear
from perpixel.layers.transformer import LayerStack

# Matrix products are up to 13 % slower with 577 rows, those of 384×384 pixels, than with 576 or 584. A whole number of
# these costs at most 1.4 % more multiplications from the least number of tokens on.
ROWS, LEAST_TOKENS = 8, 500


class QuickViTLayer(ViTLayer):
    """`ViTLayer` in eval mode, with its parameters; see `perpixel.models.optimize`."""

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the attention weights if asked for."""
        mixed, weights = self.attention.attention(self.layernorm_before(tokens), mask, output_attentions)
        tokens = _added(self.attention.output.dense, mixed, tokens)
        inner = self.activation(self.intermediate(self.layernorm_after(tokens)))
        return _added(self.output.dense, inner, tokens), weights


class QuickDinov2Layer(Dinov2Layer):
    """The same for `Dinov2Layer`."""

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the attention weights if asked for."""
        added, weights = self.attention(self.norm1(tokens), mask, output_attentions)
        tokens = torch.addcmul(tokens, added, self.layer_scale1.lambda1)
        return torch.addcmul(tokens, self.mlp(self.norm2(tokens)), self.layer_scale2.lambda1), weights


class QuickStack(LayerStack):
    """`LayerStack` whose tokens become a handy number for matrix products, by some that no other looks at."""

    def forward(
        self, tokens: Tensor, keep: set[int], mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, dict[int, Tensor], tuple[Tensor, ...] | None]:
        """As `LayerStack`."""
        count = tokens.shape[1]
        if is_open(count) or count < LEAST_TOKENS or count % ROWS == 0 or mask is not None or output_attentions:
            return super().forward(tokens, keep, mask, output_attentions)
        filled = functional.pad(tokens, (0, 0, 0, -count % ROWS))
        seen = (torch.arange(filled.shape[1], device=tokens.device) < count)[None, None, None]  # (1, 1, 1, n)
        last, kept, _ = super().forward(filled, keep, seen)
        return last[:, :count], {stage: part[:, :count] for stage, part in kept.items()}, None


def _added(linear: nn.Module, x: Tensor, rest: Tensor) -> Tensor:
    if isinstance(linear, PackedLinear):
        return linear.added(x, rest)
    mapped: Tensor = linear(x)
    return rest + mapped
