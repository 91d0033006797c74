"""An image and its trimap as one: read from any kind of input, checked against each other, of one size."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perpixel.errors import InputError, PerpixelWarning
from perpixel.models.planes import (
    Array,
    ChannelDimension,
    RawImage,
    grey_plane,
    read_images,
    split_images,
)


@dataclass(frozen=True)
class Pair:
    """An image and its trimap, whose layouts give them one size."""

    image: RawImage
    layout: ChannelDimension
    trimap: RawImage
    trimap_layout: ChannelDimension

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.size(self.layout)


def read_pairs(images: Any, trimaps: Any, layout: ChannelDimension | None) -> list[Pair]:
    """Read as many images as trimaps; `layout` tells where the channels of image arrays lie.

    Raises:
        InputError: something is no image, there are more of one than of the other, or two sizes differ.
    """
    from perpixel.images.read import read_photo

    depth = 2 if layout is ChannelDimension.NONE else None
    single, batched = split_images(images, "images", depth=depth)
    known = _read_trimaps(trimaps, count=len(single), batched=batched, of="images")
    read = read_images(single, "images", lambda source: read_photo(source).pixels, layout=layout)
    return [_paired(image, trimap) for image, trimap in zip(read, known, strict=True)]


def _read_trimaps(trimaps: Any, *, count: int, batched: bool, of: str) -> list[RawImage]:
    from perpixel.images.read import read_trimap

    # (n, h, w) beside n images is a batch of trimaps; beside one image it is one with a channel axis.
    several = batched and tuple(getattr(trimaps, "shape", ()))[:1] == (count,)
    single, _ = split_images(trimaps, "trimaps", depth=2 if several else None)
    if len(single) != count:
        raise InputError(f"{count} {of} but {len(single)} trimaps were given: pass one trimap for each")
    return read_images(single, "trimaps", read_trimap)


def _paired(image: RawImage, trimap: RawImage) -> Pair:
    """Choose the layouts that make both the same size: a shape such as (3, 8, 3) can be read in two ways."""
    fitting = [
        Pair(image, layout, trimap, trimap_layout)
        for layout in image.layouts
        for trimap_layout in trimap.layouts
        if image.size(layout) == trimap.size(trimap_layout)
    ]
    if not fitting:
        size = _width_by_height(image.size(image.layouts[0]))
        other = _width_by_height(trimap.size(trimap.layouts[0]))
        raise InputError(
            f"{trimap.name} is {other} but {_the(image)} is {size} (width×height): resize the trimap to "
            f"{size} or pass its own image"
        )
    shape = image.values.shape
    if shape[0] == shape[-1] == 3 and len({pair.layout for pair in fitting}) > 1:
        warnings.warn(
            f"{image.name} has the shape {shape}, whose channels may be first or last, and is taken as "
            f"{fitting[0].layout.value}: pass input_data_format to say so",
            PerpixelWarning,
            stacklevel=5,
        )
    return fitting[0]


def warn_of_small_values(pairs: Sequence[Pair]) -> None:
    """Warn where values look like 0…1, which `do_rescale` would divide by 255 once more."""
    small = [item.name for pair in pairs for item in (pair.image, pair.trimap) if item.in_unit_range]
    if small:
        warnings.warn(
            f"values of {', '.join(small)} already lie in 0…1 and are rescaled once more: pass "
            "do_rescale=False, or values in 0…255",
            PerpixelWarning,
            stacklevel=3,
        )


def known_alphas(trimaps: Any, sizes: Sequence[tuple[int, int]]) -> list[Array]:
    """Return each trimap as an alpha (h, w), float32: 0, 1, and 0.5 where it is unknown.

    Raises:
        InputError: there is not one trimap for each size, or one has another size.
    """
    from perpixel.ops.trimap import snap_trimap

    known = []
    read = _read_trimaps(trimaps, count=len(sizes), batched=True, of="alphas")
    for trimap, size in zip(read, sizes, strict=True):
        layout = next((item for item in trimap.layouts if trimap.size(item) == size), None)
        if layout is None:
            other = _width_by_height(trimap.size(trimap.layouts[0]))
            raise InputError(
                f"{trimap.name} is {other} but its matte is {_width_by_height(size)} (width×height): pass "
                "the trimap of preprocess, and the image's size in target_sizes"
            )
        unit = 255.0 if trimap.in_unit_range else trimap.unit
        grey = np.rint(grey_plane(trimap.planes(layout), trimap.name) * unit).clip(0, 255).astype(np.uint8)
        snapped = snap_trimap(grey)
        known.append(np.where(snapped == 0, 0, np.where(snapped == 255, 1, 0.5)).astype(np.float32))
    return known


def _width_by_height(size: tuple[int, int]) -> str:
    return f"{size[1]}×{size[0]}"


def _the(item: RawImage) -> str:
    return "the image" if item.name == "image" else item.name
