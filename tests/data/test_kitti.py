"""KITTI in miniature, by the protocols of Eigen and of the benchmark."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import perpixel.data.kitti as module
from data.miniatures_depth import kitti, kitti_selection
from perpixel.data.kitti import _eigen_test, _eigen_train
from perpixel.data.layouts import open_dataset
from perpixel.errors import ConfigError, InputError

# One drive of each part of Eigen's split, and one of neither: it shows a single person.
TEST, TRAIN, PERSON = "2011_09_26_drive_0048", "2011_09_26_drive_0001", "2011_09_28_drive_0053"


@pytest.fixture
def one_test_drive(monkeypatch):
    frames = [frame for frame in _eigen_test() if frame.drive.startswith(TEST)]
    monkeypatch.setattr(module, "_eigen_test", lambda: frames)


def test_the_split_is_eigens():
    """Counts that papers give: 28 test drives with 652 annotated frames; 33 other drives of the same categories."""
    frames, drives = _eigen_test(), _eigen_train()
    assert len(set(frames)) == len(frames) == 652
    assert len({frame.drive for frame in frames}) == 28
    assert len(set(drives)) == len(drives) == 33
    assert not set(drives) & {frame.drive for frame in frames}
    assert "2011_09_26_drive_0002_sync/image_02/0000000069" in {frame.name for frame in frames}


class TestEigen:
    @pytest.mark.parametrize("raw", ["", "raw", "kitti_raw"])
    def test_test(self, tmp_path, one_test_drive, raw):
        drawn = kitti(tmp_path, {TEST: list(range(5, 20)), TRAIN: [7]}, raw=raw)
        data = pickle.loads(pickle.dumps(open_dataset("kitti", tmp_path, split="test")))
        assert data.names == tuple(f"{TEST}_sync/image_02/{number:010d}" for number in range(5, 17))
        for sample in list(data)[:3]:
            assert np.array_equal(sample.depth, drawn[sample.name].astype(np.float32) / 256)
            assert sample.image.shape == (*sample.depth.shape, 3)

    def test_train(self, tmp_path):
        drawn = kitti(tmp_path, {TEST: [5, 6], TRAIN: [7, 9], PERSON: [5]})
        drawn |= kitti(tmp_path, {"2011_09_30_drive_0020": [8]}, "val")
        data = open_dataset("kitti", tmp_path)
        names = [f"{TRAIN}_sync/image_02/0000000007", f"{TRAIN}_sync/image_02/0000000009"]
        assert data.names == (*names, "2011_09_30_drive_0020_sync/image_02/0000000008")
        assert np.array_equal(data[2].depth, drawn[data.names[2]].astype(np.float32) / 256)

    def test_depth_elsewhere(self, tmp_path):
        kitti(tmp_path / "one", {TRAIN: [7]})
        shutil.move(tmp_path / "one" / "data_depth_annotated", tmp_path / "two")
        with pytest.raises(InputError, match="or give its folder as the option depths"):
            open_dataset("kitti", tmp_path / "one")
        assert len(open_dataset("kitti", tmp_path / "one", depths=tmp_path / "two")) == 1

    def test_parts_of_the_depth_joined_as_bts_has_them(self, tmp_path):
        kitti(tmp_path, {TRAIN: [7]})
        annotated = tmp_path / "data_depth_annotated"
        shutil.move(annotated / "train" / f"{TRAIN}_sync", annotated / f"{TRAIN}_sync")
        (annotated / "train").rmdir()
        assert len(open_dataset("kitti", tmp_path)) == 1

    def test_photographs_as_jpeg(self, tmp_path):
        kitti(tmp_path, {TRAIN: [7]})
        folder = tmp_path / TRAIN[:10] / f"{TRAIN}_sync" / "image_02" / "data"
        (folder / "0000000007.png").rename(folder / "0000000007.jpg")
        assert open_dataset("kitti", tmp_path)[0].image.shape == (13, 22, 3)

    @pytest.mark.parametrize("prefix", ["", f"{TEST[:10]}/", f"/data/{TEST[:10]}/"])
    def test_a_list(self, tmp_path, prefix):
        kitti(tmp_path, {TEST: [5, 6]})
        depth = f"{TEST}_sync/proj_depth/groundtruth/image_02/0000000006.png"
        (tmp_path / "list.txt").write_text(
            f"{prefix}{TEST}_sync/image_02/data/0000000003.png None 721.5377\n"
            f"{prefix}{TEST}_sync/image_02/data/0000000006.png {depth} 721.5377\n"
        )
        data = open_dataset("kitti", tmp_path, split="test", files="list.txt")
        assert data.names == (f"{TEST}_sync/image_02/0000000006",)

    def test_what_is_missing_is_named(self, tmp_path, one_test_drive):
        kitti(tmp_path, {TEST: list(range(5, 17))})
        depth = Path("data_depth_annotated/train") / f"{TEST}_sync/proj_depth/groundtruth/image_02/0000000011.png"
        (tmp_path / depth).unlink()
        with pytest.raises(InputError, match=r"1 of 12 annotated depths are not in .*such as .*0000000011"):
            open_dataset("kitti", tmp_path, split="test")
        shutil.rmtree(tmp_path / TEST[:10] / f"{TEST}_sync")
        with pytest.raises(InputError, match=r"12 of 12 photographs are not in"):
            open_dataset("kitti", tmp_path, split="test")
        shutil.rmtree(tmp_path / TEST[:10])
        with pytest.raises(InputError, match="no folder of raw data such as 2011_09_26"):
            open_dataset("kitti", tmp_path, split="test")

    def test_a_list_of_something_else(self, tmp_path):
        kitti(tmp_path, {TEST: [5]})
        (tmp_path / "list.txt").write_text("kitchen/rgb_00045.jpg kitchen/sync_depth_00045.png 518.8579\n")
        with pytest.raises(InputError, match=r"must begin with …_drive_…_sync/image_02/data/FRAME\.png"):
            open_dataset("kitti", tmp_path, files="list.txt")

    def test_no_frame_of_the_part(self, tmp_path):
        kitti(tmp_path, {TEST: [5]})
        with pytest.raises(InputError, match="holds no annotated depth of the split 'train'"):
            open_dataset("kitti", tmp_path)


class TestOfficial:
    def test_parts(self, tmp_path):
        kitti(tmp_path, {TEST: [5], PERSON: [6]})
        kitti(tmp_path, {TRAIN: [7]}, "val")
        names = open_dataset("kitti", tmp_path, protocol="official").names
        assert names == (f"{TEST}_sync/image_02/0000000005", f"{PERSON}_sync/image_02/0000000006")
        names = open_dataset("kitti", tmp_path, protocol="official", split="validation").names
        assert names == (f"{TRAIN}_sync/image_02/0000000007",)

    def test_a_part_that_is_not_there(self, tmp_path):
        kitti(tmp_path, {TEST: [5]})
        with pytest.raises(InputError, match="no folder val: the official split needs its own folders"):
            open_dataset("kitti", tmp_path, protocol="official", split="validation")

    @pytest.mark.parametrize("inside", ["", "depth_selection", "depth_selection/val_selection_cropped"])
    def test_selection(self, tmp_path, inside):
        drawn = kitti_selection(tmp_path)
        data = open_dataset("kitti", tmp_path / inside, protocol="official", split="selection")
        assert set(data.names) == set(drawn)
        assert len(data) == 2
        for sample in data:
            assert np.array_equal(sample.depth, drawn[sample.name].astype(np.float32) / 256)

    def test_no_selection(self, tmp_path):
        kitti(tmp_path, {TEST: [5]})
        with pytest.raises(InputError, match=r"no folder image: unpack data_depth_selection\.zip"):
            open_dataset("kitti", tmp_path, protocol="official", split="selection")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "benchmark"}, "must be 'eigen' or 'official'"),
        ({"split": "validation"}, r"must be one of \('train', 'test'\)"),
        ({"protocol": "official", "split": "test"}, "'train', 'validation', 'selection'"),
        ({"kind": "semantic"}, "labelled for depth"),
    ],
)
def test_no_such_part(tmp_path, options, message):
    kitti(tmp_path, {TEST: [5]})
    with pytest.raises(ConfigError, match=message):
        open_dataset("kitti", tmp_path, **options)
