"""Images of every kind as planes."""

import numpy as np
import pytest
import torch
from PIL import Image

from perpixel.errors import InputError
from perpixel.models.planes import (
    ChannelDimension,
    as_member,
    grey_plane,
    plain_array,
    possible_layouts,
    read_images,
    split_images,
    write_planes,
)

FIRST, LAST, NONE = ChannelDimension


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7), (NONE,)),
        ((5, 7, 3), (LAST,)),
        ((3, 5, 7), (FIRST,)),
        ((1, 7, 3), (LAST, FIRST)),  # one row in colour, rather than a grey image three pixels wide
        ((3, 7, 1), (FIRST, LAST)),
        ((3, 7, 3), (FIRST, LAST)),
        ((4, 7, 3), (LAST, FIRST)),  # four rows in colour, rather than colour with alpha
        ((4, 5, 7), (FIRST,)),
        ((5, 7, 2), ()),
        ((7,), ()),
        ((1, 2, 3, 3), ()),
    ],
)
def test_where_channels_may_lie(shape, expected):
    assert possible_layouts(shape) == expected


def test_members_of_other_libraries_are_understood():
    utils = pytest.importorskip("transformers.image_utils")
    assert as_member(ChannelDimension, utils.ChannelDimension.LAST, "data_format") is LAST
    with pytest.raises(InputError, match="data_format is 'last': it has to be 'channels_first' or"):
        as_member(ChannelDimension, "last", "data_format")


def test_a_batch_is_split_into_images():
    array = np.zeros((2, 5, 7, 3))
    assert [item.shape for item in split_images(array, "images")[0]] == [(5, 7, 3)] * 2
    assert [item.shape for item in split_images([array, array[0]], "images")[0]] == [(5, 7, 3)] * 3
    assert split_images("a.png", "images") == (["a.png"], False)
    assert split_images([b"a"], "images") == ([b"a"], True)
    assert [item.shape for item in split_images(torch.zeros(2, 5, 7), "trimaps", depth=2)[0]] == [(5, 7)] * 2
    for nothing in (None, [], np.zeros((0, 5, 7, 3))):
        with pytest.raises(InputError, match=r"images is (None|empty)"):
            split_images(nothing, "images")


def test_files_and_pictures_are_read_and_arrays_are_kept():
    picture = Image.new("RGB", (2, 1))

    def read(source):
        assert source in ("a.png", b"bytes", picture)
        return np.zeros((1, 2, 3), np.uint8)

    array = np.ones((3, 5, 7), np.int16)
    images = read_images(["a.png", b"bytes", picture, array], "images", read)
    assert [(image.name, image.layouts) for image in images] == [
        ("images[0]", (LAST,)),
        ("images[1]", (LAST,)),
        ("images[2]", (LAST,)),
        ("images[3]", (FIRST,)),
    ]
    assert images[3].values is array and images[3].size(FIRST) == (5, 7)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (object(), "image is of type object: pass a path"),
        (np.zeros((2, 2), complex), "image is an array of complex128"),
        ([[1], [2, 3]], "image is of type list"),
        (np.zeros((0, 5, 3)), "image is empty"),
        (np.zeros((5, 5, 2)), r"image has the shape \(5, 5, 2\)"),
        (5, r"image has the shape \(\)"),
        (np.full((2, 2), np.nan), "image holds NaN"),
        (torch.full((2, 2), torch.inf), "image holds NaN or infinite"),
    ],
)
def test_what_is_no_image(source, message):
    with pytest.raises(InputError, match=message):
        read_images([source], "images", lambda _: None)


def test_a_named_layout_has_to_fit():
    for layout, shape in ((LAST, (3, 5, 7)), (NONE, (5, 7, 3)), (FIRST, (5, 7))):
        with pytest.raises(InputError, match=f"which is not {layout.value}"):
            read_images([np.zeros(shape)], "images", lambda _: None, layout=layout)


def test_tensors_of_any_type_become_arrays():
    assert plain_array(torch.full((1,), 1.5, dtype=torch.bfloat16, requires_grad=True)).tolist() == [1.5]
    assert plain_array(torch.tensor([65535], dtype=torch.uint16)).dtype == np.uint16


@pytest.mark.parametrize(
    ("values", "unit", "small"),
    [
        (np.array([[0, 65535]], np.uint16), 1 / 257, False),
        (np.array([[True, False]]), 255, False),
        (np.array([[0, 1]], np.uint8), 1, False),
        (np.array([[0.0, 1.0]]), 1, True),
        (np.array([[0.0, 1.5]]), 1, False),
        (np.array([[-0.1, 0.9]]), 1, False),
        (np.array([[0.0, 0.0]]), 1, False),
    ],
)
def test_the_range_of_values(values, unit, small):
    (image,) = read_images([values], "images", lambda _: None)
    assert (image.unit, image.in_unit_range) == (unit, small)


def test_grey_means_equal_channels():
    plane = np.arange(6).reshape(2, 3)
    assert grey_plane(np.stack([plane, plane, plane, 0 * plane]), "trimap") is not None  # alpha does not count
    with pytest.raises(InputError, match="trimap has different colour channels"):
        grey_plane(np.stack([plane, plane, plane + 1]), "trimap")


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int64, np.bool_])
def test_values_are_worked_out_in_double_precision(dtype):
    planes = np.array([[[0, 1]], [[1, 0]], [[1, 1]]], dtype)
    out = np.zeros((3, 1, 2), np.float32)
    write_planes(planes, out, factor=1 / 3, mean=[0.1, 0.2, 0.3], std=0.5)
    expected = (planes.astype(np.float64) / 3 - np.reshape([0.1, 0.2, 0.3], (3, 1, 1))) / 0.5
    np.testing.assert_allclose(out, expected, atol=1e-7)
