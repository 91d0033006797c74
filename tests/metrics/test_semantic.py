import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as reference_matrix
from sklearn.metrics import jaccard_score, recall_score

from perpixel.data import samples
from perpixel.errors import InputError
from perpixel.metrics import classes
from perpixel.metrics.semantic import SemanticMeter, confusion_matrix


def images(seed: int, count: int, labels: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, (count, 2))
    return [(random.integers(0, labels, size), random.integers(-1, labels, size)) for size in sizes]


def whole(pairs: list[tuple[np.ndarray, np.ndarray]], labels: int) -> SemanticMeter:
    meter = SemanticMeter(labels)
    for pred, true in pairs:
        meter.update(pred, true)
    return meter


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    """Equal to the digit, NaN included."""
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)


def test_void_is_what_samples_mark_with_it() -> None:
    assert classes.VOID == samples.VOID


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), labels=st.integers(1, 6), count=st.integers(1, 4))
def test_as_scikit_learn_counts(seed: int, labels: int, count: int) -> None:
    pairs = images(seed, count, labels)
    pred = np.concatenate([pred[true >= 0] for pred, true in pairs])
    true = np.concatenate([true[true >= 0] for _, true in pairs])
    meter = whole(pairs, labels)
    if not len(true):
        assert math.isnan(meter.compute()["mean_iou"])
        return
    numbers = range(labels)
    assert np.array_equal(meter.counts[:, :labels], reference_matrix(true, pred, labels=numbers))
    measures = meter.compute()
    # scikit-learn's macro mean is over the labels given, so those that occur are given.
    occurring = np.union1d(pred, true)
    assert measures["mean_iou"] == pytest.approx(jaccard_score(true, pred, labels=occurring, average="macro"))
    for number in occurring:
        expected = jaccard_score(true, pred, labels=[number], average="macro")
        assert measures[f"iou/{number}"] == pytest.approx(expected, abs=1e-12)
    recall = recall_score(true, pred, labels=np.unique(true), average="macro")
    assert measures["mean_accuracy"] == pytest.approx(recall)
    assert measures["pixel_accuracy"] == pytest.approx((pred == true).mean())


def test_by_hand() -> None:
    # Four classes: 0 half right, 1 only predicted, 2 right, 3 nowhere.
    meter = SemanticMeter(4, ["road", "car", "sky", "bus"])
    image = meter.update(np.array([[0, 1, 2, 1]]), np.array([[0, 0, 2, -1]]))
    assert meter.compute() == pytest.approx(
        {
            "mean_iou": (1 / 2 + 0 + 1) / 3,
            "pixel_accuracy": 2 / 3,
            "mean_accuracy": (1 / 2 + 1) / 2,
            "iou/road": 1 / 2,
            "iou/car": 0,
            "iou/sky": 1,
            "iou/bus": math.nan,
        },
        nan_ok=True,
    )
    assert image == {name: meter.compute()[name] for name in image}


def test_predicted_void_is_wrong_for_the_true_class_alone() -> None:
    assert confusion_matrix(np.array([[-1, 0]]), np.array([[1, 0]]), 2).tolist() == [[1, 0, 0], [0, 0, 1]]
    meter = SemanticMeter(2)
    meter.update(np.array([[-1, 1, 0]]), np.array([[1, 1, 0]]))
    assert meter.compute()["iou/1"] == 1 / 2
    assert meter.compute()["iou/0"] == 1


def test_nothing_known_and_nothing_seen() -> None:
    meter = SemanticMeter(3)
    assert all(map(math.isnan, meter.compute().values()))
    assert all(map(math.isnan, meter.update(np.zeros((2, 2), int), np.full((2, 2), -1)).values()))
    assert all(map(math.isnan, meter.compute().values()))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), data=st.data())
def test_any_split_in_any_order_gives_the_same(seed: int, data: st.DataObject) -> None:
    pairs = images(seed, 6, 4)
    order = data.draw(st.permutations(range(6)))
    cut = data.draw(st.integers(0, 6))
    first, second = (whole([pairs[place] for place in part], 4) for part in (order[:cut], order[cut:]))
    second = pickle.loads(pickle.dumps(second))
    first.merge(second)
    assert same(first.compute(), whole(pairs, 4).compute())


def test_a_thousand_images_take_no_more_room_than_one() -> None:
    pairs = images(0, 1000, 5)
    assert len(pickle.dumps(whole(pairs, 5))) == len(pickle.dumps(whole(pairs[:1], 5)))


def test_names_that_occur_twice_are_told_apart() -> None:
    assert {"iou/a (0)", "iou/a (1)", "iou/b"} <= SemanticMeter(3, ["a", "a", "b"]).compute().keys()


@pytest.mark.parametrize(
    ("pred", "true", "words"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "pred is 3×2 but true is 2×3"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "pred is float64"),
        (np.zeros(3, int), np.zeros(3, int), "shape"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), "shape"),
        (np.zeros((1, 1), int), np.full((1, 1), 255, np.uint8), "true has the label 255.*void to -1"),
        (np.full((1, 1), 2), np.zeros((1, 1), int), "pred has the label 2, and there are 2 classes"),
        (np.full((1, 1), -2), np.zeros((1, 1), int), "pred has the label -2"),
    ],
)
def test_bad_input_is_refused(pred: np.ndarray, true: np.ndarray, words: str) -> None:
    meter = SemanticMeter(2)
    with pytest.raises(InputError, match=words):
        meter.update(pred, true)
    assert not meter.counts.any()


def test_meters_of_other_classes_do_not_merge() -> None:
    with pytest.raises(InputError, match="different classes"):
        SemanticMeter(2).merge(SemanticMeter(3))
    with pytest.raises(InputError, match="names"):
        SemanticMeter(2, ["a"])
    with pytest.raises(InputError, match="at least 1"):
        SemanticMeter(0)
