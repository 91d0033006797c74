"""Every layout of docs/reproduce.md in miniature: who predicts the truth scores perfectly, and models run on it."""

import numpy as np
import pytest

import perpixel as px
from data.miniatures_depth import kitti, nyu_extracted
from data.miniatures_matting import composed_folder, distinctions_646
from data.miniatures_segmentation import ade20k, cityscapes, coco_instances, coco_panoptic, pascal_context
from models.mask2former import tiny as mask2former
from models.vitmatte.tiny import tiny_model as tiny_matting
from perpixel.data import kitti as kitti_reader
from perpixel.evaluate import model as measuring
from perpixel.evaluate.judges import DepthPrediction, FoundObject, PanopticPrediction
from perpixel.evaluate.predict import Predictor
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
from perpixel.tasks.segmentation import Segmenter
from tasks.known_depth import estimator

DRIVE = "2011_09_26_drive_0048"
MINIATURES = {
    "composition-1k": composed_folder,
    "distinctions-646": distinctions_646,
    "coco": coco_instances,
    "coco-panoptic": coco_panoptic,
    "ade20k": lambda root: ade20k(root, prepared=False),
    "cityscapes": cityscapes,
    "pascal-context": lambda root: pascal_context(root, "SegmentationClassContext"),
    "nyuv2": nyu_extracted,
    "kitti": lambda root: kitti(root, {DRIVE: [5, 6]}),
}
SEGMENTED = [
    ("coco", "instance"),
    *((layout, kind) for layout in ("coco-panoptic", "ade20k", "cityscapes") for kind in ("semantic", "panoptic")),
    *((layout, "instance") for layout in ("coco-panoptic", "ade20k", "cityscapes")),
    ("pascal-context", "semantic"),
]
# What a perfect score is; a crowd alone, as in one of the miniatures, is no object to find.
PERFECT = {
    "matting": {"sad": 0, "mse": 0, "grad": 0, "conn": 0, "sad_whole": 0},
    "semantic": {"mean_iou": 1, "pixel_accuracy": 1, "mean_boundary_iou": 1},
    "instance": {"ap": 1, "ap50": 1, "ar100": 1, "boundary_ap": 1},
    "panoptic": {"pq": 1, "sq": 1, "rq": 1},
    "depth": {"abs_rel": 0, "rmse": 0, "delta1": 1},
}


@pytest.fixture(autouse=True)
def two_frames(monkeypatch):
    """Of KITTI's 652 test frames."""
    frames = [frame for frame in kitti_reader._eigen_test() if frame.drive.startswith(DRIVE)][:2]
    monkeypatch.setattr(kitti_reader, "_eigen_test", lambda: frames)


def truth_of(sample):
    if hasattr(sample, "alpha"):
        return sample.alpha
    if hasattr(sample, "depth"):
        return DepthPrediction(np.where(sample.depth > 0, sample.depth, 1))
    if sample.kind == "semantic":
        return sample.labels
    if sample.kind == "instance":
        return [FoundObject(each.rle, each.category, 0.9) for each in sample.objects if not each.crowd]
    return PanopticPrediction(sample.labels, tuple(each.category for each in sample.objects))


def rules_of(task):
    if task == "depth":
        return {"nearest": 0.001, "farthest": 80, "crop": "garg"}
    return {"boundary": True} if task in ("semantic", "instance") else {"band": 2} if task == "matting" else {}


@pytest.mark.parametrize(
    ("layout", "task"),
    [
        ("composition-1k", "matting"),
        ("distinctions-646", "matting"),
        *SEGMENTED,
        ("nyuv2", "depth"),
        ("kitti", "depth"),
    ],
)
def test_the_truth_scores_perfectly(tmp_path, monkeypatch, layout, task):
    MINIATURES[layout](tmp_path)
    monkeypatch.setattr(measuring, "predictor_for", lambda *given: Predictor(truth_of, {}))
    found = px.evaluate("truth", dataset=layout, root=tmp_path, task=task, limit=3, rules=rules_of(task))
    assert found.complete, found.failures
    assert found.task == task
    assert {name: found.measures[name] for name in PERFECT[task]} == pytest.approx(PERFECT[task], abs=1e-6)
    assert all(len(case.panels) >= 4 for case in found.worst)


@pytest.mark.parametrize(("layout", "task"), SEGMENTED)
def test_a_model_of_as_many_labels_runs_on_it(tmp_path, layout, task):
    """Random weights: what they find is of no worth, but it is found, numbered and counted."""
    MINIATURES[layout](tmp_path)
    count = len(measuring.open_dataset(layout, tmp_path, split="val", kind=task).categories)
    network = mask2former.tiny_model(mask2former.tiny_config(num_labels=count))
    processor = Mask2FormerImageProcessor(size=32, size_divisor=0, pad_divisor=32)
    segmenter = Segmenter(network, processor)
    rules = {} if task == "semantic" else {"threshold": 0.0}
    found = px.evaluate(segmenter, dataset=layout, root=tmp_path, task=task, limit=2, rules=rules)
    assert found.complete, found.failures
    assert 0 <= found.value < 0.9
    assert "by number" in found.notes[0]


def test_models_of_the_other_tasks_run(tmp_path):
    for layout, network, rules in (
        ("composition-1k", tiny_matting(), {}),
        ("distinctions-646", tiny_matting(), {"band": 2}),
        ("nyuv2", estimator(), {"farthest": 10, "crop": "eigen_nyu"}),
        ("kitti", estimator(kind="metric"), {"farthest": 80, "crop": "garg", "nearest": 0.001}),
    ):
        MINIATURES[layout](tmp_path / layout)
        found = px.evaluate(network, dataset=layout, root=tmp_path / layout, limit=2, rules=rules)
        assert found.complete, found.failures
        assert found.value > 0
