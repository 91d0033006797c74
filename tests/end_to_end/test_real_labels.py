"""Real annotations through the whole of Mask2Former's input and output: what is lost is only the resizing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from perpixel import Mask2FormerForUniversalSegmentationOutput, Mask2FormerImageProcessor
from perpixel.ops.rle import decode_rle, encode_rle, rle_from_polygons

DATA = Path(__file__).parents[2] / "../shared/data/segmentation/coco-ccby"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the COCO photographs")
CLASSES = 91  # COCO numbers its 80 categories from 1 to 90


def scenes() -> list[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
    content = json.loads((DATA / "instances.json").read_text())
    found = []
    for image in content["images"]:
        own = [item for item in content["annotations"] if item["image_id"] == image["id"]]
        if own:
            found.append((DATA / "images" / image["file_name"], image, own))
    return found


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    return rle_from_polygons(segmentation, height, width) if isinstance(segmentation, list) else segmentation


def instance_map(image: dict[str, Any], items: list[dict[str, Any]]) -> tuple[np.ndarray, dict[int, int]]:
    """Number the visible part of every instance from 1; smaller ones lie on top."""
    height, width = image["height"], image["width"]
    numbers = np.zeros((height, width), np.int32)
    classes = {0: 0}
    for number, item in enumerate(sorted(items, key=lambda item: -item["area"]), start=1):
        numbers[decode_rle(to_rle(item["segmentation"], height, width))] = number
        classes[number] = item["category_id"]
    return numbers, {number: label for number, label in classes.items() if (numbers == number).any()}


def certain_outputs(inputs: Any) -> Mask2FormerForUniversalSegmentationOutput:
    """The outputs of a model that is certain of the labels: logits of ±10, a query for each object."""
    masks, labels = inputs.mask_labels[0], inputs.class_labels[0]
    logits = torch.full((1, len(labels), CLASSES + 1), -10.0)
    logits[0, torch.arange(len(labels)), labels] = 10.0
    covered = inputs.pixel_mask[0].any(1).sum(), inputs.pixel_mask[0].any(0).sum()
    return Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=logits,
        masks_queries_logits=(masks.float() * 20 - 10)[None],
        mask_sizes=torch.tensor([covered], dtype=torch.float32),
    )


@pytest.mark.slow
@pytest.mark.parametrize("scene", scenes() if DATA.is_dir() else [], ids=lambda scene: scene[0].stem)
def test_labels_come_back_as_they_went_in(scene: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    path, image, items = scene
    numbers, classes = instance_map(image, items)
    processor = Mask2FormerImageProcessor(
        size={"shortest_edge": 800, "longest_edge": 1333}, size_divisor=0, pad_divisor=32, ignore_index=255
    )
    inputs = processor(path, numbers, instance_id_to_semantic_id=classes, return_tensors="pt")
    outputs = certain_outputs(inputs)
    size = [(image["height"], image["width"])]

    panoptic = processor.post_process_panoptic_segmentation(outputs, target_sizes=size)[0]
    overlaps, predicted = [], panoptic["segmentation"].numpy()
    for segment in panoptic["segments_info"]:
        mask = predicted == segment["id"]
        rivals = [numbers == number for number, label in classes.items() if label == segment["label_id"]]
        overlaps.append(max(float((mask & rival).sum() / (mask | rival).sum()) for rival in rivals))
    quality = sum(overlaps) / ((len(overlaps) + len(classes)) / 2)  # Kirillov et al., 2019, equation 1
    assert min(overlaps) > 0.5
    assert quality >= 0.99

    found = processor.post_process_instance_segmentation(outputs, target_sizes=size, return_coco_annotation=True)[0]
    truth = [encode_rle(numbers == number) for number in classes]
    ious = coco_mask.iou(found["segmentation"], truth, [0] * len(truth))
    assert float(ious.max(0).mean()) >= 0.99


@pytest.mark.parametrize("scene", scenes()[:5] if DATA.is_dir() else [], ids=lambda scene: scene[0].stem)
def test_annotations_round_trip_exactly(scene: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    _, image, items = scene
    for item in items:
        rle = to_rle(item["segmentation"], image["height"], image["width"])
        mask = decode_rle(rle)
        again = encode_rle(mask)
        assert (decode_rle(again) == mask).all()
        counts = again["counts"].encode() if isinstance(again["counts"], str) else again["counts"]
        assert (coco_mask.decode({"size": again["size"], "counts": counts}).astype(bool) == mask).all()
