"""BiT ("Big Transfer"): ResNets with group norms and standardised weights, also the first part of hybrid transformers.

"Big Transfer (BiT): General Visual Representation Learning", Kolesnikov et al., 2019, arXiv 1912.11370, section 3.1;
the weights are standardised as in "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
Qiao et al., 2019, arXiv 1903.10520. Parameter names are those of the Hugging Face checkpoints (google/bit-50).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.bit_config import BitConfig as BitConfig
from perpixel.backbones.bit_config import narrow
from perpixel.backbones.convolutional import ConvolutionalBackbone, ConvolutionalEncoder
from perpixel.errors import InputError
from perpixel.layers.activation import activation
from perpixel.layers.drop_path import drop_path
from perpixel.models.base import Model
from perpixel.models.outputs import BaseModelOutputWithPooling

# The stem divides the size by it.
STEM_STRIDE = 4
# Of the standardisation of weights.
EPS = 1e-8


def _activation(config: BitConfig) -> Callable[[Tensor], Tensor]:
    # In place: nobody else has a norm's result, and its gradient does not need it.
    return partial(functional.relu, inplace=True) if config.hidden_act == "relu" else activation(config.hidden_act)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after an axis of `size` for TensorFlow's "same": the result has ⌈size / stride⌉ elements.

    Example:
        >>> same_padding(8, kernel=7, stride=2), same_padding(9, kernel=7, stride=2)
        ((2, 3), (3, 3))
    """
    # The last step has what is left over of the size, or a whole stride.
    total = max(dilation * (kernel - 1) + 1 - (size % stride or stride), 0)
    return total // 2, total - total // 2


class BitConv(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1 for each output channel (arXiv 1903.10520, section 3)."""

    def __init__(
        self, config: BitConfig, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = (stride - 1 + dilation * (kernel - 1)) // 2
        super().__init__(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.same = config.global_padding == "SAME"

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        # A batch norm does it in one pass, with the output channels as its channels; the rows are a view. In 32 bits it
        # is nearer to the truth than a layer norm.
        rows = self.weight.flatten(1)[None]  # (1, outputs, inputs · kernel²)
        weight = functional.batch_norm(rows, None, None, training=True, momentum=0.0, eps=EPS).view_as(self.weight)
        padding: tuple[int, ...] = self.padding  # type: ignore[assignment]
        if self.same:
            (top, bottom), (left, right) = (
                same_padding(x.shape[2 + axis], self.kernel_size[axis], self.stride[axis], self.dilation[axis])
                for axis in (0, 1)
            )
            padding = (top, left)
            if (top, left) != (bottom, right):  # only this needs a copy of the map
                x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
        return functional.conv2d(x, weight, None, self.stride, padding, self.dilation)


class BitGroupNorm(nn.GroupNorm):
    """A group norm and an activation."""

    def __init__(self, config: BitConfig, channels: int, activate: bool = True) -> None:
        super().__init__(config.num_groups, channels)
        self.activate = _activation(config) if activate else None

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → the same shape."""
        x = super().forward(x)
        return x if self.activate is None else self.activate(x)


class BitEmbeddings(nn.Module):
    """The stem: a 7×7 convolution and a pooling, each of which halves the map."""

    def __init__(self, config: BitConfig) -> None:
        super().__init__()
        self.channels = config.num_channels
        self.convolution = BitConv(config, config.num_channels, config.embedding_size, kernel=7, stride=2)
        self.norm = BitGroupNorm(config, config.embedding_size) if config.layer_type == "bottleneck" else None
        self.same = config.global_padding == "SAME"
        self.dynamic = config.embedding_dynamic_padding

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(b, c, H, W) → (b, embedding, h, w): ⌈H/4⌉ with one kind of padding; with both one more, without one less."""
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.channels or 0 in pixel_values.shape:
            raise InputError(f"pixel_values is {tuple(pixel_values.shape)}: it has to be (b, {self.channels}, H, W)")
        height, width = pixel_values.shape[2:]
        if self.same and not self.dynamic and min(height, width) < 5:
            raise InputError(
                f"pixel_values is {width}×{height} (width×height): this stem does not pad its pooling and needs at "
                "least 5×5, enlarge the image"
            )
        x = self.convolution(pixel_values.to(self.convolution.weight.dtype))
        # The zeros go in before the norm, which makes its bias of them: so the checkpoints were trained.
        if not self.same:
            x = functional.pad(x, (1, 1, 1, 1))
        if self.norm is not None:
            x = self.norm(x)
        if self.dynamic:
            rows, columns = (same_padding(size, kernel=3, stride=2) for size in x.shape[2:])
            x = functional.pad(x, (*columns, *rows))
        return functional.max_pool2d(x, kernel_size=3, stride=2)


class BitDownsampleConv(nn.Module):
    """What a stage's first layer has in place of a plain shortcut."""

    def __init__(self, config: BitConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = BitConv(config, inputs, outputs, stride=stride)
        after = config.layer_type == "bottleneck"
        self.norm = BitGroupNorm(config, outputs, activate=False) if after else None

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class BitPreActivationBottleneckLayer(nn.Module):
    """Three convolutions, each after its norm ("Identity Mappings in Deep Residual Networks", arXiv 1603.05027)."""

    def __init__(
        self, config: BitConfig, inputs: int, outputs: int, stride: int, dilation: int, first: bool, drop_rate: float
    ) -> None:
        super().__init__()
        middle = narrow(outputs)
        self.downsample = BitDownsampleConv(config, inputs, outputs, stride) if first else None
        self.norm1 = BitGroupNorm(config, inputs)
        self.conv1 = BitConv(config, inputs, middle)
        self.norm2 = BitGroupNorm(config, middle)
        # Not dilated, whatever `dilation` is: so does transformers, whose weights these are.
        self.conv2 = BitConv(config, middle, middle, kernel=3, stride=stride)
        self.norm3 = BitGroupNorm(config, middle)
        self.conv3 = BitConv(config, middle, outputs)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        normed = self.norm1(x)
        shortcut = x if self.downsample is None else self.downsample(normed)
        change = self.conv3(self.norm3(self.conv2(self.norm2(self.conv1(normed)))))
        change = drop_path(change, self.drop_rate, self.training)
        change += shortcut
        return change


class BitBottleneckLayer(nn.Module):
    """Three convolutions, each before its norm (arXiv 1512.03385, figure 5)."""

    def __init__(
        self, config: BitConfig, inputs: int, outputs: int, stride: int, dilation: int, first: bool, drop_rate: float
    ) -> None:
        super().__init__()
        middle = narrow(outputs)
        self.downsample = BitDownsampleConv(config, inputs, outputs, stride) if first else None
        self.conv1 = BitConv(config, inputs, middle)
        self.norm1 = BitGroupNorm(config, middle)
        self.conv2 = BitConv(config, middle, middle, kernel=3, stride=stride, dilation=dilation)
        self.norm2 = BitGroupNorm(config, middle)
        self.conv3 = BitConv(config, middle, outputs)
        self.norm3 = BitGroupNorm(config, outputs, activate=False)
        self.activation = _activation(config)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        change = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        change = drop_path(self.norm3(self.conv3(change)), self.drop_rate, self.training)
        change += shortcut
        return self.activation(change)


class BitStage(nn.Module):
    """The layers of one resolution; the first one changes it."""

    def __init__(self, config: BitConfig, index: int, stride: int, dilation: int) -> None:
        super().__init__()
        layer = BitBottleneckLayer if config.layer_type == "bottleneck" else BitPreActivationBottleneckLayer
        inputs, outputs = [config.embedding_size, *config.widths][index : index + 2]
        before, last = sum(config.depths[:index]), max(sum(config.depths) - 1, 1)
        self.layers = nn.Sequential()
        for i in range(config.depths[index]):
            self.layers.append(
                layer(
                    config,
                    outputs if i else inputs,
                    outputs,
                    stride=1 if i else stride,
                    # The first layer still sees the neighbours of the stage before.
                    dilation=dilation if i else min(2, max(1, dilation // 2)),
                    first=i == 0,
                    drop_rate=config.drop_path_rate * (before + i) / last,
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        out: Tensor = self.layers(x)
        return out


def _stages(config: BitConfig) -> Iterator[BitStage]:
    total, dilation = STEM_STRIDE, 1
    for i in range(len(config.depths)):
        stride = 2 if i else 1
        if total >= config.output_stride:
            dilation, stride = dilation * stride, 1
        yield BitStage(config, i, stride, dilation)
        total *= stride


class BitPreTrainedModel(Model):
    """What the model and the backbone have in common: the config and the initial weights."""

    config_class = BitConfig
    config: BitConfig
    base_model_prefix = "bit"

    def _init_weights(self, module: nn.Module) -> None:
        # As ResNets start, arXiv 1502.01852; the scale is lost in the standardisation.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BitModel(BitPreTrainedModel):
    """BiT: pixels in, the last stage's map and its mean out.

    Example:
        >>> import torch
        >>> config = BitConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_groups=4)
        >>> output = BitModel(config).eval()(torch.zeros(1, 3, 33, 47))
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 16, 5, 6]), torch.Size([1, 16, 1, 1]))
    """

    def __init__(self, config: BitConfig) -> None:
        super().__init__(config)
        self.embedder = BitEmbeddings(config)
        self.encoder = ConvolutionalEncoder(_stages(config))
        self.norm = BitGroupNorm(config, config.widths[-1]) if config.layer_type == "preactivation" else None
        self.pooler = nn.AdaptiveAvgPool2d((1, 1))
        self.post_init()

    def maps(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The stem's and every stage's map of (b, c, H, W) pixels."""
        maps: tuple[Tensor, ...] = self.encoder(self.embedder(pixel_values))
        return maps

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels of any size.

        Returns:
            `last_hidden_state` (b, c, h, w), normed in a "preactivation" BiT, `pooler_output` (b, c, 1, 1), and
            `hidden_states`, the stem's and every stage's map, if asked for; a tuple of these if `return_dict` is False.

        Raises:
            InputError: the shape is wrong, or too small for a stem without padding.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        maps = self.maps(pixel_values)
        last = maps[-1] if self.norm is None else self.norm(maps[-1])
        output = BaseModelOutputWithPooling(
            last_hidden_state=last, pooler_output=self.pooler(last), hidden_states=maps if hidden else None
        )
        return self._result(output, return_dict)


class BitBackbone(BitPreTrainedModel, ConvolutionalBackbone):
    """BiT as a backbone: a feature map of each stage that the config names, for any size.

    Example:
        >>> import torch
        >>> config = BitConfig(
        ...     embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_groups=4, out_indices=[1, 2],
        ...     layer_type="bottleneck", global_padding="same", embedding_dynamic_padding=True,
        ... )
        >>> [tuple(part.shape) for part in BitBackbone(config).eval()(torch.zeros(1, 3, 33, 47)).feature_maps]
        [(1, 8, 9, 12), (1, 16, 5, 6)]
    """

    _keys_to_ignore_on_load_unexpected = (r"^classifier\.",)
    _prefixes_in_larger_models = (
        "dpt.embeddings.backbone",
        "embeddings.backbone",
        *ConvolutionalBackbone._prefixes_in_larger_models,
    )

    def __init__(self, config: BitConfig) -> None:
        super().__init__(config)
        self.bit = BitModel(config)
        self.num_features = [config.embedding_size, *config.widths]
        self.post_init()

    def maps(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The stem's and every stage's map of (b, c, H, W) pixels."""
        return self.bit.maps(pixel_values)
