import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, features

from images.samples import (
    cmyk_profile,
    encoded,
    grey_profile,
    noise,
    png16,
    png_chunk,
    srgb_profile,
    with_orientation,
)
from perpixel.images.read import read_mask, read_photo

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "TGA", "PPM", "ICO"]
if features.check("avif"):
    FORMATS.append("AVIF")


def tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, metadata=None, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reads_as_pillow_shows_it(form, tmp_path):
    data = encoded(Image.fromarray(noise(16, 16, 3)), form)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    path = tmp_path / "picture.bin"  # the content decides, not the suffix
    path.write_bytes(data)
    for source in (path, str(path), data):
        photo = read_photo(source)
        assert photo.pixels.dtype == np.uint8
        assert np.array_equal(photo.pixels, expected)
        assert photo.path == (None if source is data else path)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("1", "PNG"), ("L", "PNG"), ("L", "JPEG"), ("P", "PNG"), ("RGB", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF")],
)
def test_every_mode_becomes_rgb_as_pillow_shows_it(mode, form):
    data = encoded(Image.fromarray(noise(9, 7, 3)).convert(mode), form)
    opened = Image.open(io.BytesIO(data))
    assert opened.mode == mode
    for source in (data, opened):
        photo = read_photo(source)
        assert np.array_equal(photo.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        assert photo.alpha is None


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_odd_pillow_modes_become_rgb(mode):
    image = Image.fromarray(noise(5, 4, 3)).convert(mode)
    assert np.array_equal(read_photo(image).pixels, np.asarray(image.convert("RGB")))


def test_cielab_becomes_rgb():
    grey = Image.fromarray(np.full((2, 2, 3), [128, 128, 128], np.uint8))
    lab = Image.merge("LAB", grey.split())  # L* about 50, neutral: sRGB 119
    assert np.abs(read_photo(lab).pixels.astype(int) - 119).max() <= 2


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "TGA"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_comes_apart(form, mode):
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    data = encoded(Image.fromarray(noise(6, 5, 4)).convert(mode), form, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, expected[..., :3])
    assert photo.alpha.dtype == np.float32
    assert np.array_equal(np.rint(photo.alpha * 255), expected[..., 3])


def test_opaque_alpha_is_no_alpha():
    rgba = noise(3, 3, 4)
    rgba[..., 3] = 255
    assert read_photo(encoded(Image.fromarray(rgba), "PNG")).alpha is None
    assert read_photo(rgba).alpha is None


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_transparency_of_palettes_and_colour_keys(mode):
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert(mode)
    key = {"P": image.getpixel((0, 0)) if mode == "P" else 0, "L": 0, "RGB": (0, 0, 0), "1": 0}[mode]
    photo = read_photo(encoded(image, "PNG", transparency=key))
    assert np.array_equal(photo.alpha, [[0, 1], [1, 0]])
    assert np.array_equal(photo.pixels[..., 0], [[0, 255], [255, 0]])


def test_palette_with_an_alpha_for_each_entry():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L")
    image.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1])
    photo = read_photo(encoded(image, "PNG", transparency=bytes([0, 51, 255])))
    assert photo.pixels.tolist() == [[[9, 8, 7], [6, 5, 4], [3, 2, 1]]]
    assert np.allclose(photo.alpha, [[0, 0.2, 1]], atol=1e-7)


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime")]
    for form in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert read_photo(data).pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_png_keeps_16_bits(colour_type):
    array = noise(5, 7, {0: 1, 2: 3, 4: 2, 6: 4}[colour_type], np.uint16)
    photo = read_photo(png16(array, colour_type, png_chunk(b"gAMA", (45455).to_bytes(4, "big"))))
    assert photo.pixels.dtype == np.uint16
    colours = array if colour_type == 0 else array[..., :3] if colour_type in (2, 6) else array[..., 0]
    assert np.array_equal(photo.pixels, colours if colours.ndim == 3 else np.stack([colours] * 3, axis=2))
    if colour_type in (4, 6):
        assert np.array_equal(np.rint(photo.alpha.astype(float) * 65535), array[..., -1])
    else:
        assert photo.alpha is None


@pytest.mark.parametrize("colour_type", [0, 2])
def test_png_colour_key_of_16_bits(colour_type):
    array = noise(3, 4, 3 if colour_type else 1, np.uint16)
    key = np.atleast_1d(array[1, 2])
    photo = read_photo(png16(array, colour_type, png_chunk(b"tRNS", key.astype(">u2").tobytes())))
    expected = np.ones((3, 4))
    expected[1, 2] = 0
    assert np.array_equal(photo.alpha, expected)
    assert np.array_equal(photo.pixels, array if colour_type else np.stack([array] * 3, axis=2))


TIFFS = {
    "grey": (1, {"photometric": "minisblack"}),
    "white is zero": (1, {"photometric": "miniswhite"}),
    "grey alpha": (2, {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"}),
    "rgb": (3, {"photometric": "rgb"}),
    "planar rgb": (3, {"photometric": "rgb", "planarconfig": "separate"}),
    "rgba": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float16"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_keeps_its_depth(kind, dtype, compression, orientation):
    channels, options = TIFFS[kind]
    array = noise(5, 7, channels, np.uint16)
    written = array if dtype == "uint16" else (array / 65535).astype(dtype)
    array = written if dtype == "uint16" else np.rint(written.astype(float) * 65535).astype(np.uint16)
    if kind == "planar rgb":
        written = np.moveaxis(written, -1, 0)
    tags = [(274, 3, 1, orientation, True)] if orientation != 1 else []
    photo = read_photo(tiff(written, compression=compression, extratags=tags, **options))
    if orientation == 6:
        array = np.rot90(array, -1)
    if kind == "white is zero":
        array = 65535 - array
    colours = array if channels == 1 else array[..., 0] if channels == 2 else array[..., :3]
    expected = colours if colours.ndim == 3 else np.stack([colours] * 3, axis=2)
    off = np.abs(photo.pixels.astype(int) - expected).max()
    assert off <= (1 if kind == "white is zero" and dtype == "float16" else 0)  # 1 - x rounds
    if channels in (2, 4):
        assert np.allclose(photo.alpha, array[..., -1] / 65535, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_under_lzw_keeps_its_depth(dtype, channels):
    array = noise(5, 7, channels, np.uint16)
    written = array if dtype == np.uint16 else (array / 65535).astype(np.float32)
    bgr = written if channels == 1 else written[..., [2, 1, 0, 3][:channels]]
    lzw = cv2.imencode(".tiff", bgr, [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()
    photo = read_photo(lzw)
    assert np.array_equal(photo.pixels, array[..., :3] if channels > 1 else np.stack([array] * 3, axis=2))


def test_tiff_with_premultiplied_alpha_becomes_straight():
    array = np.array([[[30000, 15000, 0, 30000], [0, 0, 0, 0]]], np.uint16)
    photo = read_photo(tiff(array, photometric="rgb", extrasamples=["assocalpha"]))
    assert photo.pixels.tolist() == [[[65535, 32768, 0], [0, 0, 0]]]


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_in_cmyk_reads_like_pillow(bits):
    array = noise(4, 5, 4, np.uint16 if bits == 16 else np.uint8)
    data = tiff(array, photometric="separated")
    assert np.array_equal(read_photo(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "PNG16"])
def test_orientation_is_applied_as_pillow_does(form, value):
    image = Image.fromarray(noise(5, 7, 3))
    if form == "PNG16":
        array = noise(5, 7, 3, np.uint16)
        exif = with_orientation(value).tobytes().removeprefix(b"Exif\0\0")
        data = png16(array, 2, png_chunk(b"eXIf", exif))
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        photo = read_photo(data)
        assert photo.pixels.dtype == np.uint16
        assert np.array_equal(photo.pixels >> 8, np.asarray(shown))
        return
    data = encoded(image, form, exif=with_orientation(value))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(read_photo(data).pixels, expected)
    assert np.array_equal(read_photo(Image.open(io.BytesIO(data))).pixels, expected)
    assert expected.shape == ((7, 5, 3) if value > 4 else (5, 7, 3))


def test_orientation_turns_alpha_too():
    rgba = noise(4, 6, 4)
    photo = read_photo(encoded(Image.fromarray(rgba), "PNG", exif=with_orientation(8)))
    assert np.array_equal(np.rint(photo.alpha * 255), np.rot90(rgba[..., 3]))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_profile_is_kept(form):
    if form not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    profile = srgb_profile()
    assert read_photo(encoded(Image.fromarray(noise(4, 4, 3)), form, icc_profile=profile)).icc_profile == profile


def test_profile_of_deep_files_is_kept():
    profile = srgb_profile()
    import zlib

    chunk = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))
    assert read_photo(png16(noise(4, 4, 3, np.uint16), 2, chunk)).icc_profile == profile
    data = tiff(noise(4, 4, 3, np.uint16), photometric="rgb", iccprofile=profile)
    assert read_photo(data).icc_profile == profile


def test_cmyk_goes_through_its_own_profile():
    # Cyan ink that prints CIELAB (60, 40, 40): no reader that ignores the profile can know that.
    inks = np.zeros((1, 2, 4), np.uint8)
    inks[0, 1, 0] = 255
    photo = read_photo(encoded(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=cmyk_profile()))
    # CIELAB under D50 to XYZ, then Lindbloom's published sRGB matrix for D50 (Bradford-adapted).
    level = (60 + 16) / 116
    xyz = np.array([0.9642, 1, 0.8249]) * (np.array([level + 40 / 500, level, level - 40 / 200]) ** 3)
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.033454],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    expected = 255 * (1.055 * (np.array(matrix) @ xyz) ** (1 / 2.4) - 0.055)
    assert np.abs(photo.pixels[0, 0].astype(int) - 255).max() <= 1
    assert np.abs(photo.pixels[0, 1] - expected).max() <= 1
    assert photo.icc_profile is None  # the pixels are sRGB now


def test_cmyk_with_a_broken_profile_reads_without_it():
    image = Image.fromarray(noise(3, 3, 4), "CMYK")
    data = encoded(image, "TIFF", icc_profile=b"nonsense" * 30)
    assert np.array_equal(read_photo(data).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_under_a_linear_profile_becomes_srgb(dtype):
    top = np.iinfo(dtype).max
    grey = np.array([[0, round(0.2140 * top), top]], dtype)  # linear 0.214 is sRGB 0.5
    profile = grey_profile(1.0)
    data = encoded(Image.fromarray(grey), "TIFF", icc_profile=profile)
    photo = read_photo(data)
    assert photo.pixels.dtype == dtype
    assert np.allclose(photo.pixels[0, :, 0] / top, [0, 0.5, 1], atol=0.006)
    assert photo.icc_profile is None
    assert np.allclose(read_mask(data), [[0, 0.214, 1]], atol=0.003)  # a mask's greys are data


def test_rgb_with_a_profile_for_other_colours_drops_it():
    data = encoded(Image.fromarray(noise(3, 3, 3)), "TIFF", icc_profile=grey_profile(2.2))
    assert read_photo(data).icc_profile is None


def test_profiles_made_here_are_valid():
    for data, space in ((cmyk_profile(), "CMYK"), (grey_profile(2.2), "GRAY")):
        assert ImageCms.ImageCmsProfile(io.BytesIO(data)).profile.xcolor_space.strip() == space
