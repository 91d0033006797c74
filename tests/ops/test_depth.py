import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.ops.depth import (
    COLOUR_MAPS,
    align_tile,
    checked_depth,
    coloured,
    fit_scale,
    fit_scale_shift,
    from_codes,
    metres,
    normalised,
    reciprocal,
    to_codes,
)

SIDES = st.integers(1, 9)


def known(values):
    return checked_depth(np.array(values, np.float32), "inverse")


def test_unknown_pixels_are_masked_and_0():
    values, valid = checked_depth(np.array([[np.nan, np.inf, -np.inf, 0, -2, 3]]), "inverse")
    assert values.tolist() == [[0, 0, 0, 0, -2, 3]]
    assert valid.tolist() == [[False, False, False, True, True, True]]
    values, valid = checked_depth(np.array([[np.nan, 0, 1e300, 3]]), "metric")
    assert (values.tolist(), valid.tolist()) == ([[0, 0, 0, 3]], [[False, False, False, True]])
    values, valid = checked_depth(np.array([[4, 5]]), "metric", np.array([[True, False]]))
    assert (values.tolist(), valid.tolist()) == ([[4, 0]], [[True, False]])


def test_the_input_is_not_changed():
    given_values = np.array([[np.nan, 1]], np.float32)
    checked_depth(given_values, "inverse")
    assert np.isnan(given_values[0, 0])


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (np.zeros((2, 2, 3)), "inverse", "one plane"),
        (np.zeros((0, 2)), "inverse", "one plane"),
        (np.array([["near"]]), "inverse", "numbers"),
        (np.full((2, 2), np.nan), "inverse", "no pixel"),
        (np.zeros((2, 2)), "metric", "no pixel"),
        (np.full((2, 2), -1.0), "metric", "negative metres, down to -1"),
        (np.ones((2, 2)), "relative", "no kind of depth"),
    ],
)
def test_what_is_no_depth(values, kind, words):
    with pytest.raises(InputError, match=words):
        checked_depth(values, kind)


def test_the_fit_equals_numpys():
    random = np.random.default_rng(0)
    x, y = random.random(50), random.random(50)
    assert np.allclose(fit_scale_shift(x, y), np.polyfit(x, y, 1))
    assert np.isclose(fit_scale(x, y), np.linalg.lstsq(x[:, None], y, rcond=None)[0][0])


def test_the_fit_of_a_constant_is_the_mean():
    assert fit_scale_shift(np.full(3, 7.1), np.array([1, 2, 6])) == (0, 3)
    assert fit_scale(np.zeros(2), np.ones(2)) == 0
    with pytest.raises(InputError, match="not empty"):
        fit_scale_shift(np.array([]), np.array([]))


def test_metres_are_one_over_inverse_depth_and_stop_at_the_farthest():
    inverse, valid = np.array([[0.5, 4, 0.01, -1, 0]]), np.array([[True, True, True, True, False]])
    assert metres(inverse, valid, farthest=50).tolist() == [[2, 0.25, 50, 50, 0]]
    with pytest.raises(InputError, match=r"1 pixels \(25 %\).*behind infinity"):
        metres(inverse, valid)
    with pytest.raises(InputError, match="farthest is -3"):
        metres(inverse, valid, farthest=-3)


def test_reciprocal_leaves_unknown_pixels():
    assert reciprocal(np.array([[2.0, 0]]), np.array([[True, False]])).tolist() == [[0.5, 0]]


@settings(max_examples=30, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    constant=st.booleans(),
    size=st.sampled_from([1e-38, 1e-3, 1.0, 3e38]),
    bits=st.sampled_from([8, 16]),
)
def test_normalised_and_codes_for_any_shape_and_size(height, width, constant, size, bits):
    random = np.random.default_rng(height * 10 + width)
    plane = np.full((height, width), 0.5) if constant else random.random((height, width)) - 0.5
    plane = (plane * size).astype(np.float32)
    plane[0, 0] = np.nan if plane.size > 1 else plane[0, 0]
    values, valid = checked_depth(plane, "inverse")
    near = normalised(values, valid)
    assert near.dtype == np.float32
    assert np.isfinite(near).all()
    spread = values[valid].max() > values[valid].min()
    assert (near[valid].min(), near.max()) == ((0, 1) if spread else (0, 0))
    codes, scale, shift = to_codes(values, valid, bits)
    back = from_codes(codes, scale, shift)
    assert np.abs(back.astype(np.float64) - values)[valid].max() <= scale / 2 + np.abs(values).max() * 1e-7
    assert valid.all() or ((codes == 0) == ~valid).all()


def test_codes_use_the_whole_range():
    values, valid = known([[1, 2, 3]])
    assert to_codes(values, valid, 16)[0].tolist() == [[0, 32768, 65535]]
    assert to_codes(values, np.array([[True, False, True]]), 8)[0].tolist() == [[1, 0, 255]]


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_colour_maps(name):
    near = np.linspace(0, 1, 256, dtype=np.float32)[None]
    picture = coloured(near, np.ones_like(near, bool), name)
    assert (picture.shape, picture.dtype) == ((1, 256, 3), np.uint8)
    assert len(np.unique(picture[0], axis=0)) > 200
    if name not in ("turbo", "jet"):
        luminance = picture[0] @ [0.2126, 0.7152, 0.0722]
        assert luminance[-1] > luminance[128] > luminance[0]


def test_colours_are_those_of_the_published_map():
    # matplotlib's inferno begins (0.0015, 0.0005, 0.0139) and ends (0.988, 0.998, 0.645): red, green, blue.
    ends = coloured(np.array([[0, 1]], np.float32), np.ones((1, 2), bool), "inferno")[0]
    assert np.abs(ends.astype(int) - [[0, 0, 4], [252, 255, 164]]).max() <= 1


def test_unknown_pixels_are_grey_and_unknown_maps_an_error():
    assert coloured(np.ones((1, 1), np.float32), np.zeros((1, 1), bool)).tolist() == [[[128, 128, 128]]]
    with pytest.raises(InputError, match="no colour map: use one of grey, inferno"):
        coloured(np.ones((1, 1), np.float32), np.ones((1, 1), bool), "rainbows")


def test_a_tile_that_tells_nothing_takes_the_whole_images_depth():
    rows, columns = np.mgrid[:20, :30].astype(np.float32)
    coarse = rows + columns
    for fine in (np.ones_like(coarse), -coarse, np.full_like(coarse, np.nan)):
        np.testing.assert_array_equal(align_tile(fine, coarse, 4), coarse)
