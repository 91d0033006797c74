"""Models over data sets, with networks whose predictions are known."""

import importlib
import json

import numpy as np
import pytest

import perpixel as px
from evaluate.folders import rle, save, write_json
from models.vitmatte.tiny import tiny_model
from perpixel.errors import CheckpointError, ConfigError, InputError
from perpixel.evaluate import model as measuring
from perpixel.evaluate.tally import Share
from perpixel.metrics.depth import depth_errors
from perpixel.metrics.matting import mse, sad
from tasks.known_depth import estimator, picture, smooth
from tasks.painted import NAMES, PARTS, mask, painted_segmenter, scene


def matting_set(folder, count=3, trimaps=True):
    random = np.random.default_rng(0)
    for number in range(count):
        image = random.integers(0, 256, (40, 48 + number, 3), np.uint8)
        trimap = np.full(image.shape[:2], 128, np.uint8)
        trimap[:, :16], trimap[:, 32:] = 255, 0
        alpha = np.where(trimap == 128, random.integers(0, 256, trimap.shape), trimap).astype(np.uint8)
        parts = [("images", image), ("alphas", alpha), *([("trimaps", trimap)] if trimaps else [])]
        for part, values in parts:
            save(folder / part / f"n{number}.png", values)
    return folder


def test_a_matting_model_as_its_users_get_it(tmp_path):
    network = tiny_model()
    matting_set(tmp_path)
    found = px.evaluate(network, dataset="matte-folder", root=tmp_path, split="all")
    by_hand = []
    for number in range(3):
        paths = [tmp_path / part / f"n{number}.png" for part in ("images", "trimaps", "alphas")]
        alpha = px.matte(paths[0], paths[1], model=network).alpha
        true = px.read_mask(paths[2])
        by_hand.append((sad(alpha, true, px.read_trimap(paths[1])), mse(alpha, true, px.read_trimap(paths[1]))))
    assert [found.measures["sad"], found.measures["mse"]] == pytest.approx(np.mean(by_hand, 0))
    assert [row.measures["sad"] for row in found.rows] == pytest.approx([each[0] for each in by_hand])
    assert found.complete and found.settings["split"] == "all" and found.settings["model"].startswith("VitMatte")
    assert json.dumps(found.to_dict())  # every setting is plain


def test_only_the_first_images_and_no_pictures(tmp_path):
    seen = []
    found = px.evaluate(
        tiny_model(),
        dataset="matte-folder",
        root=matting_set(tmp_path),
        split="all",
        limit=2,
        worst=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [row.name for row in found.rows] == ["n0", "n1"] and found.worst == () and seen == [(1, 2), (2, 2)]


def test_an_unreadable_photograph_is_named_and_the_rest_goes_on(tmp_path):
    matting_set(tmp_path)
    (tmp_path / "images" / "n1.png").write_text("no picture")
    found = px.evaluate(tiny_model(), dataset="matte-folder", root=tmp_path, split="all")
    assert [row.name for row in found.rows] == ["n0", "n2"] and not found.complete
    assert found.failures[0].name == "n1" and "n1.png" in found.failures[0].error


def test_trimaps_are_made_of_the_truth_only_if_asked(tmp_path):
    matting_set(tmp_path, trimaps=False)
    given = {"dataset": "matte-folder", "root": tmp_path, "split": "all"}
    assert "has no trimap" in px.evaluate(tiny_model(), **given).failures[0].error
    found = px.evaluate(tiny_model(), **given, rules={"band": 3})
    assert found.complete and found.settings["band"] == 3 and found.measures["sad"] > 0


def painted_set(folder):
    """Two pictures, one of them without the dog in its truth."""
    annotations, labels = [], {name: number + 1 for number, name in NAMES.items()}
    for image in (1, 2):
        save(folder / "val2017" / f"{image}.png", scene())
        for number, (_, label, _) in enumerate(PARTS[: 3 if image == 1 else 2]):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": labels[NAMES[label]],
                 "segmentation": rle(mask(number)), "iscrowd": 0}
            )  # fmt: skip
    images = [{"id": n, "file_name": f"{n}.png", "height": 96, "width": 128} for n in (1, 2)]
    # Numbered backwards, to see that names decide.
    names = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    write_json(
        folder / "annotations" / "instances_val2017.json",
        {"images": images, "annotations": annotations, "categories": names[::-1]},
    )
    return folder


def test_instances(tmp_path):
    found = px.evaluate(painted_segmenter(), dataset="coco", root=painted_set(tmp_path))
    # Person: both images right at every IoU. Dog: of two found with equal scores the first is right.
    assert found.measures["ap/person"] == pytest.approx(1)
    assert found.measures["ap/dog"] == pytest.approx(1)
    assert found.complete and found.settings["threshold"] == 0
    assert found.task == "instance" and found.ranked_by == "ap"
    strict = px.evaluate(
        painted_segmenter(), dataset="coco", root=tmp_path, rules={"threshold": 1, "boundary": True}, limit=1
    )
    assert strict.value == 0 and strict.measures["boundary_ap"] == 0


def test_labels_without_a_class_are_told(tmp_path):
    root = painted_set(tmp_path)
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 9, "name": "zebra"})
    path.write_text(json.dumps(content))
    found = px.evaluate(painted_segmenter(), dataset="coco", root=root, limit=1)
    assert "zebra" in found.notes[0]


def panoptic_set(folder):
    """The scene as it is, numbered as COCO numbers; its sky is one segment in two parts."""
    ids, infos = np.zeros((96, 128), int), []
    for number, (_, label, _) in enumerate(PARTS):
        segment = 900 if label == 2 else 300 + number
        ids[mask(number)] = segment
        if segment not in [info["id"] for info in infos]:
            infos.append({"id": segment, "category_id": 10 * (label + 1), "iscrowd": 0, "area": 1, "bbox": []})
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], 2).astype(np.uint8)
    save(folder / "annotations" / "panoptic_val2017" / "1.png", colours)
    save(folder / "val2017" / "1.png", scene())
    categories = [{"id": 10 * (n + 1), "name": name, "isthing": int(n < 2)} for n, name in NAMES.items()]
    write_json(
        folder / "annotations" / "panoptic_val2017.json",
        {
            "images": [{"id": 1, "file_name": "1.png", "height": 96, "width": 128}],
            "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": infos}],
            "categories": categories,
        },
    )
    return folder


def test_panoptic_segments_with_the_sky_in_one_piece(tmp_path):
    found = px.evaluate(painted_segmenter(), dataset="coco-panoptic", root=panoptic_set(tmp_path))
    assert found.complete and found.settings["threshold"] == 0.8
    assert found.measures["rq"] == 1 and found.measures["sq"] > 0.95
    assert found.measures["pq_stuff"] > 0.95, "one segment of sky was expected, not two"
    with pytest.raises(InputError, match="boundary is for"):
        px.evaluate(painted_segmenter(), dataset="coco-panoptic", root=tmp_path, rules={"boundary": True})


def test_semantic_classes(tmp_path):
    found = px.evaluate(
        painted_segmenter(), dataset="coco-panoptic", root=panoptic_set(tmp_path), task="semantic",
        rules={"boundary": True},
    )  # fmt: skip
    assert found.task == "semantic" and found.value > 0.95 and found.measures["mean_boundary_iou"] > 0.8


def depth_set(folder, kind, count=2):
    """`estimator` sees depth where a picture is bright."""
    for number in range(count):
        bright = smooth(32, 48 + 16 * number)
        save(folder / "depths" / f"{number}.npy", 1 / (2 * bright + 0.1) if kind == "inverse" else bright)
        px_picture = (picture(bright) // 257).astype(np.uint8)
        save(folder / "images" / f"{number}.png", px_picture)
    return folder


def test_relative_depth_is_aligned(tmp_path):
    depth_set(tmp_path, "inverse")
    model = estimator()
    found = px.evaluate(model, dataset="depth-folder", root=tmp_path, split="all")
    assert found.settings["align"] == "scale_shift" and found.settings["predicts"] == "inverse depth"
    by_hand = []
    for number in range(2):
        guess = px.depth(tmp_path / "images" / f"{number}.png", model=model).values
        true = np.load(tmp_path / "depths" / f"{number}.npy")
        by_hand.append(depth_errors(guess, true, align="scale_shift", inverse=True)["abs_rel"])
    assert found.value == pytest.approx(np.mean(by_hand), rel=1e-5) and found.value < 0.05
    plain = px.evaluate(model, dataset="depth-folder", root=tmp_path, split="all", rules={"align": "none"})
    assert plain.value > 0.1 and plain.settings["align"] == "none"


def test_inverse_depth_with_a_known_scale_is_not_aligned(tmp_path):
    depth_set(tmp_path, "inverse")
    given = {"dataset": "depth-folder", "root": tmp_path, "split": "all"}
    found = px.evaluate(estimator(), **given, rules={"inverse_scale": 2, "inverse_shift": 0.1})
    assert found.settings["align"] == "none" and found.value < 0.05
    wrong = px.evaluate(estimator(), **given, rules={"inverse_scale": 3, "inverse_shift": 0.1})
    assert wrong.value > 0.2
    with pytest.raises(InputError, match="gives metres"):
        px.evaluate(estimator(kind="metric"), **given, rules={"inverse_scale": 2})


def test_metric_depth_is_not_and_caps_and_crops_count(tmp_path):
    depth_set(tmp_path, "metric")
    given = {"dataset": "depth-folder", "root": tmp_path, "split": "all"}
    found = px.evaluate(estimator(kind="metric"), **given)
    assert found.settings["align"] == "none" and found.value < 0.05
    capped = px.evaluate(estimator(kind="metric"), **given, rules={"farthest": 0.5, "crop": "garg", "size": 32})
    assert capped.value != found.value and capped.settings["crop"] == "garg"
    nothing = px.evaluate(estimator(kind="metric"), **given, rules={"farthest": 0.1})
    assert "no known depth" in nothing.failures[0].error and np.isnan(nothing.measures.get("abs_rel", np.nan))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dataset": "matte-foldr"}, ConfigError, "did you mean 'matte-folder'"),
        ({"options": {"imagesuffix": ".png"}}, ConfigError, "did you mean 'image_suffix'"),
        ({"rules": {"bnd": 3}}, ConfigError, "did you mean 'band'"),
        ({"rules": {"crop": "garg"}}, InputError, "crop is for depth"),
        ({"task": "depth"}, ConfigError, "labelled for matting"),
        ({"split": "validation"}, InputError, "no part 'validation'"),
        ({"limit": 0}, InputError, "limit is 0"),
        ({"device": "warp"}, InputError, "no device 'warp'"),
        ({"model": "/nowhere/at/all"}, CheckpointError, "nowhere"),
    ],
)
def test_a_wrong_call(tmp_path, change, error, words):
    given = {"model": tiny_model(), "dataset": "matte-folder", "root": matting_set(tmp_path, 1), "split": "all"}
    with pytest.raises(error, match=words):
        px.evaluate(**{**given, **change})


def test_shares_of_any_number_of_processes_come_to_the_same(tmp_path, monkeypatch):
    """What each process measures, joined as `Share.joined` does, without starting any."""
    matting_set(tmp_path, 5)
    (tmp_path / "images" / "n3.png").write_text("no picture")
    network = tiny_model()
    given = {"dataset": "matte-folder", "root": tmp_path, "split": "all", "worst": 2}
    whole = px.evaluate(network, **given).to_dict()
    for count in (2, 3, 7):
        parts = []
        monkeypatch.setattr(Share, "joined", lambda self, tally: parts.append(tally) or tally)  # noqa: B023
        for number in range(count - 1, 0, -1):
            monkeypatch.setattr(measuring, "this_share", lambda: Share(number, count))  # noqa: B023
            px.evaluate(network, **given)

        def joined(self, tally):
            for part in parts:  # noqa: B023
                tally.merge(part)
            return tally

        monkeypatch.setattr(Share, "joined", joined)
        monkeypatch.setattr(measuring, "this_share", lambda: Share(0, count))  # noqa: B023
        found = px.evaluate(network, **given).to_dict()
        for each in (found, whole):
            each.pop("seconds", None)
        assert found == whole


def test_the_function_survives_the_import_of_its_folder():
    folder = importlib.import_module("perpixel.evaluate")
    report = importlib.import_module("perpixel.evaluate.report")
    assert px.evaluate is measuring.evaluate is not folder
    assert px.Evaluation is report.Evaluation
