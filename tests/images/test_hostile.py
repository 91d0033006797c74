"""Files that are absent, broken or made to hurt: one line that names the file and the mend, and fast."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images.samples import encoded, noise, png16, png_bomb
from perpixel.errors import InputError
from perpixel.images.read import read_mask, read_photo, read_trimap


def refusal(source, **options):
    with pytest.raises(InputError) as caught:
        read_photo(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def saved(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PNG16", "TIFF16"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(form, share, tmp_path):
    if form == "PNG16":
        data = png16(noise(60, 60, 3, np.uint16), 2)
    elif form == "TIFF16":
        import io

        import tifffile

        stream = io.BytesIO()
        tifffile.imwrite(stream, noise(60, 60, 3, np.uint16), photometric="rgb", compression="zlib")
        data = stream.getvalue()
    else:
        data = encoded(Image.fromarray(noise(60, 60, 3)), form)
    path = saved(tmp_path, f"cut.{form.lower()}", data[: int(len(data) * share)])
    message = refusal(path)
    assert str(path) in message
    if form in ("JPEG", "PNG", "WEBP", "PNG16"):
        assert "truncated" in message
    assert read_photo(data).height == 60


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_only_the_first_bytes(form):
    assert "truncated" in refusal(encoded(Image.fromarray(noise(9, 9, 3)), form)[:14])


def test_text_called_png(tmp_path):
    path = saved(tmp_path, "photo.png", "Schöne Grüße,\nthis is no picture.\n".encode())
    assert refusal(path) == f"{path} holds text, not an image, whatever its name says: pass an image file"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"%PDF-1.7\n...", "PDF"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(40), "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (bytes(range(128, 256)) * 8, "no image format"),
        (b"", "empty"),
    ],
)
def test_other_content(data, word):
    assert word in refusal(data)


def test_empty_file(tmp_path):
    path = saved(tmp_path, "photo.jpg", b"")
    assert refusal(path) == f"{path} is empty (0 bytes): copy or download it again"


def test_folder(tmp_path):
    saved(tmp_path, "b.jpg", b"x")
    assert refusal(tmp_path) == f"{tmp_path} is a folder (it holds b.jpg): pass an image file"


def test_missing_file_suggests_close_names(tmp_path):
    saved(tmp_path, "portrait.jpg", b"x")
    saved(tmp_path, "unrelated.txt", b"x")
    message = refusal(tmp_path / "potrait.jpg")
    assert message.endswith(f"did you mean {tmp_path / 'portrait.jpg'}?")
    assert "check the name" in refusal(tmp_path / "zzz")
    assert f"nor does its folder {tmp_path / 'no'}" in refusal(tmp_path / "no" / "a.png")


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("https://example.org/a.jpg", "download"),
        ("a\0b.png", "null"),
        ("x" * 5000, "cannot be read"),
        ("/dev/zero", "regular"),
    ],
)
def test_odd_paths(source, word):
    assert word in refusal(source)


@pytest.fixture(scope="module")
def bomb():
    return png_bomb()


@pytest.mark.parametrize("read", [read_photo, read_mask, read_trimap])
def test_bomb_is_refused_before_it_is_decoded(read, bomb):
    start = time.perf_counter()
    with pytest.raises(InputError, match="30000×30000, 900 megapixels, and at most 178"):
        read(bomb)
    assert time.perf_counter() - start < 1  # decoding takes several seconds and 900 MB


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG"])
def test_limit_is_the_callers(form):
    data = encoded(Image.fromarray(noise(10, 11, 3)), form)
    assert read_photo(data, max_pixels=110).width == 11
    message = refusal(data, max_pixels=109)
    assert "11×10" in message
    assert "max_pixels" in message


def test_limit_holds_for_16_bit_files_whose_header_lies():
    data = png16(noise(2, 2, 3, np.uint16), 2, width=60_000, height=60_000)
    assert "60000×60000" in refusal(data)
    import struct

    entries = [(256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 32), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, 60_000), (279, 4, 1, 40), (339, 3, 1, 3)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    assert "60000×60000" in refusal(b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4))


def test_a_chunk_that_claims_gigabytes_costs_nothing():
    data = bytearray(png16(noise(9, 9, 3, np.uint16), 2))
    data[data.index(b"IDAT") - 4] = 0xA2
    start = time.perf_counter()
    assert "truncated" in refusal(bytes(data))
    assert time.perf_counter() - start < 1


def test_photographs_of_a_hundred_megapixels_need_no_warning(recwarn):
    # Pillow itself warns from 89 megapixels on; phones make 108.
    image = Image.new("1", (10_000, 9_500))
    assert "95 megapixels" in refusal(encoded(image, "PNG"), max_pixels=94_999_999)
    assert not recwarn.list


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PNG16"]),
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
)
def test_a_changed_byte_gives_a_picture_or_an_input_error(form, place, value):
    data = bytearray(
        png16(noise(6, 6, 3, np.uint16), 2) if form == "PNG16" else encoded(Image.fromarray(noise(6, 6, 3)), form)
    )
    data[int(place * len(data))] = value
    try:
        photo = read_photo(bytes(data), max_pixels=10_000)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert photo.pixels.shape == (photo.height, photo.width, 3)


@settings(max_examples=40, deadline=None)
@given(
    st.binary(min_size=1, max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\xff\xd8\xff\xe0", b"GIF89a"]),
)
def test_random_bytes_are_an_input_error(tail, head):
    try:
        read_photo(head + tail, max_pixels=10_000)
    except InputError as error:
        assert "\n" not in str(error)
