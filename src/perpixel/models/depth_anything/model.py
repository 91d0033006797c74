"""Depth Anything: DINOv2, DPT's neck and a light head, trained on very many photographs.

"Depth Anything: Unleashing the Power of Large-Scale Unlabeled Data", Yang et al., 2024, arXiv 2401.10891, and "Depth
Anything V2", Yang et al., 2024, arXiv 2406.09414. Parameter names are those of the Hugging Face checkpoints. Images may
have any size that the patch divides.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from perpixel.errors import ConfigError
from perpixel.layers.bound import NonNegative
from perpixel.layers.precision import ExactConv2d
from perpixel.models.backbone import build_backbone, giving_tokens
from perpixel.models.base import Model
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.dpt.heads import start_above_zero
from perpixel.models.dpt.model import UNUSED_IN_BACKBONES, train
from perpixel.models.dpt.neck import DPTNeck, DPTReassembleStage
from perpixel.models.dpt.vit import check_divisible
from perpixel.models.fields import pair
from perpixel.models.outputs import DepthEstimatorOutput


class DepthAnythingDepthEstimationHead(nn.Module):
    """Three convolutions; after the first the map gets the input's size."""

    def __init__(self, config: DepthAnythingConfig) -> None:
        super().__init__()
        channels = config.fusion_hidden_size
        self.conv1 = nn.Conv2d(channels, channels // 2, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels // 2, config.head_hidden_size, kernel_size=3, padding=1)
        self.conv3 = ExactConv2d(config.head_hidden_size, 1, kernel_size=1)
        self.bound = NonNegative()
        self.metric = config.depth_estimation_type == "metric"
        self.max_depth = 1.0 if config.max_depth is None else config.max_depth
        if not self.metric:
            start_above_zero(self.conv3)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(b, c, h, w) → (b, *size), above 0 and, if metric, up to `max_depth`."""
        x = functional.interpolate(self.conv1(x), size=size, mode="bilinear", align_corners=True)
        x = self.conv3(functional.relu(self.conv2(x), inplace=True)).squeeze(1)  # (b, H, W)
        return (x.sigmoid() if self.metric else self.bound(x)) * self.max_depth


class DepthAnythingForDepthEstimation(Model):
    """Depth from any photograph.

    Args:
        config: the shape of the model. The weights are random; `from_pretrained` loads trained ones.

    Example:
        >>> import torch
        >>> from perpixel.backbones import config_from_dict
        >>> backbone = config_from_dict({"model_type": "dinov2", "hidden_size": 16, "num_attention_heads": 2,
        ...                              "num_hidden_layers": 4, "image_size": 42, "out_indices": [1, 2, 3, 4]})
        >>> config = DepthAnythingConfig(backbone, reassemble_hidden_size=16, neck_hidden_sizes=[4, 8, 8, 8],
        ...                              fusion_hidden_size=8)
        >>> model = DepthAnythingForDepthEstimation(config).eval()
        >>> with torch.no_grad():
        ...     model(torch.zeros(1, 3, 42, 70)).predicted_depth.shape
        torch.Size([1, 42, 70])
    """

    config_class = DepthAnythingConfig
    config: DepthAnythingConfig
    base_model_prefix = "depth_anything"
    # The token that stands for hidden patches is for DINOv2's own training.
    _keys_to_ignore_on_load_unexpected = UNUSED_IN_BACKBONES
    _keys_to_ignore_on_load_missing = (r"^backbone\..*mask_token$",)

    def __init__(self, config: DepthAnythingConfig) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config)
        self.backbone.config = giving_tokens(self.backbone.config)
        sizes, channels = config.neck_hidden_sizes, self.backbone.channels
        if channels != [config.reassemble_hidden_size] * len(sizes):
            raise ConfigError(
                f"the backbone's maps have {channels} channels but reassemble_hidden_size is "
                f"{config.reassemble_hidden_size} and there are {len(sizes)} neck_hidden_sizes: give the backbone's "
                "hidden_size, and as many sizes as it has out_features"
            )
        self.patch = pair(config.patch_size, "patch_size")
        patch = getattr(self.backbone.config, "patch_size", config.patch_size)
        if self.patch != pair(patch, "patch_size"):
            raise ConfigError(
                f"patch_size is {config.patch_size} but the backbone's is {patch}: set patch_size={patch}"
            )
        reassemble = DPTReassembleStage(channels, sizes, config.reassemble_factors)
        self.neck = DPTNeck(sizes, config.fusion_hidden_size, reassemble, match_sizes=True)
        self.head = DepthAnythingDepthEstimationHead(config)
        self.post_init()

    def post_init(self) -> None:
        """Leave the starting weights alone: the backbone has set its own, neck and head start as the authors' do."""

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
            labels: (b, h, w) depth of any size, inverse depth for a relative model and metres for a metric one. Pixels
                that are 0, negative, NaN or infinite do not count. With labels the loss of the config's `depth_loss`,
                or else of its `depth_estimation_type`, is returned.
            output_attentions: return the attention weights; None is the config's choice.
            output_hidden_states: return the hidden states; None is the config's choice.
            return_dict: return an output object rather than a tuple; None is the config's choice.
            valid_mask: (b, h, w), false or 0 where a label must not count.

        Returns:
            `loss` (a scalar, with labels), `predicted_depth` (b, H, W), and what was asked for.

        Raises:
            InputError: the patch does not divide the size, or the labels do not fit.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        grid = check_divisible(pixel_values, self.patch)
        seen = self.backbone(pixel_values, output_hidden_states=hidden, output_attentions=attend, return_dict=True)
        maps = self.neck(seen.feature_maps, grid)
        depth = self.head(maps[self.config.head_in_index], (pixel_values.shape[2], pixel_values.shape[3]))
        kind = self.config.depth_loss or self.config.depth_estimation_type
        output = DepthEstimatorOutput(
            loss=None if labels is None else train(kind, depth, labels, valid_mask),
            predicted_depth=depth,
            hidden_states=seen.hidden_states if hidden else None,
            attentions=seen.attentions if attend else None,
        )
        return self._result(output, return_dict)
