"""From label maps to what Mask2Former learns from: one binary mask and one class for each object or class.

Source: Masked-attention Mask Transformer for Universal Image Segmentation, 2022, arXiv 2112.01527: semantic,
instance and panoptic annotations are all a set of masks, each with a class.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.planes import Array, ChannelDimension, RawImage, read_images, split_images

if TYPE_CHECKING:
    from perpixel.models.mask2former.targets import CompressedMasks

Classes = Mapping[int, int]


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


def read_labelled(images: Any, maps: Any, layout: ChannelDimension | None, argument: str) -> list[LabelledImage]:
    """Read images and as many label maps; `layout` tells where the channels of image arrays lie.

    Raises:
        InputError: something is no image or no label map, there are more of one than of the other, or two
            sizes differ.
    """
    from perpixel.images.labels import read_labels
    from perpixel.images.read import read_photo

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


@dataclass(frozen=True)
class LabelRules:
    """What the numbers of a label map mean.

    Attributes:
        ignore_index: the number of pixels and of classes that are left out; None leaves out nothing.
        do_reduce_labels: 0 is left out and class n becomes n - 1. Needs an `ignore_index`.
    """

    ignore_index: int | None
    do_reduce_labels: bool

    def __post_init__(self) -> None:
        if self.do_reduce_labels and self.ignore_index is None:
            raise ConfigError("do_reduce_labels=True needs ignore_index, the label that 0 becomes: pass 255")

    def objects(self, labels: Array, classes: Classes | None, name: str) -> tuple[list[int], list[int]]:
        """Return the numbers in a map that are objects, in ascending order, and the class of each.

        Args:
            labels: (h, w), whole numbers.
            classes: the class of each number, before it is reduced; None where the numbers are classes.
            name: what messages call the map.

        Raises:
            InputError: `classes` lacks a number, or a class is negative.
        """
        left_out = 0 if self.do_reduce_labels else self.ignore_index
        numbers = [number for number in np.unique(labels).tolist() if number != left_out]
        if classes is not None:
            lacking = [number for number in numbers if number not in classes]
            if lacking:
                raise InputError(
                    f"{name} holds the ids {_listed(lacking)}, which its instance_id_to_semantic_id does not have "
                    f"(it has {_listed(sorted(classes))}): add them, or name the id to leave out as ignore_index"
                )
        kept, found = [], []
        for number in map(int, numbers):
            label = int(number if classes is None else classes[number])
            if self.do_reduce_labels:
                label = label - 1 if label else self.ignore_index or 0
            if label == self.ignore_index:
                continue
            if label < 0:
                raise InputError(f"{name} holds the class {label}: pass ignore_index={label} to leave it out")
            kept.append(number)
            found.append(label)
        return kept, found


def binary_masks(labels: Array, numbers: Sequence[int], size: tuple[int, int]) -> Array:
    """Return one mask for each of `numbers`, (n, *size), float32: 1 where the map has it, 0 elsewhere.

    The map's pixels are at the top left; the rest of `size` was filled up and belongs to no object.
    """
    height, width = labels.shape
    masks = np.zeros((len(numbers), *size), np.float32)
    for mask, number in zip(masks, numbers, strict=True):
        mask[:height, :width] = labels == number
    return masks


def compressed_masks(labels: Array, numbers: Sequence[int], size: tuple[int, int]) -> CompressedMasks:
    """Return the same masks as run lengths; one at a time is written out."""
    from perpixel.models.mask2former.targets import CompressedMasks
    from perpixel.ops.rle import encode_rle

    runs = [encode_rle(labels == number) for number in numbers]
    return CompressedMasks.from_coco(runs, *labels.shape).on_canvas(*size)


def classes_of_each(given: Any, count: int) -> list[Classes | None]:
    """Return `instance_id_to_semantic_id` for each of `count` maps, its keys as whole numbers.

    Raises:
        InputError: a list of another length, or something that is no mapping of whole numbers.
    """
    each = list(given) if isinstance(given, list | tuple) else [given] * count
    if len(each) != count:
        raise InputError(
            f"instance_id_to_semantic_id has {len(each)} mappings for {count} maps: pass one for each, or one for all"
        )
    return [None if item is None else _whole_numbers(item) for item in each]


def _whole_numbers(mapping: Any) -> Classes:
    try:
        # Keys that went through JSON are text.
        return {int(key): int(label) for key, label in mapping.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"instance_id_to_semantic_id is {mapping!r}: pass the class of each id, such as {{1: 17, 2: 17}}"
        ) from None


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return (shown or "none") + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
