import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from perpixel.errors import InputError
from perpixel.ops import rle as rle_module
from perpixel.ops.rle import (
    bilinear_corners,
    decode_rle,
    encode_rle,
    rle_area,
    rle_box,
    rle_ends,
    rle_from_polygons,
    sample_ends,
    sample_rle,
)

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
few = settings(max_examples=60, deadline=None)


def listed(mask):
    """The runs of a mask by the definition, one pixel at a time."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return {"size": list(mask.shape), "counts": runs}


@few
@given(masks)
def test_masks_go_through_pycocotools_both_ways(mask):
    ours = encode_rle(mask)
    assert isinstance(ours["counts"], str) and ours["size"] == list(mask.shape)
    np.testing.assert_array_equal(coco.decode(ours), mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert theirs["counts"].decode() == ours["counts"]
    for rle in (ours, theirs, listed(mask)):
        decoded = decode_rle(rle)
        assert decoded.dtype == np.bool_
        np.testing.assert_array_equal(decoded, mask)
        assert rle_area(rle) == mask.sum()
    assert rle_box(listed(mask)) == tuple(coco.toBbox(theirs))


@pytest.mark.parametrize("mask", [np.zeros((5, 3)), np.ones((5, 3)), np.ones((1, 1)), np.zeros((1, 1))])
def test_empty_full_and_one_pixel(mask):
    rle = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    np.testing.assert_array_equal(coco.decode(rle), mask)
    assert rle_box(rle) == ((0, 0, 3, 5) if mask.sum() == 15 else (0, 0, 1, 1) if mask.sum() else (0, 0, 0, 0))


def test_runs_of_a_large_mask():
    mask = np.zeros((1500, 1700), np.bool_)
    mask[1000:1400, 3:1650] = True
    mask[1100, 5] = False
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)
    np.testing.assert_array_equal(decode_rle({"size": [3, 3], "counts": [0, 2, 0, 0, 3, 1, 2, 0, 1, 0]}).T.ravel(),
                                  [1, 1, 0, 0, 0, 1, 0, 0, 0])  # fmt: skip


def test_the_ends_of_runs_without_length_are_joined():
    assert rle_ends({"size": [1, 9], "counts": [0, 2, 0, 3, 1, 3]}).tolist() == [0, 5, 6, 9]
    assert rle_ends({"size": [1, 9], "counts": [9, 0]}).tolist() == [9]
    assert rle_ends({"size": [1, 9], "counts": [4, 0, 5]}).tolist() == [9]
    assert rle_ends({"size": [1, 9], "counts": [0, 9]}).tolist() == [0, 9]


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "size 2×2 .* give 3 pixels, not 4"),
        ({"size": [2, 2], "counts": [9, -5]}, "a negative run"),
        ({"size": [3, 2], "counts": encode_rle(np.ones((2, 2)))["counts"]}, "give 4 pixels, not 6"),
        ({"size": [2, 2], "counts": []}, "list of whole numbers"),
        ({"size": [2, 2], "counts": [0.5, 3.5]}, "list of whole numbers"),
        ({"size": [2, 2], "counts": ""}, "no COCO string"),
        ({"size": [2, 2], "counts": "ü1"}, "no COCO string|not 4"),
        ({"size": [2, 2], "counts": "P"}, "cut off"),
        ({"size": [2, 2], "counts": "o" * 20 + "1"}, "21 characters"),
        ({"size": [2], "counts": [4]}, r"is \[2\]: pass \[height, width\]"),
        ({"size": [0, 4], "counts": [0]}, "at least 1"),
        ({"counts": [4]}, "is no RLE"),
        ([[1, 2]], "is no RLE"),
    ],
)
def test_what_is_no_rle(rle, message):
    with pytest.raises(InputError, match=message):
        decode_rle(rle)


@pytest.mark.parametrize("shape", [(4,), (0, 3), (1, 2, 3)])
def test_what_is_no_mask(shape):
    with pytest.raises(InputError, match="height, width"):
        encode_rle(np.zeros(shape))


def test_parts_are_joined_and_cut_no_hole():
    whole, inner, beside = (
        [0, 0, 4, 0, 4, 4, 0, 4],
        [1, 1, 3, 1, 3, 3, 1, 3],
        np.array([[5, 0], [6, 0], [6, 2], [5, 2]]),
    )
    expected = np.zeros((5, 7), np.bool_)
    expected[:4, :4] = True
    np.testing.assert_array_equal(decode_rle(rle_from_polygons([whole, inner], 5, 7)), expected)
    expected[:2, 5] = True
    np.testing.assert_array_equal(decode_rle(rle_from_polygons([whole, inner, beside], 5, 7)), expected)
    keyhole = [0, 0, 1, 0, 1, 1, 1, 3, 3, 3, 3, 1, 1, 1, 1, 0, 4, 0, 4, 4, 0, 4]
    expected[1:3, 1:3] = False
    np.testing.assert_array_equal(decode_rle(rle_from_polygons([keyhole, beside], 5, 7)), expected)
    assert rle_area(rle_from_polygons([], 5, 7)) == 0
    assert rle_area(rle_from_polygons([[-3, -3, 99, -3, 99, 99, -3, 99]], 5, 7)) == 35


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([[1, 2, 3, 4]], "at least three points"),
        ([1, 2, 3, 4, 5, 6], "list of polygons"),
        ([[1, 2, 3, 4, 5, 6, 7]], "at least three points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "infinite or far"),
        ([[1, 2, 3, 4, 5, 1e9]], "infinite or far"),
        ([["a"]], "at least three points"),
    ],
)
def test_what_is_no_polygon(polygons, message):
    with pytest.raises(InputError, match=message):
        rle_from_polygons(polygons, 5, 7)


def grid_sampled(mask, points):
    tensor = torch.from_numpy(mask.astype(np.float32))[None, None]
    grid = 2 * torch.from_numpy(points)[None, :, None] - 1
    return torch.nn.functional.grid_sample(tensor, grid, align_corners=False)[0, 0, :, 0].numpy()


@few
@given(masks, st.integers(0, 99), st.sampled_from([0, 64]))
def test_points_are_those_of_grid_sample(mask, seed, pixels_a_point):
    points = np.random.default_rng(seed).uniform(-0.2, 1.2, (40, 2)).astype(np.float32)
    points[:5] = [[0, 0], [1, 1], [0, 1], [0.5, 0.5], [3e30, -3e30]]
    expected = grid_sampled(mask, points)
    with pytest.MonkeyPatch.context() as patch:  # both ways of looking a pixel up
        patch.setattr(rle_module, "PIXELS_A_POINT", pixels_a_point)
        sampled = sample_rle(listed(mask), points)
    assert sampled.dtype == np.float32
    np.testing.assert_allclose(sampled, expected, atol=2e-6)


@pytest.mark.parametrize("pixels_a_point", [0, 64])
def test_points_of_a_large_mask(pixels_a_point, monkeypatch):
    monkeypatch.setattr(rle_module, "PIXELS_A_POINT", pixels_a_point)
    rows, columns = np.mgrid[:1024, :1024]
    mask = (rows - 400) ** 2 + (columns - 500) ** 2 < 300**2
    mask ^= (rows // 7 + columns // 5) % 3 == 0
    points = np.random.default_rng(0).random((12544, 2), np.float32)
    # The position of a point is rounded to a few millionths of the mask, 1e-4 of one of its pixels.
    np.testing.assert_allclose(sample_rle(encode_rle(mask), points), grid_sampled(mask, points), atol=3e-4)


@few
@given(masks, st.integers(0, 5), st.integers(0, 5))
def test_a_mask_on_a_larger_canvas_is_a_padded_mask(mask, below, right):
    padded = np.pad(mask, ((0, below), (0, right)))
    points = np.random.default_rng(0).random((40, 2), np.float32)
    corners = bilinear_corners(points, *mask.shape, canvas=padded.shape)
    np.testing.assert_allclose(sample_ends(rle_ends(listed(mask)), corners), grid_sampled(padded, points), atol=2e-6)


def test_the_shape_of_points():
    rle = {"size": [2, 2], "counts": [1, 3]}
    assert sample_rle(rle, np.full((3, 1, 2), 0.5)).shape == (3, 1)
    assert sample_rle(rle, [0.5, 0.5]).shape == ()
    assert sample_rle(rle, np.empty((0, 2))).shape == (0,)
    with pytest.raises(InputError, match=r"\(4, 3\): pass \(…, 2\)"):
        sample_rle(rle, np.zeros((4, 3)))
