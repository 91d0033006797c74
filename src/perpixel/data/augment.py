"""Change a sample at random, its labels with it: scale, turn, mirror, crop; light and colour of the image alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from perpixel.errors import ConfigError

__all__ = ["AugmentRecipe"]

ScaleOf = Literal["image", "fit", "cover"]

# The largest value of each field that is a strength or a chance, and what that value means.
_LIMITS = {
    "flip": (1.0, "a chance, from 0 to 1"),
    "rotate": (180.0, "degrees, from 0 to 180"),
    "brightness": (1.0, "a share, from 0 to 1"),
    "contrast": (1.0, "a share, from 0 to 1"),
    "saturation": (1.0, "a share, from 0 to 1"),
    "hue": (0.5, "a share of the colour circle, from 0 to 0.5"),
    "blur": (20.0, "a standard deviation in pixels, from 0 to 20"),
    "noise": (1.0, "a standard deviation as a share of white, from 0 to 1"),
    "jpeg": (100.0, "a quality, from 1 to 100, or 0 for none"),
    "chance": (1.0, "a chance, from 0 to 1"),
}


@dataclass(frozen=True)
class AugmentRecipe:
    """How samples are changed at random. Without any argument, nothing is changed.

    Attributes:
        crop: height and width of the result in pixels, cut at a random place; None keeps the whole picture. Where
            the picture is smaller, it is padded at the right and at the bottom: with grey, and labels that say
            nothing. The crop of a matting sample lies around an unknown pixel.
        scale: the picture is resized by a factor between these two, any ratio as likely as its inverse.
        scale_of: what factor 1 means. "image": the size of the file. "fit": the largest size that fits into the
            crop (large-scale jitter of instance segmentation). "cover": the smallest size that fills the crop, so
            that the crop's side stands for the short side.
        enlarge: never pad: a picture that would be smaller than the crop is enlarged to fill it.
        flip: how often left and right are exchanged, 0 to 1.
        rotate: the picture is turned by up to so many degrees either way.
        brightness: all colours are multiplied by a factor of 1 ± at most this share.
        contrast: the distance from the mean grey is multiplied by 1 ± at most this share.
        saturation: the distance of each pixel from its own grey is multiplied by 1 ± at most this share.
        hue: hues are turned by ± at most this share of the colour circle, 0.5 at most.
        blur: a Gaussian blur with a standard deviation of at most so many pixels.
        noise: Gaussian noise with a standard deviation of at most this share of white.
        jpeg: the picture is stored as a JPEG with a quality between this one and 95; 0 for never.
        chance: how often each of the seven before is done at all, each by itself, 0 to 1.

    Lists are taken for pairs, as YAML has no tuples.

    Raises:
        ConfigError: a value out of its range; the message names the field.

    >>> AugmentRecipe(crop=[512, 512], scale=[0.5, 2], flip=0.5).crop
    (512, 512)
    """

    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    scale_of: ScaleOf = "image"
    enlarge: bool = False
    flip: float = 0.0
    rotate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 0
    chance: float = 0.5

    def __post_init__(self) -> None:
        if self.crop is not None:
            crop = _pair("crop", self.crop, "height and width in pixels, such as [512, 512], or nothing")
            if any(side < 1 or side != int(side) for side in crop):
                raise ConfigError(f"augment.crop is {self.crop}: both sides must be whole numbers of at least 1 pixel")
            object.__setattr__(self, "crop", (int(crop[0]), int(crop[1])))
        scale = _pair("scale", self.scale, "the smallest and the largest factor, such as [0.5, 2.0]")
        if not 0 < scale[0] <= scale[1] <= 100:
            raise ConfigError(
                f"augment.scale is {self.scale}: the smallest factor must be above 0, the largest not below it "
                "and at most 100, such as [0.5, 2.0]"
            )
        object.__setattr__(self, "scale", scale)
        if self.scale_of not in get_args(ScaleOf):
            raise ConfigError(f"augment.scale_of is {self.scale_of!r}: it must be {' or '.join(get_args(ScaleOf))}")
        if self.crop is None and (self.enlarge or self.scale_of != "image"):
            given = "enlarge is true" if self.enlarge else f"scale_of is {self.scale_of!r}"
            raise ConfigError(f"augment.{given} but there is no crop that it could refer to: give augment.crop")
        for field in fields(self):
            if field.name in _LIMITS:
                largest, meaning = _LIMITS[field.name]
                value = getattr(self, field.name)
                if not _is_number(value) or not 0 <= value <= largest:
                    raise ConfigError(f"augment.{field.name} is {value!r}: it must be {meaning}")
        if self.jpeg != int(self.jpeg):
            raise ConfigError(f"augment.jpeg is {self.jpeg}: it must be {_LIMITS['jpeg'][1]}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pair(name: str, value: Any, wanted: str) -> tuple[float, float]:
    if not isinstance(value, Sequence) or len(value) != 2 or not all(_is_number(part) for part in value):
        raise ConfigError(f"augment.{name} is {value!r}: it must be {wanted}")
    return float(value[0]), float(value[1])
