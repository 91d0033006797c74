"""Sizes by every rule, and resampling that is Pillow's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.errors import ConfigError, InputError
from perpixel.images.transforms import (
    common_size,
    output_size,
    pixel_mask,
    resize,
    resize_labels,
    size_rule,
    stack_padded,
)

SIDES = st.integers(1, 70)


def noise(*shape):
    return np.random.default_rng(shape[-1]).integers(0, 256, shape, np.uint8)


# Sizes


@pytest.mark.parametrize(
    ("value", "options", "rule"),
    [
        (512, {}, {"shortest_edge": 512}),
        (512, {"longest": 2048}, {"shortest_edge": 512, "longest_edge": 2048}),
        (512, {"square": True}, {"height": 512, "width": 512}),
        ((3, 4), {"longest": 9}, {"height": 3, "width": 4}),
        ([3, 4], {}, {"height": 3, "width": 4}),
        ({"max_width": 4, "max_height": np.int64(3)}, {}, {"max_width": 4, "max_height": 3}),
        ({"height": 5, "width": 6, "longest_edge": None}, {"longest": 9}, {"height": 5, "width": 6}),
    ],
)
def test_a_size_in_every_form(value, options, rule):
    assert size_rule(value, **options) == rule


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"height": 5}, r"pad_size has the keys 'height': it takes height and width; shortest_edge"),
        ({}, "has the keys none"),
        ({"height": 5, "width": 0}, r"pad_size\['width'\] is 0: it has to be a whole number above 0"),
        ({"shortest_edge": 2.5}, "is 2.5: it has to be a whole"),
        (True, "pad_size is True: pass a mapping"),
        ((1, 2, 3), "pass a mapping"),
        ("384", "pass a mapping"),
        (-4, "pass a mapping"),
    ],
)
def test_a_size_that_is_none(value, message):
    with pytest.raises(ConfigError, match=message):
        size_rule(value, name="pad_size")


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((480, 640), {"height": 7, "width": 9}, (7, 9)),
        ((480, 640), {"shortest_edge": 800, "longest_edge": 1333}, (800, 1066)),
        ((640, 480), {"shortest_edge": 800, "longest_edge": 1333}, (1066, 800)),
        # 800 would make the long side 1600; 1333 · 300 / 600 = 666.5, rounded to even, and 666.5 · 2 is 1333.
        ((300, 600), {"shortest_edge": 800, "longest_edge": 1333}, (666, 1333)),
        ((800, 900), {"shortest_edge": 800, "longest_edge": 1333}, (800, 900)),
        ((30, 100), {"shortest_edge": 60}, (60, 200)),
        ((30, 100), {"longest_edge": 50}, (15, 50)),
        ((30, 100), {"max_height": 60, "max_width": 50}, (15, 50)),
        ((30, 100), {"max_height": 12, "max_width": 5000}, (12, 40)),
        # A side of a quarter of a pixel is still a pixel.
        ((1, 5000), {"shortest_edge": 800, "longest_edge": 1333}, (1, 1333)),
        ((5000, 1), {"max_height": 100, "max_width": 100}, (100, 1)),
    ],
)
def test_sizes_by_hand(size, rule, expected):
    assert output_size(*size, rule) == expected
    height, width = output_size(*size, rule, divisor=32)
    assert (height % 32, width % 32) == (0, 0)
    assert 0 <= height - expected[0] < 32 and 0 <= width - expected[1] < 32


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 900), st.integers(1, 1400))
def test_sizes_are_those_of_transformers(height, width, short, long):
    transforms = pytest.importorskip("transformers.image_transforms")
    utils = pytest.importorskip("transformers.image_utils")

    def same(rule, theirs):
        assert output_size(height, width, rule) == tuple(max(side, 1) for side in theirs)

    aspect = transforms.get_size_with_aspect_ratio
    same({"shortest_edge": short, "longest_edge": long}, aspect((height, width), short, long))
    same({"shortest_edge": short}, aspect((height, width), short))
    limited = utils.get_image_size_for_max_height_width((height, width), short, long)
    same({"max_height": short, "max_width": long}, limited)


# Resampling


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(list(Image.Resampling)), st.sampled_from([1, 3]))
def test_bytes_are_resampled_as_pillow_does(height, width, rows, columns, resample, channels):
    picture = noise(height, width, channels)
    image = Image.fromarray(picture if channels == 3 else picture[..., 0])
    expected = np.asarray(image.resize((columns, rows), resample)).reshape(rows, columns, channels)
    found = resize(np.moveaxis(picture, -1, 0), (rows, columns), int(resample))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(np.moveaxis(found, 0, -1), expected)
    # Another layout in memory is the same picture.
    planes = np.ascontiguousarray(np.moveaxis(picture, -1, 0))
    np.testing.assert_array_equal(resize(planes, (rows, columns), resample), found)


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_floats_are_not_rounded_to_bytes(height, width, rows, columns):
    planes = noise(3, height, width)
    floats = resize(planes.astype(np.float64) / 255, (rows, columns))
    assert floats.dtype == np.float32
    # Pillow rounds bytes after each of its two passes.
    assert np.abs(floats * 255 - resize(planes, (rows, columns))).max() <= 1.01
    for plane, out in zip(planes, floats, strict=True):
        image = Image.fromarray((plane / 255).astype(np.float32)).resize((columns, rows), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(out, np.asarray(image))


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["u1", "i4", "u2", "i8", "f4", "?"]))
def test_labels_are_those_that_pillow_chooses(height, width, rows, columns, dtype):
    places = np.arange(height * width, dtype=np.int32).reshape(height, width)
    image = Image.fromarray(places).resize((columns, rows), Image.Resampling.NEAREST)
    chosen = np.asarray(image)
    np.testing.assert_array_equal(resize_labels(places, (rows, columns)), chosen)
    labels = noise(height, width).astype(dtype)
    found = resize_labels(labels, (rows, columns))
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, labels.ravel()[chosen])


def test_large_ids_stay_as_they_are():
    labels = np.array([[2**31 - 1, -(2**31)], [65536, 256]], np.int32)
    np.testing.assert_array_equal(resize_labels(labels, (4, 4)), labels.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resize_labels(labels.astype(np.int64) * 2**20, (2, 2)), labels.astype(int) * 2**20)


# Filling up


def test_images_are_filled_up_at_the_bottom_and_on_the_right():
    one, two = np.full((3, 2, 5), 7, np.float32), np.full((3, 4, 1), 8, np.float32)
    sizes = [(2, 5), (4, 1)]
    size = common_size(sizes, divisor=3)
    assert common_size(sizes) == (4, 5) and size == (6, 6)
    stack, mask = stack_padded([one, two], size, fill=-1), pixel_mask(sizes, size)
    assert (stack.shape, stack.dtype, mask.dtype) == ((2, 3, 6, 6), np.float32, np.int64)
    np.testing.assert_array_equal(stack[0, :, :2, :5], one)
    np.testing.assert_array_equal(stack[1, :, :4, :1], two)
    np.testing.assert_array_equal((stack != -1).all(1), mask == 1)
    assert mask.sum((1, 2)).tolist() == [10, 4]


def test_an_image_larger_than_what_it_is_filled_up_to():
    with pytest.raises(InputError, match=r"an image is 5×2 and cannot be filled up to 4×4 \(width×height\)"):
        stack_padded([np.zeros((3, 2, 5))], (4, 4))
