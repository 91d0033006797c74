import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import perpixel as px
from perpixel.errors import InputError, OutputError
from perpixel.metrics.depth import depth_errors
from perpixel.ops.light import srgb_to_linear
from perpixel.results import DepthMap, PointCloud

# The calibration of scikit-image's motorcycle, from the data set's documentation.
FOCAL, OFFSET, BASELINE, PRINCIPAL = 994.978, 31.086, 0.193001, (311.193, 254.877)
FLOATS = ["d.tiff", "d.npy", "d.pfm", "d.exr"]


def needs(name):
    if name.endswith(".exr"):
        pytest.importorskip("OpenEXR")


def some(height=6, width=8, kind="inverse", holes=True, **options):
    values = np.random.default_rng(0).uniform(1, 9, (height, width)).astype(np.float32)
    if holes:
        values[0, :2] = np.nan, np.inf
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return DepthMap(values, kind=kind, image=image, **options)


@pytest.fixture(scope="module")
def motorcycle():
    """The photograph, the disparity and the true metres (0 where unknown)."""
    data = pytest.importorskip("skimage.data")
    try:
        image, _, disparity = data.stereo_motorcycle()
    except (ModuleNotFoundError, OSError):  # a build of scikit-image that downloads it
        pytest.skip("scikit-image has no motorcycle here")
    known = np.isfinite(disparity)
    return image, disparity, np.where(known, BASELINE * FOCAL / (np.where(known, disparity, 0) + OFFSET), 0)


class TestMotorcycle:
    def test_few_known_points_give_metres(self, motorcycle):
        image, disparity, metres = motorcycle
        depth = px.DepthMap(disparity, image=image)
        assert (depth.kind, depth.unit, depth.size) == ("inverse", None, (741, 500))
        assert np.array_equal(depth.valid, metres > 0)
        points = [(100, 400), (300, 440), (600, 100)]
        aligned = depth.align({(x, y): metres[y, x] for x, y in points})
        assert (aligned.kind, aligned.unit) == ("metric", "m")
        assert (np.abs(aligned.values - metres)[depth.valid] / metres[depth.valid]).max() < 1e-5
        # Distances to the centimetre, as people measure them.
        rough = depth.align({(x, y): round(float(metres[y, x]), 2) for x, y in points})
        assert (np.abs(rough.values - metres)[depth.valid] / metres[depth.valid]).mean() < 5e-3

    def test_whole_reference_and_measures(self, motorcycle):
        _, disparity, metres = motorcycle
        depth = DepthMap(7 - disparity * -0.3)
        aligned = depth.align_to(metres)
        errors = depth_errors(aligned.values, metres, aligned.valid)
        assert errors["abs_rel"] < 1e-6
        assert errors["delta1"] == 1
        assert depth_errors(depth.values, metres, align="scale_shift", inverse=True)["rmse"] < 1e-5

    def test_points_lie_where_stereo_says(self, motorcycle, tmp_path):
        trimesh = pytest.importorskip("trimesh")
        image, _, metres = motorcycle
        cut = np.s_[::4, ::4]
        small = DepthMap(metres[cut], kind="metric", image=np.ascontiguousarray(image[cut]))
        middle = (PRINCIPAL[0] / 4, PRINCIPAL[1] / 4)
        cloud = small.point_cloud(focal_length=FOCAL / 4, principal_point=middle, edge=None)
        assert (len(cloud), cloud.unit) == (int(small.valid.sum()), "m")
        rows, columns = np.nonzero(small.valid)
        z = metres[cut][small.valid]
        wanted = np.stack([(columns * 4 - PRINCIPAL[0]) / FOCAL * z, (PRINCIPAL[1] - rows * 4) / FOCAL * z, -z], axis=1)
        assert np.abs(cloud.points - wanted).max() < 1e-5
        ply = trimesh.load(cloud.save(tmp_path / "m.ply"))
        assert np.array_equal(ply.vertices, cloud.points)
        assert np.array_equal(ply.colors[:, :3], cloud.colours)
        (glb,) = trimesh.load(cloud.save(tmp_path / "m.glb")).geometry.values()
        assert np.array_equal(glb.vertices, cloud.points)
        assert np.abs(glb.colors[:, :3] - srgb_to_linear(cloud.colours / 255) * 255).max() <= 1
        fewer = small.point_cloud(focal_length=FOCAL / 4, principal_point=middle)
        assert 0.5 * len(cloud) < len(fewer) < 0.95 * len(cloud)


class TestValues:
    def test_unknown_pixels(self):
        depth = some()
        assert np.isfinite(depth.values).all()
        assert depth.valid.sum() == 46
        assert "4.2 % unknown" in repr(depth)
        assert (depth.colour("grey")[0, :2] == 128).all()

    def test_metres_and_inverse_look_the_same(self):
        depth = some(kind="metric")
        twin = DepthMap(np.where(depth.valid, depth.inverse, np.nan))
        assert np.allclose(depth.normalized(), twin.normalized(), atol=1e-6)
        near = np.unravel_index(np.where(depth.valid, depth.values, 99).argmin(), depth.values.shape)
        assert depth.normalized()[near] == 1

    @settings(max_examples=15, deadline=None)
    @given(height=st.integers(1, 7), width=st.integers(1, 7), kind=st.sampled_from(["inverse", "metric"]))
    def test_constant_depth_of_any_shape(self, height, width, kind):
        depth = DepthMap(np.full((height, width), 3), kind=kind)
        assert not depth.normalized().any()
        assert depth.colour().shape == (height, width, 3)
        cloud = depth.point_cloud()
        assert len(cloud) == height * width
        assert np.isfinite(cloud.points).all()
        assert np.allclose(depth.align_to(np.full((height, width), 2.0)).values, 2)
        assert depth._repr_png_().startswith(b"\x89PNG")
        with pytest.raises(InputError, match=r"at the same depth|needs? at least 2"):
            depth.align({(0, 0): 1, (width - 1, height - 1): 2})

    @pytest.mark.parametrize(
        ("values", "options", "words"),
        [
            (np.full((2, 2), np.nan), {}, "no pixel"),
            (np.ones((2, 2)), {"kind": "disparity"}, "no kind"),
            (np.ones((2, 2)), {"image": np.zeros((2, 3, 3), np.uint8)}, "the photograph of this depth"),
            (np.ones((2, 2)), {"valid": np.ones((2, 3), bool)}, "valid is bool"),
        ],
    )
    def test_what_does_not_fit(self, values, options, words):
        with pytest.raises(InputError, match=words):
            DepthMap(values, **options)

    def test_relief(self):
        depth = some()
        figure = depth.relief(map="turbo")
        assert figure.shape == (6, 24, 3)
        assert np.array_equal(figure[:, :8], depth.image)
        assert np.array_equal(figure[:, 16:], depth.colour("turbo"))
        plain = DepthMap(depth.values)
        assert np.array_equal(plain.relief(depth.image, map="grey")[:, :8], depth.image)
        with pytest.raises(InputError, match="no photograph"):
            plain.relief()
        with pytest.raises(InputError, match="the photograph of this depth"):
            plain.relief(np.zeros((3, 3, 3), np.uint8))


class TestAlign:
    depth = DepthMap(np.array([[4.0, 2, 1, 0]]))  # the truth will be 1 / (value / 4 + 1 / 4)

    def test_least_squares_of_three(self):
        known = {(0, 0): 1 / 1.2, (1, 0): 1 / 0.7, (2, 0): 1 / 0.5}
        scale, shift = np.polyfit([4, 2, 1], [1.2, 0.7, 0.5], 1)
        aligned = self.depth.align(known)
        assert np.allclose(1 / aligned.values, scale * self.depth.values + shift)

    def test_clicks_between_pixels(self):
        assert np.allclose(self.depth.align({(0.9, 0.4): 0.8, (2.5, 0.99): 2}).values, [[0.8, 4 / 3, 2, 4]])

    def test_metres_are_mended_too(self):
        metric = DepthMap(np.array([[1.0, 2, 4]]), kind="metric")
        assert np.allclose(metric.align({(0, 0): 2, (2, 0): 8}).values, [[2, 4, 8]])

    def test_behind_infinity(self):
        known = {(0, 0): 1, (1, 0): 3}  # the line falls through 0 at 1
        with pytest.raises(InputError, match=r"2 pixels \(50 %\).*farthest="):
            self.depth.align(known)
        assert np.allclose(self.depth.align(known, farthest=80).values, [[1, 3, 80, 80]])

    @pytest.mark.parametrize(
        ("known", "words"),
        [
            ({}, "0 known distance"),
            ({(0, 0): 1}, "at least 2"),
            ({(0, 0): 1, (0.5, 0): 2}, "at the same depth"),
            ({(0, 0): 1, (4, 0): 2}, r"\(4, 0\) is outside the image, which is 4×1"),
            ({(0, 0): 1, (1, -0.1): 2}, "outside"),
            ({(0, 0): 1, (np.nan, 0): 2}, "outside"),
            ({(0, 0): 1, (1, 0): 0}, "above 0"),
            ({(0, 0): 1, (1, 0): -2}, "above 0"),
            ({(0, 0): 1, (1, 0): np.inf}, "above 0"),
            ({(0, 0): 1, (1, 0): "far"}, "no known distance"),
            ({3: 1, (1, 0): 2}, "no known distance"),
            ([((0, 0), 1), ((1, 0), 2)], "dictionary"),
            ({(0, 0): 3, (2, 0): 1}, r"against the depth: \(0, 0\) is nearer than \(2, 0\)"),
            ({(0, 0): 3, (2, 0): 3}, "against the depth"),
        ],
    )
    def test_what_cannot_be_aligned(self, known, words):
        with pytest.raises(InputError, match=words):
            self.depth.align(known)

    def test_unknown_pixel(self):
        with pytest.raises(InputError, match=r"at \(0, 0\) is unknown"):
            some().align({(0, 0): 1, (3, 3): 2})

    def test_reference_with_a_mask(self):
        truth = 1 / (self.depth.values / 4 + 0.25)
        truth[0, 1] = 50
        mask = np.array([[True, False, True, True]])
        assert np.allclose(self.depth.align_to(truth, mask).values, [[0.8, 4 / 3, 2, 4]])
        assert np.allclose(self.depth.align_to(DepthMap(truth, kind="metric"), mask, farthest=3).values[0, 3], 3)
        for reference, options, words in [
            (truth.T, {}, "resize"),
            (DepthMap(truth), {}, "metres are needed"),
            (truth, {"mask": np.ones(4, bool)}, "the mask is"),
            (truth, {"mask": ~mask & False}, "nothing to fit"),
        ]:
            with pytest.raises(InputError, match=words):
                self.depth.align_to(reference, **options)


class TestPointCloud:
    def test_inverse_depth_spans_the_stated_range(self):
        cloud = DepthMap(np.array([[0.0, 1, 2]])).point_cloud(far=5, edge=None)
        assert np.allclose(cloud.points[:, 2], [-5, -1 / 0.6, -1])
        assert (cloud.unit, cloud.colours) == (None, None)

    def test_field_of_view_and_focal_length_agree(self):
        depth = some()
        focal = 4 / np.tan(np.radians(35))
        first, second = depth.point_cloud(fov=70, edge=None), depth.point_cloud(focal_length=focal, edge=None)
        assert np.allclose(first.points, second.points)
        assert np.array_equal(first.colours, depth.image[depth.valid])
        with pytest.raises(InputError, match="both given"):
            depth.point_cloud(fov=70, focal_length=focal)

    def test_errors(self, tmp_path):
        checker = DepthMap(1.0 + np.indices((4, 4)).sum(0) % 2, kind="metric")
        with pytest.raises(InputError, match="raise edge"):
            checker.point_cloud()
        with pytest.raises(InputError, match="far is 1"):
            checker.point_cloud(far=1)
        with pytest.raises(InputError, match=r"\.ply or \.glb"):
            checker.point_cloud(edge=None).save(tmp_path / "m.obj")
        for points, colours in [
            (np.zeros((2, 2)), None),
            (np.full((1, 3), np.nan), None),
            (np.zeros((1, 3)), np.zeros((2, 3), np.uint8)),
        ]:
            with pytest.raises(InputError, match=r"points|colours"):
                PointCloud(points, colours)


class TestFiles:
    @pytest.mark.parametrize("name", FLOATS)
    @pytest.mark.parametrize("kind", ["inverse", "metric"])
    def test_floats_are_exact(self, name, kind, tmp_path):
        needs(name)
        depth = some(5, 7, kind)
        back = DepthMap.load(depth.save(tmp_path / name))
        assert np.array_equal(back.values, depth.values)
        assert np.array_equal(back.valid, depth.valid)
        assert (back.kind, back.unit) == (depth.kind, depth.unit)
        assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.json"]

    @pytest.mark.parametrize("bits", [8, 16, None])
    @pytest.mark.parametrize("holes", [True, False])
    def test_png_to_the_stated_precision(self, bits, holes, tmp_path):
        depth = some(holes=holes)
        path = depth.save(tmp_path / "d.png", bits=bits)
        note = json.loads((tmp_path / "d.png.json").read_text())
        span = np.ptp(depth.values[depth.valid])
        assert note["precision"] == pytest.approx(span / 2 / (2 ** (bits or 16) - 1 - holes))
        back = DepthMap.load(path, image=depth.image)
        assert np.array_equal(back.valid, depth.valid)
        assert np.abs(back.values - depth.values).max() <= note["precision"] + 1e-6
        # Another reader sees near as white, and restores the values as the JSON says.
        codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert codes.dtype == (np.uint8 if bits == 8 else np.uint16)
        assert codes[depth.valid].max() == 2 ** (bits or 16) - 1 == codes.flat[depth.values.argmax()]
        assert np.allclose((codes * note["scale"] + note["shift"])[depth.valid], back.values[depth.valid])

    @pytest.mark.parametrize("name", ["d.tiff", "d.pfm"])
    def test_other_readers_see_the_same_numbers(self, name, tmp_path):
        depth = some(holes=False)
        assert np.array_equal(cv2.imread(str(depth.save(tmp_path / name)), cv2.IMREAD_UNCHANGED), depth.values)

    def test_pfm_of_another_writer(self, tmp_path):
        values = some(holes=False).values
        cv2.imwrite(str(tmp_path / "o.pfm"), values)
        assert np.array_equal(DepthMap.load(tmp_path / "o.pfm", kind="inverse").values, values)
        big = b"Pf\n2 1\n1.0\n" + np.array([1, np.inf], ">f4").tobytes()
        (tmp_path / "b.pfm").write_bytes(big)
        back = DepthMap.load(tmp_path / "b.pfm", kind="metric", scale=2)
        assert (back.values.tolist(), back.valid.tolist()) == ([[2, 0]], [[True, False]])

    def test_millimetres_from_elsewhere(self, tmp_path):
        Image.fromarray(np.array([[0, 1500, 65535]], np.uint16)).save(tmp_path / "kinect.png")
        depth = DepthMap.load(tmp_path / "kinect.png", kind="metric", scale=0.001)
        assert np.allclose(depth.values, [[0, 1.5, 65.535]])
        assert depth.valid.tolist() == [[False, True, True]]

    @settings(max_examples=8, deadline=None)
    @given(height=st.integers(1, 4), width=st.integers(1, 4), name=st.sampled_from(["d.png", *FLOATS[:3]]))
    def test_thin_and_constant(self, height, width, name, tmp_path_factory):
        depth = DepthMap(np.full((height, width), 0.1), kind="metric")
        back = DepthMap.load(depth.save(tmp_path_factory.mktemp("d") / name))
        assert np.array_equal(back.values, depth.values)

    def test_pictures_and_clouds(self, tmp_path):
        depth = some(holes=False)
        assert np.array_equal(np.asarray(Image.open(depth.save(tmp_path / "c.png", "colour"))), depth.colour())
        turbo = np.asarray(Image.open(depth.save(tmp_path / "r.png", "relief", map="turbo")))
        assert np.array_equal(turbo, depth.relief(map="turbo"))
        smooth = DepthMap(np.linspace(1, 1.1, 12).reshape(3, 4), kind="metric")
        for name in ("p.ply", "p.glb"):
            smooth.save(tmp_path / name, fov=50)
        assert not list(tmp_path.glob("*.json"))
        assert (tmp_path / "p.ply").read_bytes() != smooth.save(tmp_path / "q.ply", focal_length=9).read_bytes()
        assert Image.open(io.BytesIO(depth._repr_png_())).size == depth.size

    @pytest.mark.parametrize(
        ("name", "options", "words"),
        [
            ("d.jpg", {}, "numbers of depth are saved as"),
            ("d", {}, "has the suffix ''"),
            ("d.png", {"bits": 12}, "8 or 16"),
            ("d.tiff", {"bits": 16}, "leave it out"),
            ("d.png", {"fov": 60}, "for point clouds"),
            ("d.png", {"what": "color"}, "not known"),
            ("d.exr", {"what": "colour"}, "use .png"),
            ("d.png", {"what": "colour", "map": "x"}, "no colour map"),
        ],
    )
    def test_what_cannot_be_saved(self, name, options, words, tmp_path):
        with pytest.raises(InputError, match=words):
            some().save(tmp_path / name, **options)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["d.png", *FLOATS, "d.ply"])
    def test_no_folder(self, name, tmp_path):
        needs(name)
        with pytest.raises(OutputError, match="does not exist"):
            some(holes=False, kind="inverse").align_to(np.full((6, 8), 2.0)).save(tmp_path / "no" / name)

    def test_what_cannot_be_loaded(self, tmp_path):
        path = some().save(tmp_path / "d.npy")
        with pytest.raises(InputError, match="leave yours out"):
            DepthMap.load(path, kind="metric")
        (tmp_path / "d.npy.json").write_text('{"kind": "metric"}')
        with pytest.raises(InputError, match="does not describe"):
            DepthMap.load(path)
        (tmp_path / "d.npy.json").unlink()
        with pytest.raises(InputError, match="kind='inverse' or kind='metric'"):
            DepthMap.load(path)
        with pytest.raises(InputError, match="no kind"):
            DepthMap.load(path, kind="far")
        assert DepthMap.load(path, kind="inverse").valid.sum() == 46
        png = some().save(tmp_path / "d.png")
        (tmp_path / "d.png.json").unlink()
        with pytest.raises(InputError, match="give scale"):
            DepthMap.load(png, kind="metric")
        some(3, 3).save(tmp_path / "e.png")
        (tmp_path / "e.png.json").replace(tmp_path / "d.png.json")
        with pytest.raises(InputError, match="do not belong together"):
            DepthMap.load(png)
        colour = some().save(tmp_path / "c.png", "colour")
        with pytest.raises(InputError, match="in colour"):
            DepthMap.load(colour, kind="inverse", scale=1)
        with pytest.raises(InputError, match="depth is loaded from"):
            DepthMap.load(tmp_path / "d.jpg")
        with pytest.raises(InputError, match="does not exist"):
            DepthMap.load(tmp_path / "nowhere.npy")

    @pytest.mark.parametrize("name", FLOATS)
    def test_truncated(self, name, tmp_path):
        needs(name)
        path = some(20, 20).save(tmp_path / name)
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(InputError, match=r"damaged|truncated"):
            DepthMap.load(path)

    def test_npy_is_never_unpickled(self, tmp_path):
        np.save(tmp_path / "o.npy", np.array([[{}]], object), allow_pickle=True)
        with pytest.raises(InputError, match="damaged"):
            DepthMap.load(tmp_path / "o.npy", kind="inverse")
