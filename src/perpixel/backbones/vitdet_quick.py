"""ViTDet's layer at inference: windows are cut after the projections, and tokens that nobody reads are left out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from perpixel.backbones.vitdet import MLP_TOKENS, Region, VitDetLayer, VitDetResBottleneckBlock
from perpixel.layers.attention import SHORT_SEQUENCE, attend_from, is_quick
from perpixel.layers.exporting import is_recorded
from perpixel.layers.window_attention import attend_in_windows


class QuickVitDetLayer(VitDetLayer):
    """`VitDetLayer` in eval mode, with its parameters; see `perpixel.models.optimize`."""

    def forward(
        self, tokens: Tensor, output_attentions: bool = False, region: Region | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `VitDetLayer`."""
        attention, size = self.attention, self.window_size
        tables = attention.rel_pos_h, attention.rel_pos_w
        fits = 0 < size * size <= SHORT_SEQUENCE and tables[0] is not None and tables[1] is not None
        if output_attentions or not fits or not is_quick(tokens) or is_recorded():
            return super().forward(tokens, output_attentions, region)
        projected = attention.qkv(self.norm1(tokens))
        # A token beyond the edge is zero before the projection.
        outside = projected.new_zeros(projected.shape[-1]) if attention.qkv.bias is None else attention.qkv.bias
        assert tables[0] is not None and tables[1] is not None
        x = attention.proj(attend_in_windows(projected, outside, attention.num_heads, size, tables[0], tables[1]))
        x += tokens
        for band in torch.split(x, max(1, MLP_TOKENS // x.shape[2]), dim=1):
            band += self.mlp(self.norm2(band))
        return (x if self.residual is None else self.residual(x)), None

    def at(self, tokens: Tensor, wanted: Tensor, region: Region | None = None) -> Tensor:
        """As `VitDetLayer.at`; tokens that are not wanted are 0 where leaving them out pays."""
        attention = self.attention
        tables = attention.rel_pos_h, attention.rel_pos_w
        if self.window_size or tables[0] is None or tables[1] is None or not is_quick(tokens) or is_recorded():
            return super().at(tokens, wanted, region)
        b, h, w, c = tokens.shape
        span = None if region is None else (region.height, region.width)
        out = torch.zeros_like(tokens)
        for i in range(b):
            # The convolution of the residual block reads the neighbours.
            near = wanted[i] if self.residual is None else _grown(wanted[i])
            places = near.flatten().nonzero()[:, 0]  # (m,)
            if not len(places):
                continue
            projected = attention.qkv(self.norm1(tokens[i])).view(h * w, 3, attention.num_heads, -1)
            mixed = attend_from(projected, places, tables[0], tables[1], h, w, span)  # (m, c)
            x = attention.proj(mixed)
            x += tokens[i].view(h * w, c)[places]
            for band in torch.split(x, MLP_TOKENS):
                band += self.mlp(self.norm2(band))
            out[i].view(h * w, c)[places] = x if self.residual is None else _residual(self.residual, x, places, h, w)
            if self.residual is not None:
                out[i] *= wanted[i, :, :, None]
        return out


def _grown(mask: Tensor) -> Tensor:
    """(h, w) bool with all neighbours of what is True."""
    return functional.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0] > 0


def _residual(block: VitDetResBottleneckBlock, tokens: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """The block for some tokens (m, c) of a grid; right for those all of whose neighbours are there."""
    x = block.activate(block.norm1(functional.linear(tokens, block.conv1.weight.flatten(1))))
    grid = x.new_zeros(1, height, width, x.shape[-1])
    grid.view(height * width, -1)[places] = x
    grid = block.conv2(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (1, h, w, c / 2)
    x = block.activate(block.norm2(grid.reshape(height * width, -1)[places]))
    change: Tensor = block.norm3(functional.linear(x, block.conv3.weight.flatten(1)))
    return tokens + change
