import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from perpixel.errors import InputError
from perpixel.ops import overlay
from perpixel.ops.overlay import draw_overlay, label_colour


def scene(height=200, width=300):
    """A flat photograph, half of it segment 1, a smaller part segment 2."""
    label_map = np.zeros((height, width), np.int32)
    label_map[:, : width // 2] = 1
    label_map[20:180, 180:280] = 2
    return np.full((height, width, 3), 90, np.uint8), label_map


def lab(colour):
    return rgb2lab(np.array([[colour]], np.uint8))[0, 0]


def test_neighbouring_labels_have_colours_that_are_told_apart():
    colours = [lab(label_colour(label)) for label in range(150)]
    # A difference of 10 is plain to see side by side.
    assert min(deltaE_ciede2000(a, b) for a, b in itertools.pairwise(colours)) > 20
    first = colours[:12]
    assert min(deltaE_ciede2000(a, b) for a, b in itertools.combinations(first, 2)) > 10
    assert len({label_colour(label) for label in range(150)}) == 150
    assert label_colour(-1) != label_colour(0)


@pytest.mark.parametrize("label", range(0, 150, 7))
def test_names_have_the_contrast_that_wcag_asks_for(label):
    def luminance(colour):
        parts = np.array(colour) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    plate, ink = luminance(label_colour(label)), luminance(overlay._ink(label_colour(label)))
    assert (max(plate, ink) + 0.05) / (min(plate, ink) + 0.05) >= 4.5


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_any_size(height, width, seed):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    label_map = random.integers(0, 4, (height, width), np.int32)
    drawn = draw_overlay(image, label_map, {1: 0, 2: 5, 7: 1}, {1: "a name", 2: "b", 7: "c"})
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


def test_colours_edges_and_what_is_left_alone():
    image, label_map = scene()
    drawn = draw_overlay(image, label_map, {1: 3, 2: 8}, opacity=0.5)
    for segment, label in ((1, 3), (2, 8)):
        expected = (image[0, 0].astype(float) + label_colour(label)) / 2
        inside = drawn[100, 40] if segment == 1 else drawn[100, 230]
        assert np.abs(inside - expected).max() <= 1
    np.testing.assert_array_equal(drawn[label_map == 0], image[label_map == 0])
    edges = (drawn[100] != drawn[100, 40]).any(axis=1)
    assert edges[149] and not edges[:149].any()  # one pixel, inside the segment
    assert drawn[100, 149].sum() > drawn[100, 40].sum()


def test_opacity():
    image, label_map = scene()
    assert draw_overlay(image, label_map, {1: 3}, opacity=1)[100, 40].tolist() == list(label_colour(3))
    assert draw_overlay(image, label_map, {1: 3}, opacity=0)[100, 40].tolist() == [90, 90, 90]
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="opacity"):
            draw_overlay(image, label_map, {1: 3}, opacity=opacity)


def test_a_name_is_written_inside_its_large_segment():
    image, label_map = scene()
    plain, named = (draw_overlay(image, label_map, {1: 3, 2: 8}, names) for names in (None, {2: "cat"}))
    rows, columns = np.nonzero((plain != named).any(axis=2))
    assert len(rows) and (label_map[rows, columns] == 2).all()


def test_a_name_that_would_hide_its_segment_is_written_above_or_not_at_all():
    image, label_map = scene()
    label_map[:] = 0
    label_map[100:120, 100:120] = 1
    changed = np.nonzero((draw_overlay(image, label_map, {1: 3}, {1: "person"}) != 90).any(axis=2))
    assert changed[0].min() < 98
    hidden = draw_overlay(image, label_map, {1: 3}, {1: "person"})[100:120, 100:120]
    np.testing.assert_array_equal(hidden, draw_overlay(image, label_map, {1: 3})[100:120, 100:120])
    label_map[100:120, 104:] = 0  # 80 pixels: too small for any name
    np.testing.assert_array_equal(
        draw_overlay(image, label_map, {1: 3}, {1: "person"}), draw_overlay(image, label_map, {1: 3})
    )


def test_names_do_not_lie_over_each_other(monkeypatch):
    taken = []
    touch = overlay._touch

    def note(first, second):
        taken.append((first, second, touch(first, second)))
        return taken[-1][2]

    monkeypatch.setattr(overlay, "_touch", note)
    image, label_map = scene()
    label_map[:] = np.arange(300) // 30 + 1  # ten columns, each narrower than its name
    names = {number: f"a long name {number}" for number in range(1, 11)}
    draw_overlay(image, label_map, {number: number for number in names}, names)
    assert any(answer for *_, answer in taken), "the case shall have names that meet"


def test_without_a_photograph_the_ground_is_dark():
    _, label_map = scene()
    drawn = draw_overlay(None, label_map, {1: 3})
    assert drawn.shape == (200, 300, 3) and drawn[100, 290].tolist() == [40, 40, 40]


@pytest.mark.parametrize("wrong", [np.zeros((3, 2, 3), np.uint8), np.zeros((2, 3, 3)), np.zeros((2, 3), np.uint8)])
def test_pictures_that_do_not_fit(wrong):
    with pytest.raises(InputError, match=r"uint8 \(2, 3, 3\) is needed"):
        draw_overlay(wrong, np.zeros((2, 3), np.int32), {})
