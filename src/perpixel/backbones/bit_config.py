"""The shape of a BiT, "Big Transfer", Kolesnikov et al., 2019, arXiv 1912.11370, section 3.1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from perpixel.backbones.base import BackboneConfig
from perpixel.errors import ConfigError
from perpixel.models.fields import check_rate

# How much narrower the middle of a layer is than its ends.
REDUCTION = 4
# Every width is a multiple of it.
DIVISOR = 8


@dataclass
class BitConfig(BackboneConfig):
    """The shape of a BiT. The defaults are those of google/bit-50.

    Args:
        num_channels: channels of the input.
        embedding_size: channels after the stem.
        hidden_sizes: channels of each stage, before `width_factor`.
        depths: layers of each stage.
        layer_type: "preactivation" norms before each convolution (ResNet v2), as BiT does; "bottleneck" after it
            (ResNet v1.5), as the hybrids of ViT and DPT do.
        hidden_act: activation after the norms.
        global_padding: None pads convolutions with the same number of zeros on both sides; "same", in any case of
            letters, as TensorFlow does, where the right and the lower side may have one more.
        num_groups: groups of the group norms; they have to divide every width.
        drop_path_rate: stochastic depth of the last layer; it grows linearly from 0.
        embedding_dynamic_padding: pad the stem's pooling as TensorFlow does. Without it, a `global_padding` of "same"
            leaves the pooling without padding.
        output_stride: where the map is this much smaller than the image, later stages keep its size; those of type
            "bottleneck" dilate their convolutions instead.
        width_factor: how much wider every stage is than `hidden_sizes`.

    Example:
        >>> config = BitConfig(depths=[3, 4, 9], hidden_sizes=[256, 512, 1024], layer_type="bottleneck")
        >>> config.stage_names, config.out_features
        (['stem', 'stage1', 'stage2', 'stage3'], ['stage3'])
    """

    model_type: ClassVar[str] = "bit"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048])
    depths: list[int] = field(default_factory=lambda: [3, 4, 6, 3])
    layer_type: Literal["preactivation", "bottleneck"] = "preactivation"
    hidden_act: str = "relu"
    global_padding: str | None = None
    num_groups: int = 32
    drop_path_rate: float = 0.0
    embedding_dynamic_padding: bool = False
    output_stride: int = 32
    width_factor: int = 1

    def __post_init__(self) -> None:
        # The hybrid's configurations name three depths and leave four widths: what is too much stands for nothing.
        if not self.depths or len(self.depths) > len(self.hidden_sizes) or min(self.depths) < 1:
            raise ConfigError(
                f"depths is {list(self.depths)} and hidden_sizes is {list(self.hidden_sizes)}: "
                "both need one positive number for each stage"
            )
        if self.global_padding is not None:
            given, self.global_padding = self.global_padding, self.global_padding.upper()
            if self.global_padding != "SAME":
                raise ConfigError(
                    f"global_padding is {given!r}: use 'same' or None; without padding a layer's map would be smaller "
                    "than that of its shortcut"
                )
        check_rate(self.drop_path_rate, "drop_path_rate")
        numbers = {name: getattr(self, name) for name in ("num_channels", "embedding_size", "num_groups")}
        numbers |= {"width_factor": self.width_factor, "output_stride": self.output_stride}
        for name, value in numbers.items():
            if value < 1:
                raise ConfigError(f"{name} is {value}: it has to be at least 1")
        for width in (self.embedding_size, *self.widths, *map(narrow, self.widths)):
            if width % self.num_groups:
                raise ConfigError(
                    f"num_groups is {self.num_groups} but a norm has {width} channels: it must divide them"
                )
        self._name_stages(len(self.depths))
        super().__post_init__()

    @property
    def widths(self) -> list[int]:
        """Channels of each stage."""
        return [_divisible(size * self.width_factor) for size in self.hidden_sizes[: len(self.depths)]]


def _divisible(width: float) -> int:
    """Round to a multiple of `DIVISOR`, and never down by more than a tenth."""
    rounded = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * width else rounded


def narrow(width: int) -> int:
    """Channels in the middle of a layer with `width` channels at its ends."""
    return _divisible(width / REDUCTION)
