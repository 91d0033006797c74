"""DPT: a vision transformer whose tokens become maps again, for depth and for semantic segmentation.

"Vision Transformers for Dense Prediction", Ranftl et al., 2021, arXiv 2103.13413. Parameter names are those of the
Hugging Face checkpoints. Images may have any size that the patch divides.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.base import Backbone
from perpixel.backbones.vit import ViTEncoder, ViTPooler
from perpixel.errors import ConfigError, InputError
from perpixel.models.backbone import build_backbone, giving_tokens
from perpixel.models.base import Model
from perpixel.models.dpt.config import HYBRID_STAGES, DPTConfig
from perpixel.models.dpt.heads import (
    DPTAuxiliaryHead,
    DPTDepthEstimationHead,
    DPTSemanticSegmentationHead,
    segmentation_loss,
)
from perpixel.models.dpt.neck import DPTNeck, DPTReassembleStage
from perpixel.models.dpt.vit import DPTPositions, DPTViTEmbeddings, DPTViTHybridEmbeddings, check_divisible
from perpixel.models.outputs import (
    BaseModelOutputWithPoolingAndIntermediateActivations,
    DepthEstimatorOutput,
    SemanticSegmenterOutput,
)

# What checkpoints hold of a backbone that gives maps: tables that follow from the config, parts for other tasks.
UNUSED_IN_BACKBONES = (
    r"^backbone\..*(relative_position_index|relative_coords_table|mask_token)$",
    r"^backbone\.(\w+\.)?(layernorm|pooler)\.",
)


class DPTPreTrainedModel(Model):
    """The base of the models below."""

    config_class = DPTConfig
    config: DPTConfig
    base_model_prefix = "dpt"


class DPTModel(DPTPreTrainedModel):
    """DPT's own ViT without neck and head: one token a patch and one for the image.

    Example:
        >>> config = DPTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        ...                    backbone_out_indices=[0, 1, 2, 3])
        >>> model = DPTModel(config).eval()
        >>> model(torch.zeros(1, 3, 32, 48)).last_hidden_state.shape
        torch.Size([1, 7, 32])
    """

    _keys_to_ignore_on_load_missing = (r"^pooler\.",)
    _keys_to_ignore_on_load_unexpected = (r"^pooler\.", r"^neck\.", r"^head\.", r"^auxiliary_head\.")

    def __init__(self, config: DPTConfig, add_pooling_layer: bool = True) -> None:
        """Build the model with fresh weights.

        Args:
            config: its shape, of the kinds that have a ViT of their own.
            add_pooling_layer: whether there is a `pooler_output`.
        """
        super().__init__(config)
        if not config.has_own_vit:
            raise ConfigError(
                "this config's backbone_config replaces the ViT that DPTModel is: build the backbone with "
                "AutoBackbone.from_config(config), or the whole model with DPTForDepthEstimation(config)"
            )
        self.embeddings: DPTViTEmbeddings | DPTViTHybridEmbeddings
        self.embeddings = DPTViTHybridEmbeddings(config) if config.is_hybrid else DPTViTEmbeddings(config)
        self.encoder = ViTEncoder(config.vit)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = ViTPooler(config.vit) if add_pooling_layer else None
        self.post_init()

    def post_init(self) -> None:
        """Set the starting weights of the ViT; the hybrid's backbone has set its own."""
        if any(parameter.is_meta for parameter in self.parameters()):
            return
        backbone = getattr(self.embeddings, "backbone", None)
        theirs = set() if backbone is None else set(backbone.modules())
        with torch.no_grad():
            for module in self.modules():
                if module not in theirs:
                    self._init_weights(module)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DPTPositions):
            nn.init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)
            nn.init.trunc_normal_(module.cls_token, std=self.config.initializer_range)

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPoolingAndIntermediateActivations | tuple[Any, ...]:
        """Encode images.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them; of any size that the patch
                divides, for which the position embeddings are resampled.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the embeddings and every layer's output; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Returns:
            `last_hidden_state` (b, 1 + h · w, hidden) after the final norm, `pooler_output` (b, pooler_output_size),
            `hidden_states` before the final norm and `attentions` if asked for, and `intermediate_activations`, the
            maps of the hybrid's first two stages.

        Raises:
            InputError: the patch does not divide the size.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        stages = range(self.config.num_hidden_layers + 1)
        tokens, _, maps = self.embeddings(pixel_values)
        last, kept, attentions = self.encoder(tokens, set(stages) if hidden else set(), None, attend)
        last = self.layernorm(last)
        output = BaseModelOutputWithPoolingAndIntermediateActivations(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(last),
            hidden_states=tuple(kept[i] for i in stages) if hidden else None,
            attentions=attentions,
            intermediate_activations=maps or None,
        )
        return self._result(output, return_dict)


class DPTWithNeck(DPTPreTrainedModel):
    """What depth and segmentation have in common: the ViT or the backbone, and the neck."""

    # A pooler is for other tasks. A head of the other task is not: its convolutions have the same names.
    _keys_to_ignore_on_load_unexpected = (r"^dpt\.pooler\.", *UNUSED_IN_BACKBONES)
    _keys_to_ignore_on_load_missing = (r"^backbone\..*mask_token$",)

    def __init__(self, config: DPTConfig) -> None:
        super().__init__(config)
        self.backbone: Backbone | None = None
        if config.has_own_vit:
            self.dpt = DPTModel(config, add_pooling_layer=False)
            channels = [config.hidden_size] * len(config.neck_hidden_sizes)
        else:
            self.backbone = build_backbone(config)
            self.backbone.config = giving_tokens(self.backbone.config)  # a pretrained one's: the class token is needed
            channels = self.backbone.channels
        self.neck = _build_neck(config, channels, self.backbone)

    def post_init(self) -> None:
        """Leave the starting weights alone: the ViT has set its own, neck and heads start as in the authors' code."""

    def _fuse(
        self, pixel_values: Tensor, hidden: bool, attend: bool
    ) -> tuple[list[Tensor], tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Run everything but the head.

        Returns:
            The neck's maps from coarse to fine, the hidden states and the attention weights if asked for.
        """
        features: tuple[Tensor, ...]
        if self.backbone is None:
            stages = range(self.config.num_hidden_layers + 1)
            wanted = self.config.vit_stages
            tokens, grid, maps = self.dpt.embeddings(pixel_values)
            _, kept, attentions = self.dpt.encoder(tokens, set(stages if hidden else wanted), None, attend)
            features = (*maps, *(kept[stage] for stage in wanted))
            hidden_states = tuple(kept[stage] for stage in stages) if hidden else None
        else:
            grid = (0, 0)
            patch = getattr(self.backbone.config, "patch_size", None)
            if self.neck.reassemble_stage is not None and patch is not None:
                grid = check_divisible(pixel_values, (patch, patch) if isinstance(patch, int) else tuple(patch))
            seen = self.backbone(pixel_values, output_hidden_states=hidden, output_attentions=attend, return_dict=True)
            features, hidden_states, attentions = seen.feature_maps, seen.hidden_states, seen.attentions
        return self.neck(features, grid), hidden_states if hidden else None, attentions if attend else None


def _build_neck(config: DPTConfig, channels: list[int], backbone: Backbone | None) -> DPTNeck:
    sizes = config.neck_hidden_sizes
    if len(channels) != len(sizes):
        assert backbone is not None
        raise ConfigError(
            f"the backbone gives {len(channels)} maps, {backbone.out_features}, but there are {len(sizes)} "
            "neck_hidden_sizes: choose as many stages in the backbone's out_features"
        )
    reassemble = None
    # Backbones with stages of several layers shrink their maps from stage to stage: there is nothing to reassemble.
    if backbone is not None and (hasattr(backbone.config, "depths") or len(set(channels)) > 1):
        if channels != sizes:
            raise ConfigError(
                f"the backbone's maps have {channels} channels and go to the fusion as they are, but "
                f"neck_hidden_sizes is {sizes}: set neck_hidden_sizes={channels}"
            )
    else:
        if backbone is not None and config.readout_type != "ignore" and not _has_tokens(backbone):
            raise ConfigError(
                f"readout_type is {config.readout_type!r} but a backbone of model_type "
                f"{backbone.config.model_type!r} gives maps without a class token: set readout_type='ignore'"
            )
        reassemble = DPTReassembleStage(
            channels,
            sizes,
            config.reassemble_factors,
            config.readout_type,
            config.hidden_act,
            skipped=HYBRID_STAGES if config.is_hybrid else 0,
        )
    batch_norm, bias = config.use_batch_norm_in_fusion_residual, config.use_bias_in_fusion_residual
    return DPTNeck(sizes, config.fusion_hidden_size, reassemble, batch_norm, not batch_norm if bias is None else bias)


def _has_tokens(backbone: Backbone) -> bool:
    return hasattr(backbone.config, "reshape_hidden_states")


class DPTForDepthEstimation(DPTWithNeck):
    """Depth from a photograph.

    Args:
        config: the shape of the model. The weights are random; `from_pretrained` loads trained ones.

    Example:
        >>> config = DPTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        ...                    backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16],
        ...                    fusion_hidden_size=8)
        >>> model = DPTForDepthEstimation(config).eval()
        >>> with torch.no_grad():
        ...     model(torch.zeros(1, 3, 64, 96)).predicted_depth.shape
        torch.Size([1, 64, 96])
    """

    def __init__(self, config: DPTConfig) -> None:
        super().__init__(config)
        self.head = DPTDepthEstimationHead(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        valid_mask: Tensor | None = None,
    ) -> DepthEstimatorOutput | tuple[Any, ...]:
        """Estimate depth.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them; of any size that the patch
                divides.
            labels: (b, h, w) depth of any size, inverse depth for a relative loss and metres for a metric one. Pixels
                that are 0, negative, NaN or infinite do not count. With labels the loss of the config's `depth_loss`
                is returned.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the hidden states; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.
            valid_mask: (b, h, w), false or 0 where a label must not count.

        Returns:
            `loss` (a scalar, with labels), `predicted_depth` (b, h, w), of the input's size if 32 divides it, and what
            was asked for.

        Raises:
            InputError: the patch does not divide the size, or the labels do not fit.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        maps, hidden_states, attentions = self._fuse(pixel_values, hidden, attend)
        depth = self.head(maps[self.config.head_in_index])
        output = DepthEstimatorOutput(
            loss=None if labels is None else train(self.config.depth_loss or "relative", depth, labels, valid_mask),
            predicted_depth=depth,
            hidden_states=hidden_states,
            attentions=attentions,
        )
        return self._result(output, return_dict)


def train(kind: Literal["relative", "metric"], depth: Tensor, labels: Tensor, mask: Tensor | None) -> Tensor:
    """The loss of predicted depth (b, h, w), resized bilinearly to the labels' size (b, h', w') where it differs."""
    from perpixel.models.dpt.loss import depth_loss

    if labels.ndim != 3 or len(labels) != len(depth):
        raise InputError(
            f"labels is {tuple(labels.shape)} for {len(depth)} images: ({len(depth)}, height, width) is needed"
        )
    if depth.shape != labels.shape:
        size = labels.shape[1:]
        depth = functional.interpolate(depth[:, None], size=size, mode="bilinear", align_corners=False).squeeze(1)
    return depth_loss(kind, depth, labels, mask)


class DPTForSemanticSegmentation(DPTWithNeck):
    """A class for every pixel.

    Args:
        config: the shape of the model and its classes (`id2label` or `num_labels`). The weights are random;
            `from_pretrained` loads trained ones.

    Example:
        >>> config = DPTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        ...                    backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16],
        ...                    fusion_hidden_size=8, num_labels=5)
        >>> model = DPTForSemanticSegmentation(config).eval()
        >>> with torch.no_grad():
        ...     model(torch.zeros(1, 3, 64, 96)).logits.shape
        torch.Size([1, 5, 64, 96])
    """

    def __init__(self, config: DPTConfig) -> None:
        super().__init__(config)
        self.head = DPTSemanticSegmentationHead(config)
        self.auxiliary_head = DPTAuxiliaryHead(config) if config.use_auxiliary_head else None
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SemanticSegmenterOutput | tuple[Any, ...]:
        """Tell the classes.

        Args:
            pixel_values: (b, c, H, W), as the checkpoint's image processor makes them; of any size that the patch
                divides.
            labels: (b, h, w) classes from 0 to `num_labels` - 1, of any size; pixels with
                `semantic_loss_ignore_index` do not count. With labels the cross entropy is returned, with that of the
                auxiliary head where the model has one.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the hidden states; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Returns:
            `loss` (a scalar, with labels), `logits` (b, num_labels, h, w), and what was asked for.

        Raises:
            InputError: the patch does not divide the size, or the labels do not fit.
        """
        if labels is not None and self.config.num_labels == 1:
            raise InputError("labels are given but num_labels is 1: there is nothing to learn from one class, use 2")
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        maps, hidden_states, attentions = self._fuse(pixel_values, hidden, attend)
        logits = self.head(maps[self.config.head_in_index])
        output = SemanticSegmenterOutput(
            loss=None if labels is None else self._loss(logits, maps[-1], labels),
            logits=logits,
            hidden_states=hidden_states,
            attentions=attentions,
        )
        return self._result(output, return_dict)

    def _loss(self, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        ignored = self.config.semantic_loss_ignore_index
        loss = segmentation_loss(logits, labels, ignored)
        if self.auxiliary_head is not None:
            second = segmentation_loss(self.auxiliary_head(features), labels, ignored)
            loss = loss + self.config.auxiliary_loss_weight * second
        return loss
