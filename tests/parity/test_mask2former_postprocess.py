"""Segments from the same outputs in perpixel and transformers, where transformers follows the paper.

It forces masks to 384×384, so logits of that size and results of that size leave its other steps to be compared.
"""

import pytest
import torch
import transformers
from torch.nn.functional import interpolate

from perpixel.models.mask2former import postprocess
from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput

SIDE = 384


@pytest.fixture(scope="module")
def theirs():
    return transformers.Mask2FormerImageProcessorPil()


def drawn(seed, queries=8, classes=5):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, queries, 5, 5, generator=generator) * 5
    return Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.randn(2, queries, classes + 1, generator=generator) * 3,
        masks_queries_logits=interpolate(coarse, (SIDE, SIDE), mode="bilinear"),
    )


def stripes(probabilities, classes):
    """Queries side by side, a band of columns each, confident inside and outside: nothing overlaps."""
    masks = torch.full((1, len(classes), SIDE, SIDE), -12.0)
    edges = torch.linspace(0, SIDE, len(classes) + 1).int().tolist()
    for query in range(len(classes)):
        masks[0, query, :, edges[query] : edges[query + 1]] = 12
    scores = torch.zeros(1, len(classes), 5) + (1 - torch.tensor(probabilities)[:, None]) / 4
    scores[0, range(len(classes)), classes] = torch.tensor(probabilities)
    return Mask2FormerForUniversalSegmentationOutput(class_queries_logits=scores.log(), masks_queries_logits=masks)


def test_semantic(theirs):
    outputs = drawn(0)
    found = postprocess.semantic_segmentation(outputs, return_segmentation_scores=True)
    expected = theirs.post_process_semantic_segmentation(outputs, return_segmentation_scores=True)
    for plain, one, right in zip(postprocess.semantic_segmentation(outputs), found, expected, strict=True):
        assert torch.allclose(one.segmentation_scores, right["segmentation_scores"], atol=1e-5)
        assert plain.dtype == right["segmentation"].dtype
        # Two orders of summation may part only where two classes tie.
        assert (plain != right["segmentation"]).sum() <= 3
    assert len(torch.unique(torch.stack(postprocess.semantic_segmentation(outputs)))) >= 3


def test_panoptic_without_overlaps(theirs):
    # 3 is sky and comes once. Every pixel belongs to a query that is kept: transformers gives away the others too.
    outputs = stripes([0.9, 0.8, 0.95, 0.7], [0, 1, 3, 1])
    [found] = postprocess.panoptic_segmentation(outputs, label_ids_to_fuse={3})
    [expected] = theirs.post_process_panoptic_segmentation(outputs, label_ids_to_fuse={3})
    assert torch.equal(found["segmentation"], expected["segmentation"])
    assert found["segmentation"].dtype == expected["segmentation"].dtype
    assert found["segments_info"] == [one | {"score": pytest.approx(one["score"])} for one in expected["segments_info"]]
    assert len(found["segments_info"]) == 4


@pytest.mark.parametrize("size", [None, (96, 192)])
def test_instances_without_overlaps(theirs, size):
    outputs = stripes([0.9, 0.8, 0.95, 0.9, 0.4, 0.7], [0, 1, 3, 4, 2, 1])
    sizes = None if size is None else [size]
    [found] = postprocess.instance_segmentation(outputs, target_sizes=sizes, return_binary_maps=True)
    [expected] = theirs.post_process_instance_segmentation(outputs, target_sizes=sizes, return_binary_maps=True)
    order = sorted(range(4), key=lambda one: -expected["segments_info"][one]["score"])
    assert torch.equal(found["segmentation"], expected["segmentation"][order].bool())
    for one, place in zip(found["segments_info"], order, strict=True):
        right = expected["segments_info"][place]
        assert set(one) == set(right) and one["label_id"] == right["label_id"]
        assert one["score"] == pytest.approx(right["score"], abs=2e-6)


def test_faults_of_the_panoptic_rule_there(theirs):
    # Labels 0, 1, 0, 1 with 0 fused: the third takes the fused id 1, and the fourth counts on from it.
    outputs = stripes([0.9, 0.9, 0.9, 0.9], [0, 1, 0, 1])
    [found] = theirs.post_process_panoptic_segmentation(outputs, label_ids_to_fuse={0})
    assert [one["id"] for one in found["segments_info"]] == [1, 2, 1, 2]
    # All of a mask with the probability 0.6 and the class probability 0.6 is lost: 0.36 counts as its area.
    outputs = stripes([0.6], [0])
    outputs.masks_queries_logits.fill_(0.4055)
    assert theirs.post_process_panoptic_segmentation(outputs, label_ids_to_fuse=set())[0]["segments_info"] == []
    # The no-object band goes to a neighbour that is nearly sure not to be there.
    outputs = stripes([0.9, 0.9], [0, 4])
    [found] = theirs.post_process_panoptic_segmentation(outputs, label_ids_to_fuse=set())
    assert (found["segmentation"] == 1).all()
    [found] = postprocess.panoptic_segmentation(outputs)
    assert found["segmentation"][0, [0, SIDE // 2 - 1, SIDE // 2]].tolist() == [1, 1, 0]
    outputs = stripes([0.9], [4])
    assert (theirs.post_process_panoptic_segmentation(outputs, label_ids_to_fuse=set())[0]["segmentation"] == -1).all()


def test_faults_of_the_instance_rule_there(theirs):
    outputs = stripes([0.9], [0])
    outputs.masks_queries_logits[..., : SIDE // 2] = 0.4  # probability 0.6
    found = [theirs.post_process_instance_segmentation(outputs, mask_threshold=p)[0] for p in (0.5, 0.9)]
    assert torch.equal(found[0]["segmentation"], found[1]["segmentation"])
    # The RLE is that of a label map: pairs of start and length along the rows, and of the background as well.
    outputs.masks_queries_logits[..., : SIDE // 2] = -9
    [found] = theirs.post_process_instance_segmentation(outputs, return_coco_annotation=True)
    assert len(found["segmentation"]) == 2 and isinstance(found["segmentation"][1], list)
    # Nothing found: a label map where masks were asked for, of float32.
    outputs = stripes([0.9], [4])
    [found] = theirs.post_process_instance_segmentation(outputs, return_binary_maps=True, target_sizes=[(30, 40)])
    assert found["segmentation"].shape == (30, 40) and found["segmentation"].dtype == torch.float32
    # Of two instances in one place the last one has all of the label map, whatever the scores.
    outputs = stripes([0.95, 0.9], [0, 1])
    outputs.masks_queries_logits.fill_(9)
    [found] = theirs.post_process_instance_segmentation(outputs)
    assert len(found["segments_info"]) == 2 and len(found["segmentation"].unique()) == 1
    [found] = postprocess.instance_segmentation(outputs)
    assert [one["label_id"] for one in found["segments_info"]] == [0]


def test_sizes_there(theirs):
    outputs = stripes([0.9], [0])
    outputs.masks_queries_logits = torch.tensor([[[[9.0, -9.0], [-9.0, -9.0]]]])
    assert theirs.post_process_semantic_segmentation(outputs)[0].shape == (SIDE, SIDE)
    assert postprocess.semantic_segmentation(outputs)[0].shape == (2, 2)
    # Shrunk by nearest neighbour from 384 rows, a mask has the value of one corner of each pixel.
    [found] = theirs.post_process_instance_segmentation(outputs, target_sizes=[(1, 1)], return_binary_maps=True)
    assert found["segmentation"].tolist() == [[[1.0]]]
    [found] = postprocess.instance_segmentation(outputs, target_sizes=[(1, 1)], return_binary_maps=True)
    assert found["segmentation"].shape == (0, 1, 1)  # the mean of the four logits is -4.5
