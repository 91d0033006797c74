"""Composition-1k and Distinctions-646 in miniature."""

import pickle
import shutil

import numpy as np
import pytest

from data.miniatures_matting import composed_folder, composition_1k, distinctions_646, matte, photo, trimap, write
from perpixel.data.layouts import open_dataset
from perpixel.errors import ConfigError, InputError


class TestComposition1k:
    def test_test_set(self, tmp_path):
        composites = composition_1k(tmp_path)
        data = open_dataset("composition-1k", tmp_path, split="test", backgrounds=tmp_path / "voc")
        assert data.names == tuple(f"{name}_{k}" for name in ("lion 1", "cat") for k in range(20))
        for name in ("lion 1_0", "lion 1_1", "lion 1_2", "cat_3"):
            sample = data[data.names.index(name)]
            seed = 0 if name.startswith("lion") else 1
            assert np.array_equal(sample.image, composites[name])
            assert np.array_equal(sample.alpha, matte(seed).astype(np.float32) / np.float32(255))
            assert np.array_equal(sample.trimap, trimap(matte(seed)))
            assert np.array_equal(sample.foreground, photo(10 + seed))

    def test_training_set(self, tmp_path):
        composites = composition_1k(tmp_path)
        data = open_dataset("composition-1k", tmp_path / "Combined_Dataset", backgrounds=tmp_path / "coco")
        assert len(data) == 300
        assert data.names[::100] == ("x@0", "y@0", "z@0")
        for name in ("x@0", "x@1", "y@2", "z@3"):
            sample = data[data.names.index(name)]
            assert np.array_equal(sample.image, composites[name])
            assert sample.trimap is None

    def test_backgrounds_where_they_usually_lie(self, tmp_path):
        composition_1k(tmp_path)
        top = tmp_path / "Combined_Dataset"
        with pytest.raises(InputError, match=r"option backgrounds"):
            open_dataset("composition-1k", tmp_path, split="test")
        (top / "VOCdevkit" / "VOC2012").mkdir(parents=True)
        shutil.move(tmp_path / "voc", top / "VOCdevkit" / "VOC2012" / "JPEGImages")
        shutil.move(tmp_path / "coco", top / "Training_set" / "bg")
        assert len(open_dataset("composition-1k", top, split="test")) == 40
        assert len(open_dataset("composition-1k", top)) == 300

    def test_composed(self, tmp_path):
        drawn = composed_folder(tmp_path)
        data = pickle.loads(pickle.dumps(open_dataset("composition-1k", tmp_path, split="test")))
        assert data.names == ("cat_0", "lion_0", "lion_1")
        for sample in data:
            image, alpha = drawn[sample.name]
            assert np.array_equal(sample.image, image)
            assert np.array_equal(sample.alpha, alpha.astype(np.float32) / np.float32(255))
            assert np.array_equal(sample.trimap, trimap(alpha))
        with pytest.raises(InputError, match="no folder Training_set"):
            open_dataset("composition-1k", tmp_path)

    @pytest.mark.parametrize(
        ("gone", "message"),
        [
            ("Test_set/test_bg_names.txt", "no test_bg_names.txt: the list comes with the data set"),
            ("Test_set/Adobe-licensed images/fg/cat.png", "1 foregrounds or alphas in .* no partner, such as cat"),
            ("Test_set/Adobe-licensed images/trimaps/cat_7.png", r"1 of 40 trimaps are missing, such as cat_7\.png"),
            ("../voc/test1.png", r"listed backgrounds are missing in .*voc, such as test1\.png"),
        ],
    )
    def test_what_is_missing_is_named(self, tmp_path, gone, message):
        composition_1k(tmp_path)
        (tmp_path / "Combined_Dataset" / gone).unlink()
        with pytest.raises(InputError, match=message):
            open_dataset("composition-1k", tmp_path, split="test", backgrounds=tmp_path / "voc")

    def test_folders_without_their_files(self, tmp_path):
        fg = tmp_path / "Test_set" / "fg"
        fg.mkdir(parents=True)
        with pytest.raises(InputError, match="no folder alpha: alphas are needed beside fg"):
            open_dataset("composition-1k", tmp_path, split="test")
        (tmp_path / "Test_set" / "alpha").mkdir()
        with pytest.raises(InputError, match="holds no foregrounds: expected are fg/NAME"):
            open_dataset("composition-1k", tmp_path, split="test")

    def test_lists_that_do_not_fit(self, tmp_path):
        composition_1k(tmp_path)
        test = tmp_path / "Combined_Dataset" / "Test_set"
        listed = (test / "test_bg_names.txt").read_text()
        (test / "test_bg_names.txt").write_text("\n".join(listed.split()[:39]))
        with pytest.raises(InputError, match="lists 39 backgrounds: 2 foregrounds need 20 each"):
            open_dataset("composition-1k", tmp_path, split="test", backgrounds=tmp_path / "voc")
        (test / "test_fg_names.txt").write_text("lion 1.png\ndog.png")
        with pytest.raises(InputError, match=r"1 of 2 listed foregrounds are missing .* such as dog\.png"):
            open_dataset("composition-1k", tmp_path, split="test", backgrounds=tmp_path / "voc")

    def test_no_such_part(self, tmp_path):
        composed_folder(tmp_path)
        with pytest.raises(ConfigError, match="has 'train' and 'test'"):
            open_dataset("composition-1k", tmp_path, split="validation")
        with pytest.raises(InputError, match="backgrounds='nowhere' is no folder"):
            composition_1k(tmp_path / "official")
            open_dataset("composition-1k", tmp_path / "official", backgrounds="nowhere")

    def test_alpha_of_another_size(self, tmp_path):
        composition_1k(tmp_path)
        write(tmp_path / "Combined_Dataset/Test_set/Adobe-licensed images/alpha/cat.png", matte(0, (5, 5)))
        data = open_dataset("composition-1k", tmp_path, split="test", backgrounds=tmp_path / "voc")
        with pytest.raises(InputError, match=r"alpha/cat\.png is 5×5 but .*fg/cat\.png is 23×14"):
            data[39]


class TestDistinctions646:
    def test_test_set(self, tmp_path):
        composites = distinctions_646(tmp_path)
        data = open_dataset("distinctions-646", tmp_path, split="test")
        assert data.names == tuple(f"test_{number}" for number in range(220))
        for number in (0, 20, 200):  # the foregrounds test_0, test_1 and test_10, in that order
            assert np.array_equal(data[number].image, composites[f"test_{number}"])
        assert data[0].trimap is None

    def test_order_from_its_list(self, tmp_path):
        composites = distinctions_646(tmp_path)
        (tmp_path / "Test" / "fg_test.txt").write_text("\n".join(f"test_{number}.png" for number in range(10, -1, -1)))
        data = open_dataset("distinctions-646", tmp_path, split="test")
        assert np.array_equal(data[0].image, composites["test_200"])

    def test_training_set(self, tmp_path):
        composites = distinctions_646(tmp_path / "Distinctions-646")
        data = open_dataset("distinctions-646", tmp_path)
        assert data.names[::100] == ("train_0@0", "train_1@0")
        assert np.array_equal(data[100].image, composites["train_1@0"])

    def test_composed_by_its_own_code(self, tmp_path):
        for number in range(2):
            write(tmp_path / "Test" / "Image" / f"test_{number}.png", photo(number))
            write(tmp_path / "Test" / "GT" / f"test_{number}.png", matte(number))
        data = open_dataset("distinctions-646", tmp_path, split="test")
        assert data.names == ("test_0", "test_1")
        assert np.array_equal(data[1].image, photo(1))
        assert data[1].trimap is None

    def test_composed_like_the_other(self, tmp_path):
        composed_folder(tmp_path)
        assert len(open_dataset("distinctions-646", tmp_path, split="test")) == 3

    def test_another_folder(self, tmp_path):
        write(tmp_path / "a.png", photo(0))
        with pytest.raises(InputError, match="no folder Test: give the folder with Train and Test"):
            open_dataset("distinctions-646", tmp_path, split="test")
