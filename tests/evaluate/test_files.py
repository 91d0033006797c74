"""Folders of predictions against folders of truth."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from evaluate.folders import mattes, save
from perpixel.errors import InputError
from perpixel.evaluate.files import evaluate_files
from perpixel.evaluate.pairs import DepthFiles


def test_mattes_over_the_unknown_pixels(tmp_path):
    made = mattes(tmp_path)
    found = evaluate_files("matting", tmp_path / "predictions", tmp_path / "alphas", trimaps=tmp_path / "trimaps")
    apart = [np.abs(pred.astype(float) - true)[trimap == 128] / 255 for _, true, pred, trimap in made]
    assert found.complete and found.headline == "sad" and [row.name for row in found.rows] == [m[0] for m in made]
    assert found.measures["sad"] == pytest.approx(np.mean([each.sum() / 1000 for each in apart]))
    assert found.measures["mse"] == pytest.approx(np.mean([(each**2).mean() for each in apart]))
    assert found.rows[1].measures["sad"] == pytest.approx(apart[1].sum() / 1000)
    sads = {row.name: row.measures["sad"] for row in found.rows}
    assert [case.name for case in found.worst] == sorted(sads, key=lambda name: -sads[name])


def test_mattes_over_the_whole_image(tmp_path):
    made = mattes(tmp_path)
    found = evaluate_files("matting", tmp_path / "predictions", tmp_path / "alphas")
    sads = [np.abs(pred.astype(float) - true).sum() / 255 / 1000 for _, true, pred, _ in made]
    assert found.headline == "sad_whole" and found.value == pytest.approx(np.mean(sads))
    assert all(name.endswith("_whole") for name in found.measures)


def test_sixteen_bits_are_more_exact_than_eight(tmp_path):
    true = np.array([[0, 1000, 65535]], np.uint16)
    save(tmp_path / "t" / "a.png", true)
    save(tmp_path / "p" / "a.png", np.array([[0, 1100, 65535]], np.uint16))
    found = evaluate_files("matting", tmp_path / "p", tmp_path / "t")
    assert found.value == pytest.approx(100 / 65535 / 1000, rel=1e-4)


def test_what_has_no_partner_is_named_and_the_rest_goes_on(tmp_path):
    mattes(tmp_path, 4)
    (tmp_path / "predictions" / "photo0.png").unlink()
    save(tmp_path / "predictions" / "photo1.png", np.zeros((5, 5), np.uint8))
    (tmp_path / "predictions" / "photo2.png").write_text("no picture")
    save(tmp_path / "predictions" / "stray.png", np.zeros((5, 5), np.uint8))
    found = evaluate_files("matting", tmp_path / "predictions", tmp_path / "alphas")
    errors = {failure.name: failure.error for failure in found.failures}
    assert "no prediction" in errors["photo0"] and "put photo0.png into" in errors["photo0"]
    assert "5×5 but the truth is 17×13 (width×height)" in errors["photo1"] and "photo1.png" in errors["photo1"]
    assert "photo2.png" in errors["photo2"] and "no truth" in errors["stray"]
    assert [row.name for row in found.rows] == ["photo3"] and not found.complete


def test_a_missing_trimap_or_one_without_unknown_pixels(tmp_path):
    mattes(tmp_path, 3)
    (tmp_path / "trimaps" / "photo0.png").unlink()
    save(tmp_path / "trimaps" / "photo1.png", np.tile(np.array([0, 255], np.uint8), (13, 9))[:, :17])
    found = evaluate_files("matting", tmp_path / "predictions", tmp_path / "alphas", trimaps=tmp_path / "trimaps")
    errors = {failure.name: failure.error for failure in found.failures}
    assert "no trimap for photo0" in errors["photo0"] and "no unknown pixel" in errors["photo1"]
    assert [row.name for row in found.rows] == ["photo2"]


def test_label_maps_as_a_confusion_matrix_says(tmp_path):
    random = np.random.default_rng(1)
    pairs = []
    for number in range(3):
        true, pred = (random.integers(0, 4, (9, 11)).astype(np.uint8) for _ in range(2))
        true[random.random(true.shape) < 0.2] = 255
        save(tmp_path / "t" / "city" / f"{number}.png", true)
        save(tmp_path / "p" / "city" / f"{number}.png", pred)
        pairs.append((true, pred))
    found = evaluate_files("semantic", tmp_path / "p", tmp_path / "t")
    true = np.concatenate([pair[0].ravel() for pair in pairs])
    pred = np.concatenate([pair[1].ravel() for pair in pairs])
    counts = confusion_matrix(true[true != 255], pred[true != 255], labels=range(4))
    ious = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert found.value == pytest.approx(ious.mean())
    assert found.measures["pixel_accuracy"] == pytest.approx(np.diag(counts).sum() / counts.sum())
    assert {name for name in found.measures if "/" in name} == {f"iou/{label}" for label in range(4)}
    assert found.rows[0].name == "city/0" and "iou/0" not in found.rows[0].measures


def test_labels_beyond_the_classes_and_colours(tmp_path):
    save(tmp_path / "t" / "a.png", np.zeros((2, 2), np.uint8))
    save(tmp_path / "p" / "a.png", np.full((2, 2), 7, np.uint8))
    save(tmp_path / "t" / "b.png", np.zeros((2, 2), np.uint8))
    save(tmp_path / "p" / "b.png", np.zeros((2, 2, 3), np.uint8))
    found = evaluate_files("semantic", tmp_path / "p", tmp_path / "t", num_labels=3)
    errors = [failure.error for failure in found.failures]
    assert "label 7" in errors[0] and "picture in colour" in errors[1] and not found.rows


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_depth_in_millimetres_or_metres(tmp_path, suffix):
    true = np.array([[1.0, 2.0, 4.0, 0.0]])
    pred = np.array([[1.1, 2.0, 5.0, 9.0]])
    whole = suffix == ".png"
    for part, values in (("t", true), ("p", pred)):
        save(tmp_path / part / f"a{suffix}", np.rint(values * 1000).astype(np.uint16) if whole else values)
    found = evaluate_files("depth", tmp_path / "p", tmp_path / "t", depth=DepthFiles(1000 if whole else None))
    assert found.measures["abs_rel"] == pytest.approx((0.1 + 0 + 0.25) / 3, rel=1e-6)
    assert found.measures["rmse"] == pytest.approx(np.sqrt((0.01 + 0 + 1) / 3), rel=1e-6)
    assert found.measures["delta1"] == pytest.approx(2 / 3), "5 / 4 is 1.25, and below it is asked"
    assert found.settings["align"] == "none"


def test_inverse_depth_is_aligned_and_the_scales_may_differ(tmp_path):
    random = np.random.default_rng(0)
    true = random.uniform(1, 9, (8, 9))
    save(tmp_path / "t" / "a.png", np.rint(true * 256).astype(np.uint16))
    save(tmp_path / "p" / "a.npy", 3 / true + 0.5)
    depth = DepthFiles(truth_scale=256, inverse=True)
    found = evaluate_files("depth", tmp_path / "p", tmp_path / "t", depth=depth)
    assert found.measures["abs_rel"] < 2e-3 and found.settings["align"] == "scale_shift"
    capped = evaluate_files("depth", tmp_path / "p", tmp_path / "t", depth=depth, rules={"farthest": 2})
    assert capped.measures["abs_rel"] < 2e-3 and capped.settings["farthest"] == 2


def test_depth_as_perpixel_saves_it_needs_no_scale(tmp_path):
    from perpixel.results import DepthMap

    values = np.random.default_rng(0).uniform(1, 5, (6, 7)).astype(np.float32)
    for part in ("t", "p"):
        (tmp_path / part).mkdir()
        DepthMap(values, kind="metric").save(tmp_path / part / "a.png")
    assert evaluate_files("depth", tmp_path / "p", tmp_path / "t").measures["abs_rel"] == 0
    wrong = evaluate_files("depth", tmp_path / "p", tmp_path / "t", depth=DepthFiles(inverse=True))
    assert "holds metric depth" in wrong.failures[0].error


def test_depth_that_was_not_measured_or_predicted(tmp_path):
    save(tmp_path / "t" / "empty.npy", np.zeros((2, 2)))
    save(tmp_path / "p" / "empty.npy", np.ones((2, 2)))
    save(tmp_path / "t" / "hole.npy", np.ones((2, 2)))
    save(tmp_path / "p" / "hole.npy", np.array([[1, np.nan], [1, 1]]))
    save(tmp_path / "t" / "codes.png", np.ones((2, 2), np.uint16))
    save(tmp_path / "p" / "codes.png", np.ones((2, 2), np.uint16))
    errors = {f.name: f.error for f in evaluate_files("depth", tmp_path / "p", tmp_path / "t").failures}
    assert "no known depth" in errors["empty"] and "NaN" in errors["hole"] and "--scale 1000" in errors["codes"]


def test_photographs_are_shown(tmp_path):
    mattes(tmp_path, 1)
    save(tmp_path / "photos" / "photo0.jpg", np.zeros((12, 17, 3), np.uint8))
    found = evaluate_files("matting", tmp_path / "predictions", tmp_path / "alphas", images=tmp_path / "photos")
    assert found.worst[0].panels[0].caption == "photograph"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "mating"}, "task='mating' is not known"),
        ({"predictions": "no"}, "the predictions .*no do not exist"),
        ({"predictions": "empty"}, "holds no alpha"),
        ({"predictions": "alphas/photo0.png"}, "is a file but"),
        ({"trimaps": "empty"}, "holds no trimap"),
        ({"task": "semantic", "trimaps": "trimaps"}, "trimaps is for matting"),
        ({"depth": DepthFiles(1000)}, "are for depth"),
        ({"rules": {"threshold": 0.5}}, "threshold is for"),
        ({"rules": {"size": 99}}, "size is for a model"),
    ],
)
def test_a_wrong_call(tmp_path, change, words):
    mattes(tmp_path, 1)
    (tmp_path / "empty").mkdir()
    given = {"task": "matting", "predictions": "predictions", "truth": "alphas", **change}
    for name in ("predictions", "truth", "trimaps"):
        if name in given:
            given[name] = tmp_path / given[name]
    with pytest.raises(InputError, match=words):
        evaluate_files(given.pop("task"), given.pop("predictions"), given.pop("truth"), **given)


def test_two_files_whatever_they_are_called(tmp_path):
    true = save(tmp_path / "true.png", np.zeros((3, 3), np.uint8))
    pred = save(tmp_path / "mine.png", np.full((3, 3), 255, np.uint8))
    assert evaluate_files("matting", pred, true).measures["mse_whole"] == 1
