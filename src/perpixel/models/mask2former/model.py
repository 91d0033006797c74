"""Mask2Former: one model for semantic, instance and panoptic segmentation.

"Masked-attention Mask Transformer for Universal Image Segmentation", Cheng et al., 2022, arXiv 2112.01527. A backbone
gives maps at 1/4 to 1/32 of the input's size, the pixel decoder lets them exchange what they saw (section 4.1), and
the transformer decoder turns a fixed number of queries into masks, each with a class (section 3.2). Parameter names
are those of the Hugging Face checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from perpixel.errors import InputError
from perpixel.layers.precision import ExactLinear
from perpixel.models.backbone import build_backbone
from perpixel.models.base import Model
from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.loss import Mask2FormerLoss
from perpixel.models.mask2former.padding import Group, covered, groups_of, image_sizes, join
from perpixel.models.mask2former.pixel_decoder import Mask2FormerPixelDecoder
from perpixel.models.mask2former.transformer_decoder import Mask2FormerTransformerModule
from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput, Mask2FormerModelOutput

if TYPE_CHECKING:
    from perpixel.models.mask2former.targets import CompressedMasks


@dataclass
class PixelLevelOutput:
    """The maps that the transformer decoder reads, and those they were made from.

    Attributes:
        features: the backbone's maps (b, c, h, w) from fine to coarse.
        multi_scale_features: the pixel decoder's three maps (b, c, h, w) from coarse to fine.
        mask_features: (b, c, H / 4, W / 4).
    """

    features: tuple[Tensor, ...]
    multi_scale_features: tuple[Tensor, ...]
    mask_features: Tensor


class Mask2FormerPixelLevelModule(nn.Module):
    """The backbone and the pixel decoder."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__()
        self.encoder = build_backbone(config)
        self.decoder = Mask2FormerPixelDecoder(config, self.encoder.channels)

    def forward(self, pixel_values: Tensor) -> PixelLevelOutput:
        """(b, 3, H, W) → the maps."""
        features = self.encoder(
            pixel_values, output_hidden_states=False, output_attentions=False, return_dict=True
        ).feature_maps
        decoded = self.decoder(features)
        return PixelLevelOutput(tuple(features), decoded.multi_scale_features, decoded.mask_features)


class Mask2FormerPreTrainedModel(Model):
    """The base of the two models below."""

    config_class = Mask2FormerConfig
    config: Mask2FormerConfig
    base_model_prefix = "model"
    # A Swin's last norm is for classifiers; its positions' indices are in checkpoints before transformers 5.
    _keys_to_ignore_on_load_unexpected = (r"encoder\.(swin\.)?layernorm\.", r"relative_position_index$", r"mask_token$")

    def post_init(self) -> None:
        """Leave the starting weights alone: every part has set its own, as in the authors' code."""


class Mask2FormerModel(Mask2FormerPreTrainedModel):
    """Masks without classes.

    Args:
        config: the shape of the model. The weights are random; `from_pretrained` loads trained ones.
    """

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__(config)
        self.pixel_level_module = Mask2FormerPixelLevelModule(config)
        self.transformer_module = Mask2FormerTransformerModule(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        every_mask: bool = True,
        whole_canvas: bool | None = None,
    ) -> Mask2FormerModelOutput | tuple[Any, ...]:
        """Find the masks.

        Args:
            pixel_values: (b, 3, H, W) normalised RGB, of any size.
            pixel_mask: (b, H, W), 1 on the pixels of each image and 0 on the padding to its right and below.
            output_hidden_states: whether to return the maps and the queries of every stage.
            output_attentions: whether to return the weights of the queries' self-attention.
            return_dict: False for a tuple instead of a `Mask2FormerModelOutput`.
            every_mask: False to return the masks of the last layer only, which saves time and memory.
            whole_canvas: True computes the padding like a part of the images, as transformers does. False computes
                each image as if it were alone, padded to multiples of 32 as in the paper. None: True in training
                mode, False in evaluation mode.

        Returns:
            see `Mask2FormerModelOutput`; `masks_queries_logits` holds the masks of every layer.

        Raises:
            InputError: for shapes that do not fit.
        """
        if pixel_values.ndim != 4:
            raise InputError(
                f"pixel_values has shape {tuple(pixel_values.shape)}: (batch, channels, height, width) is needed"
            )
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        height, width = pixel_values.shape[2:]
        sizes = None if pixel_mask is None else image_sizes(pixel_values, pixel_mask)
        whole = self.training if whole_canvas is None else whole_canvas
        if sizes is None or whole:
            groups = [Group(list(range(len(pixel_values))), height, width)]
        else:
            # A processor gains nothing from a batch, and alone an image gives the same numbers to the last bit.
            groups = groups_of(sizes, height, width, one_by_one=pixel_values.device.type == "cpu")
        if len(groups) == 1 and (groups[0].height, groups[0].width) == (height, width):
            outputs = [self._look(pixel_values, hidden, attend, every_mask)]
            output = outputs[0]
        else:
            cut = [pixel_values[group.images, :, : group.height, : group.width].contiguous() for group in groups]
            outputs = [self._look(pixels, hidden, attend, every_mask) for pixels in cut]
            output = join(groups, outputs, height, width)
        if sizes is not None:
            output.mask_sizes = covered(sizes, groups, outputs).to(pixel_values.device)
        return self._result(output, return_dict)

    def _look(self, pixel_values: Tensor, hidden: bool, attend: bool, every_mask: bool) -> Mask2FormerModelOutput:
        maps = self.pixel_level_module(pixel_values)
        decoded = self.transformer_module(maps.multi_scale_features, maps.mask_features, hidden, attend, every_mask)
        return Mask2FormerModelOutput(
            encoder_last_hidden_state=maps.features[-1],
            pixel_decoder_last_hidden_state=maps.mask_features,
            transformer_decoder_last_hidden_state=decoded.last_hidden_state,
            encoder_hidden_states=maps.features if hidden else None,
            pixel_decoder_hidden_states=maps.multi_scale_features if hidden else None,
            transformer_decoder_hidden_states=decoded.hidden_states,
            transformer_decoder_intermediate_states=decoded.intermediate_hidden_states if hidden else None,
            masks_queries_logits=decoded.masks_queries_logits,
            attentions=decoded.attentions,
        )


class Mask2FormerForUniversalSegmentation(Mask2FormerPreTrainedModel):
    """Masks, each with the logits of its class.

    Args:
        config: the shape of the model. The weights are random; `from_pretrained` loads trained ones.

    Example:
        >>> import torch
        >>> from perpixel.backbones import config_from_dict
        >>> backbone = config_from_dict({"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "window_size": 2,
        ...                              "num_heads": [1, 2, 2, 2], "out_indices": [1, 2, 3, 4]})
        >>> config = Mask2FormerConfig(backbone, feature_size=32, mask_feature_size=16, hidden_dim=32, num_queries=5,
        ...                            decoder_layers=4, encoder_layers=1, dim_feedforward=32, num_labels=3)
        >>> model = Mask2FormerForUniversalSegmentation(config).eval()
        >>> with torch.no_grad():
        ...     output = model(torch.zeros(1, 3, 64, 96))
        >>> output.class_queries_logits.shape, output.masks_queries_logits.shape
        (torch.Size([1, 5, 4]), torch.Size([1, 5, 16, 24]))
    """

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__(config)
        self.model = Mask2FormerModel(config)
        assert config.num_labels is not None
        self.class_predictor = ExactLinear(config.hidden_dim, config.num_labels + 1)
        self.criterion = Mask2FormerLoss(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        mask_labels: Sequence[Tensor | CompressedMasks] | None = None,
        class_labels: Sequence[Tensor] | None = None,
        pixel_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_auxiliary_logits: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> Mask2FormerForUniversalSegmentationOutput | tuple[Any, ...]:
        """Find the segments.

        Args:
            pixel_values: (b, 3, H, W) normalised RGB, of any size, as `Mask2FormerImageProcessor` makes them.
            mask_labels: for each image the masks of its n objects, (n, H, W) of 0 and 1 or `CompressedMasks`.
            class_labels: for each image the classes of its objects, (n,) integers. With both labels the loss of the
                paper is returned; the batch is then computed as in training, padding included.
            pixel_mask: (b, H, W), 1 on the pixels of each image and 0 on the padding to its right and below. In
                evaluation mode every image is then computed as if alone, and the maps are 0 beyond its size rounded
                up to 32; in training mode only `mask_sizes` follows from it.
            output_hidden_states: whether to return the maps and the queries of every stage.
            output_auxiliary_logits: whether to return the predictions of the earlier layers.
            output_attentions: whether to return the weights of the queries' self-attention.
            return_dict: False for a tuple instead of a `Mask2FormerForUniversalSegmentationOutput`.

        Returns:
            `loss` (a scalar, with labels), `class_queries_logits` (b, q, k + 1), `masks_queries_logits`
            (b, q, H / 4, W / 4), and what was asked for; see `Mask2FormerForUniversalSegmentationOutput`.

        Raises:
            InputError: for shapes that do not fit, or one kind of labels without the other.
        """
        if (mask_labels is None) != (class_labels is None):
            given, lacking = ("class_labels", "mask_labels") if mask_labels is None else ("mask_labels", "class_labels")
            raise InputError(f"{given} is given without {lacking}: the loss needs both, inference neither")
        hidden = self._flag("output_hidden_states", output_hidden_states)
        auxiliary = self._flag("output_auxiliary_logits", output_auxiliary_logits)
        supervised = mask_labels is not None and self.config.use_auxiliary_loss
        every = auxiliary or supervised
        seen = self.model(
            pixel_values,
            pixel_mask=pixel_mask,
            output_hidden_states=hidden or every,
            output_attentions=output_attentions,
            return_dict=True,
            every_mask=every,
            whole_canvas=True if mask_labels is not None else None,
        )
        masks = seen.masks_queries_logits[-1]
        classes, earlier = self._classes(seen, every)
        loss = None
        if mask_labels is not None:
            losses = self.criterion(masks, classes, mask_labels, class_labels, earlier if supervised else None)
            loss = self.criterion.total(losses)
        output = Mask2FormerForUniversalSegmentationOutput(
            loss=loss,
            class_queries_logits=classes,
            masks_queries_logits=masks,
            auxiliary_logits=earlier if auxiliary else None,
            encoder_last_hidden_state=seen.encoder_last_hidden_state,
            pixel_decoder_last_hidden_state=seen.pixel_decoder_last_hidden_state,
            transformer_decoder_last_hidden_state=seen.transformer_decoder_last_hidden_state,
            encoder_hidden_states=seen.encoder_hidden_states if hidden else None,
            pixel_decoder_hidden_states=seen.pixel_decoder_hidden_states if hidden else None,
            transformer_decoder_hidden_states=seen.transformer_decoder_hidden_states if hidden else None,
            attentions=seen.attentions,
            mask_sizes=seen.mask_sizes,
        )
        return self._result(output, return_dict)

    def _classes(self, seen: Mask2FormerModelOutput, every: bool) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """The class logits of the last layer (b, q, k + 1), and the predictions of the earlier ones."""
        last = self.model.transformer_module.decoder.layernorm(seen.transformer_decoder_last_hidden_state)
        states, masks = seen.transformer_decoder_intermediate_states, seen.masks_queries_logits
        earlier = []
        if every:
            assert states is not None and masks is not None
            earlier = [
                {"masks_queries_logits": mask, "class_queries_logits": self.class_predictor(state.transpose(0, 1))}
                for mask, state in zip(masks[:-1], states[:-1], strict=True)
            ]
        return self.class_predictor(last), earlier
