"""The plain vision transformer.

"An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et al., 2020,
arXiv 2010.11929, section 3.1. Parameter names are those of the Hugging Face checkpoints (google/vit-…).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from perpixel.backbones.base import Backbone, BackboneConfig
from perpixel.errors import ConfigError, InputError
from perpixel.layers.activation import activation
from perpixel.layers.position import resample_positions
from perpixel.models.base import Model
from perpixel.models.outputs import BackboneOutput, BaseModelOutputWithPooling


@dataclass
class ViTConfig(BackboneConfig):
    """The shape of a vision transformer. The defaults are those of google/vit-base-patch16-224.

    Args:
        hidden_size: width of the tokens; a multiple of `num_attention_heads`.
        num_hidden_layers: number of layers.
        num_attention_heads: attention heads of each layer.
        intermediate_size: width inside the feed-forward part.
        hidden_act: its activation.
        hidden_dropout_prob: dropout of embeddings and of what each part of a layer adds.
        attention_probs_dropout_prob: dropout of the attention weights.
        initializer_range: standard deviation of the random initial weights.
        layer_norm_eps: epsilon of the layer norms.
        image_size: the side, or (height, width), that the position embeddings are made for, in pixels.
        patch_size: the side, or (height, width), of a patch in pixels.
        num_channels: channels of the input.
        qkv_bias: whether query, key and value have biases.
        encoder_stride: upsampling of the masked-image decoder; kept for the file's sake.
        pooler_output_size: width of the pooled vector; `hidden_size` if not given.
        pooler_act: activation of the pooler.
        apply_layernorm: as a backbone, whether the final norm is applied to every feature map.

    Example:
        >>> config = ViTConfig(num_hidden_layers=3, out_features=["stage1", "stage3"])
        >>> config.out_indices
        [1, 3]
    """

    model_type: ClassVar[str] = "vit"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | list[int] = 224
    patch_size: int | list[int] = 16
    num_channels: int = 3
    qkv_bias: bool = True
    encoder_stride: int = 16
    pooler_output_size: int | None = None
    pooler_act: str = "tanh"
    apply_layernorm: bool = True

    def __post_init__(self) -> None:
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size is {self.hidden_size} and num_attention_heads is {self.num_attention_heads}: "
                "the first has to be a multiple of the second"
            )
        self.pooler_output_size = self.pooler_output_size or self.hidden_size
        self.stage_names = ["stem", *(f"stage{i}" for i in range(1, self.num_hidden_layers + 1))]
        super().__post_init__()
        if not all(self.grid):
            raise ConfigError(f"image_size {self.image_size} is smaller than one patch of {self.patch_size}")

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return pair(self.patch_size, "patch_size")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the position embeddings."""
        height, width = pair(self.image_size, "image_size")
        return height // self.patch[0], width // self.patch[1]


def pair(value: int | list[int], name: str) -> tuple[int, int]:
    """Return a config's height and width, which may be given as one side.

    Args:
        value: the side, or height and width.
        name: the field, for the error's message.
    """
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"{name} is {value}: give one positive number or [height, width]")
    return sides[0], sides[1]


class PatchFields(Protocol):
    """What cutting into patches needs of a config."""

    num_channels: int
    hidden_size: int

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""


class AttentionFields(Protocol):
    """What self-attention needs of a config."""

    hidden_size: int
    num_attention_heads: int
    attention_probs_dropout_prob: float

    @property
    def qkv_bias(self) -> bool:
        """Whether query, key and value have biases."""


class ViTPatchEmbeddings(nn.Module):
    """Cuts the image into patches and maps each to a token (section 3.1, equation 1)."""

    def __init__(self, config: PatchFields) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch, stride=config.patch
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map (b, c, H, W) pixels to (b, hidden, h, w) tokens on their grid."""
        channels, patch = self.projection.in_channels, self.projection.kernel_size
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels:
            raise InputError(f"pixel_values is {tuple(pixel_values.shape)}: it has to be (b, {channels}, H, W)")
        if pixel_values.shape[2] < patch[0] or pixel_values.shape[3] < patch[1]:
            raise InputError(
                f"pixel_values is {pixel_values.shape[3]}×{pixel_values.shape[2]} (width×height), smaller than "
                f"one {patch[1]}×{patch[0]} patch: pad or enlarge it"
            )
        tokens: Tensor = self.projection(pixel_values.to(self.projection.weight.dtype))  # (b, hidden, h, w)
        return tokens


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
        if (rows, columns) != self.grid and not interpolate_pos_encoding:
            raise InputError(
                f"pixel_values has {columns}×{rows} patches (width×height) but the position embeddings "
                f"{self.grid[1]}×{self.grid[0]}: resize the image or pass interpolate_pos_encoding=True"
            )
        tokens = plane.flatten(2).transpose(1, 2)  # (b, n, hidden)
        if bool_masked_pos is not None:
            tokens = torch.where(bool_masked_pos.bool()[..., None], self._mask_token(), tokens)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)  # (b, 1 + n, hidden)
        return self.dropout(tokens + self.positions(rows, columns)), (rows, columns)

    def _mask_token(self) -> Tensor:
        if self.mask_token is None:
            raise InputError("bool_masked_pos needs a mask token: build ViTModel(config, use_mask_token=True)")
        return self.mask_token


class ViTSelfAttention(nn.Module):
    """The three projections and the attention between them."""

    def __init__(self, config: AttentionFields) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; the weights (b, heads, n, n) exist only where they are asked for.

        Args:
            tokens: (b, n, hidden).
            mask: bool, false where a token must not be looked at, or a bias that is added to the scores; any shape
                that broadcasts to (b, heads, n, n).
            output_attentions: return the weights too.
        """
        query, key, value = (
            part(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (b, heads, n, d)
            for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        if not output_attentions:
            mixed = functional.scaled_dot_product_attention(query, key, value, mask, dropout)
            return mixed.transpose(1, 2).flatten(2), None  # (b, n, hidden)
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5  # (b, heads, n, n)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        weights = functional.dropout(scores.softmax(dim=-1), dropout, self.training)
        return (weights @ value).transpose(1, 2).flatten(2), weights  # (b, n, hidden)


class ViTDense(nn.Module):
    """A linear map; one class for the three places where the checkpoints call it "dense"."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs)."""
        mapped: Tensor = self.dense(tokens)
        return mapped


class ViTAttention(nn.Module):
    """Multi-head self-attention with its output projection (appendix A)."""

    def __init__(self, config: AttentionFields) -> None:
        super().__init__()
        self.attention = ViTSelfAttention(config)
        self.output = ViTDense(config.hidden_size, config.hidden_size)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map (b, n, hidden) to the same shape, with the weights if asked for."""
        mixed, weights = self.attention(tokens, mask, output_attentions)
        return self.output(mixed), weights


class ViTLayer(nn.Module):
    """One layer: attention, then the feed-forward part, each normed before and added after (equations 2, 3)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention = ViTAttention(config)
        self.intermediate = ViTDense(config.hidden_size, config.intermediate_size)
        self.output = ViTDense(config.intermediate_size, config.hidden_size)
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


class LayerStack(nn.Module):
    """Layers one after another, each called as `ViTLayer` is."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)
        self.gradient_checkpointing = False

    def forward(
        self, tokens: Tensor, keep: set[int], mask: Any = None, output_attentions: bool = False
    ) -> tuple[Tensor, dict[int, Tensor], tuple[Tensor, ...] | None]:
        """Run the layers.

        Args:
            tokens: (b, n, hidden).
            keep: the stages whose output is wanted; 0 is before the first layer.
            mask: what each layer gets as its mask.
            output_attentions: keep the attention weights.

        Returns:
            The last tokens; those after each stage in `keep` (0 is before the first layer); the attention weights
            of each layer if asked for.
        """
        kept = {0: tokens} if 0 in keep else {}
        attentions = []
        for stage, layer in enumerate(self.layer, start=1):
            if self.gradient_checkpointing and self.training:
                tokens, weights = checkpoint(layer, tokens, mask, output_attentions, use_reentrant=False)
            else:
                tokens, weights = layer(tokens, mask, output_attentions)
            if stage in keep:
                kept[stage] = tokens
            attentions.append(weights)
        return tokens, kept, tuple(attentions) if output_attentions else None


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
        hidden = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        attend = self.config.output_attentions if output_attentions is None else output_attentions
        tokens, _ = self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding))
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]  # (b, 1, 1, n)
        count = self.config.num_hidden_layers
        keep = set(range(count + 1)) if hidden else set()
        last, kept, attentions = self.encoder(tokens, keep, mask, attend)
        last = self.layernorm(last)
        output = BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(last),
            hidden_states=tuple(kept[i] for i in range(count + 1)) if hidden else None,
            attentions=attentions,
        )
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()


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
        hidden = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        attend = self.config.output_attentions if output_attentions is None else output_attentions
        tokens, grid = self.embeddings(pixel_values, interpolate_pos_encoding=True)
        wanted = [self.stage_names.index(name) for name in self.out_features]
        stages = range(len(self.stage_names))
        _, kept, attentions = self.encoder(tokens, set(stages if hidden else wanted), None, attend)
        output = BackboneOutput(
            feature_maps=tuple(self._feature_map(kept[i], grid) for i in wanted),
            hidden_states=tuple(kept[i] for i in stages) if hidden else None,
            attentions=attentions,
        )
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    def _feature_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.config.apply_layernorm:
            tokens = self.layernorm(tokens)
        return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *grid)  # (b, hidden, h, w)
