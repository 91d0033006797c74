import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from perpixel.errors import InputError
from perpixel.models.mask2former.targets import CompressedMasks, check_targets
from perpixel.ops.rle import encode_rle, polygons_from_mask

few = settings(max_examples=40, deadline=None)
CPU = torch.device("cpu")


def checked(masks, classes, num_labels=3):
    return check_targets(masks, classes, len(masks), num_labels, CPU)


def some_masks(seed, count, height, width):
    return torch.from_numpy(np.random.default_rng(seed).random((count, height, width)) < 0.4)


@few
@given(st.integers(0, 999), st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_compressed_masks_are_sampled_like_tensors(seed, count, height, width, shared):
    masks = some_masks(seed, count, height, width)
    points = torch.rand(1 if shared else count, 30, 2, generator=torch.Generator().manual_seed(seed))
    classes = [torch.zeros(count, dtype=torch.int64)] * 2
    targets = checked([masks, CompressedMasks.from_masks(masks)], classes)
    dense, compressed = targets.sample(0, points), targets.sample(1, points)
    assert dense.shape == compressed.shape == (count, 30)
    torch.testing.assert_close(dense, compressed, atol=5e-6, rtol=0)
    chosen = torch.tensor([count - 1] * 2 if count else [], dtype=torch.int64)
    own = points if shared else points[chosen]
    expected = dense[chosen] if shared else targets.sample(1, own, chosen)
    torch.testing.assert_close(targets.sample(0, own, chosen), expected, atol=5e-6, rtol=0)


def test_many_tensors_are_sampled_a_few_at_a_time(monkeypatch):
    masks, points = some_masks(0, 7, 6, 5), torch.rand(7, 20, 2)
    targets = checked([masks], [torch.zeros(7, dtype=torch.int64)])
    whole, shared = targets.sample(0, points), targets.sample(0, points[:1])
    monkeypatch.setattr("perpixel.models.mask2former.targets.FLOATS_AT_ONCE", 70)
    torch.testing.assert_close(targets.sample(0, points), whole, rtol=0, atol=0)
    torch.testing.assert_close(targets.sample(0, points[:1]), shared, rtol=0, atol=0)


def test_annotations_of_coco():
    mask = some_masks(3, 1, 6, 8)[0].numpy()
    string = encode_rle(mask)
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=False, append=~mask[-1, -1])), prepend=0)
    listed = {"size": [6, 8], "counts": runs.tolist()}
    binary = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    masks = CompressedMasks.from_coco([string, listed, binary, polygons_from_mask(mask), []], 6, 8)
    assert len(masks) == 5
    for ends in masks.ends[1:4]:
        np.testing.assert_array_equal(ends, masks.ends[0])
    assert masks.ends[4].tolist() == [48]


@few
@given(st.integers(0, 99), st.integers(1, 7), st.integers(1, 7), st.integers(0, 9), st.integers(0, 9))
def test_a_canvas_is_padding(seed, height, width, below, right):
    masks = some_masks(seed, 2, height, width)
    padded = torch.nn.functional.pad(masks, (0, right, 0, below))
    points = torch.rand(2, 30, 2, generator=torch.Generator().manual_seed(seed))
    expected = checked([padded], [torch.tensor([0, 0])]).sample(0, points)
    compressed = CompressedMasks.from_masks(masks).on_canvas(height + below, width + right)
    torch.testing.assert_close(compressed.sample(points), expected, atol=5e-6, rtol=0)
    # A tensor beside a larger one counts as padded to it.
    beside = torch.zeros(1, height + below, width + right)
    targets = checked([masks, beside], [torch.tensor([0, 0]), torch.tensor([0])])
    torch.testing.assert_close(targets.sample(0, points), expected, atol=5e-6, rtol=0)


def test_masks_of_another_size_than_the_resized_and_padded_image():
    """Annotated at 2×3, resized to 4×6, padded to 8×8: the object's right edge is at 4 of 8 columns."""
    masks = CompressedMasks.from_coco([[[0, 0, 2, 0, 2, 2, 0, 2]]], 2, 3).on_canvas(8, 8, image_size=(4, 6))
    points = torch.tensor([[[3.0, 1], [4, 1], [5, 1], [1, 3], [1, 4], [1, 5]]]) / 8
    assert masks.sample(points).tolist() == [[1, 0.5, 0, 1, 0.5, 0]]


def test_workers_can_send_them():
    masks = CompressedMasks.from_masks(some_masks(0, 2, 4, 5)).on_canvas(6, 6)
    points = torch.rand(2, 9, 2)
    torch.testing.assert_close(pickle.loads(pickle.dumps(masks)).sample(points), masks.sample(points))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CompressedMasks.from_coco([encode_rle(np.ones((4, 6)))], 6, 4), "is 6×4 but the image is 4×6"),
        (lambda: CompressedMasks.from_coco(["abc"], 6, 4), "segmentation 0 is a str"),
        (lambda: CompressedMasks.from_coco([], 0, 4), "4×0"),
        (lambda: CompressedMasks.from_masks(np.ones((4, 6))), r"shape \(4, 6\)"),
        (lambda: CompressedMasks.from_masks(np.ones((1, 4, 6))).on_canvas(4, 5), "5×4 cannot hold an image of 6×4"),
    ],
)
def test_what_cannot_be_compressed(make, message):
    with pytest.raises(InputError, match=message):
        make()


ONES = torch.ones(2, 3, 3)


@pytest.mark.parametrize(
    ("masks", "classes", "message"),
    [
        ([ONES], [torch.tensor([0])], "image 0 has 2 mask_labels but 1 class_labels"),
        ([ONES, ONES], [torch.tensor([0, 1])], "mask_labels for 2 and class_labels for 1"),
        ([ONES], [torch.tensor([0, 3])], "hold 3, but the model's 3 classes are 0 to 2"),
        ([ONES], [torch.tensor([-1, 0])], "hold -1"),
        ([ONES], [torch.tensor([0.5, 1.0])], "float32 of shape"),
        ([ONES], [torch.tensor([[0, 1]])], "one whole number for each mask"),
        ([ONES * 255], [torch.tensor([0, 1])], "from 255 to 255: pass 1 inside"),
        ([ONES * float("nan")], [torch.tensor([0, 1])], "values from nan"),
        ([ONES[0]], [torch.tensor([0, 1])], r"shape \(3, 3\)"),
        ([ONES[:, :0]], [torch.tensor([0, 1])], r"shape \(2, 0, 3\)"),
        ([[encode_rle(np.ones((3, 3)))]], [torch.tensor([0])], "image 0 are a list: .*from_coco"),
    ],
)
def test_targets_that_do_not_fit(masks, classes, message):
    with pytest.raises(InputError, match=message):
        checked(masks, classes)


def test_every_way_to_say_that_an_image_has_no_object():
    for masks in (torch.tensor([]), torch.zeros(0, 4, 4), torch.zeros(0, 0, 0), CompressedMasks.from_coco([], 4, 4)):
        targets = checked([masks, ONES], [torch.tensor([]), torch.tensor([1, 2], dtype=torch.uint8)])
        assert targets.sample(0, torch.rand(1, 5, 2)).shape == (0, 5)
        assert [item.dtype for item in targets.classes] == [torch.int64] * 2
