"""From photographs to segments: an image alone and in a batch with larger ones gives the same segments."""

import numpy as np
import torch

from models.mask2former.tiny import tiny_model
from parity.randomise import randomise
from perpixel import Mask2FormerImageProcessor


def test_segments_of_an_image_alone_and_in_a_batch(examples):
    model = tiny_model().eval()
    randomise(model, 3)
    processor = Mask2FormerImageProcessor(
        size={"shortest_edge": 70, "longest_edge": 110}, size_divisor=0, pad_divisor=32
    )
    paths = [examples / name for name in ("cat.jpg", "portrait.jpg", "astronaut.jpg")]
    sizes = [(300, 451), (345, 340), (512, 512)]
    ways = (
        lambda outputs, sizes: processor.post_process_panoptic_segmentation(
            outputs, threshold=0, overlap_mask_area_threshold=0, target_sizes=sizes
        ),
        lambda outputs, sizes: processor.post_process_instance_segmentation(
            outputs, threshold=0, overlap_mask_area_threshold=0, target_sizes=sizes
        ),
        lambda outputs, sizes: processor.post_process_semantic_segmentation(outputs, target_sizes=sizes),
    )

    def results(images, sizes):
        with torch.no_grad():
            outputs = model(**processor(images, return_tensors="pt"))
        return [way(outputs, sizes) for way in ways]

    batch = results(paths, sizes)
    seen = set()
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        for together, (alone,) in zip(batch, results([path], [size]), strict=True):
            found = together[number]
            if isinstance(found, dict):
                seen.add(len(found["segments_info"]))
                for a, b in zip(found["segments_info"], alone["segments_info"], strict=True):
                    assert {**a, "score": 0} == {**b, "score": 0} and abs(a["score"] - b["score"]) < 1e-5
                found, alone = found["segmentation"], alone["segmentation"]
            assert found.shape == size
            np.testing.assert_array_equal(found, alone)
    assert max(seen) > 1
