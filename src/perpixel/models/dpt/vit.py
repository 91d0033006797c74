"""DPT's own ViT: positions for images of any size, and the hybrid's tokens from a convolutional backbone.

"Vision Transformers for Dense Prediction", Ranftl et al., 2021, arXiv 2103.13413, section 3.1. The layers are those of
the plain ViT. The positions are resampled bilinearly, as in the paper's code, where a plain ViT takes bicubic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perpixel.backbones.vit_config import ViTConfig
from perpixel.errors import ConfigError, InputError
from perpixel.layers.position import resample_positions
from perpixel.layers.transformer import ViTPatchEmbeddings
from perpixel.models.backbone import build_backbone
from perpixel.models.dpt.config import HYBRID_STAGES, DPTConfig

# The tokens (b, 1 + h·w, hidden), their grid (h, w), and the maps of the hybrid's first stages.
Embedded = tuple[Tensor, tuple[int, int], tuple[Tensor, ...]]


def check_divisible(pixel_values: Tensor, patch: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of patches of (b, c, H, W) pixels.

    Raises:
        InputError: the patch does not divide the size.
    """
    if pixel_values.ndim != 4:
        raise InputError(f"pixel_values is {tuple(pixel_values.shape)}: (batch, channels, height, width) is needed")
    height, width = pixel_values.shape[2:]
    if height % patch[0] or width % patch[1] or not height or not width:
        rows, columns = max(1, round(height / patch[0])), max(1, round(width / patch[1]))
        raise InputError(
            f"pixel_values is {width}×{height} (width×height), which patches of {patch[1]}×{patch[0]} do not divide: "
            f"resize the image to {columns * patch[1]}×{rows * patch[0]}, or set ensure_multiple_of in the image "
            "processor"
        )
    return height // patch[0], width // patch[1]


class DPTPositions(nn.Module):
    """The class token and the learned positions, of which one set serves every size."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.patch = config.patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1] + 1, config.hidden_size))

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings for a grid, resampled bilinearly where it is not the trained one.

        Args:
            rows: rows of patches.
            columns: columns of patches.

        Returns:
            (1, 1 + rows · columns, hidden), the class token's first.
        """
        return resample_positions(self.position_embeddings, self.grid, (rows, columns), mode="bilinear")

    def place(self, plane: Tensor) -> Tensor:
        """(b, hidden, h, w) tokens on their grid → (b, 1 + h·w, hidden) with class token and positions."""
        rows, columns = plane.shape[2:]
        tokens = plane.flatten(2).transpose(1, 2)  # (b, n, hidden)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)  # (b, 1 + n, hidden)
        return tokens + self.positions(rows, columns)


class DPTViTEmbeddings(DPTPositions):
    """Tokens from the pixels of each patch."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__(config.vit)
        self.patch_embeddings = ViTPatchEmbeddings(config.vit)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor) -> Embedded:
        """(b, c, H, W) → the tokens, their grid and no maps."""
        rows, columns = check_divisible(pixel_values, self.patch)
        tokens = self.dropout(self.place(self.patch_embeddings(pixel_values)))  # (b, 1 + n, hidden)
        return tokens, (rows, columns), ()


class DPTViTHybridEmbeddings(DPTPositions):
    """Tokens from the last map of a convolutional backbone; its earlier maps go to the neck."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__(config.vit)
        self.num_channels = config.num_channels
        self.backbone = build_backbone(config)
        channels = self.backbone.channels
        if len(channels) != HYBRID_STAGES + 1:
            raise ConfigError(
                f"the hybrid's backbone gives {len(channels)} maps, {self.backbone.out_features}: it needs "
                f"{HYBRID_STAGES + 1}, set its out_features to three stages"
            )
        if channels[:HYBRID_STAGES] != config.neck_hidden_sizes[:HYBRID_STAGES]:
            raise ConfigError(
                f"the hybrid's first maps have {channels[:HYBRID_STAGES]} channels and go to the fusion as they are, "
                f"but neck_hidden_sizes is {config.neck_hidden_sizes}: let it begin with {channels[:HYBRID_STAGES]}"
            )
        self.projection = nn.Conv2d(channels[-1], config.hidden_size, kernel_size=1)

    def forward(self, pixel_values: Tensor) -> Embedded:
        """(b, c, H, W) → the tokens, their grid and the maps of the first two stages."""
        grid = check_divisible(pixel_values, self.patch)
        if pixel_values.shape[1] != self.num_channels:
            raise InputError(
                f"pixel_values is {tuple(pixel_values.shape)}: it has to be (b, {self.num_channels}, H, W)"
            )
        maps = self.backbone(
            pixel_values.to(self.projection.weight.dtype),
            output_hidden_states=False,
            output_attentions=False,
            return_dict=True,
        ).feature_maps
        if tuple(maps[-1].shape[2:]) != grid:
            raise ConfigError(
                f"the hybrid's last map has {tuple(maps[-1].shape[2:])} rows and columns where patches of "
                f"{self.patch} make {grid}: set patch_size to the stride of the backbone's last stage"
            )
        return self.place(self.projection(maps[-1])), grid, tuple(maps[:HYBRID_STAGES])
