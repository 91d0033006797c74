import math
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.metrics.boundary import BoundaryMeter, boundary_iou, boundary_mask


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """A mask of smooth regions, some of which touch the border of the image."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width)), (0, 0), 2.0)
    return noise.reshape(height, width) > np.median(noise)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), height=st.integers(1, 60), width=st.integers(1, 90))
def test_as_faster_coco_eval_cuts_boundaries(seed: int, height: int, width: int) -> None:
    masks = pytest.importorskip("faster_coco_eval.core.mask")
    mask = blobs(seed, height, width)
    rle = masks.encode(np.asfortranarray(mask, np.uint8))
    # The authors' own way, erosion with OpenCV, at their ratio and at one with a longer reach.
    for ratio in (0.02, 0.07):
        expected = masks.decode(masks.rleToBoundary(rle, ratio, backend="opencv")).astype(bool)
        assert np.array_equal(boundary_mask(mask, ratio), expected)


def test_boundary_by_hand() -> None:
    mask = np.zeros((7, 7), bool)
    mask[:6, 1:6] = True  # touches the upper border, where the mask ends too
    expected = mask.copy()
    expected[1:5, 2:5] = False
    assert np.array_equal(boundary_mask(mask), expected)
    # 20 % of the diagonal of 7×7 pixels, 9.9, are 2 pixels.
    expected[1:5, 2:5] = True
    expected[2:4, 3] = False
    assert np.array_equal(boundary_mask(mask, 0.2), expected)


def test_iou_by_hand() -> None:
    true = np.zeros((20, 20), bool)
    true[5:15, 5:15] = True
    pred = np.roll(true, 2, axis=1)
    # Rings of 36 pixels two columns apart share 2 × 8 pixels of the upper and lower sides, less what the other's
    # corners add: columns 7 to 14 of rows 5 and 14.
    assert boundary_iou(pred, true) == pytest.approx(16 / (36 + 36 - 16))
    assert boundary_iou(true, true) == 1
    assert boundary_iou(~true, true) == 0
    assert boundary_iou(np.zeros_like(true), true) == 0
    assert math.isnan(boundary_iou(np.zeros_like(true), np.zeros_like(true)))
    assert boundary_iou(np.ones((1, 1)), np.ones((1, 1))) == 1


def maps(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(1)
    return [tuple(random.integers(-1, 3, (2, *size))) for size in random.integers(1, 7, (count, 2))]


def measured(pairs: list[tuple[np.ndarray, np.ndarray]]) -> BoundaryMeter:
    meter = BoundaryMeter(4)
    for pred, true in pairs:
        meter.update(pred, true)
    return meter


def test_meter_by_hand() -> None:
    # Two halves of ground and tree, the border one column off.
    true = np.repeat([[0] * 10 + [1] * 10], 12, axis=0)
    pred = np.roll(true, 1, axis=1)
    pred[:, 0] = 0
    meter = BoundaryMeter(3, ["ground", "tree", "sky"])
    image = meter.update(pred, true)
    each = [boundary_iou(pred == label, true == label) for label in (0, 1)]
    assert 0 < min(each) < 1
    assert image == {"mean_boundary_iou": pytest.approx(sum(each) / 2)}
    # Over several images, pixels are counted and not means.
    meter.update(true, true)
    assert meter.compute()["boundary_iou/ground"] > each[0]
    assert math.isnan(meter.compute()["boundary_iou/sky"])


def test_void_is_cut_out_of_both() -> None:
    true = np.repeat([[0] * 6 + [-1] * 6], 9, axis=0)
    pred = np.zeros_like(true)
    assert BoundaryMeter(2).update(pred, true) == {"mean_boundary_iou": 1}
    meter = BoundaryMeter(2)
    assert math.isnan(meter.update(pred, np.full_like(true, -1))["mean_boundary_iou"])
    assert all(map(math.isnan, meter.compute().values()))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_same(data: st.DataObject) -> None:
    pairs = maps(8)
    order, cut = data.draw(st.permutations(range(8))), data.draw(st.integers(0, 8))
    first, second = (measured([pairs[place] for place in part]) for part in (order[:cut], order[cut:]))
    first.merge(pickle.loads(pickle.dumps(second)))
    whole = measured(pairs).compute()
    assert math.isnan(whole.pop("boundary_iou/3"))
    assert {name: value for name, value in first.compute().items() if name in whole} == whole


def test_many_images_take_no_more_room() -> None:
    assert len(pickle.dumps(measured(maps(200)))) == len(pickle.dumps(measured(maps(1))))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="masks of one image"):
        boundary_iou(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(InputError, match="one plane"):
        boundary_mask(np.ones(3))
    with pytest.raises(InputError, match="dilation_ratio is 0"):
        BoundaryMeter(2, dilation_ratio=0)
    with pytest.raises(InputError, match="pred is 3×2 but true is 2×3"):
        BoundaryMeter(2).update(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(InputError, match="true has the label 2"):
        BoundaryMeter(2).update(np.zeros((1, 1), int), np.full((1, 1), 2))
    with pytest.raises(InputError, match="another dilation_ratio"):
        BoundaryMeter(2).merge(BoundaryMeter(2, dilation_ratio=0.1))
