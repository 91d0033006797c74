"""The plain vision transformer.

"An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et al., 2020,
arXiv 2010.11929, section 3.1. Parameter names are those of the Hugging Face checkpoints (google/vit-…).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perpixel.backbones.base import Backbone
from perpixel.backbones.vit_config import ViTConfig as ViTConfig
from perpixel.errors import InputError
from perpixel.layers.activation import activation
from perpixel.layers.position import resample_positions
from perpixel.layers.transformer import (
    Dense,
    LayerStack,
    ViTAttention,
    ViTPatchEmbeddings,
    hide_patches,
    patches_as_map,
    seen_tokens,
)
from perpixel.models.base import Model
from perpixel.models.outputs import BackboneOutput, BaseModelOutputWithPooling


class ViTEmbeddings(nn.Module):
    """Class token, patch tokens and learned positions (section 3.1, equation 1)."""

    def __init__(self, config: ViTConfig, use_mask_token: bool = False) -> None:
        super().__init__()
        self.grid = config.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size)) if use_mask_token else None
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1] + 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings for a grid, resampled where it is not the trained one.

        Args:
            rows: rows of patches.
            columns: columns of patches.

        Returns:
            (1, 1 + rows · columns, hidden), the class token's first.
        """
        return resample_positions(self.position_embeddings, self.grid, (rows, columns))

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens (b, 1 + h·w, hidden) and their grid (h, w)."""
        plane = self.patch_embeddings(pixel_values)  # (b, hidden, h, w)
        rows, columns = plane.shape[2:]
        if not interpolate_pos_encoding and (rows, columns) != self.grid:
            raise InputError(
                f"pixel_values has {columns}×{rows} patches (width×height) but the position embeddings "
                f"{self.grid[1]}×{self.grid[0]}: resize the image or pass interpolate_pos_encoding=True"
            )
        tokens = plane.flatten(2).transpose(1, 2)  # (b, n, hidden)
        if bool_masked_pos is not None:
            tokens = hide_patches(tokens, self.mask_token, bool_masked_pos)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)  # (b, 1 + n, hidden)
        return self.dropout(tokens + self.positions(rows, columns)), (rows, columns)


class ViTLayer(nn.Module):
    """One layer: attention, then the feed-forward part, each normed before and added after (equations 2, 3)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention = ViTAttention(config)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size)
        self.output = Dense(config.intermediate_size, config.hidden_size)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the attention weights if asked for."""
        added, weights = self.attention(self.layernorm_before(tokens), mask, output_attentions)
        tokens = tokens + self.dropout(added)
        added = self.output(self.activation(self.intermediate(self.layernorm_after(tokens))))
        return tokens + self.dropout(added), weights


class ViTEncoder(LayerStack):
    """The stack of a vision transformer's layers."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(ViTLayer(config) for _ in range(config.num_hidden_layers))


class ViTPooler(nn.Module):
    """One vector for the image, from the class token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.pooler_output_size or config.hidden_size)
        self.activation = activation(config.pooler_act)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (b, n, hidden) to (b, pooler_output_size)."""
        return self.activation(self.dense(tokens[:, 0]))


class ViTPreTrainedModel(Model):
    """What the model and the backbone have in common: the parts and their initial weights."""

    config_class = ViTConfig
    config: ViTConfig
    base_model_prefix = "vit"

    def __init__(self, config: ViTConfig, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = ViTEmbeddings(config, use_mask_token)
        self.encoder = ViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ViTEmbeddings):
            nn.init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)
            nn.init.trunc_normal_(module.cls_token, std=self.config.initializer_range)


class ViTModel(ViTPreTrainedModel):
    """The vision transformer: pixels in, one token a patch and one for the image out.

    Example:
        >>> import torch
        >>> model = ViTModel(ViTConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2)).eval()
        >>> model(torch.zeros(1, 3, 32, 48), interpolate_pos_encoding=True).last_hidden_state.shape
        torch.Size([1, 7, 32])
    """

    # A classifier was trained without the pooler, and masked-image training has a mask token more.
    _keys_to_ignore_on_load_missing = (r"^pooler\.", r"mask_token$")
    _keys_to_ignore_on_load_unexpected = (r"^pooler\.", r"mask_token$")

    def __init__(self, config: ViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        """Build the model with fresh weights.

        Args:
            config: its shape.
            add_pooling_layer: whether there is a `pooler_output`.
            use_mask_token: whether patches can be masked (`bool_masked_pos`).
        """
        super().__init__(config, use_mask_token)
        self.pooler = ViTPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode images.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them.
            bool_masked_pos: (b, h · w), true where a patch is replaced by the mask token.
            interpolate_pos_encoding: accept any size and resample the position embeddings to it.
            attention_mask: (b, 1 + h · w), zero where a token must not be looked at.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the embeddings and every layer's output; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Returns:
            `last_hidden_state` (b, 1 + h · w, hidden) after the final norm, `pooler_output` (b, hidden),
            `hidden_states` before the final norm and `attentions` if asked for.

        Raises:
            InputError: the size is not the config's and `interpolate_pos_encoding` is not set.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        tokens, _ = self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding))
        count = self.config.num_hidden_layers
        keep = set(range(count + 1)) if hidden else set()
        last, kept, attentions = self.encoder(tokens, keep, seen_tokens(attention_mask, tokens), attend)
        last = self.layernorm(last)
        output = BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(last),
            hidden_states=tuple(kept[i] for i in range(count + 1)) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)


class ViTBackbone(ViTPreTrainedModel, Backbone):
    """The vision transformer as a backbone: feature maps of the stages that the config names, for any size.

    transformers has no such class; this one follows its backbones of the same family (DINOv2): the class token is
    dropped, and the final norm is applied to every map unless `apply_layernorm` is False.

    Example:
        >>> import torch
        >>> config = ViTConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, out_indices=[1, 2])
        >>> [tuple(m.shape) for m in ViTBackbone(config).eval()(torch.zeros(1, 3, 48, 64)).feature_maps]
        [(1, 32, 3, 4), (1, 32, 3, 4)]
    """

    _keys_to_ignore_on_load_unexpected = (r"^pooler\.", r"mask_token$")

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Returns:
            `feature_maps`, one (b, hidden, h, w) a stage of `out_features`; `hidden_states` (b, 1 + h · w, hidden)
            and `attentions` if asked for; a tuple of these if `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        tokens, grid = self.embeddings(pixel_values, interpolate_pos_encoding=True)
        wanted = self.out_indices
        stages = range(len(self.stage_names))
        _, kept, attentions = self.encoder(tokens, set(stages if hidden else wanted), None, attend)
        output = BackboneOutput(
            feature_maps=tuple(self._feature_map(kept[i], grid) for i in wanted),
            hidden_states=tuple(kept[i] for i in stages) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)

    def _feature_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.config.apply_layernorm:
            tokens = self.layernorm(tokens)
        return patches_as_map(tokens, grid)
