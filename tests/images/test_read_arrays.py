"""Reading photos from arrays, tensors and Pillow's images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images.samples import (
    encoded,
    noise,
)
from perpixel.errors import InputError
from perpixel.images.read import read_photo


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([None, 1, 3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float16, np.float32, np.float64, np.bool_]),
)
def test_arrays_of_every_shape_and_dtype(height, width, channels, dtype):
    shape = (height, width) if channels is None else (height, width, channels)
    random = np.random.default_rng(height * 10 + width)
    if np.dtype(dtype).kind == "f":
        array = random.random(shape).astype(dtype)
        top = 1.0
    elif dtype == np.bool_:
        array, top = random.random(shape) < 0.5, 1.0
    else:
        top = np.iinfo(dtype).max
        array = random.integers(0, top, shape, dtype, endpoint=True)
    photo = read_photo(array)
    assert photo.pixels.dtype == (np.uint8 if dtype in (np.uint8, np.bool_) else np.uint16)
    assert (photo.height, photo.width) == (height, width)
    wide = array[..., None] if channels is None else array
    colours = np.broadcast_to(wide[..., :3], (height, width, 3)).astype(float) / top
    assert np.abs(photo.rgb_float - colours).max() <= 0.5 / 65535 + 1e-7
    if channels == 4 and (array[..., 3] < top).any():
        assert np.abs(photo.alpha - array[..., 3].astype(float) / top).max() < 1e-6
    else:
        assert photo.alpha is None


def test_arrays_are_copied():
    array = noise(3, 3, 3)
    before = array.copy()
    photo = read_photo(array)
    array[:] = 0
    assert np.array_equal(photo.pixels, before)


def test_big_endian_arrays():
    array = noise(3, 4, 3, np.uint16)
    assert np.array_equal(read_photo(array.astype(">u2")).pixels, array)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16", "bool"])
def test_tensors(dtype):
    torch = pytest.importorskip("torch")
    array = noise(4, 5, 3)
    if dtype == "uint8":
        tensor = torch.from_numpy(array).permute(2, 0, 1)
    elif dtype == "bool":
        array = np.where(array > 127, 255, 0).astype(np.uint8)
        tensor = torch.from_numpy(array > 0).permute(2, 0, 1)
    else:
        tensor = (torch.from_numpy(array).permute(2, 0, 1) / 255).to(getattr(torch, dtype))
    worst = np.abs(read_photo(tensor).rgb8.astype(int) - array).max()
    assert worst <= (1 if dtype == "bfloat16" else 0)
    assert np.array_equal(read_photo(tensor[0]).pixels, read_photo(tensor[:1]).pixels)


@pytest.mark.parametrize("shape", [(5, 4, 3), (1, 3, 4, 5), (2, 4, 5)])
def test_tensors_of_a_wrong_shape(shape):
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="shape") as caught:
        read_photo(torch.zeros(shape))
    assert ("permute" in str(caught.value)) == (shape == (5, 4, 3))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((9, 4, 5), np.uint8), "pass one image"),
        (np.zeros((3, 40, 50), np.uint8), "np.moveaxis"),
        (np.zeros((1, 4, 5, 3), np.uint8), "pass one image"),
        (np.zeros((0, 5), np.uint8), "at least one pixel"),
        (np.zeros((4, 5), np.int64), "astype"),
        (np.full((4, 5), 200.0), "divide it by 255"),
        (np.full((4, 5), -1.0), "scale it"),
        (np.array([[np.nan]]), "NaN"),
        ([[0, 1]], "list"),
        (None, "NoneType"),
    ],
)
def test_arrays_that_do_not_fit_say_the_mend(array, words):
    with pytest.raises(InputError, match=words) as caught:
        read_photo(array)
    assert "\n" not in str(caught.value)


def test_pillow_integers_beyond_16_bits_are_refused():
    with pytest.raises(InputError, match="0 to 65535"):
        read_photo(Image.fromarray(np.array([[70000]], np.int32)))
    assert read_photo(Image.fromarray(np.array([[7000]], np.int32))).pixels[0, 0, 0] == 7000


def test_pillow_floats_out_of_range_are_refused():
    with pytest.raises(InputError, match="divide it by 255"):
        read_photo(encoded(Image.fromarray(np.full((2, 2), 99, np.float32)), "TIFF"))


def test_rgb8_and_repr():
    photo = read_photo(np.full((2, 3, 3), 65535, np.uint16))
    assert photo.rgb8.dtype == np.uint8
    assert photo.rgb8.min() == 255
    assert repr(photo) == "Photo(3×2, 16-bit)"
