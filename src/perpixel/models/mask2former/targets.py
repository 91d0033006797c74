"""What Mask2Former is trained on: the masks and classes of each image, checked once, sampled where the loss looks.

Source: Masked-attention Mask Transformer for Universal Image Segmentation, 2022, arXiv 2112.01527, section 3.3: the
mask losses see a few thousand points of each mask, so a mask never has to be written out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from perpixel.errors import InputError
from perpixel.ops.rle import bilinear_corners, encode_rle, rle_ends, rle_from_polygons, sample_ends

AnyArray = npt.NDArray[Any]

# Dense masks become floats a few at a time: 64 MB at most, where all of a crowded image would take gigabytes.
FLOATS_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class CompressedMasks:
    """The masks of one image as run lengths: a few kilobytes each, whatever their size.

    An entry of `mask_labels` may be this instead of a tensor (n, h, w). Points are looked up in the runs. The masks
    may have another size than the model's input, such as that of the annotations: positions are relative. Where the
    input was padded, say so by `on_canvas`.

    Attributes:
        size: height and width of the masks.
        ends: for each mask, where its runs end; see `rle_ends`.
        canvas: height and width of the padded input, in pixels of the masks, whose upper left part the masks are.

    Example:
        >>> masks = CompressedMasks.from_coco([{"size": [2, 2], "counts": [1, 3]}, [[0, 0, 1, 0, 1, 2, 0, 2]]], 2, 2)
        >>> masks.sample(torch.tensor([[[0.25, 0.25], [0.75, 0.75]]])).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """

    size: tuple[int, int]
    ends: tuple[npt.NDArray[np.signedinteger[Any]], ...]
    canvas: tuple[float, float] | None = None

    @classmethod
    def from_coco(cls, segmentations: Sequence[Any], height: int, width: int) -> Self:
        """Take the `segmentation` of each annotation of an image.

        Args:
            segmentations: for each object an RLE dict (compressed or a list of runs) or a list of polygons.
            height: rows of the annotated image.
            width: columns.

        Raises:
            InputError: something is no RLE and no list of polygons, or an RLE has another size.
        """
        if min(height, width) < 1:
            raise InputError(f"masks cannot be {width}×{height} (width×height): both sides must be at least 1")
        found = []
        for number, item in enumerate(segmentations):
            polygons = not isinstance(item, Mapping)
            if polygons and not isinstance(item, list | tuple):
                raise InputError(f"segmentation {number} is a {type(item).__name__}: pass an RLE or a list of polygons")
            rle = rle_from_polygons(item, height, width) if polygons else item
            found.append(rle_ends(rle))
            rows, columns = (int(side) for side in rle["size"])
            if (rows, columns) != (height, width):
                raise InputError(
                    f"segmentation {number} is {columns}×{rows} but the image is {width}×{height} (width×height): "
                    "pass the size that the annotations were made for"
                )
        return cls((int(height), int(width)), tuple(found))

    @classmethod
    def from_masks(cls, masks: AnyArray | Tensor) -> Self:
        """Compress masks that are written out.

        Args:
            masks: (n, h, w) bool, or numbers of which every one but 0 is foreground.

        Raises:
            InputError: the masks have not three dimensions, or no pixel.
        """
        array = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
        if array.ndim != 3 or not all(array.shape[1:]):
            raise InputError(f"masks of shape {tuple(array.shape)} cannot be compressed: pass (n, height, width)")
        height, width = array.shape[1:]
        return cls((int(height), int(width)), tuple(rle_ends(encode_rle(mask)) for mask in array))

    def on_canvas(self, height: int, width: int, image_size: tuple[int, int] | None = None) -> Self:
        """Say that the model's input was padded at the bottom and on the right; nothing is copied.

        Args:
            height: rows of the padded input.
            width: columns of the padded input.
            image_size: height and width of the image inside it, which the masks cover; by default the masks' own
                size, for images that were not resized.

        Raises:
            InputError: the input is smaller than the image.
        """
        rows, columns = image_size or self.size
        if height < rows or width < columns or min(rows, columns) < 1:
            raise InputError(
                f"a padded input of {width}×{height} cannot hold an image of {columns}×{rows} (width×height): "
                "pass the size after padding, and the size after resizing as image_size"
            )
        # Exactly the padded size where nothing was resized.
        return replace(self, canvas=(height * self.size[0] / rows, width * self.size[1] / columns))

    def __len__(self) -> int:
        return len(self.ends)

    def sample(self, points: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Read the masks at points, bilinearly; outside of the masks is background.

        Args:
            points: (1, p, 2) for all masks or (n, p, 2), x and y, 0…1 across the canvas.
            chosen: (n,) the numbers of the masks to read; all by default.

        Returns:
            (n, p) float32 on the device of the points.
        """
        numbers = range(len(self)) if chosen is None else chosen.tolist()
        values = np.empty((len(numbers), points.shape[1]), np.float32)
        places = points.detach().to("cpu", torch.float32).numpy()
        for row, number in enumerate(numbers):
            if row == 0 or len(places) > 1:
                corners = bilinear_corners(places[row], *self.size, canvas=self.canvas)
            values[row] = sample_ends(self.ends[number], corners)
        return torch.from_numpy(values).to(points.device)


@dataclass(frozen=True, eq=False)
class Targets:
    """The checked targets of a batch.

    Attributes:
        masks: one entry an image, (n, h, w) tensors or `CompressedMasks`.
        classes: one entry an image, (n,) int64 on the device of the logits.
        canvas: height and width that tensors of different sizes are thought to be padded to.
    """

    masks: list[Tensor | CompressedMasks]
    classes: list[Tensor]
    canvas: tuple[int, int]

    @torch.no_grad()
    def sample(self, image: int, points: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Read the masks of one image; see `CompressedMasks.sample`."""
        masks = self.masks[image]
        if isinstance(masks, CompressedMasks):
            return masks.sample(points, chosen)
        height, width = masks.shape[1:]
        if (height, width) != self.canvas:
            points = points * points.new_tensor([self.canvas[1] / width, self.canvas[0] / height])
        numbers = torch.arange(len(masks)) if chosen is None else chosen
        step = max(1, FLOATS_AT_ONCE // (height * width))
        shared = len(points) == 1
        sampled = [torch.empty(0, points.shape[1], device=points.device)]
        for start in range(0, len(numbers), step):
            some = masks[numbers[start : start + step].to(masks.device)].to(points.device, torch.float32)  # (k, h, w)
            if shared:
                sampled.append(sample_points(some[None], points)[0])  # (k, p)
            else:
                sampled.append(sample_points(some[:, None], points[start : start + step])[:, 0])  # (k, p)
        return torch.cat(sampled)  # (n, p)


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Read maps at points, bilinearly, with zeros outside.

    Args:
        maps: (b, c, h, w).
        points: (b, p, 2) x and y, 0…1 across the maps.

    Returns:
        (b, c, p).
    """
    return functional.grid_sample(maps, 2 * points[:, :, None] - 1, align_corners=False)[..., 0]


def check_targets(
    mask_labels: Sequence[Tensor | CompressedMasks] | Tensor,
    class_labels: Sequence[Tensor] | Tensor,
    batch_size: int,
    num_labels: int,
    device: torch.device,
) -> Targets:
    """Check the targets of a batch.

    Args:
        mask_labels: for each image (n, h, w) of 0 and 1, bool, integer or float, or `CompressedMasks`. n may be 0.
        class_labels: for each image (n,) integers in 0…num_labels - 1.
        batch_size: how many images the logits are for.
        num_labels: how many classes there are, without "no object".
        device: where the classes go.

    Raises:
        InputError: a count, shape, type or value does not fit.
    """
    if not len(mask_labels) == len(class_labels) == batch_size:
        raise InputError(
            f"{batch_size} images, but mask_labels for {len(mask_labels)} and class_labels for {len(class_labels)}: "
            "pass one of each for every image (with 0 masks for an image without objects)"
        )
    masks = [_checked_masks(item, image) for image, item in enumerate(mask_labels)]
    classes = [_checked_classes(item, image, num_labels).to(device) for image, item in enumerate(class_labels)]
    for image, (some_masks, some_classes) in enumerate(zip(masks, classes, strict=True)):
        if len(some_masks) != len(some_classes):
            raise InputError(
                f"image {image} has {len(some_masks)} mask_labels but {len(some_classes)} class_labels: "
                "pass one class for each mask"
            )
    sizes = [tuple(item.shape[1:]) for item in masks if isinstance(item, Tensor)] or [(1, 1)]
    return Targets(masks, classes, (max(rows for rows, _ in sizes), max(columns for _, columns in sizes)))


def _checked_masks(masks: Any, image: int) -> Tensor | CompressedMasks:
    if isinstance(masks, CompressedMasks):
        return masks
    if not isinstance(masks, Tensor):
        raise InputError(
            f"mask_labels of image {image} are a {type(masks).__name__}: pass a tensor (n, height, width), or "
            "CompressedMasks.from_coco(segmentations, height, width) for RLE and polygons"
        )
    if masks.ndim and not len(masks):
        # An image without objects; whatever else is said about the size of nothing is right.
        return masks.new_zeros(0, *(masks.shape[1:] if masks.ndim == 3 and masks.shape[1:].numel() else (1, 1)))
    if masks.ndim != 3 or not masks.numel():
        raise InputError(f"mask_labels of image {image} have the shape {tuple(masks.shape)}: pass (n, height, width)")
    if masks.dtype != torch.bool:
        low, high = (float(value) for value in masks.detach().aminmax())
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"mask_labels of image {image} hold values from {low:g} to {high:g}: "
                "pass 1 inside of each object and 0 outside"
            )
    return masks.detach()


def _checked_classes(classes: Any, image: int, num_labels: int) -> Tensor:
    labels = torch.as_tensor(classes)
    if not labels.numel():
        return labels.new_zeros(0, dtype=torch.int64)
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype in (torch.bool, torch.complex64):
        raise InputError(
            f"class_labels of image {image} are {labels.dtype} of shape {tuple(labels.shape)}: "
            "pass one whole number for each mask"
        )
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= num_labels:
        wrong = low if low < 0 else high
        raise InputError(
            f"class_labels of image {image} hold {wrong}, but the model's {num_labels} classes are 0 to "
            f"{num_labels - 1}: leave ignored objects out, or set num_labels or id2label"
        )
    return labels.to(torch.int64)
