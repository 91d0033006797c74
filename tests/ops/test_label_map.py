import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops

from perpixel.errors import InputError
from perpixel.ops.label_map import checked_map, extents, numbers_in, painted, relabelled
from perpixel.ops.rle import encode_rle


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_extents_are_those_of_scikit_image(height, width, seed):
    label_map = np.random.default_rng(seed).integers(0, 5, (height, width), np.int32)
    expected = {
        region.label: (int(region.area), (region.bbox[1], region.bbox[0], region.bbox[3], region.bbox[2]))
        for region in regionprops(label_map)
    }
    assert extents(label_map, 6) == expected
    assert numbers_in(label_map) == np.unique(label_map).tolist()
    assert len(ndimage.find_objects(label_map, 6)) - ndimage.find_objects(label_map, 6).count(None) == len(expected)


@pytest.mark.parametrize("far", [40, 2_000_000_000])
def test_numbers_near_and_far_are_replaced(far):
    label_map = np.array([[-1, 3], [far, 3]], np.int32)
    assert relabelled(label_map, {3: 1, far: 2, 99: 5}).tolist() == [[0, 1], [2, 1]]
    assert relabelled(label_map, {}).tolist() == [[0, 0], [0, 0]]


def test_the_last_mask_lies_on_top():
    first, second = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
    masks = [(4, encode_rle(first)), (2, encode_rle(second))]
    assert painted(masks, (1, 3)).tolist() == [[4, 2, 2]]
    assert painted(masks[::-1], (1, 3)).tolist() == [[4, 4, 2]]
    with pytest.raises(InputError, match="a mask is 3×1 but the image is 1×3"):
        painted(masks, (3, 1))


@pytest.mark.parametrize(
    "wrong", [None, np.zeros((2, 2)), np.zeros((2, 2, 1), int), np.zeros((0, 2), int), np.full((1, 1), 2**40)]
)
def test_maps_that_are_none(wrong):
    with pytest.raises(InputError, match="the map"):
        checked_map(wrong)
