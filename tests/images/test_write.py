import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images.samples import grey_profile, noise, srgb_profile
from perpixel.errors import InputError, MissingDependencyError, OutputError, PerpixelWarning
from perpixel.images.read import read_photo
from perpixel.images.write import FORMATS, check_output, write_image

LOSSLESS = [(".png", 8), (".png", 16), (".tiff", 8), (".tif", 16), (".tiff", 32), (".webp", 8)]


def reference(path, dtype):
    """What another reader finds: Pillow for 8 bits, tifffile or OpenCV for more."""
    if dtype == np.uint8:
        return np.asarray(Image.open(path))
    if path.suffix in (".tif", ".tiff"):
        return tifffile.imread(path)
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]


@pytest.mark.parametrize(
    ("suffix", "bits", "channels"),
    [(*form, channels) for form in LOSSLESS for channels in (1, 3, 4) if (form[0], channels) != (".webp", 3)],
)
def test_lossless_formats_return_every_bit(suffix, bits, channels, tmp_path):
    path = tmp_path / f"picture{suffix}"
    dtype = {8: np.uint8, 16: np.uint16, 32: np.float32}[bits]
    array = noise(5, 7, channels, np.uint16 if bits > 8 else np.uint8)
    if channels == 4:
        array[0, 0, 3] = 0  # colours under full transparency stay too
    if bits == 32:
        array = (array / 65535).astype(np.float32)
    assert write_image(path, array, bits=bits) == path
    found = reference(path, dtype)
    if suffix == ".webp" and channels == 1:
        found = found[..., 0]
    assert found.dtype == dtype
    assert np.array_equal(found, array)
    again = read_photo(path)
    assert np.array_equal(again.rgb8, read_photo(array).rgb8)
    if channels == 4:
        assert np.array_equal(again.alpha, read_photo(array).alpha)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3, 4]),
    form=st.sampled_from(LOSSLESS[:5]),
)
def test_round_trip_of_every_size(tmp_path_factory, height, width, channels, form):
    suffix, bits = form
    array = noise(height, width, channels, np.uint8 if bits == 8 else np.uint16, seed=height)
    path = tmp_path_factory.mktemp("sizes") / f"a{suffix}"
    write_image(path, array, bits=bits)
    again, expected = read_photo(path), read_photo(array)
    assert np.array_equal(again.pixels, expected.pixels)
    assert (again.alpha is None) == (expected.alpha is None)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_stay_close(suffix, channels, tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    array = np.broadcast_to(ramp, (32, 64)).copy()
    if channels == 3:
        array = np.stack([array, array[:, ::-1], array // 2], axis=2)
    write_image(tmp_path / f"a{suffix}", array)
    mode = "L" if channels == 1 else "RGB"
    found = np.asarray(Image.open(tmp_path / f"a{suffix}").convert(mode), int)
    assert np.abs(found - array).mean() < 3


def test_bmp(tmp_path):
    array = noise(4, 5, 3)
    write_image(tmp_path / "a.bmp", array)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.bmp")), array)


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 8), (".png", 16), (".tiff", 8), (".tiff", 16), (".webp", 8), (".jpg", 8)]
)
def test_profile_is_embedded_where_other_readers_find_it(suffix, bits, tmp_path):
    array = noise(6, 6, 3, np.uint8 if bits == 8 else np.uint16)
    path = write_image(tmp_path / f"a{suffix}", array, icc_profile=srgb_profile())
    with Image.open(path) as opened:
        opened.load()
        assert opened.info["icc_profile"] == srgb_profile()
    photo = read_photo(path)
    assert photo.icc_profile == srgb_profile()
    assert photo.pixels.dtype == array.dtype
    if suffix in (".png", ".tiff"):
        assert np.array_equal(photo.pixels, array)


def test_profile_for_other_colours_is_left_out(tmp_path):
    for array, profile in ((noise(3, 3, 1), srgb_profile()), (noise(3, 3, 3), grey_profile(2.2))):
        path = write_image(tmp_path / "a.png", array, icc_profile=profile)
        assert "icc_profile" not in Image.open(path).info
    path = write_image(tmp_path / "a.png", noise(3, 3, 1), icc_profile=grey_profile(2.2))
    assert Image.open(path).info["icc_profile"] == grey_profile(2.2)


@pytest.mark.parametrize(
    ("dtype", "suffix", "expected"),
    [
        (np.uint8, ".png", np.uint8),
        (np.uint16, ".png", np.uint16),
        (np.float32, ".png", np.uint8),
        (np.float64, ".tiff", np.float32),
        (np.uint16, ".tiff", np.uint16),
        (np.bool_, ".png", np.uint8),
        (np.uint16, ".bmp", np.uint8),
    ],
)
def test_default_depth(dtype, suffix, expected, tmp_path):
    path = write_image(tmp_path / f"a{suffix}", np.ones((2, 2), dtype))
    assert reference(path, np.uint8 if expected == np.uint8 else expected).dtype == expected


def test_depths_convert_to_the_nearest_value(tmp_path):
    path = write_image(tmp_path / "a.png", np.array([[0, 128, 129, 65535]], np.uint16), bits=8)
    assert np.asarray(Image.open(path)).tolist() == [[0, 0, 1, 255]]
    path = write_image(tmp_path / "a.png", np.array([[0.0, 0.5, 1.0]]), bits=16)
    assert np.asarray(Image.open(path)).tolist() == [[0, 32768, 65535]]


@pytest.mark.parametrize("bits", [None, 16, 32])
def test_exr_is_linear_and_premultiplied(bits, tmp_path):
    exr = pytest.importorskip("OpenEXR")
    rgba = np.array([[[255, 188, 0, 255], [255, 128, 10, 128]]], np.uint8)
    path = write_image(tmp_path / "a.exr", rgba, bits=bits)
    found = exr.File(str(path)).channels()["RGBA"].pixels
    assert found.dtype == (np.float32 if bits == 32 else np.float16)
    # sRGB 188 is linear 0.5029, 128 is 0.2159, 10 is 0.0030 (IEC 61966-2-1); 128/255 is 0.5020.
    expected = [[[1, 0.5029, 0, 1], [0.5020, 0.1084, 0.00152, 0.5020]]]
    assert np.allclose(found, expected, atol=3e-4)


def test_exr_keeps_a_matte_as_data(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    alpha = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    path = write_image(tmp_path / "a.exr", alpha)
    assert np.array_equal(exr.File(str(path)).channels()["Y"].pixels, alpha)


def test_exr_warns_about_a_wide_profile(tmp_path):
    pytest.importorskip("OpenEXR")
    wide = srgb_profile().replace(b"sRGB", b"Wide").replace("sRGB".encode("utf-16-be"), "Wide".encode("utf-16-be"))
    with pytest.warns(PerpixelWarning, match="taken as sRGB"):
        write_image(tmp_path / "a.exr", noise(2, 2, 3), icc_profile=wide)
    write_image(tmp_path / "a.exr", noise(2, 2, 3), icc_profile=srgb_profile())


def test_exr_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "perpixel\[exr\]"'):
        write_image(tmp_path / "a.exr", noise(2, 2, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
def test_formats_without_alpha_name_those_with(suffix, tmp_path):
    with pytest.raises(InputError, match=r"no transparency.*\.png, \.webp, \.tiff, \.exr"):
        write_image(tmp_path / f"a{suffix}", noise(2, 2, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.gif", "a.xyz", "a"])
def test_unknown_suffix_lists_the_known(name, tmp_path):
    with pytest.raises(InputError) as caught:
        write_image(tmp_path / name, noise(2, 2, 3))
    assert all(suffix in str(caught.value) for form in FORMATS for suffix in form.suffixes)


@pytest.mark.parametrize(("suffix", "bits"), [(".jpg", 16), (".webp", 32), (".png", 32), (".png", 7), (".exr", 8)])
def test_depth_that_a_format_does_not_hold(suffix, bits, tmp_path):
    with pytest.raises(InputError, match="bits a channel, not") as caught:
        write_image(tmp_path / f"a{suffix}", noise(2, 2, 3), bits=bits)
    assert ".tiff" in str(caught.value) or bits == 7 or suffix == ".exr"


def test_too_wide_for_the_format(tmp_path):
    with pytest.raises(InputError, match="at most 16383"):
        write_image(tmp_path / "a.webp", np.zeros((1, 16384), np.uint8))
    write_image(tmp_path / "a.webp", np.zeros((1, 16383), np.uint8))
    with pytest.raises(InputError, match="at most 65500"):
        write_image(tmp_path / "a.jpg", np.zeros((65501, 1), np.uint8))


def test_missing_folder_and_folder_as_file(tmp_path):
    with pytest.raises(OutputError, match=f"the folder {tmp_path / 'no'} does not exist"):
        write_image(tmp_path / "no" / "a.png", noise(2, 2, 3))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_image(tmp_path / "b.png", noise(2, 2, 3))


def test_existing_file_is_replaced_or_kept(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, noise(2, 2, 3))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_image(path, noise(2, 2, 3, seed=1), overwrite=False)
    assert path.read_bytes() == before
    path.chmod(0o600)
    write_image(path, noise(2, 2, 3, seed=1))
    assert path.read_bytes() != before
    assert path.stat().st_mode & 0o777 == 0o600


def test_new_files_have_ordinary_rights(tmp_path):
    (tmp_path / "plain").touch()
    path = write_image(tmp_path / "a.png", noise(2, 2, 3))
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_image(tmp_path / "link.png", noise(2, 2, 3))
    assert (tmp_path / "link.png").is_symlink()
    assert read_photo(tmp_path / "real.png").width == 2


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jpg", ".exr"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(suffix, tmp_path, monkeypatch):
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    path = write_image(tmp_path / f"a{suffix}", noise(2, 2, 3))
    before = path.read_bytes()

    def full_disk(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_image(path, noise(9, 9, 3))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_cut_off_halfway_leaves_nothing(tmp_path, monkeypatch):
    def half(self, data):
        with self.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "a.png", noise(9, 9, 3))
    assert not list(tmp_path.iterdir())


def test_folder_without_write_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(OutputError, match=f"no right to write in {tmp_path}"):
        check_output(tmp_path / "a.png")


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2), np.int32), np.full((2, 2), 3.0), np.zeros((0, 2), np.uint8)],
)
def test_arrays_that_do_not_fit(pixels, tmp_path):
    with pytest.raises(InputError, match="the image to write"):
        write_image(tmp_path / "a.png", pixels)
    assert not list(tmp_path.iterdir())


def test_check_output_names_the_format_and_writes_nothing(tmp_path):
    assert check_output(tmp_path / "a.TIF", alpha=True, bits=32).name == "TIFF"
    assert not list(tmp_path.iterdir())


def test_tiff_alpha_is_marked_straight(tmp_path):
    path = write_image(tmp_path / "a.tif", noise(2, 2, 4))
    with tifffile.TiffFile(io.BytesIO(path.read_bytes())) as opened:
        assert [int(kind) for kind in opened.pages.first.extrasamples] == [2]
