"""The post-processing methods of Mask2Former's image processor, as transformers names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput

    Sizes = Sequence[tuple[int, int]] | torch.Tensor


class SegmentPostProcessor:
    """What turns a model's output into segments of the images' own sizes; it needs no settings."""

    def post_process_semantic_segmentation(
        self,
        outputs: Mask2FormerForUniversalSegmentationOutput,
        target_sizes: Sizes | None = None,
        return_segmentation_scores: bool = False,
    ) -> list[Any]:
        """Return the class of each pixel; see `perpixel.models.mask2former.postprocess.semantic_segmentation`.

        Args:
            outputs: the model's output.
            target_sizes: (height, width) of each image's result; None keeps the size of the mask logits.
            return_segmentation_scores: give the scores of all classes too, an object with the attributes
                `segmentation` and `segmentation_scores` for each image.

        Returns:
            For each image (height, width), the number of the class.
        """
        from perpixel.models.mask2former.postprocess import semantic_segmentation

        return semantic_segmentation(outputs, target_sizes, return_segmentation_scores)

    def post_process_instance_segmentation(
        self,
        outputs: Mask2FormerForUniversalSegmentationOutput,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: Sizes | None = None,
        return_coco_annotation: bool = False,
        return_binary_maps: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the objects; see `perpixel.models.mask2former.postprocess.instance_segmentation`.

        Args:
            outputs: the model's output.
            threshold: the least score of an object.
            mask_threshold: the least probability of an object's pixels.
            overlap_mask_area_threshold: the least part of an object that others may leave visible.
            target_sizes: (height, width) of each image's result; None keeps the size of the mask logits.
            return_coco_annotation: give COCO's compressed RLE of each object instead of a map.
            return_binary_maps: give each object's own mask instead of a map.

        Returns:
            For each image a dict with `segmentation` and `segments_info`, the id, label and score of each.
        """
        from perpixel.models.mask2former.postprocess import instance_segmentation

        return instance_segmentation(
            outputs,
            threshold=threshold,
            mask_threshold=mask_threshold,
            overlap_mask_area_threshold=overlap_mask_area_threshold,
            target_sizes=target_sizes,
            return_coco_annotation=return_coco_annotation,
            return_binary_maps=return_binary_maps,
        )

    def post_process_panoptic_segmentation(
        self,
        outputs: Mask2FormerForUniversalSegmentationOutput,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        label_ids_to_fuse: set[int] | None = None,
        target_sizes: Sizes | None = None,
    ) -> list[dict[str, Any]]:
        """Return things and stuff; see `perpixel.models.mask2former.postprocess.panoptic_segmentation`.

        Args:
            outputs: the model's output.
            threshold: the least score of a segment.
            mask_threshold: the least probability of a segment's pixels.
            overlap_mask_area_threshold: the least part of a segment that others may leave visible.
            label_ids_to_fuse: classes of which there is only one segment in an image, such as the sky.
            target_sizes: (height, width) of each image's result; None keeps the size of the mask logits.

        Returns:
            For each image a dict with `segmentation`, the id of each pixel's segment, and `segments_info`.
        """
        from perpixel.models.mask2former.postprocess import panoptic_segmentation

        return panoptic_segmentation(
            outputs,
            threshold=threshold,
            mask_threshold=mask_threshold,
            overlap_mask_area_threshold=overlap_mask_area_threshold,
            label_ids_to_fuse=label_ids_to_fuse,
            target_sizes=target_sizes,
        )
