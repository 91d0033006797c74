"""Reading masks and trimaps, whose greys are data and not light."""

import numpy as np
import pytest
from PIL import Image

from images.samples import (
    noise,
)
from perpixel.errors import PerpixelWarning
from perpixel.images.read import read_mask, read_trimap


class TestMask:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_grey_is_exact_however_it_is_stored(self, dtype):
        grey = noise(4, 5, 1, dtype)
        expected = (grey / np.iinfo(dtype).max).astype(np.float32)
        assert np.allclose(read_mask(grey), expected, atol=1e-7)
        assert np.array_equal(read_mask(np.stack([grey] * 3, axis=2)), read_mask(grey))

    def test_transparency_comes_before_luminance(self):
        rgba = noise(4, 5, 4)
        assert np.array_equal(np.rint(read_mask(rgba) * 255), rgba[..., 3])
        rgba[..., 3] = 255
        luminance = np.asarray(Image.fromarray(rgba[..., :3]).convert("L"), int)
        assert np.abs(read_mask(rgba) * 255 - luminance).max() <= 1

    def test_one_bit_files(self, tmp_path):
        Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "m.png")
        assert read_mask(tmp_path / "m.png").tolist() == [[0, 1]]

    def test_zero_and_one_are_taken_as_such_with_a_warning(self):
        with pytest.warns(PerpixelWarning, match="0 and 1"):
            assert read_mask(np.array([[0, 1]], np.uint8)).tolist() == [[0, 1]]

    def test_floats_keep_their_precision(self):
        values = np.array([[0.1234567, 1.0]], np.float32)
        assert np.array_equal(read_mask(values), values)

    def test_an_empty_mask_is_zero(self):
        assert read_mask(np.zeros((2, 2), np.uint8)).max() == 0


class TestTrimap:
    def test_values_stay_as_they_are(self, tmp_path):
        values = np.array([[0, 102, 128, 255, 1, 2]], np.uint8)
        Image.fromarray(values).save(tmp_path / "t.png")
        assert np.array_equal(read_trimap(tmp_path / "t.png"), values)
        assert np.array_equal(read_trimap(np.stack([values] * 3, axis=2)), values)

    def test_16_bits(self):
        assert read_trimap(np.array([[0, 128 * 257, 65535]], np.uint16)).tolist() == [[0, 128, 255]]

    def test_8_bit_values_in_16_bits_are_taken_as_such_with_a_warning(self):
        with pytest.warns(PerpixelWarning, match="8-bit"):
            assert read_trimap(np.array([[0, 128, 255]], np.uint16)).tolist() == [[0, 128, 255]]

    def test_alpha_is_left_aside(self):
        rgba = np.full((1, 2, 4), 128, np.uint8)
        assert read_trimap(rgba).tolist() == [[128, 128]]
