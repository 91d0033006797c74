"""`bokeh`: what stays sharp, where the depth comes from, and errors. The blur itself is tested in ops."""

import numpy as np
import pytest
from PIL import Image

from perpixel.errors import InputError, PerpixelError
from perpixel.images.read import read_photo
from perpixel.results import DepthMap, Matte
from perpixel.tasks import bokeh as module
from perpixel.tasks.bokeh import bokeh
from perpixel.tasks.depth import depth
from tasks.known_depth import estimator

HEIGHT, WIDTH = 48, 64
RNG = np.random.default_rng(5)
PHOTO = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
NEAR = DepthMap(np.repeat(np.float32([[3.0] * 32 + [1.0] * 32]), HEIGHT, axis=0))  # the left half is near


def change(picture, photo=PHOTO):
    """How much each half differs from the photograph."""
    differs = np.abs(picture.pixels.astype(float) - photo).mean((0, 2))
    return differs[:30].mean(), differs[34:].mean()


def test_the_focus_stays_sharp():
    left, right = change(bokeh(PHOTO, depth=NEAR, focus=(10, 20), aperture=5))
    assert left < 1 and right > 20
    left, right = change(bokeh(PHOTO, depth=NEAR, focus=(60, 20), aperture=5))
    assert left > 20 and right < 1
    assert change(bokeh(PHOTO, depth=NEAR, focus=1.0, aperture=5))[0] < 1
    assert change(bokeh(PHOTO, depth=NEAR, focus=(10, 20), aperture=0)) == (0, 0)


def test_metres_and_inverse_depth_give_the_same():
    metric = DepthMap(1 / NEAR.values, kind="metric")
    options = {"focus": (10, 20), "aperture": 5}
    np.testing.assert_array_equal(
        bokeh(PHOTO, depth=metric, **options).pixels, bokeh(PHOTO, depth=NEAR, **options).pixels
    )


def test_the_depth_is_estimated_where_it_is_not_given():
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    photo[:, :32], photo[::2, ::2] = 200, 90
    model = estimator(side=16)
    expected = bokeh(photo, depth=depth(photo, model=model), focus=(10, 20))
    found = bokeh(photo, model=model, focus=(10, 20))
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert len(model.network.sizes) == 2 and (found.pixels != photo).any()


def test_a_matte_keeps_its_subject_sharp():
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    alpha[10:40, 10:40] = 1  # mostly near, with a part that the depth has at the background
    matte = Matte(alpha, PHOTO, foreground=np.divide(PHOTO, 255, dtype=np.float32))
    kept = np.s_[14:36, 14:36]
    for focus in (None, (25, 20), 1.0):
        found = bokeh(PHOTO, depth=NEAR, focus=focus, aperture=6, matte=matte).pixels
        assert np.abs(found[kept].astype(int) - PHOTO[kept]).max() <= 1
        assert np.abs(found[:, 54:].astype(int) - PHOTO[:, 54:]).mean() > 20


def test_pictures_keep_bits_profile_and_path(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PHOTO).save(tmp_path / "a.png", icc_profile=profile)
    found = bokeh(tmp_path / "a.png", depth=NEAR, focus=(10, 20))
    path = found.save(tmp_path / "b.png")
    again = read_photo(path)
    np.testing.assert_array_equal(again.pixels, found.pixels)
    assert again.icc_profile == profile and found.size == (WIDTH, HEIGHT)
    deep = bokeh(PHOTO.astype(np.uint16) * 257, depth=NEAR, focus=(10, 20))
    assert read_photo(deep.save(tmp_path / "c.png")).pixels.dtype == np.uint16
    assert deep.to_pil().mode == "RGB" and deep._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (30, 1)])
def test_sides_of_one_pixel(shape):
    photo = RNG.integers(0, 256, (*shape, 3), np.uint8)
    found = bokeh(photo, model=estimator(side=16), focus=(0, 0), aperture=20)
    assert found.pixels.shape == photo.shape


@pytest.mark.parametrize("focus", [(3, 4), 0.0, 0.5, 1])
def test_constant_depth_is_the_image_itself(focus):
    flat = DepthMap(np.full((HEIGHT, WIDTH), 7.0))
    np.testing.assert_array_equal(bokeh(PHOTO, depth=flat, focus=focus, aperture=20).pixels, PHOTO)


EMPTY = Matte(np.zeros((HEIGHT, WIDTH), np.float32), PHOTO)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"focus": (64, 10)}, r"focus \(64, 10\) is outside the image, which is 64×48"),
        ({"focus": (-1, 10)}, "outside"),
        ({"focus": (float("nan"), 1)}, "outside"),
        ({"focus": 1.5}, r"the focus is 1\.5"),
        ({"focus": (1, 2, 3)}, r"the focus is \(1, 2, 3\)"),
        ({"focus": "middle"}, "the focus is 'middle'"),
        ({"focus": None}, "there is no focus"),
        ({"focus": None, "matte": EMPTY}, "the matte has no subject"),
        ({"aperture": 21}, "the aperture is 21"),
        ({"aperture": float("nan")}, "the aperture is nan"),
        ({"depth": DepthMap(np.ones((3, 4)))}, r"the depth is 4×3 but the image is 64×48"),
        ({"matte": Matte(np.ones((3, 4), np.float32), PHOTO[:3, :4])}, "the matte is 4×3"),
        ({"image": "there_is_none.jpg"}, r"there_is_none\.jpg"),
    ],
)
def test_inputs_that_cannot_be_used(change, words, monkeypatch):
    monkeypatch.setattr(module, "estimate", lambda *_, **__: pytest.fail("the model was asked before the check"))
    arguments = {"image": PHOTO, "focus": (1, 1), **change}
    with pytest.raises(InputError, match=words):
        bokeh(arguments.pop("image"), **arguments)


def test_a_picture_of_the_wrong_kind():
    from perpixel.results.picture import Picture

    with pytest.raises(PerpixelError, match="float64"):
        Picture(np.zeros((2, 2, 3)))
