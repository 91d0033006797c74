"""What is drawn in the browser becomes the trimap that it looks like."""

import base64
import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.errors import InputError
from perpixel.images.read import Photo
from perpixel.ops.subject import mask_from_box, mask_from_points
from perpixel.ops.trimap import trimap_from_mask
from perpixel.studio.trimap_editor import (
    SAMPLES,
    VALUES,
    Drawing,
    Stroke,
    new_photo,
    paint,
    parse_drawing,
    sampled,
    shown_photo,
    shown_trimap,
    trimap_from_marks,
)


def stroke(tool, radius, *points):
    return Stroke(tool, radius, np.array(points, np.float64))


def distance(size, points):
    """From the centre of each pixel to a line: by projection on each of its parts."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    at = np.stack([x, y], axis=-1)
    nearest = np.full(size, np.inf)
    ends = points[1:] or points
    for start, end in zip(points, ends, strict=False):
        start, end = np.array(start), np.array(end)
        along = end - start
        share = np.clip(((at - start) @ along) / max(along @ along, 1e-9), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(at - start - share[..., None] * along, axis=-1))
    return nearest


def test_the_page_and_the_program_mean_the_same():
    text = {
        "round": "a1",
        "step": "repair",
        "marks": [
            {"tool": "box", "box": [1, 2, 3, 4]},
            {"tool": "foreground", "radius": 2.5, "points": [[5, 6], [7.5, 8]]},
            {"tool": "box", "box": [10, 20, 30.4, 39.6]},
        ],
        "repairs": [{"tool": "unknown", "radius": 9, "points": [[0, 0]]}],
    }
    drawing = parse_drawing(json.dumps(text))
    assert (drawing.step, drawing.box) == ("repair", (10, 20, 30, 40))  # the last box is the one that is seen
    assert [each.tool for each in drawing.marks] == ["foreground"]
    assert drawing.marks[0].points.tolist() == [[5, 6], [7.5, 8]]
    assert [(each.tool, each.radius) for each in drawing.repairs] == [("unknown", 9)]


@pytest.mark.parametrize("text", [None, "", "{}", '{"marks": []}'])
def test_nothing_drawn_is_an_empty_drawing(text):
    assert parse_drawing(text) == Drawing()


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "7",
        '{"step": "escape"}',
        '{"marks": 7}',
        '{"marks": [7]}',
        '{"marks": [{}]}',
        '{"marks": [{"tool": "box", "box": [1, 2, 3]}]}',
        '{"marks": [{"tool": "box", "box": [1, 2, 3, 1e99]}]}',
        '{"marks": [{"tool": "eraser", "radius": 1, "points": [[1, 2]]}]}',
        '{"marks": [{"tool": "foreground", "radius": 1, "points": []}]}',
        '{"marks": [{"tool": "foreground", "radius": 0, "points": [[1, 2]]}]}',
        '{"marks": [{"tool": "foreground", "radius": NaN, "points": [[1, 2]]}]}',
        '{"repairs": [{"tool": "unknown", "radius": 1, "points": [[1, Infinity]]}]}',
        '{"repairs": [{"tool": ["unknown"], "radius": 1, "points": [[1, 2]]}]}',
        '{"marks": ' + "[" * 100_000 + "]" * 100_000 + "}",
        json.dumps({"marks": [{"tool": "foreground", "radius": 1, "points": [[1, 2]]}] * 10_001}),
    ],
)
def test_what_no_page_sends_is_refused_in_plain_words(text):
    with pytest.raises(InputError, match="reload the page"):
        parse_drawing(text)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["step", "marks", "repairs", "tool", "box", "points", "radius"]), inner, max_size=4
            )
        ),
    )
)
def test_any_json_is_read_or_refused(value):
    with contextlib.suppress(InputError):
        assert isinstance(parse_drawing(json.dumps(value)), Drawing)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 50)), min_size=1, max_size=4),
    st.floats(1, 15),
    st.sampled_from(list(VALUES)),
)
def test_a_stroke_covers_what_its_brush_passes(points, radius, tool):
    before = np.full((31, 43), 77, np.uint8)
    after = paint(before, [stroke(tool, radius, *points)])
    far = distance(before.shape, points)
    assert (after[far <= radius - 1] == VALUES[tool]).all()
    assert (after[far >= radius + 1] == 77).all()
    assert (before == 77).all()


def test_the_last_stroke_lies_on_top():
    strokes = [stroke("foreground", 5, (10, 10)), stroke("unknown", 2, (10, 10))]
    trimap = paint(np.zeros((20, 20), np.uint8), strokes)
    assert (trimap[10, 10], trimap[10, 13], trimap[10, 18]) == (128, 255, 0)


@pytest.fixture(scope="module")
def photo():
    """A red thing before green."""
    pixels = np.random.default_rng(3).integers(0, 25, (60, 80, 3)).astype(np.uint8)
    pixels[..., 1] += 100
    pixels[15:45, 25:55] += np.array([150, 0, 0], np.uint8)
    return Photo(pixels)


def test_a_box_stands_for_what_grabcut_finds_in_it(photo):
    made = trimap_from_marks(photo, Drawing(box=(20, 10, 60, 50)))
    assert np.array_equal(made, trimap_from_mask(mask_from_box(photo.rgb8, (20, 10, 60, 50))))
    assert (made[30, 40], made[2, 2]) == (255, 0)


def test_clicks_stand_for_points(photo):
    drawing = Drawing(marks=(stroke("foreground", 4, (40.4, 30.2)), stroke("background", 4, (5, 5))))
    mask = mask_from_points(photo.rgb8, [(40, 30)], [(5, 5)])
    assert np.array_equal(trimap_from_marks(photo, drawing), trimap_from_mask(mask))


def test_painted_pixels_are_taken_at_their_word(photo):
    lines = {"foreground": [(30, 30), (60, 30)], "background": [(5, 5), (75, 5)]}
    marks = tuple(stroke(tool, 4, *points) for tool, points in lines.items())
    trimap = trimap_from_marks(photo, Drawing(marks=marks))
    for tool, points in lines.items():
        assert (trimap[distance(trimap.shape, points) <= 3] == VALUES[tool]).all()


@pytest.mark.parametrize(
    ("drawing", "words"),
    [
        (Drawing(), "draw a box"),
        (Drawing(marks=(stroke("background", 3, (5, 5)),)), "only background"),
        (Drawing(box=(10, 10, 10, 40)), "box"),
    ],
)
def test_marks_that_tell_no_subject_are_refused(drawing, words):
    photo = Photo(np.random.default_rng(0).integers(0, 255, (50, 60, 3)).astype(np.uint8))
    with pytest.raises(InputError, match=words):
        trimap_from_marks(photo, drawing)


def test_samples_lie_on_the_line_and_are_few():
    line = stroke("foreground", 3, (0, 0), (3000, 0), (3000, 2000))
    found = sampled((line, stroke("background", 3, (5, 5))), "foreground", (2001, 3001))
    assert 100 < len(found) <= SAMPLES + 1
    assert all(y == 0 or x == 3000 for x, y in found)
    assert {(0, 0), (3000, 2000)} <= set(found)


def opened(address):
    kind, _, data = address.partition(";base64,")
    assert kind.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_large_photographs_are_shown_in_a_size_for_screens():
    photo = Photo(np.zeros((100, 5000, 3), np.uint8))
    shown = shown_photo(photo)
    assert (shown["width"], shown["height"]) == (5000, 100)
    assert opened(shown["url"]).size == (2048, 41)
    trimap = np.zeros((100, 5000), np.uint8)
    trimap[:, 2500:] = 255
    grey = np.asarray(opened(shown_trimap(trimap)))
    assert grey.shape == (41, 2048)
    assert np.unique(grey).tolist() == [0, 255]


def test_the_browser_learns_the_colour_profile():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown = shown_photo(Photo(np.zeros((4, 4, 3), np.uint8), icc_profile=profile))
    assert opened(shown["url"]).info["icc_profile"] == profile


def test_every_photograph_begins_a_new_round():
    photo = Photo(np.zeros((4, 4, 3), np.uint8))
    first, second = new_photo(photo), new_photo(photo, np.zeros((4, 4), np.uint8))
    assert first["round"] != second["round"]
    assert (first["trimap"], json.loads(first["value"])["step"]) == (None, "mark")
    assert json.loads(second["value"])["step"] == "repair"
    assert opened(second["trimap"]).size == (4, 4)
