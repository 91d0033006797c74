"""From label maps to what Mask2Former learns from: one binary mask and one class for each object or class.

Source: Masked-attention Mask Transformer for Universal Image Segmentation, 2022, arXiv 2112.01527: semantic,
instance and panoptic annotations are all a set of masks, each with a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perpixel.errors import ConfigError, InputError
from perpixel.models.planes import Array

if TYPE_CHECKING:
    from perpixel.models.mask2former.targets import CompressedMasks

Classes = Mapping[int, int]


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


def masks_and_classes(
    labels: Sequence[Array],
    names: Sequence[str],
    classes: Any,
    rules: LabelRules,
    size: tuple[int, int],
    *,
    compressed: bool = False,
) -> Iterator[tuple[Array | CompressedMasks, Array]]:
    """Yield the masks of each map, (objects, *size) float32 or compressed, and their classes, (objects,) int64.

    Args:
        labels: the maps, each (h, w), whole numbers, of at most `size`.
        names: what messages call each of them.
        classes: `instance_id_to_semantic_id`, see `classes_of_each`.
        rules: what the numbers of the maps mean.
        size: height and width of the batch.
        compressed: give `CompressedMasks`.

    Raises:
        InputError: as `classes_of_each` and `LabelRules.objects`.
    """
    masks_of = compressed_masks if compressed else binary_masks
    for plane, its_classes, name in zip(labels, classes_of_each(classes, len(labels)), names, strict=True):
        numbers, found = rules.objects(plane, its_classes, name)
        yield masks_of(plane, numbers, size), np.array(found, np.int64)


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
