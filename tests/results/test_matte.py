import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.errors import InputError, OutputError
from perpixel.images.read import read_photo
from perpixel.results import Matte


def some(height=6, width=8, dtype=np.uint8, **options):
    random = np.random.default_rng(0)
    image = random.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)
    alpha = random.random((height, width)).astype(np.float32)
    return Matte(alpha, image, **options)


def flat(alpha, colour, dtype=np.uint8):
    """A matte whose foreground colour is known."""
    alpha = np.array(alpha, np.float32)
    top = np.iinfo(dtype).max
    image = np.full((*alpha.shape, 3), top // 2, dtype)
    return Matte(alpha, image, foreground=np.broadcast_to(np.float32(colour), (*alpha.shape, 3)))


def test_size_and_repr():
    matte = some()
    assert (matte.height, matte.width, matte.size) == (6, 8, (8, 6))
    assert repr(matte).startswith("Matte(8×6, 8-bit, ")
    assert len(repr(matte)) < 60


def test_foreground_is_estimated_once_and_only_when_asked_for(monkeypatch):
    from perpixel.ops import foreground

    calls = []

    def estimate(image, alpha):
        calls.append((image.dtype, image.max(), alpha.dtype))
        return np.zeros_like(image)

    monkeypatch.setattr(foreground, "estimate_foreground", estimate)
    matte = flat([[0.5]], 1.0)
    assert matte.foreground.max() == 1
    matte = Matte(np.ones((2, 3), np.float32), np.full((2, 3, 3), 65535, np.uint16))
    assert not calls
    assert matte.foreground is matte.foreground
    assert calls == [(np.float32, 1.0, np.float32)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cutout_keeps_the_depth_and_the_sure_pixels_exactly(dtype):
    matte = some(dtype=dtype)
    matte.alpha[:3] = 1
    matte.alpha[3] = 0
    cutout = matte.cutout()
    top = np.iinfo(dtype).max
    assert cutout.dtype == dtype
    assert cutout.shape == (6, 8, 4)
    assert np.array_equal(cutout[:3, :, :3], matte.image[:3])
    assert (cutout[:3, :, 3] == top).all()
    assert (cutout[3, :, 3] == 0).all()
    assert np.abs(cutout[..., 3] / top - matte.alpha).max() <= 0.5001 / top


def test_alpha_of_8_and_16_bit_files_returns_exactly():
    steps = np.arange(256, dtype=np.float32)[None] / 255
    matte = Matte(steps, np.zeros((1, 256, 3), np.uint8), foreground=np.zeros((1, 256, 3), np.float32))
    assert np.array_equal(matte.cutout()[0, :, 3], np.arange(256))


class TestComposite:
    @pytest.mark.parametrize(
        "white", ["white", "#fff", "#FFFFFF", "rgb(255,255,255)", (255, 255, 255), [255, 255, 255], "#ffffffff"]
    )
    def test_every_way_to_name_a_colour(self, white):
        result = flat([[0, 0.5, 1]], 0.0).composite(white)
        assert result.dtype == np.uint8
        assert result[0, :, 0].tolist() == [255, 128, 0]

    def test_16_bits(self):
        result = flat([[0, 0.5, 1]], (0, 1, 0), np.uint16).composite("black")
        assert result.dtype == np.uint16
        assert result[0].tolist() == [[0, 0, 0], [0, 32768, 0], [0, 65535, 0]]

    @pytest.mark.parametrize("none", [None, "transparent", "Transparent"])
    def test_transparent_is_the_cutout(self, none):
        matte = some()
        assert np.array_equal(matte.composite(none), matte.cutout())

    @pytest.mark.parametrize("kind", ["path", "str", "bytes", "pil", "array", "float"])
    def test_image_of_the_same_size_shows_through_unchanged(self, kind, tmp_path):
        background = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(background)
        picture.save(tmp_path / "b.png")
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        source = {
            "path": tmp_path / "b.png",
            "str": str(tmp_path / "b.png"),
            "bytes": stream.getvalue(),
            "pil": picture,
            "array": background,
            "float": background / 255,
        }[kind]
        assert np.array_equal(flat(np.zeros((6, 8)), 1.0).composite(source), background)

    def test_image_covers_and_is_cropped_around_its_middle(self):
        background = np.zeros((4, 12, 3), np.uint8)
        background[:, 4:8] = 200  # the middle third is what a square matte shows
        assert (flat(np.zeros((8, 8)), 1.0).composite(background) == 200).all()
        assert (flat(np.zeros((2, 2)), 1.0).composite(background.swapaxes(0, 1)) == 200).all()

    def test_see_through_image_lies_on_white(self):
        background = np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
        assert flat([[0, 0]], 1.0).composite(background)[0, :, 0].tolist() == [255, 0]

    @settings(max_examples=25, deadline=None)
    @given(
        size=st.tuples(st.integers(1, 12), st.integers(1, 12)), other=st.tuples(st.integers(1, 40), st.integers(1, 40))
    )
    def test_any_sizes(self, size, other):
        matte = flat(np.zeros(size), 1.0)
        result = matte.composite(np.full((*other, 3), 77, np.uint8))
        assert result.shape == (*size, 3)
        assert (result == 77).all()

    @pytest.mark.parametrize(
        ("background", "words"),
        [
            ("blu", "neither a colour nor an image"),
            ("nowhere.png", "does not exist"),
            ("#00000080", "opaque"),
            ((1, 2), "three whole numbers"),
            ((0.1, 0.2, 0.3), "three whole numbers"),
            ((0, 0, 256), "three whole numbers"),
            (7, "int"),
        ],
    )
    def test_what_is_no_background(self, background, words):
        with pytest.raises(InputError, match=words):
            some().composite(background)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), square=st.integers(1, 20))
def test_preview_is_a_checkerboard_behind_the_subject(height, width, square):
    board = flat(np.zeros((height, width)), 0.0).preview(square)
    assert board.shape == (height, width, 3)
    assert board.dtype == np.uint8
    expected = [[255 if (y // square + x // square) % 2 == 0 else 204 for x in range(width)] for y in range(height)]
    assert np.array_equal(board[..., 1], expected)
    assert (flat(np.ones((height, width)), 1.0).preview(square) == 255).all()


def test_preview_refuses_a_square_of_nothing():
    with pytest.raises(InputError, match="at least 1"):
        some().preview(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_to_pil(dtype):
    matte = some(dtype=dtype)
    modes = {"cutout": "RGBA", "alpha": "L", "foreground": "RGB", "preview": "RGB"}
    for what, mode in modes.items():
        picture = matte.to_pil(what)
        assert (picture.mode, picture.size) == (mode, matte.size)
    assert np.array_equal(np.asarray(matte.to_pil("preview")), matte.preview())


def test_notebooks_show_the_preview_made_small():
    matte = flat(np.ones((20, 2000)), 1.0)
    shown = Image.open(io.BytesIO(matte._repr_png_()))
    assert shown.size == (1024, 10)


class TestSave:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("suffix", [".png", ".tiff"])
    def test_cutout_returns_with_depth_and_profile(self, suffix, dtype, tmp_path):
        from images.samples import srgb_profile

        matte = some(dtype=dtype, icc_profile=srgb_profile())
        path = matte.save(tmp_path / f"a{suffix}")
        photo = read_photo(path)
        cutout = matte.cutout()
        assert np.array_equal(photo.pixels, cutout[..., :3])
        assert np.array_equal(np.rint(photo.alpha.astype(float) * np.iinfo(dtype).max), cutout[..., 3])
        assert photo.icc_profile == srgb_profile()

    def test_alpha_is_grey_and_at_the_bits_asked_for(self, tmp_path):
        import tifffile

        matte = some(icc_profile=b"unused")
        eight = np.asarray(Image.open(matte.save(tmp_path / "a.png", "alpha")))
        sixteen = np.asarray(Image.open(matte.save(tmp_path / "b.png", "alpha", bits=16)))
        assert np.array_equal(eight, np.floor(matte.alpha * 255 + 0.5))
        assert np.abs(sixteen / 65535 - matte.alpha).max() <= 0.51 / 65535
        assert np.array_equal(tifffile.imread(matte.save(tmp_path / "c.tif", "alpha", bits=32)), matte.alpha)

    def test_16_bit_photographs_go_into_8_bit_formats(self, tmp_path):
        matte = some(dtype=np.uint16)
        photo = read_photo(matte.save(tmp_path / "a.webp"))
        assert np.array_equal(photo.pixels, np.asarray(matte.to_pil())[..., :3])

    def test_foreground_and_preview(self, tmp_path):
        matte = some()
        foreground = read_photo(matte.save(tmp_path / "f.png", "foreground"))
        assert np.array_equal(foreground.pixels, np.asarray(matte.to_pil("foreground")))
        preview = read_photo(matte.save(tmp_path / "p.png", "preview"))
        assert np.array_equal(preview.pixels, matte.preview())
        assert read_photo(matte.save(tmp_path / "p.jpg", "preview")).width == 8

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_exr(self, dtype, tmp_path):
        exr = pytest.importorskip("OpenEXR")
        path = some(dtype=dtype).save(tmp_path / "a.exr")
        assert exr.File(str(path)).channels()["RGBA"].pixels.dtype == (np.float16 if dtype == np.uint8 else np.float32)

    def test_cutout_as_jpeg_names_the_mend_before_the_foreground_is_estimated(self, tmp_path):
        matte = some()
        with pytest.raises(InputError, match=r"JPEG holds no transparency.*\.png"):
            matte.save(tmp_path / "a.jpg")
        assert matte._foreground is None
        assert not list(tmp_path.iterdir())

    def test_unknown_part_and_missing_folder(self, tmp_path):
        with pytest.raises(InputError, match="cutout, alpha, foreground, preview"):
            some().save(tmp_path / "a.png", "matte")
        with pytest.raises(OutputError, match="does not exist"):
            some().save(tmp_path / "no" / "a.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": np.zeros((3, 4), np.float32)}, r"alpha is float32 \(3, 4\).*\(2, 3\)"),
        ({"alpha": np.zeros((2, 3), np.uint8)}, "alpha is uint8"),
        ({"alpha": np.full((2, 3), 1.5, np.float32)}, "outside 0 to 1"),
        ({"alpha": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"alpha": None}, "alpha is NoneType"),
        ({"image": np.zeros((2, 3, 3), np.float32)}, "image is float32"),
        ({"image": np.zeros((2, 3), np.uint8)}, "image is uint8"),
        ({"image": np.zeros((0, 3, 3), np.uint8)}, "image is uint8"),
        ({"foreground": np.zeros((2, 3), np.float32)}, "foreground"),
        ({"trimap": np.zeros((2, 4), np.uint8)}, "trimap"),
    ],
)
def test_parts_that_do_not_fit_together(change, words):
    parts = {"alpha": np.zeros((2, 3), np.float32), "image": np.zeros((2, 3, 3), np.uint8), **change}
    with pytest.raises(InputError, match=words) as caught:
        Matte(**parts)
    assert "\n" not in str(caught.value)
