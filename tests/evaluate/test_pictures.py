"""The pictures of a report."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.evaluate.pictures import SIDE, alpha_panels, depth_panels, segment_panels, strip

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def colour(panel, row, column):
    """Roughly: JPEG changes a little."""
    red, green, blue = (int(value) for value in panel.pixels[row, column])
    if min(red, green, blue) > 240:
        return "white"
    if max(red, green, blue) - min(red, green, blue) < 20:
        return "grey"
    return "red" if red > blue else "blue"


@settings(max_examples=15, deadline=None)
@given(SIZES, st.booleans())
def test_any_size(size, with_photo):
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (*size, 3), np.uint8) if with_photo else None
    alpha, labels = random.random(size, np.float32), random.integers(-1, 2, size).astype(np.int32)
    for panels in (
        alpha_panels(photo, alpha, alpha[::-1]),
        segment_panels(photo, (labels, [3, 5]), (labels[::-1], [3, 5]), {3: "cat", 5: "dog"}),
        depth_panels(photo, alpha + 1, alpha[::-1] + 1, labels >= 0),
    ):
        assert len(panels) == 3 + with_photo
        assert {panel.pixels.shape for panel in panels} == {(*size, 3)}
        assert strip(panels).shape == (size[0], len(panels) * (size[1] + 8) - 8, 3)


def test_large_images_become_small():
    *panels, _ = alpha_panels(None, np.zeros((400, 800), np.float32), np.zeros((400, 800), np.float32))
    assert {panel.pixels.shape for panel in panels} == {(SIDE // 2, SIDE, 3)}


def test_the_worst_place_of_a_matte_is_shown_pixel_for_pixel():
    true = np.zeros((300, 500), np.float32)
    pred = true.copy()
    pred[250:260, 430:440] = 1  # small but wholly wrong
    pred[:, :150] = 0.001
    trimap = np.full(true.shape, 128, np.uint8)
    near = alpha_panels(None, true, pred, trimap)[-1].pixels
    assert near.shape == (156, SIDE, 3)
    truth, guess = near[:, :156, 0], near[:, -156:, 0]
    assert truth.max() < 20 and (guess > 200).sum() == pytest.approx(100, abs=12)
    trimap[240:270, 420:450] = 0  # not counted, so another place is the worst
    assert alpha_panels(None, true, pred, trimap)[-1].pixels[:, -156:].max() < 20


def blocks(*values):
    """A plane of blocks of 16×16 pixels beside each other."""
    return np.repeat(np.repeat(np.array([values]), 16, 0), 16, 1)


def test_alpha_differences():
    true, pred = blocks(0.0, 1.0, 0.5, 0.0), blocks(1.0, 0.0, 0.5, 1.0)
    trimap = blocks(128, 128, 128, 0).astype(np.uint8)
    difference = alpha_panels(None, true, pred, trimap)[-1]
    assert [colour(difference, 8, 8 + 16 * place) for place in range(4)] == ["red", "blue", "white", "grey"]


@pytest.mark.parametrize(("void_counts", "last"), [(False, "grey"), (True, "red")])
def test_class_differences(void_counts, last):
    # The places differ but the class is the same; another class; void.
    true = blocks(0, 1, -1).astype(np.int32), [4, 7]
    pred = blocks(1, 0, 0).astype(np.int32), [4, 4]
    difference = segment_panels(None, true, pred, {}, void_counts=void_counts)[-1]
    assert [colour(difference, 8, 8 + 16 * place) for place in range(3)] == ["white", "red", last]


def test_depth_differences():
    true, pred = blocks(2.0, 2.0, 2.0, 0.0), blocks(4.0, 1.0, 2.0, 3.0)
    difference = depth_panels(None, true, pred, true > 0)[-1]
    assert [colour(difference, 8, 8 + 16 * place) for place in range(4)] == ["red", "blue", "white", "grey"]
