"""What other tools read: pycocotools, panoptic PNGs, supervision."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from perpixel.errors import InputError, MissingDependencyError, OutputError
from perpixel.ops.rle import rle_from_polygons
from perpixel.results import Segment, Segments
from perpixel.results.exports import categories
from results.test_segments import NAMES, overlapping, panoptic

PHOTOS = Path(__file__).parents[2] / "../shared/data/segmentation/coco-ccby"


def test_pycocotools_loads_what_is_saved(tmp_path, capsys):
    found, person, cat = overlapping()
    assert found.save(tmp_path / "street.json") == tmp_path / "street.json"
    coco = COCO(str(tmp_path / "street.json"))
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[0]))
    assert len(annotations) == 2
    for annotation, mask in zip(annotations, (person, cat), strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
    assert annotations[1]["bbox"] == [4, 2, 4, 2] and annotations[1]["score"] == 0.9
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["person", "Cat"]
    assert coco.imgs[0] == {"id": 0, "file_name": "street", "width": 8, "height": 6}
    results = coco.loadRes(found.to_coco())
    assert sorted(results.anns) == [1, 2]


def test_numbers_of_a_data_set():
    found, *_ = overlapping()
    first, second = found.to_coco(image_id=7, first_id=100, category_ids={0: 1, 1: 17})
    assert (first["id"], first["image_id"], first["category_id"]) == (100, 7, 1)
    assert (second["id"], second["image_id"], second["category_id"]) == (101, 7, 17)
    assert json.loads(json.dumps(first)) == first
    with pytest.raises(InputError, match=r"no number for the label 1 \(Cat\)"):
        found.to_coco(category_ids={0: 1})


def test_polygons_give_the_mask_back():
    found, *_ = overlapping()
    for annotation, segment in zip(found.to_coco(polygons=True), found, strict=True):
        again = rle_from_polygons(annotation["segmentation"], 6, 8)
        rebuilt = Segments.from_masks([again], [{"label_id": 0}], NAMES, (6, 8)).mask(1)
        assert (rebuilt != found.mask(segment)).mean() < 0.1


def test_semantic_results_have_no_score():
    found = Segments.from_classes(np.array([[1, 1]]), NAMES)
    assert "score" not in found.to_coco()[0]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photographs are not here")
def test_real_annotations_round_trip(capsys, tmp_path):
    source = COCO(str(PHOTOS / "instances.json"))
    names = {number: category["name"] for number, category in source.cats.items()}
    for image_id in list(source.imgs)[:8]:
        image = source.imgs[image_id]
        annotations = source.loadAnns(source.getAnnIds(imgIds=[image_id]))
        masks = [source.annToRLE(annotation) for annotation in annotations]
        masks = [{**mask, "counts": mask["counts"].decode()} for mask in masks]
        infos = [{"label_id": annotation["category_id"], "score": 1.0} for annotation in annotations]
        found = Segments.from_masks(masks, infos, names, (image["height"], image["width"]))
        again = COCO(str(found.save(tmp_path / f"{image_id}.json")))
        expected = sorted((source.annToMask(each) for each in annotations), key=lambda mask: -int(mask.sum()))
        expected = [mask for mask in expected if mask.any()]
        assert len(again.anns) == len(expected)
        for annotation, mask in zip(again.anns.values(), expected, strict=True):
            assert annotation["area"] == mask.sum()
        assert {each["segmentation"]["counts"] for each in again.anns.values()} == {
            mask["counts"]
            for mask, expected in zip(masks, annotations, strict=True)
            if source.annToMask(expected).any()
        }


def test_panoptic_png(tmp_path):
    found = panoptic()
    annotation = found.to_panoptic_png(tmp_path / "a.png", image_id=5)
    colours = np.asarray(Image.open(tmp_path / "a.png")).astype(np.int64)
    ids = colours @ [1, 256, 65536]
    np.testing.assert_array_equal(ids, found.map)
    assert annotation["image_id"] == 5 and annotation["file_name"] == "a.png"
    assert annotation["segments_info"][1] == {
        "id": 2,
        "category_id": 0,
        "area": 3,
        "bbox": [2, 0, 2, 2],
        "iscrowd": 0,
    }
    for info in annotation["segments_info"]:
        assert (ids == info["id"]).sum() == info["area"]
    with pytest.raises(InputError, match=r"suffix \.png"):
        found.to_panoptic_png(tmp_path / "a.jpg")


def test_large_ids_reach_all_three_colours(tmp_path):
    number = 3 + 256 * 7 + 65536 * 200
    found = Segments(np.array([[0, number]]), [Segment(number, 0, "a", None, 1, (1, 0, 2, 1))])
    info = found.to_panoptic_png(tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, 1].tolist() == [3, 7, 200]
    assert info["segments_info"][0]["id"] == number
    with pytest.raises(InputError, match="what='panoptic'"):
        found.save(tmp_path / "a.png", "map")


def test_what_is_hidden_is_not_in_the_panoptic_annotation(tmp_path):
    found, *_ = overlapping()
    small = Segments(np.where(found.map == 1, 0, found.map), list(found), masks={1: found.rle(1), 2: found.rle(2)})
    assert [info["id"] for info in small.to_panoptic_png(tmp_path / "a.png")["segments_info"]] == [2]
    assert small.to_coco()[0]["area"] == 36


def test_categories():
    assert categories(panoptic()) == [
        {"id": 0, "name": "person", "isthing": 1},
        {"id": 2, "name": "sky", "isthing": 0},
    ]


def test_pictures(tmp_path):
    found = panoptic(image=np.full((3, 4, 3), 200, np.uint8))
    np.testing.assert_array_equal(np.asarray(Image.open(found.save(tmp_path / "a.png"))), found.overlay())
    np.testing.assert_array_equal(np.asarray(Image.open(found.save(tmp_path / "m.png", "map"))), found.map)
    found.save(tmp_path / "p.png", "panoptic")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.png"))[..., 0], found.map)
    assert found.save(tmp_path / "a.jpg").stat().st_size > 0
    many = Segments.from_classes(np.arange(300).reshape(1, 300), {})
    written = Image.open(many.save(tmp_path / "many.png", "map"))
    np.testing.assert_array_equal(np.asarray(written), many.map)


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("a.json", "map", "holds COCO annotations"),
        ("a.jpg", "map", "JPEG may change the numbers"),
        ("a.jpg", "panoptic", "suffix .png"),
        ("a.png", "alpha", "use one of overlay, map, panoptic"),
        ("a.exr", None, "EXR"),
        ("a", None, "no suffix"),
    ],
)
def test_what_cannot_be_saved(tmp_path, name, what, words):
    with pytest.raises(InputError, match=words):
        panoptic().save(tmp_path / name, what)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.json", "a.png"])
def test_a_missing_folder(tmp_path, name):
    with pytest.raises(OutputError, match="does not exist"):
        panoptic().save(tmp_path / "no" / name)


def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch):
    panoptic().save(tmp_path / "a.json")
    old = (tmp_path / "a.json").read_bytes()

    def crash(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OutputError, match="No space left"):
        overlapping()[0].save(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == old and len(list(tmp_path.iterdir())) == 1


def test_supervision():
    supervision = pytest.importorskip("supervision")
    found, person, cat = overlapping()
    detections = found.to_supervision()
    assert isinstance(detections, supervision.Detections) and len(detections) == 2
    np.testing.assert_array_equal(detections.mask, [person, cat])
    np.testing.assert_array_equal(detections.xyxy, [[0, 0, 6, 6], [4, 2, 8, 4]])
    assert detections.area.tolist() == [36, 8]
    assert detections["class_name"].tolist() == ["person", "Cat"]
    np.testing.assert_allclose(detections.confidence, [0.6, 0.9])
    assert Segments.from_classes(np.array([[1]]), NAMES).to_supervision().confidence is None
    assert len(found.filter(label="sky").to_supervision()) == 0


def test_what_supervision_is_given(monkeypatch):
    given = {}
    stand_in = ModuleType("supervision")
    stand_in.Detections = lambda **parts: given.update(parts)
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    found, *_ = overlapping()
    found.to_supervision()
    assert set(given) == {"xyxy", "mask", "confidence", "class_id", "data"}
    assert given["mask"].dtype == bool and given["mask"].shape == (2, 6, 8)
    assert given["class_id"].tolist() == [0, 1]


def test_without_supervision(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingDependencyError, match="pip install supervision"):
        panoptic().to_supervision()
