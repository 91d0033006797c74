"""Change a sample at random, its labels with it: scale, turn, mirror, crop; light and colour of the image alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from perpixel.data.photometric import recolour
from perpixel.data.samples import VOID, DepthSample, LabelledObject, MattingSample, Sample, SegmentationSample
from perpixel.data.warp import Warp
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle, encode_rle

__all__ = ["PADDING", "AugmentRecipe", "augment"]

AnySample = TypeVar("AnySample", bound=Sample)

ScaleOf = Literal["image", "fit", "cover"]

# The grey of padded pixels, as in Mask2Former's crops of fixed size: about the mean that models subtract.
PADDING = 128
UNKNOWN = 128  # in a trimap
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
        scale: the picture is resized by a factor between these two, each as likely as any other.
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


def augment(sample: AnySample, recipe: AugmentRecipe, seed: int | Sequence[int]) -> AnySample:
    """Change a sample at random, its picture and its labels alike.

    Every plane follows one and the same map. The image, the alpha and the foreground are averaged where they shrink
    and interpolated bilinearly; labels, masks, trimap and depth are read at the nearest pixel, so their values are
    among those that they had. What lies outside of the picture becomes grey (the image), 0 (alpha, trimap,
    foreground, depth: not measured), VOID (labels) and no object's. A distance in metres stays what it is, whatever
    the scale.

    Args:
        sample: of any kind.
        recipe: what may be done.
        seed: whole numbers from 0; the result is a pure function of the three arguments, and no global random state
            is read or changed.

    Returns:
        A sample of the same kind and name. Objects without a pixel left are dropped, and the labels of a panoptic
        sample are numbered anew; the areas that the files gave are left out, as they are no longer true. Colours
        change in the image alone: a foreground keeps those that it had.

    Raises:
        InputError: a plane of the sample that has not the image's size.
        MissingDependencyError: turning or colours without kornia.
    """
    _check(sample)
    numbers = [seed] if isinstance(seed, int) else list(seed)
    # Two streams, so that another strength of a colour changes no crop.
    warp = _draw(sample, recipe, np.random.default_rng([*numbers, 0]))
    image = recolour(warp.linear(sample.image, PADDING), recipe, np.random.default_rng([*numbers, 1]))
    image = warp.fill(image, PADDING)
    if isinstance(sample, MattingSample):
        return replace(
            sample,
            image=image,
            alpha=warp.linear(sample.alpha, 0).clip(0, 1),
            trimap=None if sample.trimap is None else warp.nearest(sample.trimap, 0),
            foreground=None if sample.foreground is None else warp.linear(sample.foreground, 0),
        )
    if isinstance(sample, DepthSample):
        return replace(sample, image=image, depth=warp.nearest(sample.depth, 0))
    if isinstance(sample, SegmentationSample):
        labels, objects = _segments(sample, warp)
        return replace(sample, image=image, labels=labels, objects=objects)
    return replace(sample, image=image)


def _check(sample: Sample) -> None:
    height, width = sample.image.shape[:2]
    for name in ("alpha", "trimap", "foreground", "labels", "depth"):
        plane = getattr(sample, name, None)
        if plane is not None and plane.shape[:2] != (height, width):
            raise InputError(
                f"the {name} of {sample.name} is {plane.shape[1]}×{plane.shape[0]} but its image is {width}×{height} "
                "(width×height): run `perpixel data check` on the folder"
            )
    for labelled in getattr(sample, "objects", ()):
        if labelled.rle is not None and tuple(labelled.rle["size"]) != (height, width):
            raise InputError(
                f"a mask of {sample.name} is {labelled.rle['size'][1]}×{labelled.rle['size'][0]} but its image is "
                f"{width}×{height} (width×height): run `perpixel data check` on the folder"
            )


def _draw(sample: Sample, recipe: AugmentRecipe, rng: np.random.Generator) -> Warp:
    """Decide on scale, angle, side and window; always as many draws, so that the fields do not disturb each other."""
    low, high = recipe.scale
    factor = low + (high - low) * float(rng.random())
    angle = recipe.rotate * (2 * float(rng.random()) - 1)
    mirror = float(rng.random()) < recipe.flip
    place = rng.random(3)
    source: tuple[int, int] = sample.image.shape[:2]
    ratios = [side / own for side, own in zip(recipe.crop or source, source, strict=True)]
    if recipe.scale_of != "image":
        factor *= min(ratios) if recipe.scale_of == "fit" else max(ratios)
    if recipe.enlarge:
        factor = max(factor, *ratios)
    scaled = (max(1, round(source[0] * factor)), max(1, round(source[1] * factor)))
    whole = Warp(source, scaled, angle, mirror, (0, 0), scaled)
    if recipe.crop is None:
        return whole
    free = [max(0, side - cut) for side, cut in zip(scaled, recipe.crop, strict=True)]
    centre = _unknown(sample, float(place[2]))
    if centre is None:
        corner = [int(share * (room + 1)) for share, room in zip(place, free, strict=False)]
    else:
        middle = whole.place(*centre)
        corner = [
            min(max(0, round(point - (cut - 1) / 2)), room)
            for point, cut, room in zip(middle, recipe.crop, free, strict=True)
        ]
    return replace(whole, corner=(corner[0], corner[1]), size=recipe.crop)


def _unknown(sample: Sample, share: float) -> tuple[int, int] | None:
    """One of the pixels that a matting model has to work out, as crops for matting are placed since Deep Image
    Matting (Xu et al., 2017, section 4.1); None for other kinds, and where all is certain."""
    if not isinstance(sample, MattingSample):
        return None
    if sample.trimap is not None:
        unknown = np.flatnonzero(sample.trimap == UNKNOWN)
    else:
        unknown = np.flatnonzero((sample.alpha > 0) & (sample.alpha < 1))
    if not len(unknown):
        return None
    row, column = divmod(int(unknown[int(share * len(unknown))]), sample.image.shape[1])
    return row, column


def _segments(
    sample: SegmentationSample, warp: Warp
) -> tuple[npt.NDArray[np.int32] | None, tuple[LabelledObject, ...]]:
    labels = None if sample.labels is None else warp.nearest(sample.labels, VOID)
    if sample.kind == "semantic":
        return labels, sample.objects
    if sample.kind == "panoptic" and labels is not None:
        kept = np.unique(labels[labels >= 0])
        numbers = np.full(len(sample.objects) + 1, VOID, np.int32)  # the last for VOID itself
        numbers[kept] = np.arange(len(kept), dtype=np.int32)
        return numbers[labels], tuple(replace(sample.objects[place], area=None) for place in kept)
    objects = []
    for labelled in sample.objects:
        if labelled.rle is None:
            continue
        mask = warp.nearest(decode_rle(labelled.rle), False)
        if mask.any():
            objects.append(replace(labelled, rle=encode_rle(mask), area=None))
    return labels, tuple(objects)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pair(name: str, value: Any, wanted: str) -> tuple[float, float]:
    if not isinstance(value, Sequence) or len(value) != 2 or not all(_is_number(part) for part in value):
        raise ConfigError(f"augment.{name} is {value!r}: it must be {wanted}")
    return float(value[0]), float(value[1])
