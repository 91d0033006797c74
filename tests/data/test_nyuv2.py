"""NYU Depth V2 in miniature, from its own file and extracted."""

import pickle

import h5py
import numpy as np
import pytest

from data.miniatures_depth import nyu_extracted, nyu_labelled, photo, plane, write
from perpixel.data.layouts import open_dataset
from perpixel.errors import ConfigError, InputError


class TestLabelled:
    def test_the_official_parts(self, tmp_path):
        drawn = nyu_labelled(tmp_path)
        test = pickle.loads(pickle.dumps(open_dataset("nyuv2", tmp_path, split="test")))
        assert test.names == ("kitchen/00000", "office/00001", "living_room/00004")
        for sample, number in zip(test, (0, 1, 4), strict=True):
            assert np.array_equal(sample.image, drawn["images"][number])
            assert np.allclose(sample.depth, drawn["raw"][number], rtol=1e-6, atol=0)
            assert (sample.depth[:4, :5] == 0).all()
        assert open_dataset("nyuv2", tmp_path).names == ("kitchen/00002", "bathroom/00003")

    def test_filled(self, tmp_path):
        drawn = nyu_labelled(tmp_path)
        sample = open_dataset("nyuv2", tmp_path, split="test", depths="filled")[1]
        assert np.allclose(sample.depth, drawn["filled"][1], rtol=1e-6, atol=0)
        assert sample.depth.min() > 0

    def test_the_white_frame_becomes_black(self, tmp_path):
        drawn = nyu_labelled(tmp_path, (480, 640))["images"][0]
        image = open_dataset("nyuv2", tmp_path, split="test")[0].image
        assert np.array_equal(image[7:474, 7:632], drawn[7:474, 7:632])
        assert not (image[:7].any() or image[474:].any() or image[:, :7].any() or image[:, 632:].any())
        assert np.array_equal(open_dataset("nyuv2", tmp_path, split="test", black_frame=False)[0].image, drawn)

    def test_no_splits(self, tmp_path):
        nyu_labelled(tmp_path)
        (tmp_path / "splits.mat").unlink()
        with pytest.raises(InputError, match=r"no splits\.mat: download http"):
            open_dataset("nyuv2", tmp_path)

    @pytest.mark.parametrize("name", ["nyu_depth_v2_labeled.mat", "splits.mat"])
    def test_damaged(self, tmp_path, name):
        nyu_labelled(tmp_path)
        (tmp_path / name).write_bytes(b"no such file" * 30)
        with pytest.raises(InputError, match=rf"{name.replace('.', '[.]')}.*download it again"):
            open_dataset("nyuv2", tmp_path)

    def test_splits_of_another_file(self, tmp_path):
        import scipy.io

        nyu_labelled(tmp_path)
        scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[6]])})
        with pytest.raises(InputError, match="beyond the 5"):
            open_dataset("nyuv2", tmp_path)
        with pytest.raises(InputError, match="holds no testNdxs"):
            open_dataset("nyuv2", tmp_path, split="test")

    def test_a_file_without_depth(self, tmp_path):
        nyu_labelled(tmp_path)
        with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
            del file["rawDepths"]
        data = open_dataset("nyuv2", tmp_path, split="test")
        with pytest.raises(InputError, match=r"labeled\.mat cannot be read at image 1 .*rawDepths"):
            data[1]


class TestExtracted:
    @pytest.mark.parametrize("inside", [False, True])
    def test_folders(self, tmp_path, inside):
        drawn = nyu_extracted(tmp_path)
        data = open_dataset("nyuv2", tmp_path / "official_splits" if inside else tmp_path, split="test")
        assert data.names == ("kitchen/00000", "office/00001")
        for sample in data:
            assert np.allclose(sample.depth, drawn[sample.name] / 1000, rtol=1e-6, atol=0)
            assert sample.image.shape == (*sample.depth.shape, 3)

    def test_a_list(self, tmp_path):
        drawn = nyu_extracted(tmp_path)
        (tmp_path / "list.txt").write_text("/kitchen/rgb_00000.jpg /kitchen/sync_depth_00000.png 518.8579\n")
        data = open_dataset("nyuv2", tmp_path / "official_splits" / "test", split="test", files=tmp_path / "list.txt")
        assert data.names == ("kitchen/00000",)
        assert np.allclose(data[0].depth, drawn["kitchen/00000"] / 1000, rtol=1e-6, atol=0)

    def test_errors(self, tmp_path):
        nyu_extracted(tmp_path)
        with pytest.raises(InputError, match="depths='filled'"):
            open_dataset("nyuv2", tmp_path, depths="filled")
        with pytest.raises(ConfigError, match="depths is 'dense'"):
            open_dataset("nyuv2", tmp_path, depths="dense")
        with pytest.raises(ConfigError, match="has 'train' and 'test'"):
            open_dataset("nyuv2", tmp_path, split="validation")
        for line, message in (("alone.jpg", "each must hold"), ("gone/rgb_1.jpg gone/sync_depth_1.png", "count from")):
            (tmp_path / "list.txt").write_text(line)
            with pytest.raises(InputError, match=message):
                open_dataset("nyuv2", tmp_path, files="list.txt")
        (tmp_path / "official_splits/test/office/sync_depth_00001.png").unlink()
        with pytest.raises(InputError, match=r"1 of 2 images have no depth.*rgb_00001\.jpg"):
            open_dataset("nyuv2", tmp_path, split="test")

    def test_another_folder(self, tmp_path):
        write(tmp_path / "x" / "a.png", photo(0))
        with pytest.raises(InputError, match=r"neither nyu_depth_v2_labeled\.mat nor the folder test"):
            open_dataset("nyuv2", tmp_path, split="test")
        write(tmp_path / "test" / "office" / "depth.png", plane(0))
        with pytest.raises(InputError, match=r"no SCENE/rgb_NNNNN\.jpg"):
            open_dataset("nyuv2", tmp_path, split="test")
