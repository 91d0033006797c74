"""The shape of a Swin v2, "Swin Transformer V2", Liu et al., 2021, arXiv 2111.09883, section 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from perpixel.backbones.swin_config import SwinConfig
from perpixel.errors import ConfigError


@dataclass
class Swinv2Config(SwinConfig):
    """The shape of a Swin v2. The defaults are those of transformers, of tiny size.

    Args:
        pretrained_window_sizes: of each stage, the side of the windows that the biases were trained for, where the
            model was then tuned for others; 0 is `window_size`. There may be more of them than stages.
        image_size: the side, or (height, width), in pixels that the windows are made for: in a stage whose map then
            has fewer rows than a window, the windows have as many.

    The other arguments are those of `SwinConfig`.

    Example:
        >>> config = Swinv2Config(window_size=24, pretrained_window_sizes=[12, 12, 12, 6], image_size=384)
        >>> config.windows
        [24, 24, 24, 12]
    """

    model_type: ClassVar[str] = "swinv2"

    pretrained_window_sizes: list[int] = field(default_factory=lambda: [0, 0, 0, 0], kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.pretrained_window_sizes) < self.num_layers or min(self.pretrained_window_sizes) < 0:
            raise ConfigError(
                f"pretrained_window_sizes is {self.pretrained_window_sizes} but there are {self.num_layers} stages: "
                "give a number for each, 0 where the model was trained with window_size"
            )

    @property
    def windows(self) -> list[int]:
        """The side of each stage's windows in tokens."""
        return [max(1, min(self.grid[0] // 2**i, self.window_size)) for i in range(self.num_layers)]

    @property
    def shifts(self) -> list[int]:
        """How far each stage's windows are shifted in every second block."""
        return [self.window_size // 2 if self.grid[0] // 2**i > size else 0 for i, size in enumerate(self.windows)]
