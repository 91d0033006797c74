"""ResNet: convolutions with shortcuts around them.

"Deep Residual Learning for Image Recognition", He et al., 2015, arXiv 1512.03385, sections 3.3 and 4.1, table 1.
Parameter names are those of the Hugging Face checkpoints (microsoft/resnet-…).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.base import BackboneConfig
from perpixel.backbones.convolutional import ConvolutionalBackbone, ConvolutionalEncoder
from perpixel.errors import ConfigError, InputError
from perpixel.layers.activation import activation
from perpixel.models.base import Model
from perpixel.models.outputs import BaseModelOutputWithPooling

# How much narrower a bottleneck is than its ends (section 4.1, figure 5).
REDUCTION = 4


@dataclass
class ResNetConfig(BackboneConfig):
    """The shape of a ResNet. The defaults are those of microsoft/resnet-50.

    Args:
        num_channels: channels of the input.
        embedding_size: channels after the stem.
        hidden_sizes: channels of each stage.
        depths: layers of each stage.
        layer_type: "basic" is two 3×3 convolutions a layer (ResNet-18 and 34), "bottleneck" three (50 and more).
        hidden_act: activation of the stem and after each layer; inside a layer it is always ReLU.
        downsample_in_first_stage: whether the first stage halves the map too.
        downsample_in_bottleneck: whether the first convolution of a bottleneck halves the map, as in the paper,
            and not the second, as most code has it ("ResNet v1.5").

    Example:
        >>> config = ResNetConfig(hidden_sizes=[64, 128], depths=[2, 2], layer_type="basic")
        >>> config.stage_names, config.out_features
        (['stem', 'stage1', 'stage2'], ['stage2'])
    """

    model_type: ClassVar[str] = "resnet"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048])
    depths: list[int] = field(default_factory=lambda: [3, 4, 6, 3])
    layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    def __post_init__(self) -> None:
        if not self.depths or len(self.depths) != len(self.hidden_sizes) or min(self.depths) < 1:
            raise ConfigError(
                f"depths is {list(self.depths)} and hidden_sizes is {list(self.hidden_sizes)}: "
                "both need one positive number for each stage"
            )
        least = REDUCTION if self.layer_type == "bottleneck" else 1
        if min(self.embedding_size, self.num_channels) < 1 or min(self.hidden_sizes) < least:
            raise ConfigError(
                f"num_channels is {self.num_channels}, embedding_size {self.embedding_size} and hidden_sizes "
                f"{list(self.hidden_sizes)}: the first two have to be at least 1, the others {least}"
            )
        self._name_stages(len(self.depths))
        super().__post_init__()


class ResNetConvLayer(nn.Module):
    """A convolution, its batch norm and an activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, activate: Callable[[Tensor], Tensor] | None
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        x = self.normalization(self.convolution(x))
        return x if self.activate is None else self.activate(x)


class ResNetEmbeddings(nn.Module):
    """The stem: a 7×7 convolution and a pooling, each of which halves the map (table 1, "conv1")."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.channels = config.num_channels
        self.embedder = ResNetConvLayer(
            config.num_channels, config.embedding_size, kernel=7, stride=2, activate=activation(config.hidden_act)
        )
        self.pooler = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(b, c, H, W) → (b, embedding, ⌈H/4⌉, ⌈W/4⌉)."""
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.channels or 0 in pixel_values.shape:
            raise InputError(f"pixel_values is {tuple(pixel_values.shape)}: it has to be (b, {self.channels}, H, W)")
        pooled: Tensor = self.pooler(self.embedder(pixel_values.to(self.embedder.convolution.weight.dtype)))
        return pooled


class ResNetLayer(nn.Module):
    """Two convolutions, or three with a bottleneck, and the shortcut around them (section 3.3, figure 5)."""

    def __init__(self, config: ResNetConfig, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # In place, as the sum in `forward`: nobody else has these maps, and no gradient needs what they were.
        relu = partial(functional.relu, inplace=True)
        self.shortcut: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.shortcut = ResNetConvLayer(inputs, outputs, kernel=1, stride=stride, activate=None)
        if config.layer_type == "basic":
            self.layer = nn.Sequential(
                ResNetConvLayer(inputs, outputs, kernel=3, stride=stride, activate=relu),
                ResNetConvLayer(outputs, outputs, kernel=3, stride=1, activate=None),
            )
        else:
            narrow = outputs // REDUCTION
            first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
            self.layer = nn.Sequential(
                ResNetConvLayer(inputs, narrow, kernel=1, stride=first, activate=relu),
                ResNetConvLayer(narrow, narrow, kernel=3, stride=second, activate=relu),
                ResNetConvLayer(narrow, outputs, kernel=1, stride=1, activate=None),
            )
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        change = self.layer(x)
        change += x if self.shortcut is None else self.shortcut(x)
        return self.activation(change)


class ResNetStage(nn.Module):
    """The layers of one resolution; the first one changes it."""

    def __init__(self, config: ResNetConfig, index: int) -> None:
        super().__init__()
        inputs, outputs = [config.embedding_size, *config.hidden_sizes][index : index + 2]
        stride = 2 if index > 0 or config.downsample_in_first_stage else 1
        self.layers = nn.Sequential(
            ResNetLayer(config, inputs, outputs, stride),
            *(ResNetLayer(config, outputs, outputs, 1) for _ in range(config.depths[index] - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) → (b, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        out: Tensor = self.layers(x)
        return out


class ResNetPreTrainedModel(Model):
    """What the model and the backbone have in common: the parts and their initial weights."""

    config_class = ResNetConfig
    config: ResNetConfig
    base_model_prefix = "resnet"

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.embedder = ResNetEmbeddings(config)
        self.encoder = ConvolutionalEncoder(ResNetStage(config, i) for i in range(len(config.depths)))

    def maps(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The stem's and every stage's map of (b, c, H, W) pixels."""
        maps: tuple[Tensor, ...] = self.encoder(self.embedder(pixel_values))
        return maps

    def _init_weights(self, module: nn.Module) -> None:
        # Section 3.4 takes the initialisation of arXiv 1502.01852; batch norms start as torch makes them.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNetModel(ResNetPreTrainedModel):
    """ResNet: pixels in, the last stage's map and its mean out.

    Example:
        >>> import torch
        >>> config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1])
        >>> output = ResNetModel(config).eval()(torch.zeros(1, 3, 33, 47))
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([1, 16, 5, 6]), torch.Size([1, 16, 1, 1]))
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.pooler = nn.AdaptiveAvgPool2d((1, 1))
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels of any size.

        Returns:
            `last_hidden_state` (b, c, h, w), `pooler_output` (b, c, 1, 1), and `hidden_states`, the stem's and every
            stage's map, if asked for; a tuple of these if `return_dict` is False.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        maps = self.maps(pixel_values)
        output = BaseModelOutputWithPooling(
            last_hidden_state=maps[-1], pooler_output=self.pooler(maps[-1]), hidden_states=maps if hidden else None
        )
        return self._result(output, return_dict)


class ResNetBackbone(ResNetPreTrainedModel, ConvolutionalBackbone):
    """ResNet as a backbone: a feature map of each stage that the config names, for any size.

    Example:
        >>> import torch
        >>> config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[1, 2])
        >>> [tuple(part.shape) for part in ResNetBackbone(config).eval()(torch.zeros(1, 3, 33, 47)).feature_maps]
        [(1, 8, 9, 12), (1, 16, 5, 6)]
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.num_features = [config.embedding_size, *config.hidden_sizes]
        self.post_init()
