import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from data.miniatures_segmentation import SIZE, coco_instances, compressed, photo, write_json
from perpixel.data.categories.coco import COCO_THINGS
from perpixel.data.coco import CocoInstances
from perpixel.data.samples import VOID
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle

REAL = Path(__file__).parents[2] / "../shared/data/segmentation/coco-ccby"


@pytest.fixture
def folder(tmp_path):
    return tmp_path, coco_instances(tmp_path)


def reference(path: Path) -> COCO:
    api = COCO()
    api.dataset = json.loads(path.read_text())
    api.createIndex()
    return api


def assert_equals_pycocotools(data: CocoInstances, api: COCO, count: int):
    seen = 0
    assert sorted(data.image_ids) == sorted(api.getImgIds())
    for sample, image in zip(data, data.image_ids, strict=True):
        rows = api.loadAnns(api.getAnnIds(imgIds=image))
        assert len(rows) == len(sample.objects)
        for row, item in zip(rows, sample.objects, strict=True):
            assert np.array_equal(decode_rle(item.rle), api.annToMask(row).astype(bool))
            assert data.categories.ids[item.category] == row["category_id"]
            assert item.crowd == bool(row["iscrowd"])
            assert item.area == row.get("area")
            seen += 1
    assert seen == count


def test_masks_are_those_of_pycocotools(folder):
    root, _ = folder
    path = root / "annotations" / "instances_val2017.json"
    assert_equals_pycocotools(CocoInstances(root, split="val"), reference(path), 4)


@pytest.mark.skipif(not REAL.is_dir(), reason="the photographs are not here")
def test_masks_of_real_annotations_are_those_of_pycocotools():
    data = CocoInstances(REAL, annotations="instances.json", images="images")
    assert_equals_pycocotools(data, reference(REAL / "instances.json"), 149)
    assert data.categories == COCO_THINGS


def test_objects_of_every_form(folder):
    root, truth = folder
    data = CocoInstances(root, split="validation")
    assert data.kind == "instance"
    assert data.names == ("000000000009", "000000000025", "000000000030")
    assert data.image_ids == (9, 25, 30)
    assert data.categories.names == ("person", "dog", "toothbrush")
    assert data.categories.ids == (1, 18, 90)
    first, second, third = data
    assert first.image.shape == (*SIZE, 3)
    assert [item.category for item in first.objects] == [1, 0, 2]
    assert [item.area for item in first.objects] == [333.5, 72.0, 200.0]
    assert np.array_equal(decode_rle(first.objects[0].rle), truth["dog"])
    assert np.array_equal(decode_rle(first.objects[1].rle), truth["person"])
    (crowd,) = second.objects
    assert crowd.crowd and crowd.area is None
    assert isinstance(crowd.rle["counts"], str)
    assert np.array_equal(decode_rle(crowd.rle), truth["crowd"])
    assert third.objects == ()


def test_classes_by_pixel(folder):
    root, truth = folder
    data = CocoInstances(root, split="val", kind="semantic")
    assert data.categories.names == ("background", "person", "dog", "toothbrush")
    assert data.categories.things[0] is False
    labels = data[0].labels
    assert labels.dtype == np.int32
    assert (labels[truth["person"]] == 1).all()  # the smallest lies on top
    assert labels[0, 0] == 0
    assert labels[19, 9] == 2
    assert (data[2].labels == 0).all()
    assert np.array_equal(data[1].labels == 1, truth["crowd"])
    bare = CocoInstances(root, split="val", kind="semantic", background=False)
    assert bare.categories.names == ("person", "dog", "toothbrush")
    assert np.array_equal(bare[0].labels, np.where(labels > 0, labels - 1, VOID))


def test_photographs_without_objects_can_be_left_out(folder):
    # A group alone is nothing to learn from either.
    assert CocoInstances(folder[0], split="val", skip_empty=True).names == ("000000000009",)


def test_what_is_opened_can_be_pickled(folder):
    data = CocoInstances(folder[0], split="val")
    copy = pickle.loads(pickle.dumps(data))
    assert copy.names == data.names
    assert copy[0].objects == data[0].objects
    assert copy[-1].name == "000000000030"


def test_names_tell_photographs_with_other_suffixes_apart(tmp_path):
    images = [{"id": n, "file_name": name} for n, name in enumerate(("a/x.png", "a/x.bmp", "a/y.png"))]
    for image in images:
        photo(tmp_path / "pictures" / image["file_name"])
    write_json(tmp_path / "all.json", images, [], [{"id": 0, "name": "cat"}])
    data = CocoInstances(tmp_path, annotations="all.json", images="pictures", kind="semantic")
    assert data.names == ("a/x.png", "a/x.bmp", "a/y")
    assert len(set(data.categories.ids)) == 2  # the class 0 of the file and the background have different ids


def spoil(root: Path, change) -> Path:
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(category_id=2), "annotation 1 has category_id 2, which is no category"),
        (lambda c: c["annotations"][0].update(image_id=8), "annotation 1 is of image 8"),
        (lambda c: c["annotations"][0].pop("segmentation"), "annotation 1 has no segmentation"),
        (lambda c: c["annotations"][0].update(segmentation=[1, 2, 3, 4, 5, 6]), "annotation 1 has a segmentation that"),
        (lambda c: c["images"][0].update(file_name="../secret.jpg"), "leads out of the folder"),
        (lambda c: c["images"][0].update(id=25), "two images with the id 25"),
        (lambda c: c["images"][0].update(file_name="000000000025.jpg"), "lists '000000000025.jpg' twice"),
        (lambda c: c["categories"][0].update(id=1), "two categories with the id 1"),
        (lambda c: c.update(images={}), "is no COCO data set"),
        (lambda c: c.update(categories=[]), "has no categories"),
    ],
)
def test_a_wrong_file_is_refused_when_it_is_opened(folder, change, message):
    path = spoil(folder[0], change)
    with pytest.raises(InputError, match=message) as caught:
        CocoInstances(folder[0], split="val")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]]), "annotation 2: polygon 0"),
        (lambda c: c["annotations"][0].update(segmentation={"size": list(SIZE), "counts": "zzz"}), "annotation 1: "),
        (
            lambda c: c["annotations"][0].update(segmentation=compressed(np.ones((3, 4), bool))),
            "its RLE is 4×3 but the image is 37×24",
        ),
        (lambda c: c["images"][0].update(height=25), "000000000009.jpg is 37×24 but .* says 37×25"),
    ],
)
def test_a_wrong_mask_is_refused_when_it_is_read(folder, change, message):
    spoil(folder[0], change)
    data = CocoInstances(folder[0], split="val")
    with pytest.raises(InputError, match=message):
        data[0]
    assert len(data[1].objects) == 1


def test_options_that_do_not_fit(folder, tmp_path):
    root, _ = folder
    with pytest.raises(ConfigError, match="no labels of kind 'panoptic': use instance or semantic"):
        CocoInstances(root, kind="panoptic")
    with pytest.raises(ConfigError, match="belong together"):
        CocoInstances(root, annotations="a.json")
    with pytest.raises(ConfigError, match="no labels for the split 'test'"):
        CocoInstances(root, split="test")
    with pytest.raises(InputError, match=r"instances_train2017.json does not exist"):
        CocoInstances(root)
    (root / "bad.json").write_text('{"images": [')
    with pytest.raises(InputError, match="is no JSON"):
        CocoInstances(root, annotations="bad.json", images="val2017")
    with pytest.raises(IndexError):
        CocoInstances(root, split="val")[3]


def test_a_missing_photograph_is_named(folder):
    (folder[0] / "val2017" / "000000000025.jpg").unlink()
    with pytest.raises(InputError, match=r"000000000025.jpg does not exist"):
        CocoInstances(folder[0], split="val")[1]


def test_a_photograph_turned_by_exif_is_refused(folder):
    path = folder[0] / "val2017" / "000000000009.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(InputError, match=r"is 24×37 but .* says 37×24 .*: its EXIF turns it"):
        CocoInstances(folder[0], split="val")[0]
