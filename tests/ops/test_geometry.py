import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.ops.geometry import depth_edges, focal_from_fov, glb_bytes, ply_bytes, unproject
from perpixel.ops.light import linear_to_srgb, srgb_to_linear


def test_field_of_view_spans_the_longer_side():
    assert focal_from_fov(90, 200, 100) == pytest.approx(100)
    assert focal_from_fov(90, 100, 200) == pytest.approx(100)
    # 36 mm of film behind a lens of 50 mm: 39.6°.
    assert focal_from_fov(39.5978, 3600, 2400) == pytest.approx(5000, rel=1e-4)


@pytest.mark.parametrize("fov", [0, 180, -1, float("nan")])
def test_no_field_of_view(fov):
    with pytest.raises(InputError, match="degrees between"):
        focal_from_fov(fov, 2, 2)


def test_points_project_back_onto_their_pixels():
    import cv2

    depth = np.random.default_rng(0).uniform(1, 5, (4, 6))
    points = unproject(depth, 7.0, (2.2, 1.1)).reshape(-1, 3) * (1, -1, -1)
    camera = np.array([[7, 0, 2.2], [0, 7, 1.1], [0, 0, 1]])
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera, None)
    wanted = np.stack(np.meshgrid(np.arange(6), np.arange(4)), axis=2).reshape(-1, 1, 2)
    assert np.abs(pixels - wanted).max() < 1e-5
    assert np.allclose(points[:, 2], depth.reshape(-1))


def test_axes_are_right_up_and_towards_the_viewer():
    points = unproject(np.ones((3, 3)), 1.0)
    assert points[0, 2].tolist() == [1, 1, -1]
    assert points[2, 0].tolist() == [-1, -1, -1]
    assert points[1, 1].tolist() == [0, 0, -1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"focal_length": 0}, "pixels above 0"),
        ({"focal_length": 1, "principal_point": (1, float("nan"))}, "x and y"),
    ],
)
def test_no_camera(options, words):
    with pytest.raises(InputError, match=words):
        unproject(np.ones((2, 2)), **options)


def test_both_sides_of_a_jump_are_edges():
    depth = np.ones((5, 8))
    depth[:, 4:] = 1.06
    assert (depth_edges(depth, np.ones((5, 8), bool)).any(axis=0)).tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert not depth_edges(depth, np.ones((5, 8), bool), step=0.07).any()


def test_unknown_pixels_make_no_edge():
    depth = np.ones((3, 3))
    depth[1, 1] = 0
    assert not depth_edges(depth, depth > 0).any()
    with pytest.raises(InputError, match="more than 0"):
        depth_edges(depth, depth > 0, 0)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_any_shape_has_points_and_a_constant_depth_no_edge(height, width):
    depth = np.full((height, width), 2.0)
    assert unproject(depth, 3.0).shape == (height, width, 3)
    assert depth_edges(depth, depth > 0).tolist() == np.zeros((height, width), bool).tolist()


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("coloured", [True, False])
def test_trimesh_reads_the_same_points(count, coloured):
    trimesh = pytest.importorskip("trimesh")
    random = np.random.default_rng(0)
    points = random.normal(size=(count, 3)).astype(np.float32)
    colours = random.integers(0, 256, (count, 3), np.uint8) if coloured else None
    ply = trimesh.load(io.BytesIO(ply_bytes(points, colours, "made by a test")), file_type="ply")
    assert np.array_equal(ply.vertices, points)
    scene = trimesh.load(io.BytesIO(glb_bytes(points, colours)), file_type="glb")
    (glb,) = scene.geometry.values()
    assert np.array_equal(glb.vertices, points)
    if coloured:
        assert np.array_equal(ply.colors[:, :3], colours)
        assert (
            np.abs(linear_to_srgb(glb.colors[:, :3] / 255) * 255 - colours).max() < 13
        )  # it rounds linear light to 8 bits
        assert np.abs(glb.colors[:, :3] - srgb_to_linear(colours / 255) * 255).max() <= 1


def test_the_glb_keeps_the_rules_of_its_specification():
    points = np.array([[0, 1, -2], [3, -1, -5], [1, 1, -3]], np.float32)
    data = glb_bytes(points, np.zeros((3, 3), np.uint8))
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert (kind, size % 4) == (b"JSON", 0)
    document = json.loads(data[20 : 20 + size])
    body_size, body_kind = struct.unpack_from("<I4s", data, 20 + size)
    assert (body_kind, body_size % 4) == (b"BIN\0", 0)
    assert 28 + size + body_size == len(data)
    assert document["buffers"][0]["byteLength"] == body_size
    place = document["accessors"][0]
    assert (place["min"], place["max"]) == ([0, -1, -5], [3, 1, -2])
    primitive = document["meshes"][0]["primitives"][0]
    assert (primitive["mode"], primitive["attributes"]) == (0, {"POSITION": 0, "COLOR_0": 1})
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= body_size


def test_a_glb_without_points():
    with pytest.raises(InputError, match="at least one"):
        glb_bytes(np.zeros((0, 3), np.float32))


def test_light_there_and_back():
    steps = np.arange(65536, dtype=np.float32) / 65535
    assert np.abs(linear_to_srgb(srgb_to_linear(steps)) - steps).max() < 0.1 / 65535
    assert srgb_to_linear(np.array([0.5]))[0] == pytest.approx(0.21404, abs=1e-5)
