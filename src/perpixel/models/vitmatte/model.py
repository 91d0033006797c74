"""ViTMatte: a plain vision transformer and a light convolutional decoder that together draw an alpha.

"ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", Yao et al., 2023, arXiv 2305.15272.
Section 3.3 adapts the transformer (see `perpixel.backbones.vitdet`), section 3.4 describes the detail capture module.
Parameter names are those of the Hugging Face checkpoints.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.vitdet import Region, VitDetBackbone, VitDetConfig
from perpixel.errors import ConfigError, InputError
from perpixel.layers.exporting import is_recorded
from perpixel.layers.precision import ExactConv2d
from perpixel.models.backbone import build_backbone
from perpixel.models.base import Model
from perpixel.models.outputs import ImageMattingOutput
from perpixel.models.vitmatte.config import VitMatteConfig
from perpixel.models.vitmatte.decode import AREA, MARGIN, decode, features_read
from perpixel.models.vitmatte.loss import matting_loss

HEAD_CHANNELS = 16
# Tiles, attention blocks and the libraries' own buffers, whatever the image's size; measured.
WORKSPACE = 60_000_000
# The trimap channel runs from 0 to 1; unknown is in the middle.
UNKNOWN_VALUES = (0.25, 0.75)


class VitMatteBasicConv3x3(nn.Module):
    """3×3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, c', h / stride, w / stride), rounded up."""
        return functional.relu(self.batch_norm(self.conv(x)), inplace=True)


class VitMatteConvStream(nn.Module):
    """The detail branch: the pixels themselves, and convolutions at 1/2, 1/4 and 1/8 of their size."""

    def __init__(self, config: VitMatteConfig, in_channels: int) -> None:
        super().__init__()
        sizes = [in_channels, *config.convstream_hidden_sizes]
        self.convs = nn.ModuleList(
            VitMatteBasicConv3x3(before, after, 2, config.batch_norm_eps) for before, after in pairwise(sizes)
        )

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """(b, 4, H, W) → the pixels, then the maps from the largest to the smallest."""
        maps = [pixel_values]
        for convolution in self.convs:
            maps.append(convolution(maps[-1]))
        return maps


class VitMatteFusionBlock(nn.Module):
    """Double the features' size and fuse them with the detail of that size."""

    def __init__(self, in_channels: int, out_channels: int, eps: float) -> None:
        super().__init__()
        self.conv = VitMatteBasicConv3x3(in_channels, out_channels, 1, eps)

    def forward(self, features: Tensor, detail: Tensor) -> Tensor:
        """(b, c, h, w) and (b, c2, 2h, 2w) → (b, c', 2h, 2w)."""
        larger = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        return cast(Tensor, self.conv(torch.cat([detail, larger], dim=1)))


class VitMatteHead(nn.Module):
    """Two convolutions from the last features to the alpha's logit."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.matting_convs = nn.Sequential(
            nn.Conv2d(in_channels, HEAD_CHANNELS, 3, padding=1),
            nn.BatchNorm2d(HEAD_CHANNELS),
            nn.ReLU(inplace=True),
            ExactConv2d(HEAD_CHANNELS, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, 1, h, w)."""
        return cast(Tensor, self.matting_convs(x))


class VitMatteDetailCaptureModule(nn.Module):
    """The decoder: fuses the transformer's features with ever finer detail (section 3.4)."""

    def __init__(self, config: VitMatteConfig, in_channels: int) -> None:
        super().__init__()
        self.convstream = VitMatteConvStream(config, in_channels)
        details = [*reversed(config.convstream_hidden_sizes), in_channels]
        features = [config.hidden_size, *config.fusion_hidden_sizes]
        self.fusion_blocks = nn.ModuleList(
            VitMatteFusionBlock(before + detail, after, config.batch_norm_eps)
            for before, after, detail in zip(features[:-1], features[1:], details, strict=True)
        )
        self.matting_head = VitMatteHead(config.fusion_hidden_sizes[-1])

    def forward(self, features: Tensor, pixel_values: Tensor) -> Tensor:
        """(b, c, H / 16, W / 16) features and (b, 4, H, W) pixels → (b, 1, H, W) alphas in [0, 1]."""
        details = self.convstream(pixel_values)
        for block, detail in zip(self.fusion_blocks, reversed(details), strict=True):
            features = block(features, detail)
        return torch.sigmoid(self.matting_head(features).float())


class VitMatteForImageMatting(Model):
    """Alpha mattes from photographs and trimaps.

    Args:
        config: the shape of the model. The weights are random; `from_pretrained` loads trained ones.

    Example:
        >>> import torch
        >>> from perpixel.backbones.vitdet import VitDetConfig
        >>> backbone = VitDetConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, num_channels=4)
        >>> config = VitMatteConfig(backbone, hidden_size=32, convstream_hidden_sizes=[4, 8, 16],
        ...                         fusion_hidden_sizes=[16, 8, 8, 8])
        >>> model = VitMatteForImageMatting(config).eval()
        >>> with torch.no_grad():
        ...     model(torch.zeros(1, 4, 64, 96)).alphas.shape
        torch.Size([1, 1, 64, 96])
    """

    config_class = VitMatteConfig
    config: VitMatteConfig

    def __init__(self, config: VitMatteConfig) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config)
        # Each fusion block doubles the size, from one token to the pixels of its patch.
        self.stride: int = 2 ** len(config.fusion_hidden_sizes)
        patch = getattr(config.backbone_config, "patch_size", None)
        if patch not in (None, self.stride, [self.stride, self.stride]):
            raise ConfigError(
                f"the backbone's patch_size is {patch} but {len(config.fusion_hidden_sizes)} fusion_hidden_sizes "
                f"enlarge {self.stride} times: the two must be equal"
            )
        channels = self.backbone.channels[-1]
        if channels != config.hidden_size:
            raise ConfigError(
                f"hidden_size is {config.hidden_size} but the backbone's last feature map has {channels} channels: "
                f"set hidden_size={channels} or another backbone"
            )
        self.decoder = VitMatteDetailCaptureModule(config, getattr(config.backbone_config, "num_channels", 4))
        self.post_init()

    def post_init(self) -> None:
        """Set the decoder's starting weights; the backbone has set its own, or brought trained ones."""
        if any(parameter.is_meta for parameter in self.parameters()):
            return
        # transformers draws the gain of the batch norms around 0, which trains badly: torch's start at 1 is kept.
        for module in self.decoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def tile_multiple(self) -> int:
        """Tiles that start at multiples of so many pixels have the attention windows of the whole image.

        They also end in its padding, which fills up to multiples of 32 pixels.
        """
        config = self.config.backbone_config
        windows = config.window_size if isinstance(config, VitDetConfig) and config.window_block_indices else 1
        return math.lcm(self.stride * windows, 32)

    def region(self, top: int, left: int, height: int, width: int) -> Region | None:
        """The place of a tile in an image, for `forward`; None where the backbone has no use for it.

        Args:
            top: the image's row, in pixels, where the tile starts; divisible by the patch size.
            left: the column, likewise.
            height: the image's height in pixels.
            width: the image's width.
        """
        if not isinstance(self.config.backbone_config, VitDetConfig):
            return None
        rows, columns = (-(-side // 32) * 32 // self.stride for side in (height, width))
        return Region(top // self.stride, left // self.stride, rows, columns)

    def working_memory(self, height: int, width: int, area: int | None = None) -> int:
        """Estimate the bytes that inference takes beside the weights, for an image of height × width pixels.

        `area` is that of `forward`. Attention weights, hidden states and gradients, if asked for, come on top.
        """
        config = self.config
        fusion, stream = config.fusion_hidden_sizes, config.convstream_hidden_sizes
        # Channels of an area that the decoder holds at full size, 1/2, 1/4 …: a level's output, its input, its detail.
        levels = zip([0, *reversed(fusion[:-1])], [*reversed(fusion[:-1]), 0], [4, *stream], strict=True)
        decoder = sum((out + into / 4 + detail) / 4**i for i, (out, into, detail) in enumerate(levels))
        patch = 2 ** len(fusion)
        sides = (min(-(-side // 32) * 32, (area or AREA) + 2 * MARGIN * patch) for side in (height, width))
        # Global attention holds eight maps of tokens: the input, its norm, query, key, value, their copies, the output.
        image = 4 + 8 * config.hidden_size / patch**2
        pixels = -(-height // 32) * -(-width // 32) * 1024
        return int(self.dtype.itemsize * (image * pixels + decoder * math.prod(sides))) + WORKSPACE

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        image_sizes: Tensor | list[tuple[int, int]] | None = None,
        needed: Tensor | None = None,
        region: Region | None = None,
        area: int | None = None,
    ) -> ImageMattingOutput | tuple[Any, ...]:
        """Estimate the alpha of every pixel.

        Args:
            pixel_values: (b, 4, H, W) normalised RGB and the trimap in [0, 1], H and W divisible by the patch size
                (16 as a rule), as `VitMatteImageProcessor` makes them.
            output_attentions: whether to return the attention weights; this builds every matrix of them.
            output_hidden_states: whether to return the backbone's feature maps after every layer.
            labels: (b, H, W) or (b, 1, H, W) true alphas, float in [0, 1] or whole numbers of 0 to 255 (0 and 1 where
                nothing is larger). With labels the loss of the paper is returned; in a batch of mixed sizes it is the
                mean of the images' own losses.
            return_dict: False for a tuple instead of an `ImageMattingOutput`.
            image_sizes: (b, 2) height and width that each image has in a batch of mixed sizes, divisible by the patch
                size; `VitMatteImageProcessor` gives it where it is needed. Every image is then computed as if alone.
            needed: (b, 1, H, W) bool; pixels elsewhere may be left at 0, which saves time. Inference only.
            region: the patches of a larger image that the pixels are, if they are a tile of it; `region()` makes it.
            area: side of the areas that the decoder works on one after the other at inference, divisible by the patch
                size: smaller ones take less memory and more time, and give the same numbers.

        Returns:
            `loss` (a scalar, if labels are given), `alphas` (b, 1, H, W) in [0, 1], `hidden_states` and `attentions`
            if asked for.

        Raises:
            InputError: for shapes that do not fit.
        """
        sizes = _distinct_sizes(pixel_values, image_sizes)
        hidden = self._flag("output_hidden_states", output_hidden_states)
        attend = self._flag("output_attentions", output_attentions)
        if sizes is None:
            alphas, states, attentions = self._estimate(pixel_values, hidden, attend, needed, region, area)
        else:
            if attend or hidden:
                raise InputError(
                    "attentions and hidden states of a batch of mixed sizes have no common shape: "
                    "run the images one at a time for them"
                )
            alphas, states, attentions = self._estimate_mixed(pixel_values, sizes, needed), None, None
        loss = None
        if labels is not None:
            loss = self._loss(pixel_values, alphas, labels, sizes)
        output = ImageMattingOutput(loss=loss, alphas=alphas, hidden_states=states, attentions=attentions)
        return self._result(output, return_dict)

    def _estimate(
        self,
        pixel_values: Tensor,
        hidden: bool,
        attend: bool,
        needed: Tensor | None,
        region: Region | None = None,
        area: int | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        if pixel_values.ndim != 4 or pixel_values.shape[2] % self.stride or pixel_values.shape[3] % self.stride:
            raise InputError(
                f"pixel_values has shape {tuple(pixel_values.shape)}: ViTMatte needs (batch, 4, height, width) with "
                f"height and width divisible by {self.stride}; the image processor pads to that with do_pad=True and "
                f"a size_divisibility that {self.stride} divides"
            )
        place: dict[str, Any] = {} if region is None else {"region": region}
        whole = torch.is_grad_enabled() or self.training or is_recorded()
        if needed is not None and not (whole or hidden or attend) and isinstance(self.backbone, VitDetBackbone):
            place["wanted"] = features_read(needed, self.stride, area)
        outputs = self.backbone(
            pixel_values, output_hidden_states=hidden, output_attentions=attend, return_dict=True, **place
        )
        features = outputs.feature_maps[-1]  # (b, c, H / 16, W / 16)
        if whole:
            alphas = self.decoder(features, pixel_values)
        else:
            alphas = decode(self.decoder, features, pixel_values, needed, area)
        return alphas, outputs.hidden_states, outputs.attentions

    def _estimate_mixed(self, pixel_values: Tensor, sizes: list[tuple[int, int]], needed: Tensor | None) -> Tensor:
        b, _, height, width = pixel_values.shape
        parts = []
        for i, (h, w) in enumerate(sizes):
            wanted = None if needed is None else needed[i : i + 1, :, :h, :w]
            alpha, _, _ = self._estimate(pixel_values[i : i + 1, :, :h, :w], False, False, wanted)
            parts.append(functional.pad(alpha, (0, width - w, 0, height - h)))
        return torch.cat(parts) if b else pixel_values.new_zeros(0, 1, height, width)  # (b, 1, H, W)

    def _loss(
        self, pixel_values: Tensor, alphas: Tensor, labels: Tensor, sizes: list[tuple[int, int]] | None
    ) -> Tensor:
        if labels.ndim == 3:
            labels = labels[:, None]
        if labels.shape != alphas.shape:
            raise InputError(
                f"labels has shape {tuple(labels.shape)} but the alphas are {tuple(alphas.shape)}: "
                "give the true alphas padded like the pixel values"
            )
        if not labels.is_floating_point() and labels.dtype != torch.bool and bool((labels > 1).any()):
            labels = labels / 255
        low, high = UNKNOWN_VALUES
        trimap = pixel_values[:, 3:4]
        unknown = (trimap > low) & (trimap < high)
        labels = labels.to(alphas.device)
        if sizes is None:
            parts = [(alphas, labels, unknown)]
        else:
            # Each image is cut out of the batch, so that no term sees the padding or its border.
            windows = [(slice(i, i + 1), slice(None), slice(h), slice(w)) for i, (h, w) in enumerate(sizes)]
            parts = [(alphas[window], labels[window], unknown[window]) for window in windows]
        losses = [torch.stack(list(matting_loss(*part).values())).sum() for part in parts]
        return torch.stack(losses).mean()


def _distinct_sizes(
    pixel_values: Tensor, image_sizes: Tensor | list[tuple[int, int]] | None
) -> list[tuple[int, int]] | None:
    """The sizes if any image is smaller than the batch, else None."""
    if image_sizes is None:
        return None
    listed = image_sizes.tolist() if isinstance(image_sizes, Tensor) else image_sizes
    sizes = [(int(h), int(w)) for h, w in listed]
    b, _, height, width = pixel_values.shape
    if len(sizes) != b or any(not (0 < h <= height and 0 < w <= width) for h, w in sizes):
        raise InputError(
            f"image_sizes is {sizes} for pixel_values of shape {tuple(pixel_values.shape)}: one (height, "
            "width) an image is needed, none larger than the batch"
        )
    return None if all(size == (height, width) for size in sizes) else sizes
