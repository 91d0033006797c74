import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.ops.bokeh import bokeh
from perpixel.ops.light import srgb_to_linear


def two_planes(height=40, width=60, left=1.0, right=0.0):
    """Red noise at one depth on the left, blue noise at another on the right."""
    random = np.random.default_rng(0)
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = random.integers(100, 256, (height, width // 2))
    image[:, width // 2 :, 2] = random.integers(100, 256, (height, width - width // 2))
    depth = np.full((height, width), right, np.float32)
    depth[:, : width // 2] = left
    return image, depth


@pytest.mark.parametrize("aperture", [3, 10, 20])
def test_the_sharp_subject_neither_changes_nor_bleeds(aperture):
    image, depth = two_planes()
    blurred = bokeh(image, depth, (10, 20), aperture)
    assert np.array_equal(blurred[:, :30], image[:, :30])
    assert (blurred[:, 30:, 0] == 0).all()  # no red in the background
    assert blurred[:, 30:, 2].std() < 0.5 * image[:, 30:, 2].std()


def test_a_near_blurred_thing_spreads_over_the_sharp_background():
    image, depth = two_planes()
    blurred = bokeh(image, depth, (50, 20), 8)  # discs of 4.8 pixels
    assert np.array_equal(blurred[:, 37:], image[:, 37:])
    red = blurred[5:-5, :, 0].mean(axis=0)
    assert (np.diff(red[24:36]) < 1).all()  # falls steadily over the edge at 30
    assert 60 < red[30] < 160
    blue = blurred[5:-5, :, 2].mean(axis=0)
    assert blue[28] > 40  # what was never photographed shines through the rim
    assert blue[20] == 0


def test_a_far_light_becomes_the_disc_of_its_radius():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    depth = np.ones((41, 41), np.float32)
    depth[:, 1:] = 0
    light = srgb_to_linear(bokeh(image, depth, (0, 20), 10)[..., 0] / 255)  # a radius of 4.1 pixels
    y, x = np.mgrid[-20:21, -20:21]
    assert (light[np.hypot(y, x) > 5.6] == 0).all()
    inside = light[np.hypot(y, x) < 2.9]
    assert inside.min() > 0
    assert np.ptp(inside) < 0.1 * inside.mean() + 0.003  # even, not a bell
    assert light.sum() == pytest.approx(1, rel=0.1)  # light is kept, in linear light


def test_wide_discs_are_the_same_on_the_smaller_picture():
    random = np.random.default_rng(0)
    image = random.random((64, 90, 3)).astype(np.float32)
    depth = np.zeros((64, 90), np.float32)
    depth[0, 0] = 1
    blurred = bokeh(image, depth, (0, 0), 9)  # a radius of 8.1 pixels, so at half the size
    y, x = np.mgrid[-8:9, -8:9]
    window = (np.hypot(y, x) <= 8.1)[..., None]
    light = srgb_to_linear(image)
    for row, column in ((20, 30), (40, 60)):
        mean = (light[row - 8 : row + 9, column - 8 : column + 9] * window).sum((0, 1)) / window.sum()
        assert np.abs(srgb_to_linear(blurred[row, column]) - mean).max() < 0.02


def test_a_slanted_plane_of_one_colour_stays_that_colour():
    image = np.full((50, 50, 3), (200, 30, 90), np.uint8)
    depth = np.repeat(np.linspace(0, 1, 50, dtype=np.float32)[:, None], 50, axis=1)
    for focus in (0.0, 0.5, 1.0):
        assert np.abs(bokeh(image, depth, focus, 12).astype(int) - image).max() <= 1


def test_hair_of_a_matte_stays_sharp():
    random = np.random.default_rng(0)
    background = (random.random((60, 60, 3)) * (0, 0, 1)).astype(np.float32)
    alpha = np.zeros((60, 60), np.float32)
    alpha[25:, 15:45] = 1
    alpha[5:25, 18:42:3] = 0.6  # hair, which the depth map missed
    foreground = np.zeros((60, 60, 3), np.float32)
    foreground[..., 0] = 0.9
    image = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    depth = (alpha == 1).astype(np.float32)
    blurred = bokeh(image, depth, (30, 40), 8, alpha=alpha, foreground=foreground)
    assert np.abs(blurred[..., 0] - image[..., 0]).max() < 0.01  # all of the subject's red, and no more
    away = blurred[..., 2][alpha == 0]
    assert away.std() < 0.5 * image[..., 2][alpha == 0].std()
    # Without the matte the hair, which has the background's depth, is blurred with it.
    assert np.abs(bokeh(image, depth, (30, 40), 8)[..., 0] - image[..., 0]).max() > 0.3


def test_a_matte_whose_subject_is_out_of_focus():
    image, depth = two_planes()
    alpha = depth.copy()
    foreground = (image / 255).astype(np.float32)
    blurred = bokeh(image, depth, (50, 20), 8, alpha=alpha, foreground=foreground)
    assert np.array_equal(blurred[:, 37:], image[:, 37:])
    assert blurred[:, :25, 0].std() < 0.5 * image[:, :25, 0].std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_type_stays_and_nothing_to_blur_is_the_image(dtype):
    image = np.random.default_rng(0).random((9, 7, 3))
    image = image.astype(dtype) if dtype == np.float32 else (image * np.iinfo(dtype).max).astype(dtype)
    depth = np.random.default_rng(1).random((9, 7))
    assert bokeh(image, depth, (3, 3), 15).dtype == dtype
    for plane, aperture in ((depth, 0), (np.ones((9, 7)), 15)):
        result = bokeh(image, plane, (3, 3), aperture)
        assert np.array_equal(result, image)
        assert result is not image


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    aperture=st.sampled_from([1, 20]),
    matte=st.sampled_from([None, 0.0, 0.4, 1.0]),
    focus=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_any_shape_stays_within_the_colours(height, width, aperture, matte, focus):
    random = np.random.default_rng(height * 13 + width)
    image = random.uniform(0.2, 0.6, (height, width, 3)).astype(np.float32)
    extra = {} if matte is None else {"alpha": np.full((height, width), matte), "foreground": image}
    blurred = bokeh(image, random.random((height, width)), focus, aperture, **extra)
    assert blurred.shape == image.shape
    assert 0.19 < blurred.min() <= blurred.max() < 0.61


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"focus": (7, 0)}, r"the focus \(7, 0\) is outside the image, which is 7×5"),
        ({"focus": (0, -1)}, "outside the image"),
        ({"focus": (np.nan, 0)}, "outside the image"),
        ({"focus": 1.5}, "from 0"),
        ({"focus": (1, 2, 3)}, "give a pixel"),
        ({"aperture": -1}, "percentage"),
        ({"aperture": float("nan")}, "percentage"),
        ({"aperture": 50}, "percentage"),
        ({"depth": np.ones((7, 5))}, r"depth has the shape \(7, 5\) and \(5, 7\) is needed"),
        ({"depth": np.full((5, 7), np.nan)}, "NaN"),
        ({"image": np.ones((5, 7))}, "height, width, 3"),
        ({"image": np.ones((5, 7, 3))}, "float64"),
        ({"alpha": np.ones((5, 7))}, "belong together"),
        ({"alpha": np.full((5, 7), 2.0), "foreground": np.ones((5, 7, 3))}, "alpha lies outside"),
    ],
)
def test_what_cannot_be_blurred(change, words):
    given_all = {"image": np.ones((5, 7, 3), np.float32), "depth": np.ones((5, 7)), "focus": (0, 0), **change}
    with pytest.raises(InputError, match=words):
        bokeh(**given_all)
