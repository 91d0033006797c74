"""COCO's JSON files against each other."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluate.folders import box, rle, save, write_json
from perpixel.errors import InputError
from perpixel.evaluate.files import evaluate_files

SIZE = (20, 30)
CATEGORIES = [{"id": 3, "name": "dog", "isthing": 1}, {"id": 8, "name": "sky", "isthing": 0}]


def instances(path, count=6):
    """Random boxes of two classes, a polygon and a crowd among them; and results for them, noisy."""
    random = np.random.default_rng(2)
    annotations, results = [], []
    for image in range(1, count + 1):
        for place in range(3):
            top, left = random.integers(0, 10, 2).tolist()
            mask = box(top, left, top + 8, left + 9)
            category = int(random.choice([3, 8]))
            crowd = int(place == 2 and image % 2 == 0)
            form = [[left, top, left + 9, top, left + 9, top + 8, left, top + 8]] if place == 0 else rle(mask)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": category, "segmentation": form,
                 "iscrowd": crowd, "area": 72.0, "bbox": [left, top, 9, 8]}
            )  # fmt: skip
            if random.random() < 0.85:
                moved = np.roll(mask, int(random.integers(0, 3)), 1)
                results.append(
                    {"image_id": image, "category_id": category, "segmentation": rle(moved),
                     "score": float(random.random())}
                )  # fmt: skip
    images = [{"id": n, "file_name": f"{n:012}.jpg", "height": 20, "width": 30} for n in range(1, count + 1)]
    truth = write_json(path / "t.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})
    return truth, write_json(path / "p.json", results), results


def test_instances_as_pycocotools_says(tmp_path, capsys):
    truth, predictions, _ = instances(tmp_path)
    found = evaluate_files("instance", predictions, truth)
    api = COCO(truth)
    reference = COCOeval(api, api.loadRes(str(predictions)), "segm")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    ours = [found.measures[name] for name in ("ap", "ap50", "ap75", "ar1", "ar10", "ar100")]
    assert ours == pytest.approx(reference.stats[[0, 1, 2, 6, 7, 8]], abs=1e-9)
    assert found.complete and found.rows[0].name == "000000000001" and 0 < found.value < 1


def test_results_for_nothing_and_of_no_use(tmp_path):
    truth, _, results = instances(tmp_path)
    base = results[0]
    bad = [
        {**base, "image_id": 99},
        {**base, "image_id": 2, "category_id": 5},
        {**base, "image_id": 3, "score": None},
        {**base, "image_id": 4, "segmentation": {"size": [9, 9], "counts": "9"}},
        {**base, "image_id": 5, "segmentation": rle(box(0, 0, 2, 2, (9, 9)))},
        {key: value for key, value in {**base, "image_id": 6}.items() if key != "segmentation"},
    ]
    found = evaluate_files("instance", write_json(tmp_path / "p.json", [base, *bad]), truth)
    errors = {failure.name: failure.error for failure in found.failures}
    assert "does not list" in errors["image_id 99"]
    assert "category_id 5" in errors["000000000002"] and "score None" in errors["000000000003"]
    assert "RLE" in errors["000000000004"] and "9×9" in errors["000000000005"]
    assert "without a mask" in errors["000000000006"]
    assert [row.name for row in found.rows] == ["000000000001"]


def test_a_data_set_is_paired_by_file_and_category_names(tmp_path):
    """As `perpixel segment --coco` writes it: ids of its own, the model's labels."""
    truth, _, results = instances(tmp_path)
    plain = evaluate_files("instance", write_json(tmp_path / "p.json", results), truth)
    own = {3: 1, 8: 0}
    moved = [{**each, "image_id": each["image_id"] + 40, "category_id": own[each["category_id"]]} for each in results]
    content = {
        "images": [{"id": number + 40, "file_name": f"{number:012}.png"} for number in range(1, 7)],
        "annotations": [*moved, {**moved[0], "category_id": 2}],
        "categories": [{"id": 0, "name": "sky"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "sea"}],
    }
    named = evaluate_files("instance", write_json(tmp_path / "p.json", content), truth)
    assert named.measures == plain.measures and named.complete
    assert "by name" in named.notes[0] and "sea" in named.notes[0]


def panoptic(folder, name, ids, infos):
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], 2).astype(np.uint8)
    save(folder / name / "a.png", colours)
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": infos}
    images = [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}]
    return write_json(
        folder / f"{name}.json", {"images": images, "annotations": [annotation], "categories": CATEGORIES}
    )


def test_panoptic_quality_by_hand(tmp_path):
    """A dog of 100 pixels found with IoU 80/100; the sky found exactly but for a void part; a dog too many."""
    true, pred = (np.zeros(SIZE, int) for _ in range(2))
    true[:10, :10], pred[:8, :10] = 70000, 5
    true[15:, :], pred[12:, :] = 300, 6
    pred[:5, 20:] = 7
    true[:5, 20:] = 300
    truth = panoptic(tmp_path, "t", true, [{"id": 70000, "category_id": 3}, {"id": 300, "category_id": 8}])
    predictions = panoptic(
        tmp_path, "p", pred,
        [{"id": 5, "category_id": 3}, {"id": 6, "category_id": 8}, {"id": 7, "category_id": 3}],
    )  # fmt: skip
    found = evaluate_files("panoptic", predictions, truth)
    sky = 150 / 200  # the true sky has 150 + 50 pixels, the found one 150 after its void ones are taken out
    assert found.measures["pq_things"] == pytest.approx(0.8 / 1.5)
    assert found.measures["pq_stuff"] == pytest.approx(sky)
    assert found.value == pytest.approx((0.8 / 1.5 + sky) / 2)
    assert evaluate_files("panoptic", tmp_path / "p.json", tmp_path / "t.json").measures == found.measures


def test_a_panoptic_png_with_a_segment_that_its_json_lacks(tmp_path):
    ids = np.ones(SIZE, int)
    truth = panoptic(tmp_path, "t", ids, [{"id": 1, "category_id": 3}])
    found = evaluate_files("panoptic", panoptic(tmp_path, "p", ids, []), truth)
    assert "segment 1" in found.failures[0].error and "does not list" in found.failures[0].error
    content = json.loads((tmp_path / "p.json").read_text())
    content["annotations"] = []
    found = evaluate_files("panoptic", write_json(tmp_path / "p.json", content), truth)
    assert "no annotation of this image" in found.failures[0].error and not found.rows


def test_what_perpixel_segment_writes_can_be_measured(tmp_path):
    """Panoptic PNGs beside their JSON, in a folder that is given."""
    from perpixel.results import Segments

    ids = np.where(box(2, 3, 12, 14), 1, 2)
    segments = Segments.from_map(ids, [{"id": 1, "label_id": 0}, {"id": 2, "label_id": 1}], {0: "dog", 1: "sky"})
    (tmp_path / "out").mkdir()
    annotation = segments.to_panoptic_png(tmp_path / "out" / "a.png", image_id=7)
    rows = [{"id": 7, "file_name": "a.jpg"}]
    names = [{"id": 0, "name": "dog"}, {"id": 1, "name": "sky"}]
    write_json(tmp_path / "out" / "panoptic.json", {"images": rows, "annotations": [annotation], "categories": names})
    infos = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 8}]
    truth = panoptic(tmp_path, "t", ids, infos)
    found = evaluate_files("panoptic", tmp_path / "out", truth)
    assert found.value == 1.0 and found.complete


def test_the_worst_instances_are_drawn(tmp_path):
    truth, predictions, _ = instances(tmp_path)
    for number in range(1, 7):
        path = save(tmp_path / "photos" / f"{number:012}.png", np.zeros((*SIZE, 3), np.uint8))
        Image.open(path).save(path.with_suffix(".jpg"))
    found = evaluate_files("instance", predictions, truth, images=tmp_path / "photos", worst=2)
    assert [panel.caption for panel in found.worst[0].panels][:3] == ["photograph", "truth", "prediction"]
    assert len(found.worst) == 2 and found.worst[0].value <= found.worst[1].value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "are no JSON"),
        ({"results": []}, "have no annotations"),
        ([{"category_id": 3}], "without image_id"),
        ([{"image_id": 77, "category_id": 3}], "no image of"),
        ({"annotations": [], "categories": [{"id": 3, "name": "sea"}]}, "no category of"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, words):
    truth, _, _ = instances(tmp_path)
    path = tmp_path / "p.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words):
        evaluate_files("instance", path, truth)
    with pytest.raises(InputError, match="do not exist"):
        evaluate_files("instance", tmp_path / "none.json", truth)
