import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from skimage.measure import label

from perpixel.errors import InputError
from perpixel.ops.polygons import polygons_from_mask
from perpixel.ops.rle import decode_rle, rle_from_polygons

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 10), st.integers(1, 10)))


def drawn(polygons, shape):
    if not polygons:
        return np.zeros(shape, np.bool_)
    return coco.decode(coco.merge(coco.frPyObjects(polygons, *shape))).astype(np.bool_)


@settings(max_examples=150, deadline=None)
@given(masks)
def test_pycocotools_draws_the_mask_again(mask):
    polygons = polygons_from_mask(mask)
    np.testing.assert_array_equal(drawn(polygons, mask.shape), mask)
    np.testing.assert_array_equal(decode_rle(rle_from_polygons(polygons, *mask.shape)), mask)
    parts = label(mask, connectivity=1)
    assert len(polygons) == parts.max()
    for polygon in polygons:  # each is one whole part, whatever lies in its holes
        part = parts == parts[drawn([polygon], mask.shape)][0]
        np.testing.assert_array_equal(drawn([polygon], mask.shape), part)


def test_a_ring_by_hand():
    ring = np.ones((3, 3), np.bool_)
    ring[1, 1] = False
    outside, cut, hole = [0, 0], [1, 0, 1, 1], [1, 2, 2, 2, 2, 1, 1, 1]
    assert polygons_from_mask(ring) == [[*outside, *cut, *hole, 1, 0, 3, 0, 3, 3, 0, 3]]


def test_many_holes_below_each_other():
    mask = np.ones((2401, 3), np.bool_)
    mask[1::2, 1] = False
    (polygon,) = polygons_from_mask(mask)
    np.testing.assert_array_equal(drawn([polygon], mask.shape), mask)


def test_numbers_are_masks_and_empty_masks_have_no_outline():
    assert polygons_from_mask(np.array([[7]])) == [[0, 0, 1, 0, 1, 1, 0, 1]]
    assert polygons_from_mask(np.zeros((3, 4))) == []
    assert polygons_from_mask(np.zeros((0, 4))) == []
    with pytest.raises(InputError, match=r"\(3,\) has no outlines"):
        polygons_from_mask(np.zeros(3))
