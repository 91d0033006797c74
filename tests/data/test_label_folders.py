import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.miniatures_segmentation import SIZE, box, photo, picture
from perpixel.data.label_folders import LabelFolder
from perpixel.data.samples import VOID
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle

PETS = Path(__file__).parents[2] / "../shared/data/segmentation/pets"


def classes(values=(0, 1, 2, 255)) -> np.ndarray:
    return np.random.default_rng(3).choice(np.array(values), SIZE)


def labelled(root: Path, labels: np.ndarray, name: str = "a", palette: bool = False) -> Path:
    photo(root / "images" / f"{name}.jpg")
    picture(root / "labels" / f"{name}.png", labels, palette)
    return root


@pytest.mark.parametrize("palette", [False, True])
def test_values_are_class_numbers(tmp_path, palette):
    values = classes().astype(np.uint8)
    data = LabelFolder(labelled(tmp_path, values, "b/a", palette), names=["sky", "sea", "sand"])
    assert (data.kind, data.names, data.categories.names) == ("semantic", ("b/a",), ("sky", "sea", "sand"))
    assert np.array_equal(data[0].labels, np.where(values == 255, VOID, values.astype(int)))
    assert data[0].labels.dtype == np.int32


def test_16_bit_pictures_keep_their_values(tmp_path):
    values = classes((0, 300, 40_000, 65_535)).astype(np.uint16)
    mapping = {0: "void", 300: "cat", "40000": "dog", 65_535: 0}
    data = LabelFolder(labelled(tmp_path, values), names=["cat", "dog"], mapping=mapping)
    meaning = {0: VOID, 300: 0, 40_000: 1, 65_535: 0}
    assert np.array_equal(data[0].labels, np.vectorize(meaning.__getitem__)(values))


def test_a_mapping_names_the_classes(tmp_path):
    values = classes((1, 2, 3)).astype(np.uint8)
    data = LabelFolder(labelled(tmp_path, values), mapping={1: "pet", 2: "background", 3: "void"})
    assert data.categories.names == ("pet", "background")
    assert np.array_equal(data[0].labels, np.array([VOID, 0, 1, VOID])[values])


def test_colours_are_mapped(tmp_path):
    values = np.zeros((*SIZE, 3), np.uint8)
    values[:9], values[9:, 7:] = (255, 128, 0), (0, 0, 1)
    root = labelled(tmp_path, values)
    mapping = {"#FF8000": "cat", "#000001": "dog", "#000000": "void"}
    labels = LabelFolder(root, mapping=mapping)[0].labels
    assert (labels[:9] == 0).all() and (labels[9:, 7:] == 1).all() and (labels[9:, :7] == VOID).all()
    with pytest.raises(InputError, match=r"a.png is in colour: say what the colours mean"):
        LabelFolder(root, names=["cat", "dog"])[0]
    with pytest.raises(InputError, match=r"a.png holds #ff8000, which no class has"):
        LabelFolder(root, mapping={"#000001": "dog", "#000000": "void"})[0]
    grey = np.repeat(classes((0, 1)).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(LabelFolder(labelled(tmp_path, grey), names=["x", "y"])[0].labels, grey[..., 0])


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), palette=st.booleans(), wide=st.booleans(), seed=st.integers(0, 9)
)
@settings(max_examples=15, deadline=None)
def test_any_size_and_depth(tmp_path_factory, height, width, palette, wide, seed):
    root = tmp_path_factory.mktemp("folder")
    values = np.random.default_rng(seed).integers(0, 4, (height, width))
    photo(root / "images" / "a.png", (height, width))
    picture(root / "labels" / "a.png", values.astype(np.uint16 if wide and not palette else np.uint8), palette)
    sample = LabelFolder(root, names=list("wxyz"))[0]
    assert sample.image.shape == (height, width, 3)
    assert np.array_equal(sample.labels, values)


def test_an_unknown_value_is_named(tmp_path):
    data = LabelFolder(labelled(tmp_path, classes().astype(np.uint8)), names=["sky", "sea"])
    with pytest.raises(InputError, match=r"a.png holds 2, which no class has: the 2 classes are 0…1; add a name"):
        data[0]
    assert VOID in LabelFolder(tmp_path, names=["sky", "sea"], ignore=[2, 255])[0].labels
    with pytest.raises(InputError, match=r"holds 255, which no class has"):
        LabelFolder(tmp_path, names=["sky", "sea"], ignore=2)[0]
    with pytest.raises(InputError, match=r"holds 2, which .*: add it to mapping, with its class or 'void'"):
        LabelFolder(tmp_path, mapping={0: "sky", 1: "sea"})[0]


def test_names_come_from_a_file(tmp_path):
    root = labelled(tmp_path, classes((0, 1)).astype(np.uint8))
    with pytest.raises(ConfigError, match=r"give names=\[…\] .* the first ones hold 0, 1"):
        LabelFolder(root)
    (root / "classes.txt").write_text("sky\n sea \n\n")
    assert LabelFolder(root).categories.names == ("sky", "sea")
    (root / "own.json").write_text('["land", "air"]')
    assert LabelFolder(root, names="own.json").categories.names == ("land", "air")
    (root / "own.json").write_text('["land", "land"]')
    with pytest.raises(ConfigError, match="each once"):
        LabelFolder(root, names="own.json")


def test_wrong_mappings(tmp_path):
    root = labelled(tmp_path, classes((0, 1)).astype(np.uint8))
    with pytest.raises(ConfigError, match="did you mean 'background'"):
        LabelFolder(root, names=["pet", "background"], mapping={0: "backgruond"})
    with pytest.raises(ConfigError, match="class number 2, but the 2 names are 0…1"):
        LabelFolder(root, names=["pet", "background"], mapping={0: 2})
    with pytest.raises(ConfigError, match="use whole numbers, or colours"):
        LabelFolder(root, mapping={"red": "pet"})
    with pytest.raises(ConfigError, match="it needs values and their classes"):
        LabelFolder(root, mapping=["pet"])
    with pytest.raises(ConfigError, match="name the classes"):
        LabelFolder(root, mapping={0: 1})


def test_splits_in_folders_and_lists(tmp_path):
    for name in ("train/a", "train/b", "val/c"):
        labelled(tmp_path / "inner", np.zeros(SIZE, np.uint8), name)
    assert LabelFolder(tmp_path / "inner", names=["x"]).names == ("a", "b")
    assert LabelFolder(tmp_path / "inner", names=["x"], split="val").names == ("c",)
    for part, name in (("train", "a"), ("val", "c")):
        labelled(tmp_path / "outer" / part, np.zeros(SIZE, np.uint8), name)
    assert LabelFolder(tmp_path / "outer", names=["x"], split="val").names == ("c",)
    for name in "abcd":
        labelled(tmp_path / "listed", np.zeros(SIZE, np.uint8), name)
    assert LabelFolder(tmp_path / "listed", names=["x"]).names == ("a", "b", "c", "d")
    (tmp_path / "listed" / "val.txt").write_text("d.jpg\nb\n")
    assert LabelFolder(tmp_path / "listed", names=["x"], split="val").names == ("d", "b")
    assert LabelFolder(tmp_path / "listed", names=["x"], files="val.txt").names == ("d", "b")
    (tmp_path / "listed" / "val.txt").write_text("e\n")
    with pytest.raises(InputError, match=r"val.txt lists e, but"):
        LabelFolder(tmp_path / "listed", names=["x"], split="val")
    with pytest.raises(InputError, match="has no part 'test'"):
        LabelFolder(tmp_path / "listed", names=["x"], split="test")


def test_a_mask_for_each_object(tmp_path):
    cat, dog = box(2, 3, 20, 30), box(10, 10, 15, 20)
    for seed, name in enumerate(("one", "two")):
        photo(tmp_path / "images" / f"{name}.jpg", seed=seed)
    picture(tmp_path / "masks" / "one" / "cat_1.png", cat.astype(np.uint8) * 255)
    picture(tmp_path / "masks" / "one" / "dog.png", dog.astype(np.uint8))  # 0 and 1
    data = LabelFolder(tmp_path, names=["dog", "cat"])
    assert (data.kind, data.names, data.categories.names) == ("instance", ("one", "two"), ("dog", "cat"))
    first, second = data
    assert [item.category for item in first.objects] == [1, 0]
    assert np.array_equal(decode_rle(first.objects[0].rle), cat)
    assert np.array_equal(decode_rle(first.objects[1].rle), dog)
    assert (second.objects, second.labels) == ((), None)
    drawn = LabelFolder(tmp_path, names=["dog", "cat"], kind="semantic")
    assert drawn.categories.names == ("background", "dog", "cat")
    assert np.array_equal(drawn[0].labels, np.where(dog, 1, np.where(cat, 2, 0)))
    assert not drawn[1].labels.any()
    assert pickle.loads(pickle.dumps(drawn)).names == drawn.names


def test_objects_of_one_class_may_be_called_anything(tmp_path):
    photo(tmp_path / "images" / "one.jpg")
    picture(tmp_path / "masks" / "one" / "0001.png", box(0, 0, 5, 5).astype(np.uint8) * 255)
    picture(tmp_path / "masks" / "one" / "empty.png", np.zeros(SIZE, np.uint8))
    data = LabelFolder(tmp_path)
    assert data.categories.names == ("object",)
    assert [int(decode_rle(item.rle).sum()) for item in data[0].objects] == [25, 0]
    with pytest.raises(InputError, match=r"empty.png is named after no class|0001.png is named after no class"):
        LabelFolder(tmp_path, names=["cat", "dog"])[0]


def test_one_mask_for_each_photograph(tmp_path):
    mask = box(2, 3, 20, 30)
    soft = np.where(mask, 255, 0).astype(np.uint8)
    soft[1, 3:30], soft[20, 3:30] = 100, 180  # the soft edge of an editor's brush
    truth = mask | (soft == 180)
    photo(tmp_path / "images" / "train" / "one.jpg")
    picture(tmp_path / "masks" / "train" / "one.png", soft)
    data = LabelFolder(tmp_path, names=["pet"])
    assert (data.kind, data.categories.names) == ("semantic", ("background", "pet"))
    assert np.array_equal(data[0].labels, truth)
    assert LabelFolder(tmp_path, names=["background", "pet"]).categories == data.categories
    (item,) = LabelFolder(tmp_path, kind="instance")[0].objects
    assert np.array_equal(decode_rle(item.rle), truth)
    Image.fromarray(mask).save(tmp_path / "masks" / "train" / "one.png")  # 1 bit
    assert np.array_equal(LabelFolder(tmp_path)[0].labels, mask)
    picture(tmp_path / "masks" / "train" / "one.png", mask.astype(np.uint8) * 38)
    with pytest.raises(InputError, match="highest value is 38: use 0 and 255"):
        LabelFolder(tmp_path)[0]


def test_files_that_do_not_belong_together(tmp_path):
    root = labelled(tmp_path, np.zeros((9, 9), np.uint8))
    with pytest.raises(InputError, match=r"is 9×9 but .* is 37×24"):
        LabelFolder(root, names=["x"])[0]
    photo(root / "images" / "alone.jpg")
    with pytest.raises(InputError, match=r"1 of 2 images have no label .*alone.jpg"):
        LabelFolder(root, names=["x"])
    with pytest.raises(InputError, match="labels holds classes, not objects"):
        LabelFolder(root, kind="instance")
    with pytest.raises(InputError, match="has no folder labls"):
        LabelFolder(root, labels="labls")
    with pytest.raises(ConfigError, match="no labels of kind 'panoptic'"):
        LabelFolder(root, kind="panoptic")
    picture(root / "masks" / "other" / "x.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(InputError, match=r"1 masks belong to no photograph: .*x.png"):
        LabelFolder(root, kind="instance")
    picture(root / "masks" / "alone" / "x.png", np.zeros((9, 9), np.uint8))
    (root / "masks" / "other" / "x.png").unlink()
    with pytest.raises(InputError, match="a mask must have the size of its photograph"):
        LabelFolder(root, kind="instance")[1]


def test_labels_compressed_with_losses_are_refused(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    photo(tmp_path / "labels" / "a.jpg")
    with pytest.raises(InputError, match="is a JPEG, whose compression changes labels"):
        LabelFolder(tmp_path, names=["x"])[0]


@pytest.mark.skipif(not PETS.is_dir(), reason="the photographs are not here")
def test_real_pets():
    data = LabelFolder(PETS, labels="trimaps", mapping={1: "pet", 2: "background", 3: "void"})
    assert len(data) == 600
    sample = data[0]
    stored = np.asarray(Image.open(PETS / "trimaps" / f"{sample.name}.png"))
    assert np.array_equal(sample.labels, np.array([VOID, 0, 1, VOID])[stored])
    assert sample.image.shape[:2] == stored.shape
