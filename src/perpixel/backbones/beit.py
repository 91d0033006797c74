"""BEiT: a vision transformer whose attention knows relative positions, trained to restore masked images.

"BEiT: BERT Pre-Training of Image Transformers", Bao et al., 2021, arXiv 2106.08254, sections 2 and 3; the biases for
other image sizes are resampled as in "MiDaS v3.1", Birkl et al., 2023, arXiv 2307.14460. Parameter names are those of
the Hugging Face checkpoints (microsoft/beit-…).
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.beit_config import BeitConfig as BeitConfig
from perpixel.backbones.transformer import TokenBackbone, TokenModel
from perpixel.errors import ConfigError, InputError
from perpixel.layers.activation import activation
from perpixel.layers.drop_path import drop_path
from perpixel.layers.exporting import is_open, is_recorded
from perpixel.layers.position import resample_positions
from perpixel.layers.transformer import (
    Dense,
    LayerStack,
    ViTAttention,
    ViTPatchEmbeddings,
    ViTSelfAttention,
    hide_patches,
    patches_as_map,
)
from perpixel.models.outputs import BaseModelOutputWithPooling


class BeitEmbeddings(nn.Module):
    """Class token and patch tokens, with absolute positions where the config asks for them."""

    def __init__(self, config: BeitConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size)) if config.use_mask_token else None
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.position_embeddings: nn.Parameter | None = None
        if config.use_absolute_position_embeddings:
            count = 1 + self.grid[0] * self.grid[1]
            self.position_embeddings = nn.Parameter(torch.zeros(1, count, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens (b, 1 + h·w, hidden) and their grid (h, w)."""
        plane = self.patch_embeddings(pixel_values)  # (b, hidden, h, w)
        rows, columns = plane.shape[2:]
        tokens = plane.flatten(2).transpose(1, 2)  # (b, h·w, hidden)
        if bool_masked_pos is not None:
            tokens = hide_patches(tokens, self.mask_token, bool_masked_pos)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)  # (b, 1 + h·w, hidden)
        if self.position_embeddings is not None:
            tokens = tokens + resample_positions(self.position_embeddings, self.grid, (rows, columns))
        return self.dropout(tokens), (rows, columns)


class BeitRelativePositionBias(nn.Module):
    """What is added to the score of two patches, by the offset between them (section 3.1 of the paper).

    The last three rows of the table are for the pairs that have no offset: the class token looks at a patch, a patch at
    the class token, the class token at itself.
    """

    def __init__(self, config: BeitConfig) -> None:
        super().__init__()
        self.grid = config.grid
        offsets = (2 * self.grid[0] - 1) * (2 * self.grid[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(offsets + 3, config.num_attention_heads))

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """Return (1, heads, 1 + n, 1 + n) for a grid of n patches: query, key. Other grids than the own: resampled."""
        (h, w), (own_h, own_w) = grid, self.grid
        table = self.relative_position_bias_table
        heads, n = table.shape[1], h * w
        plane = table[:-3].T.reshape(1, heads, 2 * own_h - 1, 2 * own_w - 1)
        if is_open(*grid) or grid != self.grid:
            wide = plane.to(torch.promote_types(plane.dtype, torch.float32))
            wide = functional.interpolate(wide, size=(2 * h - 1, 2 * w - 1), mode="bilinear", align_corners=False)
            plane = wide.to(plane.dtype)
        if is_recorded():
            return plain_bias(table, plane[0], grid)[None]
        # From here the largest offset comes first: element [head, a, b, p, q] is the offset of the query (h - 1 - a,
        # w - 1 - b) from the key (p, q). So no table of indices has to be kept.
        spread = plane[0].flip(1, 2).unfold(1, h, 1).unfold(2, w, 1).flip(1, 2)  # (heads, h, w, h, w)
        bias = table.new_empty(heads, 1 + n, 1 + n)
        bias[:, 0, 1:], bias[:, 1:, 0], bias[:, 0, 0] = table[-3, :, None], table[-2, :, None], table[-1]
        bias[:, 1:, 1:] = spread.reshape(heads, n, n)
        return bias[None]


def plain_bias(table: Tensor, plane: Tensor, grid: tuple[int, int]) -> Tensor:
    """The same bias by indices, which exported files know for grids whose size is left open.

    Args:
        table: (…+ 3, heads), of which the last three rows are read.
        plane: (heads, 2 h - 1, 2 w - 1), the biases of all offsets.
        grid: h, w.

    Returns:
        (heads, 1 + n, 1 + n): query, key.
    """
    h, w = grid
    rows, columns = torch.arange(h, device=plane.device), torch.arange(w, device=plane.device)
    spread = plane[:, rows[:, None] - rows + h - 1]  # (heads, h, h, 2 w - 1)
    spread = spread[..., columns[:, None] - columns + w - 1].transpose(2, 3)  # (heads, h, w, h, w)
    spread = spread.reshape(-1, h * w, h * w)
    to_patch, to_class, itself = table[-3:, :, None, None]
    first = torch.cat([itself, to_patch.expand(-1, 1, h * w)], dim=2)  # (heads, 1, 1 + n)
    return torch.cat([first, torch.cat([to_class.expand(-1, h * w, 1), spread], dim=2)], dim=1)


class BeitSelfAttention(ViTSelfAttention):
    """The three projections, of which the key's has no bias, and the layer's own relative positions."""

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.relative_position_bias = BeitRelativePositionBias(config) if config.use_relative_position_bias else None


class BeitAttention(ViTAttention):
    """Multi-head self-attention with its output projection."""

    attention: BeitSelfAttention

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        self.attention = BeitSelfAttention(config)


class Places(NamedTuple):
    """What every layer has to know of the tokens."""

    grid: tuple[int, int]
    # Added to the scores: (1 or b, 1 or heads, 1 or n, n), the shared biases and the attention mask; None for zero.
    bias: Tensor | None


class BeitLayer(nn.Module):
    """One layer: attention, then the feed-forward part, each normed before, scaled and added after."""

    def __init__(self, config: BeitConfig, drop_rate: float) -> None:
        super().__init__()
        self.attention = BeitAttention(config)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size)
        self.output = Dense(config.intermediate_size, config.hidden_size)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.lambda_1: nn.Parameter | None = None
        self.lambda_2: nn.Parameter | None = None
        if (value := config.layer_scale_init_value) > 0:
            self.lambda_1 = nn.Parameter(torch.full((config.hidden_size,), value))
            self.lambda_2 = nn.Parameter(torch.full((config.hidden_size,), value))
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_rate = drop_rate

    def forward(self, tokens: Tensor, places: Places, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the attention weights if asked for."""
        bias = places.bias
        if (own := self.attention.attention.relative_position_bias) is not None:
            bias = own(places.grid) if bias is None else own(places.grid) + bias
        added, weights = self.attention(self.layernorm_before(tokens), bias, output_attentions)
        tokens = tokens + self._branch(added, self.lambda_1)
        added = self.output(self.activation(self.intermediate(self.layernorm_after(tokens))))
        return tokens + self._branch(added, self.lambda_2), weights

    def _branch(self, added: Tensor, scale: Tensor | None) -> Tensor:
        added = self.dropout(added)
        return drop_path(added if scale is None else added * scale, self.drop_rate, self.training)


class BeitEncoder(LayerStack):
    """The layers, and the relative positions that they share."""

    def __init__(self, config: BeitConfig) -> None:
        last = max(config.num_hidden_layers - 1, 1)
        super().__init__(BeitLayer(config, config.drop_path_rate * i / last) for i in range(config.num_hidden_layers))
        shared = config.use_shared_relative_position_bias
        self.relative_position_bias = BeitRelativePositionBias(config) if shared else None

    def places(self, grid: tuple[int, int], seen: Tensor | None, dtype: torch.dtype) -> Places:
        """Build once what all layers add to their scores."""
        bias = None if self.relative_position_bias is None else self.relative_position_bias(grid)
        if seen is not None:
            hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            hidden = hidden.masked_fill(~seen, torch.finfo(dtype).min)  # (b, 1, 1, n)
            bias = hidden if bias is None else bias + hidden
        return Places(grid, bias)


class BeitPooler(nn.Module):
    """One vector for the image: the normed mean of the patches, or the class token."""

    def __init__(self, config: BeitConfig) -> None:
        super().__init__()
        mean = config.use_mean_pooling
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if mean else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (b, 1 + n, hidden) to (b, hidden)."""
        if self.layernorm is None:
            return tokens[:, 0]
        pooled: Tensor = self.layernorm(tokens[:, 1:].mean(1))
        return pooled


class BeitPreTrainedModel(TokenModel):
    """What the model and the backbone have in common: the parts."""

    config_class = BeitConfig
    config: BeitConfig
    encoder: BeitEncoder
    base_model_prefix = "beit"
    # The table's indices are computed here; older checkpoints hold them.
    _keys_to_ignore_on_load_unexpected: ClassVar[tuple[str, ...]] = (
        r"relative_position_index$",
        r"mask_token$",
        r"^pooler\.",
    )

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        self.embeddings = BeitEmbeddings(config)
        self.encoder = BeitEncoder(config)

    def _layer_mask(self, seen: Tensor | None, grid: tuple[int, int], dtype: torch.dtype) -> Places:
        return self.encoder.places(grid, seen, dtype)


class BeitModel(BeitPreTrainedModel):
    """BEiT: pixels in, one token a patch and one for the image out.

    Example:
        >>> config = BeitConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, image_size=32)
        >>> BeitModel(config).eval()(torch.zeros(1, 3, 32, 48)).last_hidden_state.shape
        torch.Size([1, 7, 32])
    """

    # A checkpoint from masked-image training was trained without the pooler, and not every one has a mask token.
    _keys_to_ignore_on_load_missing = (r"^pooler\.", r"mask_token$")

    def __init__(self, config: BeitConfig, add_pooling_layer: bool = True) -> None:
        """Build the model with fresh weights.

        Args:
            config: its shape.
            add_pooling_layer: whether there is a `pooler_output`.
        """
        super().__init__(config)
        mean = config.use_mean_pooling
        self.layernorm = None if mean else nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = BeitPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode images of any size from one patch.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them.
            bool_masked_pos: (b, h · w), true where a patch is replaced by the mask token.
            interpolate_pos_encoding: changes nothing, positions always fit the image; it is taken for those who
                come from transformers.
            attention_mask: (b, 1 + h · w), zero where a token must not be looked at.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the embeddings and every layer's output; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Returns:
            `last_hidden_state` (b, 1 + h · w, hidden), normed unless `use_mean_pooling`, where the pooler norms;
            `pooler_output` (b, hidden); `hidden_states` and `attentions` if asked for.

        Raises:
            InputError: the image is smaller than a patch, or a mask does not fit it.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        stages = list(range(self.config.num_hidden_layers + 1)) if hidden else []
        last, kept, attentions, _ = self._encode(pixel_values, bool_masked_pos, attention_mask, stages, attend)
        if self.layernorm is not None:
            last = self.layernorm(last)
        output = BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(last),
            hidden_states=tuple(kept[i] for i in stages) if hidden else None,
            attentions=attentions,
        )
        return self._result(output, return_dict)


class BeitBackbone(BeitPreTrainedModel, TokenBackbone):
    """BEiT as a backbone: feature maps of the stages that the config names, for any size from one patch.

    Example:
        >>> config = BeitConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, image_size=32)
        >>> BeitBackbone(config).eval()(torch.zeros(1, 3, 32, 48)).feature_maps[0].shape
        torch.Size([1, 32, 2, 3])
    """

    _keys_to_ignore_on_load_unexpected = (
        *BeitPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^(beit\.)?layernorm\.",
        r"^fpn\d\.",
        r"^(decode_head|auxiliary_head)\.",
    )
    # The pyramid belongs to what is trained on top of a pretrained BEiT.
    _keys_to_ignore_on_load_missing = (r"^fpn\d\.", r"mask_token$")

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.num_features = [width] * (config.num_hidden_layers + 1)
        if config.add_fpn:
            if not config.reshape_hidden_states:
                raise ConfigError("add_fpn works on maps but reshape_hidden_states is False: set it to True")
            self.fpn1 = nn.Sequential(_double(width), nn.BatchNorm2d(width), nn.GELU(), _double(width))
            self.fpn2 = nn.Sequential(_double(width))
        self.post_init()

    def _maps(self, tokens: list[Tensor], grid: tuple[int, int]) -> tuple[Tensor, ...]:
        if self.config.reshape_hidden_states:
            tokens = [patches_as_map(part, grid) for part in tokens]
        return self._pyramid(tokens) if self.config.add_fpn else tuple(tokens)

    def _pyramid(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        if len(maps) != 4:
            raise ConfigError(f"add_fpn needs four stages but out_indices is {self.out_indices}: name four")
        if min(maps[3].shape[2:]) < 2:
            raise InputError(
                f"the image has {maps[3].shape[3]}×{maps[3].shape[2]} patches (width×height) and add_fpn halves them: "
                "enlarge it to two patches a side"
            )
        return self.fpn1(maps[0]), self.fpn2(maps[1]), maps[2], functional.max_pool2d(maps[3], 2)


def _double(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
