"""What the vision transformers among the backbones share: ViT, ViTDet, BEiT, DINOv2, and partly Swin."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from perpixel.backbones.base import Backbone, BackboneConfig
from perpixel.errors import ConfigError
from perpixel.layers.transformer import LayerStack, seen_tokens
from perpixel.models.base import Model
from perpixel.models.fields import pair
from perpixel.models.outputs import BackboneOutput


class PatchGrid:
    """What follows from the fields `image_size` and `patch_size` of a config."""

    image_size: int | list[int]
    patch_size: int | list[int]

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return pair(self.patch_size, "patch_size")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches that positions are made for."""
        height, width = pair(self.image_size, "image_size")
        return height // self.patch[0], width // self.patch[1]

    def _check_grid(self) -> None:
        if not all(self.grid):
            raise ConfigError(f"image_size {self.image_size} is smaller than one patch of {self.patch_size}")


class TransformerConfig(PatchGrid, BackboneConfig):
    """A config whose stages are the layers of a transformer."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int

    def __post_init__(self) -> None:
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size is {self.hidden_size} and num_attention_heads is {self.num_attention_heads}: "
                "the first has to be a multiple of the second"
            )
        self._name_stages(self.num_hidden_layers)
        super().__post_init__()


class TokenModel(Model):
    """A transformer that keeps its resolution, from its embeddings through its layers: BEiT and DINOv2."""

    embeddings: nn.Module
    encoder: LayerStack

    def _encode(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None,
        attention_mask: Tensor | None,
        stages: list[int],
        output_attentions: bool,
    ) -> tuple[Tensor, dict[int, Tensor], tuple[Tensor, ...] | None, tuple[int, int]]:
        """Return the last tokens, those after `stages`, the attention weights if asked for, and the grid."""
        tokens, grid = self.embeddings(pixel_values, bool_masked_pos)
        mask = self._layer_mask(seen_tokens(attention_mask, tokens), grid, tokens.dtype)
        return *self.encoder(tokens, set(stages), mask, output_attentions), grid

    def _layer_mask(self, seen: Tensor | None, grid: tuple[int, int], dtype: torch.dtype) -> Any:
        """What every layer gets as its mask."""
        return seen


class TokenBackbone(TokenModel, Backbone):
    """Such a transformer as a backbone."""

    @abstractmethod
    def _maps(self, tokens: list[Tensor], grid: tuple[int, int]) -> tuple[Tensor, ...]:
        """Make the feature maps of the tokens (b, n, hidden) of each stage that comes out."""

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        attention_mask: Tensor | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them.
            output_hidden_states: return the embeddings and every layer's output; None is the config's choice.
            output_attentions: return the attention weights; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.
            attention_mask: (b, n), zero where a token must not be looked at.

        Returns:
            `feature_maps`, for each stage of `out_features` (b, hidden, h, w) without the class token and registers,
            or all tokens (b, n, hidden) where `reshape_hidden_states` is False; with a BEiT's `add_fpn` the four are
            4h × 4w, 2h × 2w, h × w and h/2 × w/2. `hidden_states` and `attentions` if asked for; a tuple of these if
            `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        stages = list(range(len(self.stage_names))) if hidden else self.out_indices
        _, kept, attentions, grid = self._encode(pixel_values, None, attention_mask, stages, attend)
        output = BackboneOutput(
            feature_maps=self._maps([kept[i] for i in self.out_indices], grid),
            hidden_states=tuple(kept[i] for i in stages) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)
