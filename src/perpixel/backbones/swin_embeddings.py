"""The tokens that Swin and Swin v2 begin with: patches, normed, with positions where the config asks for them.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., 2021, arXiv 2103.14030,
section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.swin_config import SwinConfig
from perpixel.errors import InputError
from perpixel.layers.position import resample_positions
from perpixel.layers.transformer import hide_patches


class SwinPatchEmbeddings(nn.Module):
    """Cuts the image into patches and maps each to a token (section 3.1, "patch partition")."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels, config.embed_dim, kernel_size=config.patch, stride=config.patch
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map (b, c, H, W) pixels to (b, h, w, embed) tokens; the sides are filled up with zeros to whole patches."""
        channels, (rows, columns) = self.projection.in_channels, self.projection.kernel_size
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels or 0 in pixel_values.shape:
            raise InputError(f"pixel_values is {tuple(pixel_values.shape)}: it has to be (b, {channels}, H, W)")
        height, width = pixel_values.shape[2:]
        if height % rows or width % columns:
            pixel_values = functional.pad(pixel_values, (0, -width % columns, 0, -height % rows))
        tokens: Tensor = self.projection(pixel_values.to(self.projection.weight.dtype))  # (b, embed, h, w)
        return tokens.permute(0, 2, 3, 1).contiguous()  # (b, h, w, embed)


class SwinEmbeddings(nn.Module):
    """Patch tokens, normed, with positions where the config asks for them (section 3.1, and table 4)."""

    def __init__(self, config: SwinConfig, use_mask_token: bool = False) -> None:
        super().__init__()
        self.grid = config.grid
        self.patch_embeddings = SwinPatchEmbeddings(config)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim)) if use_mask_token else None
        self.position_embeddings: nn.Parameter | None = None
        if config.use_absolute_embeddings:
            self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], config.embed_dim))
        self.norm = nn.LayerNorm(config.embed_dim)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> Tensor:
        """Return the tokens as a map (b, h, w, embed)."""
        tokens: Tensor = self.norm(self.patch_embeddings(pixel_values))  # (b, h, w, embed)
        if bool_masked_pos is not None:
            tokens = hide_patches(tokens.flatten(1, 2), self.mask_token, bool_masked_pos).reshape(tokens.shape)
        if self.position_embeddings is not None:
            tokens = tokens + self._positions(self.position_embeddings, tokens, interpolate_pos_encoding)
        dropped: Tensor = self.dropout(tokens)
        return dropped

    def _positions(self, learned: Tensor, tokens: Tensor, resample: bool) -> Tensor:
        rows, columns = tokens.shape[1:3]
        if not resample and (rows, columns) != self.grid:
            raise InputError(
                f"pixel_values has {columns}×{rows} patches (width×height) but the position embeddings "
                f"{self.grid[1]}×{self.grid[0]}: resize the image or pass interpolate_pos_encoding=True"
            )
        return resample_positions(learned, self.grid, (rows, columns), first=0).reshape(1, rows, columns, -1)
