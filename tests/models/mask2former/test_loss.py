import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import distributed

from perpixel.errors import InputError
from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.loss import Mask2FormerLoss
from perpixel.models.mask2former.targets import CompressedMasks
from perpixel.ops.rle import encode_rle


@pytest.fixture(scope="module")
def config():
    return Mask2FormerConfig(num_labels=2, train_num_points=4, no_object_weight=0.1)


def criterion(config, **changes):
    loss = Mask2FormerLoss(config)
    for name, value in changes.items():
        setattr(loss, name, value)
    loss.matcher.num_points = loss.num_points
    return loss


def predictions(batch=2, queries=4, size=(6, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randn(batch, queries, *size, generator=generator) * 3
    classes = torch.randn(batch, queries, 3, generator=generator)
    return masks.requires_grad_(), classes.requires_grad_()


def backward(loss, losses, *inputs):
    total = loss.total(losses)
    total.backward()
    assert torch.isfinite(total)
    for tensor in inputs:
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()
    return total


def test_the_losses_by_hand(config, monkeypatch):
    """One image, two queries, one object that covers everything; flat logits, points in the middle."""
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.5))
    masks = torch.tensor([-5.0, math.log(3)])[None, :, None, None].expand(1, 2, 4, 4)
    classes = torch.tensor([[[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]]]).log()
    loss = Mask2FormerLoss(config)
    losses = loss(masks, classes, [torch.ones(1, 8, 8)], [torch.tensor([0])])
    # Query 1 is matched: probability 3/4 at four points. Query 0 is no object, with weight 0.1.
    expected = {
        "loss_mask": math.log(4 / 3),
        "loss_dice": 1 - (2 * 3 + 1) / (3 + 4 + 1),
        "loss_cross_entropy": (1.0 * math.log(2) + 0.1 * math.log(2)) / 1.1,
    }
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, abs=1e-6)
    total = 5 * expected["loss_mask"] + 5 * expected["loss_dice"] + 2 * expected["loss_cross_entropy"]
    assert loss.total(losses).item() == pytest.approx(total, abs=1e-6)
    assert loss.empty_weight.tolist() == pytest.approx([1, 1, 0.1])


def test_points_are_drawn_where_the_prediction_is_uncertain(config):
    """The left half is certain, the right half is not: three quarters of the points have to be on the right."""
    loss = criterion(config, num_points=400, oversample_ratio=3.0, importance_sample_ratio=0.75)
    logits = torch.full((1, 1, 2, 40), 9.0)
    logits[..., 20:] = 0.1
    points = loss._uncertain_points(logits)
    assert points.shape == (1, 400, 2)
    assert (points[0, :300, 0] > 0.48).all()
    assert 20 < (points[0, 300:, 0] < 0.5).sum() < 80
    assert criterion(config, importance_sample_ratio=1.0)._uncertain_points(logits).shape == (1, 4, 2)
    assert criterion(config, importance_sample_ratio=0.0)._uncertain_points(logits).shape == (1, 4, 2)


def test_every_layer_has_its_losses(config):
    loss = Mask2FormerLoss(config)
    masks, classes = predictions()
    targets = [torch.ones(1, 4, 4), torch.ones(2, 4, 4)], [torch.tensor([1]), torch.tensor([0, 1])]
    earlier = [
        dict(zip(("masks_queries_logits", "class_queries_logits"), predictions(seed=s), strict=True)) for s in (1, 2)
    ]
    losses = loss(masks, classes, *targets, earlier)
    kinds = ("loss_mask", "loss_dice", "loss_cross_entropy")
    assert set(losses) == {f"{kind}{end}" for kind in kinds for end in ("", "_0", "_1")}
    backward(loss, losses, masks, classes, *(tensor for layer in earlier for tensor in layer.values()))
    weights = {"loss_mask": 5, "loss_dice": 5, "loss_cross_entropy": 2}
    expected = sum(weights[kind] * value for kind in kinds for name, value in losses.items() if name.startswith(kind))
    torch.testing.assert_close(loss.total(losses), expected)
    only_masks = Mask2FormerLoss(config, {"loss_mask": 1.0})
    torch.testing.assert_close(
        only_masks.total(losses), losses["loss_mask"] + losses["loss_mask_0"] + losses["loss_mask_1"]
    )


@pytest.mark.parametrize("counts", [(0, 0), (0, 2), (3, 0), (6, 1)])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("no_object_weight", [0.1, 0.0])
def test_images_without_objects_and_with_more_than_queries(config, counts, compressed, no_object_weight):
    loss = Mask2FormerLoss(config)
    loss.empty_weight[-1] = no_object_weight
    masks, classes = predictions()
    targets = [torch.rand(count, 5, 7) < 0.5 for count in counts]
    if compressed:
        targets = [CompressedMasks.from_masks(item) for item in targets]
    losses = loss(masks, classes, targets, [torch.ones(count, dtype=torch.int64) for count in counts])
    backward(loss, losses, masks, classes)
    if not any(counts):
        assert losses["loss_mask"] == losses["loss_dice"] == 0


def test_objects_without_area_and_one_pixel_maps(config):
    loss = Mask2FormerLoss(config)
    masks, classes = predictions(batch=1, size=(1, 1))
    targets = torch.zeros(2, 1, 1, dtype=torch.uint8)
    backward(loss, loss(masks, classes, [targets], [torch.tensor([0, 1])]), masks, classes)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float16])
def test_compressed_and_dense_masks_give_one_loss(config, dtype):
    loss = criterion(config, num_points=300)
    torch.manual_seed(0)
    masks, classes = predictions()
    dense = [torch.rand(3, 16, 23) < 0.4, torch.rand(2, 16, 23) < 0.4]
    labels = [torch.tensor([0, 1, 1]), torch.tensor([0, 1])]
    found = []
    for targets in ([item.to(dtype) for item in dense], [CompressedMasks.from_masks(item) for item in dense]):
        torch.manual_seed(7)
        losses = loss(masks, classes, targets, labels)
        gradient = torch.autograd.grad(loss.total(losses), masks)[0]
        found.append((losses, gradient))
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("padded", [(16, 23), (20, 23), (32, 32)])
def test_a_padded_batch(config, padded):
    loss = criterion(config, num_points=300)
    torch.manual_seed(0)
    masks, classes = predictions(batch=1)
    dense = torch.rand(3, 16, 23) < 0.4
    on_canvas = torch.nn.functional.pad(dense, (0, padded[1] - 23, 0, padded[0] - 16))
    found = []
    for targets in (on_canvas, CompressedMasks.from_masks(dense).on_canvas(*padded)):
        torch.manual_seed(7)
        found.append(loss(masks, classes, [targets], [torch.tensor([0, 1, 1])]))
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


def test_three_hundred_large_objects_take_little_memory(config):
    """As tensors of one byte a pixel they are 300 MB, and 1.2 GB as the floats that are sampled."""
    rows, columns = np.mgrid[:1024, :1024]
    discs = [encode_rle((rows - 100 - 8 * n) ** 2 + (columns - 100 - 7 * n) ** 2 < (20 + n) ** 2) for n in range(12)]
    loss = criterion(config, num_points=1000)
    masks, classes = predictions(batch=1, queries=100, size=(32, 32))
    tracemalloc.start()
    targets = CompressedMasks.from_coco(discs * 25, 1024, 1024)
    kept = tracemalloc.get_traced_memory()[0]
    loss(masks, classes, [targets], [torch.zeros(300, dtype=torch.int64)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept < 1e6
    assert peak < 2e7


def test_autocast_computes_in_full_precision(config):
    loss = criterion(config, num_points=50)
    masks, classes = predictions()
    targets = [torch.ones(1, 4, 4)] * 2, [torch.tensor([1])] * 2
    torch.manual_seed(0)
    expected = loss(masks, classes, *targets)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(masks, classes, *targets), expected)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in (masks, classes)]
    backward(loss, loss(*halves, *targets), *halves)


def test_the_count_is_the_mean_over_the_processes(config, monkeypatch):
    """Two processes with 1 and 5 objects: each divides by 3."""
    masks, classes = predictions(batch=1)
    targets = [torch.ones(1, 4, 4)], [torch.tensor([1])]
    loss = Mask2FormerLoss(config)
    torch.manual_seed(0)
    alone = loss(masks, classes, *targets)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.add_(5))
    torch.manual_seed(0)
    together = loss(masks, classes, *targets)
    torch.testing.assert_close(together["loss_mask"] * 3, alone["loss_mask"])
    torch.testing.assert_close(together["loss_dice"] * 3, alone["loss_dice"])
    torch.testing.assert_close(together["loss_cross_entropy"], alone["loss_cross_entropy"])


def test_targets_are_checked(config):
    masks, classes = predictions(batch=1)
    with pytest.raises(InputError, match="3 mask_labels but 2 class_labels"):
        Mask2FormerLoss(config)(masks, classes, [torch.ones(3, 4, 4)], [torch.tensor([0, 1])])
