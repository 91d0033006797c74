"""The plain vision transformer's layer at inference: what a branch gives is added where it is computed."""

from __future__ import annotations

from torch import Tensor, nn

from perpixel.backbones.vit import ViTLayer
from perpixel.layers.packed import PackedLinear


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


def _added(linear: nn.Module, x: Tensor, rest: Tensor) -> Tensor:
    if isinstance(linear, PackedLinear):
        return linear.added(x, rest)
    mapped: Tensor = linear(x)
    return rest + mapped
