"""The tab Depth's functions: the pictures, the focus under a click, the points and the files."""

import base64
import json

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.images.read import read_photo
from perpixel.results.depth import DepthMap
from perpixel.studio.depth_view import (
    BLUR_SIDE,
    PAGE_SIDE,
    about_depth,
    fewer_points,
    middle_focus,
    open_depth,
    write_depth,
)
from perpixel.studio.point_view import shown_cloud
from perpixel.tasks.depth import depth
from tasks.known_depth import estimator, picture, smooth

SETTINGS = {"map": "turbo", "focus": 0.9, "aperture": 4.0, "fov": 60.0, "far": 4.0}


def steps(height=60, width=90, kind="inverse"):
    """Three upright planes, the nearest on the right; and a photograph of noise."""
    values = np.repeat(np.repeat(np.float32([[1, 2, 4]]), width // 3, axis=1), height, axis=0)
    image = np.random.default_rng(0).integers(0, 256, (*values.shape, 3), np.uint8)
    return DepthMap(values, kind=kind, image=image)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_pictures_have_the_photographs_shape_whatever_its_size(height, width):
    values = np.random.default_rng(height).random((height, width)).astype(np.float32)
    view = open_depth(DepthMap(values, image=np.zeros((height, width, 3), np.uint8)))
    for drawn, longest in ((view.colours("grey"), PAGE_SIDE), (view.small, BLUR_SIDE)):
        assert drawn.dtype == np.uint8 and max(drawn.shape[:2]) == longest
        assert drawn.shape[:2] == (max(1, round(height * longest / max(height, width))), drawn.shape[1])


def test_colours_are_those_of_the_library():
    found = steps(600, 900)
    view = open_depth(found)
    own = np.asarray(Image.fromarray(found.colour("viridis")).resize(view.near.shape[::-1], Image.Resampling.NEAREST))
    same = (np.abs(view.colours("viridis").astype(int) - own) <= 2).all(2)
    assert same.mean() > 0.99  # but at the edges between the planes


def test_the_focus_under_a_click_makes_that_place_sharp():
    view = open_depth(steps())
    rows, columns = view.small_near.shape
    places = [(columns / 6, 0.0), (columns / 2, 1 / 3), (columns * 5 / 6, 1.0)]
    for x, near in places:
        assert view.near_at(x, rows / 2) == pytest.approx(near, abs=1e-3)
        drawn = view.blurred(view.near_at(x, rows / 2), 4.0)
        error = np.abs(drawn.astype(int) - view.small).mean(axis=(0, 2))
        sharp = slice(round(x) - columns // 12, round(x) + columns // 12)
        assert error[sharp].mean() < 1 < error.mean()
    assert 0 <= view.near_at(-10, 1e9) <= 1
    assert middle_focus(view) == 0.33


def test_constant_depth_is_not_blurred():
    flat = DepthMap(np.full((9, 7), 3.0, np.float32), image=np.full((9, 7, 3), 50, np.uint8))
    view = open_depth(flat)
    assert view.blurred(0.5, 5) is view.small


def test_the_3d_view_has_fewer_points_and_none_between_two_surfaces():
    found = steps(600, 900)
    few = fewer_points(found, 10_000)
    assert few.width * few.height <= 10_000 and set(np.unique(few.values)) == {1, 2, 4}
    assert few.width / few.height == pytest.approx(1.5, rel=0.02)
    assert fewer_points(found, 600 * 900) is found
    # Inverse depths of 0, 1/3 and 1 of the range lie at 4, 2 and 1: 1 / (1/4 + 3/4 · near).
    assert np.unique(few.point_cloud(far=4).points[:, 2].round(4)).tolist() == [-4, -2, -1]


def test_a_single_known_pixel_is_not_lost():
    valid = np.zeros((50, 50), bool)
    valid[49, 49] = True
    lonely = DepthMap(np.ones((50, 50), np.float32), valid=valid)
    assert fewer_points(lonely, 4).valid.any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(20, 110))
def test_the_browser_gets_the_points_where_they_are(height, width, fov):
    values = np.random.default_rng(width).random((height, width)).astype(np.float32)
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    cloud = DepthMap(values, image=image).point_cloud(fov=fov, edge=None)
    sent = shown_cloud(cloud, (width, height), fov)
    data = base64.b64decode(sent["data"])
    assert len(data) == 12 * sent["count"] == 12 * len(cloud)
    places = np.frombuffer(data, "<i2", 4 * len(cloud)).reshape(-1, 4)[:, :3] / 32767
    np.testing.assert_allclose(
        np.array(sent["middle"]) + sent["extent"] * places, cloud.points, atol=sent["extent"] / 32767 + 1e-5
    )
    colours = np.frombuffer(data, np.uint8, offset=8 * len(cloud)).reshape(-1, 4)[:, :3]
    np.testing.assert_array_equal(colours, cloud.colours)
    # The outermost points lie half a pixel within what the photograph reaches.
    sides = np.abs(cloud.points[:, :2] / cloud.points[:, 2:])
    np.testing.assert_allclose(sides.max(0) + sent["pitch"] / 2, sent["reach"], rtol=1e-4)
    json.dumps(sent)


def test_files_hold_the_depth_of_the_whole_photograph(tmp_path):
    found = depth(picture(smooth(64, 96)), model=estimator())
    view = open_depth(found)
    paths = {kind: write_depth(view, kind, tmp_path, "room", **SETTINGS) for kind in ("png", "npy", "ply", "colour")}
    assert sorted(path.name for path in paths.values()) == [
        "room-depth-colours.png",
        "room-depth.npy",
        "room-depth.png",
        "room-points.ply",
    ]
    np.testing.assert_array_equal(np.load(paths["npy"]), found.values)
    numbers = np.asarray(Image.open(paths["png"]))
    assert numbers.dtype == np.uint16 and numbers.max() == 65535
    # As the page says it: depth = scale · number + shift.
    words = about_depth(view).split("depth = ")[1].split(" ")
    scale, sign, shift = float(words[0]), {"+": 1, "−": -1}[words[3]], float(words[4].rstrip("."))
    np.testing.assert_allclose(scale * numbers + sign * shift, found.values, atol=2e-5)
    np.testing.assert_array_equal(np.asarray(Image.open(paths["colour"])), found.colour("turbo"))
    points = trimesh.load(paths["ply"])
    np.testing.assert_allclose(points.vertices, found.point_cloud(fov=60, far=4).points, atol=1e-6)


def test_the_blurred_file_is_whole_and_looks_as_on_the_page(tmp_path):
    found = depth(picture(smooth(512, 640)), model=estimator())
    view = open_depth(found)
    path = write_depth(view, "bokeh", tmp_path, "room", **SETTINGS)
    written = read_photo(path)
    assert (written.width, written.height) == (640, 512) == view.small.shape[1::-1]
    assert written.pixels.dtype == np.uint16  # as the photograph
    shown = view.blurred(SETTINGS["focus"], SETTINGS["aperture"])
    assert np.abs(shown.astype(int) - written.rgb8).mean() < 2


def test_the_line_about_the_numbers():
    assert about_depth(open_depth(steps(kind="metric"))).startswith("Distances from 1 to 4 metres.")
    assert about_depth(open_depth(steps())).startswith("Inverse depth without a unit, from 1 (far) to 4 (near).")
    unknown = steps()
    unknown.valid[0, 0] = False
    assert about_depth(open_depth(unknown)).endswith("0 and NaN mark unknown pixels.")
