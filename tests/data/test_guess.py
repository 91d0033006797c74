"""A folder's layout is told from its shape."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perpixel.data.guess import guess_layout, open_some_split, other_splits
from perpixel.data.layouts import open_dataset
from perpixel.errors import ConfigError, InputError


def draw(path: Path, mode: str = "RGB", value: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((6, 8) if mode in ("L", "I;16") else (6, 8, len(mode)), np.uint16 if mode == "I;16" else np.uint8)
    array[2:4, 2:5] = value
    Image.fromarray(array).save(path)


def labelled(root: Path, labels: str, value: int, images: str = "images") -> None:
    for name in ("a", "b"):
        draw(root / images / f"{name}.jpg")
        draw(root / labels / f"{name}.png", "L", value)


def opened(root: Path):
    guess = guess_layout(root)
    assert guess is not None
    return guess, open_some_split(guess.layout, root, None, None, guess.options)[0]


@pytest.mark.parametrize(
    ("sign", "layout"),
    [
        ("nyu_depth_v2_labeled.mat", "nyuv2"),
        ("data_depth_annotated/train/x", "kitti"),
        ("2011_09_26/2011_09_26_drive_0001_sync/image_02/data/x", "kitti"),
        ("leftImg8bit/train/aachen/x", "cityscapes"),
        ("annotations/training/x", "ade20k"),
        ("JPEGImages/x", "pascal-context"),
        ("Train/FG/x", "distinctions-646"),
        ("Training_set/x", "composition-1k"),
        ("annotations/panoptic_val2017.json", "coco-panoptic"),
        ("annotations/instances_train2017.json", "coco"),
    ],
)
def test_data_sets_are_known_by_their_folders(tmp_path, sign, layout):
    (tmp_path / sign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / sign).touch()
    assert guess_layout(tmp_path).layout == layout


def test_label_pictures_are_found_whatever_their_folder_is_called(tmp_path):
    labelled(tmp_path, "labels", 1)
    guess, data = opened(tmp_path)
    assert (guess.layout, guess.options) == ("label-folder", {"mapping": {0: "background", 1: "object"}})
    assert "--option mapping=0:background,1:object" in guess.doubts[0]
    assert data[0].labels.max() == 1

    labelled(tmp_path / "other", "seg", 3, images="imgs")
    (tmp_path / "other" / "notes").mkdir()
    guess, data = opened(tmp_path / "other")
    assert guess.options == {"images": "imgs", "labels": "seg", "mapping": {0: "class0", 3: "class3"}}
    assert data.categories.names == ("class0", "class3")
    assert guess_layout(tmp_path / "other", ["names"]).options == {"images": "imgs", "labels": "seg"}


def test_names_in_the_folder_leave_nothing_to_guess(tmp_path):
    labelled(tmp_path, "labels", 1)
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    guess, data = opened(tmp_path)
    assert (guess.options, guess.doubts, data.categories.names) == ({}, (), ("sky", "sea"))


def test_0_and_255_are_taken_for_a_mask_and_255_beside_others_for_void(tmp_path):
    labelled(tmp_path / "mask", "labels", 255)
    assert opened(tmp_path / "mask")[1][0].labels.max() == 1
    labelled(tmp_path / "void", "labels", 255)
    draw(tmp_path / "void" / "labels" / "b.png", "L", 1)
    guess, data = opened(tmp_path / "void")
    assert guess.options["mapping"] == {0: "class0", 1: "class1", 255: "void"}
    assert sorted(np.unique(data[0].labels)) == [-1, 0]


def test_masks_of_objects(tmp_path):
    draw(tmp_path / "images" / "a.jpg")
    draw(tmp_path / "masks" / "a" / "cat_1.png", "L", 255)
    draw(tmp_path / "masks" / "a" / "cat_2.png", "L", 255)
    guess, data = opened(tmp_path)
    assert guess.layout == "label-folder"
    assert len(data[0].objects) == 2


def test_coco_files_by_any_name(tmp_path):
    draw(tmp_path / "photos" / "a.jpg")
    (tmp_path / "other.json").write_text("[1]")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[1, 1, 5, 1, 5, 4]], "area": 6}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "mine.json").write_text(json.dumps(content))
    guess, data = opened(tmp_path)
    assert guess.options == {"annotations": "annotations/mine.json", "images": "photos"}
    assert len(data[0].objects) == 1


def test_depth_and_mattes_in_folders_and_together(tmp_path):
    draw(tmp_path / "depth" / "rgb" / "a.jpg")
    draw(tmp_path / "depth" / "depth" / "a.png", "I;16", 2000)
    assert opened(tmp_path / "depth")[0].layout == "depth-folder"
    draw(tmp_path / "matte" / "train" / "images" / "a.jpg")
    draw(tmp_path / "matte" / "train" / "alphas" / "a.png", "L", 128)
    guess, data = opened(tmp_path / "matte")
    assert (guess.layout, data.names) == ("matte-folder", ("a",))

    draw(tmp_path / "frames" / "f-1.color.jpg")
    draw(tmp_path / "frames" / "f-1.depth.png", "I;16", 2000)
    guess, data = opened(tmp_path / "frames")
    assert guess.options == {"image_suffix": ".color.jpg", "depth_suffix": ".depth.png"}
    assert data[0].depth.max() == 2
    for name in ("GT02", "GT02_x"):
        draw(tmp_path / "gt" / f"{name}.png")
        draw(tmp_path / "gt" / f"{name}_alpha.png", "L", 128)
        draw(tmp_path / "gt" / f"{name}_trimap1.png", "L", 128)
        draw(tmp_path / "gt" / f"{name}_trimap2.png", "L", 128)
    guess, data = opened(tmp_path / "gt")
    assert guess.options == {
        "image_suffix": ".png",
        "alpha_suffix": "_alpha.png",
        "trimap_suffix": "_trimap1.png",
    }
    assert data.names == ("GT02", "GT02_x")


def test_cutouts(tmp_path):
    draw(tmp_path / "cats" / "a.png", "RGBA")
    guess, data = opened(tmp_path)
    assert (guess.layout, len(data)) == ("rgba", 1)


def test_nothing_fits(tmp_path):
    assert guess_layout(tmp_path) is None
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.png")
    (tmp_path / "c.json").write_text("{")
    assert guess_layout(tmp_path) is None
    with pytest.raises(InputError, match="does not exist"):
        guess_layout(tmp_path / "nowhere")


def test_the_split_that_there_is_is_opened(tmp_path):
    labelled(tmp_path, "labels/val", 1, images="images/val")
    options = {"names": ["a", "b"]}
    assert open_some_split("label-folder", tmp_path, None, None, options)[1] == "validation"
    assert other_splits(tmp_path, "validation") == []
    draw(tmp_path / "images" / "train" / "a.jpg")
    (tmp_path / "labels" / "train").mkdir()
    with pytest.raises(InputError, match="train"):  # it is there, and broken
        open_some_split("label-folder", tmp_path, None, None, options)
    draw(tmp_path / "labels" / "train" / "a.png", "L", 1)
    assert open_some_split("label-folder", tmp_path, None, None, options)[1] == "train"
    assert other_splits(tmp_path, "train") == ["validation"]
    with pytest.raises(ConfigError, match="did you mean 'names'"):
        open_some_split("label-folder", tmp_path, None, None, {"name": []})


def test_real_folders_open_as_guessed():
    root = Path(__file__).parents[2] / "../shared/data"
    if not root.is_dir():
        pytest.skip("the example data are not here")
    for folder, layout in (("segmentation/pets", "label-folder"), ("segmentation/coco-ccby", "coco")):
        guess = guess_layout(root / folder)
        assert guess.layout == layout
        assert len(open_dataset(layout, root / folder, **guess.options))
