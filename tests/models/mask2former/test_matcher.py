import sys

import pytest
import torch

from perpixel.errors import ConfigError, InputError, MissingDependencyError
from perpixel.models.mask2former.matcher import Mask2FormerHungarianMatcher
from perpixel.models.mask2former.targets import CompressedMasks

# Three queries: left half, right half, everything. Of flat maps every point gives the same number.
LEFT = torch.tensor([1.0, -1.0]).repeat(2, 1)
MASKS = torch.stack([LEFT, -LEFT, torch.ones(2, 2)])[None] * 50  # (1, 3, 2, 2)
CLASSES = torch.zeros(1, 3, 3)


def targets(*masks, classes):
    return [torch.stack(masks)], [torch.tensor(classes)]


def test_each_object_gets_the_query_with_its_mask():
    match = Mask2FormerHungarianMatcher(num_points=64)
    ((queries, objects),) = match(MASKS, CLASSES, *targets(torch.ones(2, 2), LEFT > 0, classes=[0, 1]))
    assert queries.tolist() == [0, 2] and objects.tolist() == [1, 0]
    assert queries.dtype == objects.dtype == torch.int64


def test_the_costs_by_hand(monkeypatch):
    """Flat masks, so the points do not matter: logits 0, ln 3 and -ln 3; targets all and nothing."""
    seen = []

    def assign(costs):
        seen.append(torch.from_numpy(costs.copy()))
        return [0, 1], [0, 1]

    monkeypatch.setattr("scipy.optimize.linear_sum_assignment", assign)
    logits = torch.tensor([0.0, 3.0, 1 / 3]).log().nan_to_num(neginf=0)[None, :, None, None].expand(1, 3, 2, 2)
    classes = torch.tensor([[[0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]).log()
    # Masks that are larger than they are looked at, so that no point is near the border.
    match = Mask2FormerHungarianMatcher(cost_class=2.0, cost_mask=3.0, cost_dice=5.0, num_points=4)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.5))
    match(logits, classes, *targets(torch.ones(2, 2), torch.zeros(2, 2), classes=[0, 1]))
    ln = torch.tensor([2.0, 4.0, 4 / 3]).log()
    cross_entropy = torch.tensor([[ln[0], ln[0]], [ln[2], ln[1]], [ln[1], ln[2]]])
    # 1 - (2 p t + 1) / (p + t + 1), of sums over four points: p = 2, 3, 1; t = 4, 0.
    dice = 1 - torch.tensor([[5 / 7, 1 / 3], [7 / 8, 1 / 4], [3 / 6, 1 / 2]])
    own_class = -torch.tensor([[0.25, 0.25], [0.5, 0.25], [0.1, 0.1]])
    torch.testing.assert_close(seen[0], 3 * cross_entropy + 2 * own_class + 5 * dice)


def test_the_class_decides_between_equal_masks():
    classes = torch.tensor([[[0.0, 5, 0], [5, 0, 0], [0, 0, 5]]])
    match = Mask2FormerHungarianMatcher(num_points=8)
    same = torch.ones(1, 3, 2, 2)
    ((queries, objects),) = match(same, classes, *targets(torch.ones(2, 2), torch.ones(2, 2), classes=[0, 1]))
    assert queries.tolist() == [0, 1] and objects.tolist() == [1, 0]


def test_more_objects_than_queries_and_none():
    masks, labels = torch.ones(5, 2, 2), torch.zeros(5, dtype=torch.int64)
    match = Mask2FormerHungarianMatcher(num_points=8)
    two = MASKS.expand(2, -1, -1, -1), CLASSES.expand(2, -1, -1)
    (queries, objects), (no_queries, no_objects) = match(*two, [masks, masks[:0]], [labels, labels[:0]])
    assert queries.tolist() == [0, 1, 2] and len(set(objects.tolist())) == 3
    assert len(no_queries) == len(no_objects) == 0


def test_predictions_that_are_not_finite_are_taken_last():
    masks = MASKS.clone()
    masks[0, 0], masks[0, 2] = float("nan"), float("inf")
    match = Mask2FormerHungarianMatcher(num_points=8)
    ((queries, _),) = match(masks, CLASSES, *targets(torch.ones(2, 2), classes=[0]))
    assert queries.tolist() == [1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    match = Mask2FormerHungarianMatcher(num_points=64)
    ((queries, objects),) = match(
        MASKS.to(dtype), CLASSES.to(dtype), *targets(torch.ones(2, 2), LEFT > 0, classes=[0, 1])
    )
    assert queries.tolist() == [0, 2] and objects.tolist() == [1, 0]


def test_compressed_masks_match_alike():
    match = Mask2FormerHungarianMatcher(num_points=64)
    masks = torch.stack([torch.ones(2, 2), (LEFT > 0).float()])
    compressed = [CompressedMasks.from_masks(masks)]
    ((queries, objects),) = match(MASKS, CLASSES, compressed, [torch.tensor([0, 1])])
    assert queries.tolist() == [0, 2] and objects.tolist() == [1, 0]


def test_what_does_not_fit(monkeypatch):
    with pytest.raises(ConfigError, match="all 0"):
        Mask2FormerHungarianMatcher(0, 0, 0)
    with pytest.raises(ConfigError, match="num_points is 0"):
        Mask2FormerHungarianMatcher(num_points=0)
    match = Mask2FormerHungarianMatcher(num_points=8)
    with pytest.raises(InputError, match="hold 2, but the model's 2 classes"):
        match(MASKS, CLASSES, *targets(torch.ones(2, 2), classes=[2]))
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"perpixel\[train\]"):
        match(MASKS, CLASSES, *targets(torch.ones(2, 2), classes=[1]))


def test_smaller_masks_lie_in_the_corner_of_the_common_canvas():
    """Beside masks of 8×8, one of 4×4 is the upper left quarter, as in the loss."""
    logits, masks, labels = corner_case()
    (queries, _), _ = Mask2FormerHungarianMatcher(num_points=64)(logits, torch.zeros(2, 2, 3), masks, labels)
    assert queries.tolist() == [1]


def corner_case():
    quarter = torch.full((8, 8), -50.0)
    quarter[:4, :4] = 50
    logits = torch.stack([torch.full((8, 8), 50.0), quarter]).expand(2, -1, -1, -1)
    return logits, [torch.ones(1, 4, 4), torch.ones(1, 8, 8)], [torch.tensor([0])] * 2
