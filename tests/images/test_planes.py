"""Planes of numbers from every format, against the libraries that wrote them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from perpixel.errors import InputError
from perpixel.images.pfm import pfm_bytes
from perpixel.images.planes import read_plane

WHOLE = np.array([[0, 1, 255, 256], [999, 1000, 65534, 65535]], np.uint16)
FLOATS = np.array([[0.0, 0.25, 1.5], [80.125, np.inf, np.nan]], np.float32)


def write(path: Path, plane: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, plane)
    elif path.suffix == ".pfm":
        path.write_bytes(pfm_bytes(plane))
    elif path.suffix == ".exr":
        import OpenEXR

        OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": plane}).write(str(path))
    elif path.suffix == ".png":
        Image.fromarray(plane).save(path)
    else:
        tifffile.imwrite(path, plane)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_numbers_stay_what_they_are(tmp_path, suffix, dtype):
    plane = WHOLE.astype(dtype)
    read = read_plane(write(tmp_path / f"d{suffix}", plane))
    assert read.dtype == dtype
    assert np.array_equal(read, plane)


@pytest.mark.parametrize("suffix", [".tiff", ".npy", ".pfm", ".exr"])
def test_floats_keep_range_and_holes(tmp_path, suffix):
    read = read_plane(write(tmp_path / f"d{suffix}", FLOATS))
    assert read.dtype == np.float32
    assert np.array_equal(read, FLOATS, equal_nan=True)


def test_other_numbers_become_floats(tmp_path):
    for dtype in (np.float64, np.float16, np.int32, np.uint32):
        read = read_plane(write(tmp_path / "d.npy", np.array([[3, 70000 if dtype != np.float16 else 7]], dtype)))
        assert read.dtype == np.float32
        assert read[0, 0] == 3
    fortran = np.asfortranarray(FLOATS)
    assert np.array_equal(read_plane(write(tmp_path / "f.npy", fortran)), FLOATS, equal_nan=True)


def test_opencv_agrees_about_16_bits(tmp_path):
    path = write(tmp_path / "d.png", WHOLE)
    assert np.array_equal(read_plane(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_what_is_read_is_not_the_file(tmp_path):
    path = write(tmp_path / "d.npy", FLOATS)
    read = read_plane(path)
    read[0, 0] = 9
    assert np.load(path)[0, 0] == 0


class TestErrors:
    def test_colour(self, tmp_path):
        with pytest.raises(InputError, match="in colour"):
            read_plane(write(tmp_path / "d.png", np.zeros((2, 2, 3), np.uint8) + np.uint8([1, 2, 3])))

    def test_whole_numbers_that_would_be_scaled(self, tmp_path):
        with pytest.raises(InputError, match="32-bit whole numbers"):
            read_plane(write(tmp_path / "d.tif", WHOLE.astype(np.uint32)))

    def test_no_channel_of_depth(self, tmp_path):
        import OpenEXR

        OpenEXR.File({"type": OpenEXR.scanlineimage}, {"mask": FLOATS}).write(str(tmp_path / "d.exr"))
        with pytest.raises(InputError, match=r"d\.exr has the channels mask, and depth is looked for in Y, Z, V or R"):
            read_plane(tmp_path / "d.exr")

    def test_suffix(self, tmp_path):
        (tmp_path / "d.jpg").write_bytes(b"x")
        with pytest.raises(InputError, match=r"suffix '.jpg'"):
            read_plane(tmp_path / "d.jpg")

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_plane(tmp_path / "d.npy")

    @pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy", ".pfm", ".exr"])
    @pytest.mark.parametrize("damage", ["cut", "noise"])
    def test_damaged(self, tmp_path, suffix, damage):
        plane = np.random.default_rng(0).random((40, 40)).astype(np.float32)
        whole = suffix == ".png"
        path = write(tmp_path / f"d{suffix}", (plane * 65535).astype(np.uint16) if whole else plane)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"\x93NUMPY" + bytes(64))
        with pytest.raises(InputError, match="d" + suffix):
            read_plane(path)

    def test_an_array_that_claims_too_much(self, tmp_path):
        path = tmp_path / "d.npy"
        path.write_bytes(write(tmp_path / "small.npy", FLOATS).read_bytes().replace(b"(2, 3)", b"(9999999, 9999999)"))
        with pytest.raises(InputError, match="damaged"):
            read_plane(path)

    def test_too_large(self, tmp_path):
        for suffix in (".npy", ".tiff", ".pfm", ".exr"):
            with pytest.raises(InputError, match="raise max_pixels"):
                read_plane(write(tmp_path / f"d{suffix}", FLOATS), max_pixels=5)

    def test_no_plane(self, tmp_path):
        for array in (np.zeros(3), np.zeros((1, 2, 3)), np.zeros((2, 2), bool), np.array([[{}]])):
            np.save(tmp_path / "d.npy", array, allow_pickle=True)
            with pytest.raises(InputError, match=r"no plane|no NumPy array"):
                read_plane(tmp_path / "d.npy")
