"""Images and the label maps that belong to them, in all the forms in which image processors take them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perpixel.errors import InputError, PerpixelWarning
from perpixel.models.planes import Array, ChannelDimension, RawImage, as_member, read_images, split_images


@dataclass(frozen=True)
class LabelledImage:
    """An image, and its label map if there is one.

    Attributes:
        image: as it was given.
        layout: where its channels lie.
        labels: (h, w) of its size, whole numbers; None without annotations.
        labels_name: what messages call the map.
    """

    image: RawImage
    layout: ChannelDimension
    labels: Array | None = None
    labels_name: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.size(self.layout)


def read_labelled(
    images: Any, maps: Any, input_data_format: str | ChannelDimension | None, argument: str
) -> list[LabelledImage]:
    """Read images and as many label maps.

    Args:
        images: one or several, in any form that a processor takes.
        maps: their `segmentation_maps`; None for none.
        input_data_format: where the channels of image arrays lie, "none" for (h, w); None finds it from the shapes.
        argument: what messages call the images.

    Raises:
        InputError: something is no image or no label map, there are more of one than of the other, or two
            sizes differ.
    """
    from perpixel.images.labels import read_labels
    from perpixel.images.read import read_photo

    layout = None
    if input_data_format is not None:
        layout = as_member(ChannelDimension, input_data_format, "input_data_format")
    depth = 2 if layout is ChannelDimension.NONE else None
    single, batched = split_images(images, argument, depth=depth)
    read = read_images(single, argument, lambda source: read_photo(source).pixels, layout=layout)
    if maps is None:
        return [_located(image) for image in read]
    # (n, h, w) beside n images is a batch of maps; beside one image it is one with a channel axis.
    several = batched and tuple(getattr(maps, "shape", ()))[:1] == (len(read),)
    single, _ = split_images(maps, "segmentation_maps", depth=2 if several else None)
    if len(single) != len(read):
        raise InputError(
            f"{len(read)} {argument} but {len(single)} segmentation_maps were given: pass one map for each"
        )
    read_maps = read_images(single, "segmentation_maps", read_labels)
    return [_located(image, its_map) for image, its_map in zip(read, read_maps, strict=True)]


def _located(image: RawImage, its_map: RawImage | None = None) -> LabelledImage:
    """Choose the layouts that make both the same size: a shape such as (3, 8, 3) can be read in two ways."""
    found = []
    for layout in image.layouts:
        if its_map is None:
            found.append(LabelledImage(image, layout))
            continue
        map_layout = next((item for item in its_map.layouts if its_map.size(item) == image.size(layout)), None)
        if map_layout is not None:
            found.append(LabelledImage(image, layout, _label_plane(its_map, map_layout), its_map.name))
    if not found and its_map is not None:
        (height, width), (rows, columns) = image.size(image.layouts[0]), its_map.size(its_map.layouts[0])
        raise InputError(
            f"{its_map.name} is {columns}×{rows} but {image.name} is {width}×{height} (width×height): pass the "
            f"image's own map, or resize the map to {width}×{height} by nearest neighbour"
        )
    shape = image.values.shape
    if len(found) > 1 and shape[0] == shape[-1] == 3:
        warnings.warn(
            f"{image.name} has the shape {shape}, whose channels may be first or last, and is taken as "
            f"{found[0].layout.value}: pass input_data_format to say so",
            PerpixelWarning,
            stacklevel=5,
        )
    return found[0]


def _label_plane(its_map: RawImage, layout: ChannelDimension) -> Array:
    """Return (h, w) whole numbers; three channels are COCO's panoptic colours."""
    from perpixel.images.labels import panoptic_ids

    planes = its_map.planes(layout)
    if len(planes) == 4:
        raise InputError(f"{its_map.name} has four channels: pass (h, w), or COCO's panoptic colours (h, w, 3)")
    labels: Array = panoptic_ids(planes, its_map.name) if len(planes) == 3 else planes[0]
    if labels.dtype.kind == "f":
        if (labels % 1).any():
            raise InputError(f"{its_map.name} holds fractions: labels are whole numbers, pass them unscaled")
        labels = labels.astype(np.int64)
    return labels


def warn_of_small_values(read: Sequence[LabelledImage]) -> None:
    """Warn of images in 0…1 that are about to be rescaled. The warning names the line that called the caller."""
    small = [item.image.name for item in read if item.image.in_unit_range]
    if small:
        warnings.warn(
            f"values of {', '.join(small)} already lie in 0…1 and are rescaled once more: pass "
            "do_rescale=False, or values in 0…255",
            PerpixelWarning,
            stacklevel=3,
        )
