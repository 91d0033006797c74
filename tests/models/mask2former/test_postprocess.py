"""Each rule of the paper's inference, worked out by hand on a few queries and pixels, and a plain full-size version."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch.nn.functional import interpolate

from perpixel.errors import InputError
from perpixel.models.mask2former import mask_tiles
from perpixel.models.mask2former.postprocess import (
    instance_segmentation,
    panoptic_segmentation,
    semantic_segmentation,
)
from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput


def logit(probability):
    return torch.logit(torch.as_tensor(probability, dtype=torch.float64)).float()


def outputs(classes, masks, **more):
    """One image from class probabilities (q, k + 1) and mask probabilities (q, h, w)."""
    return Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.tensor(classes, dtype=torch.float64).log().float()[None],
        masks_queries_logits=logit(masks)[None],
        **more,
    )


def drawn(seed, queries, classes, height, width, batch=1):
    """Random outputs: smooth masks, so that some tiles are decided by their ranges."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, queries, 3, 3, generator=generator) * 6
    return Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.randn(batch, queries, classes + 1, generator=generator) * 3,
        masks_queries_logits=interpolate(coarse, (height, width), mode="bilinear"),
    )


SURE = [0.98, 0.01, 0.01]
OTHER = [0.01, 0.98, 0.01]
NOTHING = [0.01, 0.01, 0.98]


# Semantic


def test_semantic_adds_up_class_times_mask_probabilities():
    # At the second pixel class 0 gets 0.5 · 0.9 + 0.6 · 0.9, class 1 gets 0.4 · 0.9 + 0.3 · 0.9.
    found = semantic_segmentation(outputs([[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]], [[[0.9, 0.9]], [[1e-9, 0.9]]]))
    assert found[0].tolist() == [[0, 0]]
    found = semantic_segmentation(outputs([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]], [[[0.9, 0.9]], [[1e-9, 0.9]]]))
    assert found[0].tolist() == [[0, 1]]  # 0.45 to 0.36; 0.45 + 0.09 to 0.36 + 0.27


def test_no_object_is_no_class():
    found = semantic_segmentation(outputs([[0.0001, 0.0002, 0.9997]], [[[0.9, 0.1]]]))[0]
    assert found.tolist() == [[1, 1]] and found.dtype == torch.int64


def test_semantic_resizes_logits_and_not_probabilities():
    # Halfway from logit 10 to -2 lies logit 4, probability 0.98; halfway between the probabilities lies only 0.56.
    # The other class has 0.7 everywhere.
    masks = torch.tensor([[[10.0, -2.0]], [[0.8472979, 0.8472979]]])[None]
    classes = torch.tensor([[[0.98, 1e-6, 0.02], [1e-6, 0.98, 0.02]]]).log()
    found = Mask2FormerForUniversalSegmentationOutput(class_queries_logits=classes, masks_queries_logits=masks)
    assert semantic_segmentation(found, [(1, 3)])[0].tolist() == [[0, 0, 1]]


def test_scores_on_request():
    found = semantic_segmentation(outputs([[0.5, 0.4, 0.1]], [[[0.9, 0.5]]]), return_segmentation_scores=True)[0]
    assert found.segmentation.tolist() == [[0, 0]]
    assert torch.allclose(found.segmentation_scores, torch.tensor([[[0.45, 0.25]], [[0.36, 0.20]]]))


# Panoptic


def test_score_weights_the_contest_but_not_the_area():
    # Query 0, with 0.6, has 0.6 everywhere: its mask's area is 4 of 4 pixels, though 0.6 · 0.6 is under 0.5.
    found = panoptic_segmentation(outputs([[0.6, 0.2, 0.2]], [[[0.6, 0.6, 0.6, 0.6]]]))[0]
    assert found["segmentation"].tolist() == [[1, 1, 1, 1]]
    assert found["segments_info"] == [{"id": 1, "label_id": 0, "was_fused": False, "score": 0.6}]
    assert found["segmentation"].dtype == torch.int32


def test_pixels_below_the_mask_threshold_stay_empty():
    found = panoptic_segmentation(outputs([SURE], [[[0.9, 0.6, 0.4, 0.1]]]))[0]
    assert found["segmentation"].tolist() == [[1, 1, 0, 0]]
    found = panoptic_segmentation(outputs([SURE], [[[0.9, 0.6, 0.4, 0.1]]]), mask_threshold=0.7)[0]
    assert found["segmentation"].tolist() == [[1, 0, 0, 0]]


def test_a_query_that_wins_too_little_of_its_mask_is_dropped():
    # Query 1 covers five pixels with 0.8; query 0 takes two of them with 0.9, which leaves 3/5.
    masks = [[[0.9, 0.9, 0.1, 0.1, 0.1]], [[0.8, 0.8, 0.8, 0.8, 0.8]]]
    strict = panoptic_segmentation(outputs([SURE, OTHER], masks), overlap_mask_area_threshold=0.61)[0]
    assert strict["segmentation"].tolist() == [[1, 1, 0, 0, 0]] and len(strict["segments_info"]) == 1
    exact = panoptic_segmentation(outputs([SURE, OTHER], masks), overlap_mask_area_threshold=0.6)[0]
    assert exact["segmentation"].tolist() == [[1, 1, 2, 2, 2]]
    assert [segment["label_id"] for segment in exact["segments_info"]] == [0, 1]


def test_only_likely_objects_take_part():
    masks = [[[0.9, 0.9]], [[0.8, 0.8]]]
    assert panoptic_segmentation(outputs([NOTHING, OTHER], masks))[0]["segments_info"][0]["label_id"] == 1
    found = panoptic_segmentation(outputs([[0.4, 0.35, 0.25], OTHER], masks))[0]
    assert [segment["label_id"] for segment in found["segments_info"]] == [1]
    found = panoptic_segmentation(outputs([[0.4, 0.35, 0.25], NOTHING], masks), threshold=0.3)[0]
    assert [segment["label_id"] for segment in found["segments_info"]] == [0]


def test_fused_segments_share_an_id_and_no_other_segment_has_it():
    # Labels 0, 1, 0, 1 with 0 fused: ids 1, 2, 1, 3.
    masks = torch.full((4, 1, 4), 0.1)
    masks[range(4), 0, range(4)] = 0.9
    classes = [[0.90, 0.05, 0.05], OTHER, SURE, OTHER]
    found = panoptic_segmentation(outputs(classes, masks), label_ids_to_fuse={0})[0]
    assert found["segmentation"].tolist() == [[1, 2, 1, 3]]
    assert found["segments_info"] == [
        {"id": 1, "label_id": 0, "was_fused": True, "score": 0.98},
        {"id": 2, "label_id": 1, "was_fused": False, "score": 0.98},
        {"id": 3, "label_id": 1, "was_fused": False, "score": 0.98},
    ]


def test_nothing_found_has_the_size_of_the_target():
    nothing = outputs([NOTHING], [[[0.9, 0.9]]])
    found = panoptic_segmentation(nothing, target_sizes=[(3, 5)])[0]
    assert found["segmentation"].tolist() == [[0] * 5] * 3 and found["segments_info"] == []
    found = instance_segmentation(nothing, target_sizes=[(3, 5)], return_binary_maps=True)[0]
    assert found["segmentation"].shape == (0, 3, 5) and found["segments_info"] == []
    found = instance_segmentation(nothing, target_sizes=[(3, 5)])[0]
    assert found["segmentation"].tolist() == [[-1] * 5] * 3
    assert instance_segmentation(nothing, return_coco_annotation=True)[0]["segmentation"] == []


# Instance


def test_the_score_is_class_times_mean_mask_probability():
    # 0.9 · (0.8 + 0.6) / 2 = 0.63; with a mask threshold of 0.7 it is 0.9 · 0.8 = 0.72.
    one = outputs([[0.9, 0.05, 0.05]], [[[0.8, 0.6, 0.2]]])
    found = instance_segmentation(one, return_binary_maps=True)[0]
    assert found["segmentation"].tolist() == [[[True, True, False]]]
    assert found["segments_info"] == [
        {"id": 0, "label_id": 0, "was_fused": False, "score": pytest.approx(0.63, abs=2e-6)}
    ]
    found = instance_segmentation(one, mask_threshold=0.7, return_binary_maps=True)[0]
    assert found["segmentation"].tolist() == [[[True, False, False]]]
    assert found["segments_info"][0]["score"] == pytest.approx(0.72, abs=2e-6)
    assert instance_segmentation(one, threshold=0.64)[0]["segments_info"] == []


def test_overlapping_instances_stay_whole():
    masks = [[[0.7, 0.7, 0.7, 0.1]], [[0.1, 0.9, 0.9, 0.9]]]
    found = instance_segmentation(outputs([SURE, SURE], masks), return_binary_maps=True)[0]
    assert found["segmentation"].int().tolist() == [[[0, 1, 1, 1]], [[1, 1, 1, 0]]]  # the higher score first
    assert found["segmentation"].dtype == torch.bool
    rle = instance_segmentation(outputs([SURE, SURE], masks), return_coco_annotation=True)[0]["segmentation"]
    assert [coco.decode(one).tolist() for one in rle] == [[[0, 1, 1, 1]], [[1, 1, 1, 0]]]


def test_the_higher_score_wins_the_label_map():
    # Of the weaker one a third is left to be seen.
    masks = [[[0.7, 0.7, 0.7, 0.1]], [[0.1, 0.9, 0.9, 0.9]]]
    both = outputs([SURE, SURE], masks)
    found = instance_segmentation(both, overlap_mask_area_threshold=0.33)[0]
    assert found["segmentation"].tolist() == [[1, 0, 0, 0]] and found["segmentation"].dtype == torch.int32
    assert [segment["id"] for segment in found["segments_info"]] == [0, 1]
    found = instance_segmentation(both, overlap_mask_area_threshold=0.34)[0]
    assert found["segmentation"].tolist() == [[-1, 0, 0, 0]] and len(found["segments_info"]) == 1


def test_a_query_can_stand_for_two_classes():
    two = outputs([[0.5, 0.45, 0.05], NOTHING], [[[0.99, 0.01]]] * 2)
    found = instance_segmentation(two, threshold=0.4, return_binary_maps=True)[0]
    assert [segment["label_id"] for segment in found["segments_info"]] == [0, 1]


def test_rle_is_column_by_column_and_begins_with_background():
    mask = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.9, 0.1]])
    found = instance_segmentation(outputs([SURE], mask[None]), return_coco_annotation=True)[0]["segmentation"]
    assert found[0]["size"] == [2, 3]
    assert coco.decode(found[0]).tolist() == [[1, 0, 0], [1, 1, 0]]
    assert coco.area(found[0]) == 3


# Sizes and padding


def test_masks_are_resized_smoothly_to_the_target():
    # Logits 1 and -1 on two pixels; at eight pixels the change of sign is in the middle, at the sampled positions
    # -0.375, -0.125, 0.125, 0.375 | 0.625 …: logits 1, 1, 0.75, 0.25 | -0.25 …
    found = Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.tensor([[SURE]]).log(), masks_queries_logits=torch.tensor([[[[1.0, -1.0]]]])
    )
    for threshold, count in ((0.5, 4), (0.6, 3), (0.7, 2)):  # logits 0, 0.41, 0.85
        masks = instance_segmentation(found, mask_threshold=threshold, target_sizes=[(1, 8)], return_binary_maps=True)[
            0
        ]["segmentation"]
        assert masks.int().tolist() == [[[1] * count + [0] * (8 - count)]]


KINDS = (semantic_segmentation, instance_segmentation, panoptic_segmentation)


def same(one, other):
    for left, right in zip(one, other, strict=True):
        if isinstance(left, dict):
            assert left["segments_info"] == right["segments_info"]
            left, right = left["segmentation"], right["segmentation"]
        assert torch.equal(left, right)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_one_image_alone_and_on_a_larger_canvas(height, width, rows, columns, seed):
    # The image covers a quarter of a pixel less than the logits that were computed for it.
    alone = drawn(seed, 6, 4, height, width)
    covered = torch.tensor([[height - 0.25, width - 0.25]])
    canvas = torch.full((1, 6, height + 3, width + 5), 9.0)
    canvas[..., :height, :width] = alone.masks_queries_logits
    padded = Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=alone.class_queries_logits, masks_queries_logits=canvas, mask_sizes=covered
    )
    alone.mask_sizes = covered
    for kind in KINDS:
        same(kind(alone, target_sizes=[(rows, columns)]), kind(padded, target_sizes=[(rows, columns)]))
        same(kind(alone), kind(padded))
    assert semantic_segmentation(padded)[0].shape == (height, width)


def test_positions_follow_what_the_image_covers():
    # 3 pixels cover 1.5 logits: positions -0.25, 0.25, 0.75, so logits 4, 2, -2 between 4 and -4.
    found = Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.tensor([[SURE]]).log(),
        masks_queries_logits=torch.tensor([[[[4.0, -4.0, 99.0]]]]),
        mask_sizes=torch.tensor([[1.0, 1.5]]),
    )
    masks = [
        instance_segmentation(found, mask_threshold=p, target_sizes=[(1, 3)], return_binary_maps=True, threshold=0)
        for p in (0.1, 0.12, 0.88, 0.89)  # logits -2.2, -1.99, 1.99, 2.09
    ]
    assert [int(one[0]["segmentation"].sum()) for one in masks] == [3, 2, 2, 1]


# Against the same rules without tiles


def plain_panoptic(classes, masks, threshold, overlap):
    scores, labels = classes.max(1)
    keep = torch.nonzero((labels != classes.shape[1] - 1) & (scores > threshold))[:, 0]
    found, number = torch.zeros(masks.shape[1:], dtype=torch.int32), 0
    if len(keep):
        winner = (masks[keep] * scores[keep, None, None]).argmax(0)
        for place, query in enumerate(keep):
            won, own = winner == place, masks[query] >= 0.5
            if (won & own).any() and won.sum() / own.sum() >= overlap:
                number += 1
                found[won & own] = number
    return found, number


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 300), st.integers(1, 300), st.integers(0, 999))
def test_tiles_change_nothing(height, width, rows, columns, seed):
    found = drawn(seed, 7, 4, height, width)
    masks = interpolate(found.masks_queries_logits, (rows, columns), mode="bilinear")[0].sigmoid()
    classes = found.class_queries_logits[0].softmax(-1)
    scores = torch.einsum("qk,qhw->khw", classes[:, :-1], masks)
    semantic = semantic_segmentation(found, [(rows, columns)])[0]
    # Two correct orders of summation may part where classes tie to rounding.
    assert (scores.max(0).values - scores.gather(0, semantic[None])[0]).max() < 1e-5
    kept = semantic_segmentation(found, [(rows, columns)], return_segmentation_scores=True)[0].segmentation_scores
    assert torch.allclose(kept, scores, atol=1e-5)
    close = (masks - 0.5).abs() < 1e-5
    segmentation, number = plain_panoptic(classes, masks, 0.4, 0.6)
    panoptic = panoptic_segmentation(found, 0.4, overlap_mask_area_threshold=0.6, target_sizes=[(rows, columns)])[0]
    assert [segment["id"] for segment in panoptic["segments_info"]] == list(range(1, number + 1))
    assert torch.equal(panoptic["segmentation"], segmentation) or close.any()
    instances = instance_segmentation(found, 0.3, target_sizes=[(rows, columns)], return_binary_maps=True)[0]
    expected = []
    for place in classes[:, :-1].flatten().topk(7).indices.tolist():
        mask = masks[place // 4] > 0.5
        score = float(classes[place // 4, place % 4] * masks[place // 4][mask].mean()) if mask.any() else 0
        if score >= 0.3:
            expected.append((score, place % 4, mask))
    expected.sort(key=lambda one: -one[0])
    assert [(s["label_id"], s["score"]) for s in instances["segments_info"]] == [
        (label, pytest.approx(score, abs=1e-5)) for score, label, _ in expected
    ]
    for mask, (_, _, right) in zip(instances["segmentation"], expected, strict=True):
        assert torch.equal(mask, right) or close.any()


def test_each_tile_is_placed_right_whatever_its_side(monkeypatch):
    found = drawn(4, 12, 3, 13, 17, batch=2)
    sizes = [(90, 61), (40, 133)]
    whole = [kind(found, target_sizes=sizes) for kind in KINDS]
    monkeypatch.setattr(mask_tiles, "SIDE", 7)
    for kind, expected in zip(KINDS, whole, strict=True):
        for left, right in zip(kind(found, target_sizes=sizes), expected, strict=True):
            if isinstance(left, dict):
                assert len(left["segments_info"]) == len(right["segments_info"])
                left, right = left["segmentation"], right["segmentation"]
            assert torch.equal(left, right)


def test_half_precision_and_huge_logits():
    masks = torch.tensor([[[[float("inf"), -float("inf"), 3.0]]]])
    classes = torch.tensor([[SURE]]).log()
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        found = Mask2FormerForUniversalSegmentationOutput(
            class_queries_logits=classes.to(kind), masks_queries_logits=masks.to(kind)
        )
        assert panoptic_segmentation(found)[0]["segmentation"].tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("kind", [panoptic_segmentation, instance_segmentation])
def test_logits_come_to_the_processor_once_and_not_tile_by_tile(kind, monkeypatch):
    monkeypatch.setattr(mask_tiles, "SIDE", 7)
    to_the_processor, calls = torch.Tensor.cpu, []

    def counted(tensor):
        calls.append(tensor.shape)
        return to_the_processor(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    assert kind(drawn(4, 12, 3, 13, 17), 0.3, target_sizes=[(90, 61)])[0]["segments_info"]
    assert len(calls) == 3  # classes, masks, and the ranges of the tiles


# Bad input


def test_arguments_that_cannot_be_used():
    found = outputs([SURE], [[[0.9]]])
    with pytest.raises(InputError, match="2 target sizes were given for 1 images"):
        semantic_segmentation(found, [(1, 1), (2, 2)])
    with pytest.raises(InputError, match="not positive"):
        panoptic_segmentation(found, target_sizes=[(0, 4)])
    with pytest.raises(InputError, match="choose one"):
        instance_segmentation(found, return_binary_maps=True, return_coco_annotation=True)
    with pytest.raises(InputError, match="mask_threshold is 50"):
        panoptic_segmentation(found, mask_threshold=50)
    with pytest.raises(InputError, match="lack"):
        semantic_segmentation(Mask2FormerForUniversalSegmentationOutput())
