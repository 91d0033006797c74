"""Mask2Former's matching and loss against transformers, on the same random points."""

from types import SimpleNamespace

import accelerate
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.mask2former import modeling_mask2former as reference

from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.loss import Mask2FormerLoss
from perpixel.models.mask2former.matcher import Mask2FormerHungarianMatcher

FIELDS = {"train_num_points": 112, "class_weight": 1.5, "mask_weight": 4.0, "dice_weight": 3.0, "no_object_weight": 0.2}
LABELS = 3


@pytest.fixture(scope="module", params=[(3.0, 0.75), (1.5, 1.0), (2.0, 0.0)])
def both(request):
    oversample, importance = request.param
    fields = {**FIELDS, "oversample_ratio": oversample, "importance_sample_ratio": importance}
    ours = Mask2FormerLoss(Mask2FormerConfig(num_labels=LABELS, **fields))
    config = transformers.Mask2FormerConfig(num_labels=LABELS, **fields)
    weights = {"loss_cross_entropy": 1.5, "loss_mask": 4.0, "loss_dice": 3.0}
    theirs = reference.Mask2FormerLoss(config, weights)
    assert ours.weight_dict == weights
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def layer(seed, batch, queries, size):
    generator = torch.Generator().manual_seed(seed)
    return {
        "masks_queries_logits": (4 * torch.randn(batch, queries, *size, generator=generator)).requires_grad_(),
        "class_queries_logits": torch.randn(batch, queries, LABELS + 1, generator=generator).requires_grad_(),
    }


def labels(seed, counts, size):
    generator = torch.Generator().manual_seed(seed)
    masks = [(torch.rand(count, *size, generator=generator) < 0.4).float() for count in counts]
    return masks, [torch.randint(0, LABELS, (count,), generator=generator) for count in counts]


@pytest.mark.parametrize(
    ("counts", "size", "mask_size"),
    [((2, 3), (8, 12), (32, 48)), ((1,), (7, 5), (29, 17)), ((9, 1, 4), (5, 9), (5, 9)), ((3,), (1, 1), (1, 1))],
)
def test_losses_and_gradients(both, counts, size, mask_size):
    masks, classes = labels(5, counts, mask_size)
    layers = [layer(seed, len(counts), 6, size) for seed in range(3)]
    inputs = [tensor for item in layers for tensor in item.values()]
    found = []
    for loss in both:
        torch.manual_seed(11)
        losses = loss(**layers[-1], mask_labels=masks, class_labels=classes, auxiliary_predictions=layers[:-1])
        total = sum(
            weight * v for kind, weight in loss.weight_dict.items() for name, v in losses.items() if kind in name
        )
        found.append((losses, total, torch.autograd.grad(total, inputs), torch.rand(3)))
    ours, theirs = found
    assert list(ours[0]) and set(ours[0]) == set(theirs[0])
    # The last one says that both have drawn equally many random numbers.
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    torch.testing.assert_close(both[0].total(ours[0]), theirs[1], atol=1e-4, rtol=0)
    gradients = max(float((a - b).abs().max()) for a, b in zip(ours[2], theirs[2], strict=True))
    assert gradients < 1e-6 < max(float(tensor.abs().max()) for tensor in theirs[2])


def test_images_without_objects(both):
    """transformers takes them as long as some image of the batch has an object."""
    masks, classes = labels(5, (0, 2, 0), (16, 16))
    predicted = layer(1, 3, 6, (8, 8))
    found = []
    for loss in both:
        torch.manual_seed(11)
        losses = loss(**predicted, mask_labels=masks, class_labels=classes)
        found.append((losses, torch.autograd.grad(sum(losses.values()), list(predicted.values())), torch.rand(3)))
    torch.testing.assert_close(*found, atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9999), st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_matches(seed, counts, height, width):
    masks, classes = labels(seed, counts, (2 * height, 2 * width))
    predicted = layer(seed, len(counts), 5, (height, width))
    found = []
    for kind in (Mask2FormerHungarianMatcher, reference.Mask2FormerHungarianMatcher):
        torch.manual_seed(seed)
        found.append(kind(2.0, 5.0, 5.0, 64)(**predicted, mask_labels=masks, class_labels=classes))
    torch.testing.assert_close(*found)


@pytest.fixture
def theirs():
    return reference.Mask2FormerLoss(transformers.Mask2FormerConfig(num_labels=LABELS, train_num_points=16), {})


@pytest.mark.parametrize(
    ("masks", "classes", "error"),
    [
        (torch.ones(1, 4, 4, dtype=torch.bool), [0], NotImplementedError),
        (torch.ones(1, 4, 4, dtype=torch.uint8), [0], NotImplementedError),
        (torch.ones(3, 4, 4), [0, 1], RuntimeError),
        (torch.ones(1, 4, 4), [-1], IndexError),
        (torch.ones(1, 4, 4), [LABELS + 1], IndexError),
    ],
)
def test_targets_that_fail_there(theirs, masks, classes, error):
    with pytest.raises(error):
        theirs(**layer(0, 1, 3, (4, 4)), mask_labels=[masks], class_labels=[torch.tensor(classes)])


def test_targets_that_are_taken_wrongly_there(theirs):
    torch.manual_seed(0)  # the points are drawn; whether the loss falls below 0 hangs on them
    wrong = theirs(
        **layer(0, 1, 3, (4, 4)), mask_labels=[torch.full((1, 4, 4), 255.0)], class_labels=[torch.tensor([0])]
    )
    assert wrong["loss_mask"] < 0  # which no cross entropy is
    theirs(**layer(0, 1, 3, (4, 4)), mask_labels=[torch.ones(1, 4, 4)], class_labels=[torch.tensor([LABELS])])


def test_masks_of_different_sizes_there():
    quarter = torch.full((8, 8), -50.0)
    quarter[:4, :4] = 50
    logits = torch.stack([torch.full((8, 8), 50.0), quarter]).expand(2, -1, -1, -1)
    match = reference.Mask2FormerHungarianMatcher(num_points=64)
    (queries, _), _ = match(
        logits, torch.zeros(2, 2, 3), [torch.ones(1, 4, 4), torch.ones(1, 8, 8)], [torch.tensor([0])] * 2
    )
    assert queries.tolist() == [0]  # though its loss looks at the upper left quarter


def test_the_count_is_divided_twice_there(theirs, monkeypatch):
    def state():
        return SimpleNamespace(num_processes=2, distributed_type=accelerate.DistributedType.MULTI_CPU, debug=False)

    state._shared_state = {"backend": "gloo"}
    monkeypatch.setattr(reference, "PartialState", state)
    monkeypatch.setattr("accelerate.utils.operations.PartialState", state)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor, operation: tensor.add_(5))
    # 1 object here and 5 on the other process: 3 on average.
    assert theirs.get_num_masks([torch.tensor([0])], torch.device("cpu")) == 1.5
