"""Depth from plain folders."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.miniatures_depth import photo, plane, write
from perpixel.data.depth_sets import to_metres
from perpixel.data.layouts import open_dataset
from perpixel.errors import ConfigError, InputError
from perpixel.images.pfm import pfm_bytes

REAL = Path(__file__).parents[2] / "../shared/data/depth/indoor"


class TestToMetres:
    @given(
        numbers=hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)),
        scale=st.sampled_from([1, 256, 1000, 5000]),
    )
    @settings(max_examples=25, deadline=None)
    def test_whole_numbers(self, numbers, scale):
        depth = to_metres(numbers, scale, [65535])
        assert depth.dtype == np.float32
        for own, number in zip(depth.ravel(), numbers.ravel(), strict=True):
            assert own == (0 if number in (0, 65535) else np.float32(int(number) / scale))

    def test_floats_are_metres(self):
        nan, inf = np.nan, np.inf
        depth = to_metres(np.array([[1.5, 0, -1, nan, inf, -inf, 80]], np.float32), invalid=[80])
        assert depth.tolist() == [[1.5, 0, 0, 0, 0, 0, 0]]

    def test_what_no_float_holds(self):
        assert to_metres(np.array([[3e38]], np.float32), scale=1e-9).tolist() == [[0]]


class TestDepthFolder:
    @pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy", ".pfm", ".exr"])
    def test_every_format(self, tmp_path, suffix):
        write(tmp_path / "images" / "a.png", photo(0))
        metres = plane(0).astype(np.float32) / 1000
        path = tmp_path / "depths" / f"a{suffix}"
        path.parent.mkdir()
        if suffix == ".png":
            write(path, plane(0))
        elif suffix == ".tiff":
            tifffile.imwrite(path, metres)
        elif suffix == ".npy":
            np.save(path, metres)
        elif suffix == ".pfm":
            path.write_bytes(pfm_bytes(metres))
        else:
            import OpenEXR

            OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": metres}).write(str(path))
        data = pickle.loads(pickle.dumps(open_dataset("depth-folder", tmp_path)))
        assert (data.kind, data.names) == ("depth", ("a",))
        assert np.array_equal(data[0].image, photo(0))
        assert np.allclose(data[0].depth, metres, rtol=1e-6, atol=0)
        assert (data[0].depth[:4, :5] == 0).all()

    def test_units_and_holes(self, tmp_path):
        write(tmp_path / "images" / "a.png", photo(0, (1, 4)))
        write(tmp_path / "depths" / "a.png", np.array([[0, 256, 1024, 65535]], np.uint16))
        depth = open_dataset("depth-folder", tmp_path, scale=256, invalid=65535)[0].depth
        assert depth.tolist() == [[0, 1, 4, 0]]

    def test_parts_in_folders(self, tmp_path):
        for split in ("train", "test"):
            write(tmp_path / split / "rgb" / f"{split}.jpg", photo(0))
            write(tmp_path / split / "depth" / f"{split}.png", plane(0))
        assert open_dataset("depth-folder", tmp_path, split="test").names == ("test",)

    @pytest.mark.parametrize("part", ["images", "depths"])
    def test_a_broken_file_is_named(self, tmp_path, part):
        write(tmp_path / "images" / "a.png", photo(0))
        write(tmp_path / "depths" / "a.png", plane(0))
        path = tmp_path / part / "a.png"
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(InputError, match=rf"{part}/a\.png"):
            open_dataset("depth-folder", tmp_path)[0]

    def test_another_size(self, tmp_path):
        write(tmp_path / "images" / "a.png", photo(0))
        write(tmp_path / "depths" / "a.png", plane(0, (6, 11)))
        with pytest.raises(InputError, match=r"depths/a\.png is 11×6 but .*images/a\.png is 22×13"):
            open_dataset("depth-folder", tmp_path)[0]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scale": 0}, "scale is 0"),
            ({"scale": "1000"}, "scale is '1000'"),
            ({"scale": float("nan")}, "scale is nan"),
            ({"scale": True}, "scale is True"),
            ({"invalid": "65535"}, "invalid is '65535'"),
            ({"invalid": ["x"]}, "invalid is"),
            ({"kind": "matting"}, "labelled for depth, not matting"),
        ],
    )
    def test_options(self, tmp_path, options, message):
        write(tmp_path / "images" / "a.png", photo(0))
        write(tmp_path / "depths" / "a.png", plane(0))
        with pytest.raises(ConfigError, match=message):
            open_dataset("depth-folder", tmp_path, **options)

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the frames of 7-Scenes")
    def test_on_a_real_room(self):
        options = {"image_suffix": ".color.jpg", "depth_suffix": ".depth.png", "invalid": [65535]}
        data = open_dataset("depth-folder", REAL, **options)
        assert len(data) == 160
        assert data.names[:2] == ("frame-000000", "frame-000002")
        sample = data[7]
        assert sample.image.shape == (480, 640, 3)
        measured = sample.depth[sample.depth > 0]
        assert 0.5 < measured.size / sample.depth.size < 1
        assert 0.3 < measured.min() < measured.max() < 10
