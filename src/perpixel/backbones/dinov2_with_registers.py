"""DINOv2 with registers: more tokens for what the model wants to remember, so that the patches stay clean.

"Vision Transformers Need Registers", Darcet et al., 2023, arXiv 2309.16588, section 2.2. Everything else is DINOv2.
Parameter names are those of the Hugging Face checkpoints (facebook/dinov2-with-registers-…).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from perpixel.backbones.dinov2 import Dinov2Backbone, Dinov2Embeddings, Dinov2Model, Dinov2Shape
from perpixel.errors import ConfigError


@dataclass
class Dinov2WithRegistersConfig(Dinov2Shape):
    """The shape of a DINOv2 transformer with registers; the defaults are those of transformers.

    Args:
        patch_size: the side, or (height, width), of a patch in pixels; 14 in the published checkpoints.
        reshape_hidden_states: as a backbone, whether feature maps are (b, c, h, w) of the patches alone or all
            tokens, (b, n, c): the class token, the registers, the patches.
        num_register_tokens: how many registers stand between the class token and the patches.

    The other arguments are those of `Dinov2Config`; the mask token is always there.

    Example:
        >>> Dinov2WithRegistersConfig(patch_size=14, num_register_tokens=4).grid
        (16, 16)
    """

    model_type: ClassVar[str] = "dinov2_with_registers"

    patch_size: int | list[int] = 16
    num_register_tokens: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_register_tokens < 0:
            raise ConfigError(f"num_register_tokens is {self.num_register_tokens}: it has to be at least 0")


class Dinov2WithRegistersEmbeddings(Dinov2Embeddings):
    """Class token, registers without a position, patch tokens."""

    # Trained so, unlike plain DINOv2.
    antialias = True

    def __init__(self, config: Dinov2WithRegistersConfig) -> None:
        super().__init__(config, use_mask_token=True)
        self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, config.hidden_size))

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens (b, 1 + registers + h·w, hidden) and the patches' grid (h, w)."""
        tokens, grid = super().forward(pixel_values, bool_masked_pos)
        registers = self.dropout(self.register_tokens.expand(len(tokens), -1, -1))
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1), grid


class Dinov2WithRegistersModel(Dinov2Model):
    """DINOv2 with registers: as `Dinov2Model`, with the registers after the class token.

    Example:
        >>> config = Dinov2WithRegistersConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2)
        >>> Dinov2WithRegistersModel(config).eval()(torch.zeros(1, 3, 32, 48)).last_hidden_state.shape
        torch.Size([1, 11, 32])
    """

    config_class = Dinov2WithRegistersConfig
    base_model_prefix = "dinov2_with_registers"

    def _build_embeddings(self) -> Dinov2Embeddings:
        return Dinov2WithRegistersEmbeddings(self.config)


class Dinov2WithRegistersBackbone(Dinov2Backbone):
    """DINOv2 with registers as a backbone: as `Dinov2Backbone`; a feature map never holds the registers.

    Example:
        >>> config = Dinov2WithRegistersConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2)
        >>> Dinov2WithRegistersBackbone(config).eval()(torch.zeros(1, 3, 32, 48)).feature_maps[0].shape
        torch.Size([1, 32, 2, 3])
    """

    config_class = Dinov2WithRegistersConfig
    base_model_prefix = "dinov2_with_registers"

    def _build_embeddings(self) -> Dinov2Embeddings:
        return Dinov2WithRegistersEmbeddings(self.config)
