import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.data.samples import Categories
from perpixel.errors import InputError
from perpixel.metrics.panoptic import PanopticMeter, match_segments

THINGS = Categories(("cat", "dog", "sky", "sea"), things=(True, True, False, False))
Scene = tuple[np.ndarray, list[int], np.ndarray, list[int], list[bool]]


def scene(seed: int, *, crowds: bool = True, holes: bool = True) -> Scene:
    """Boxes of four classes on void; the prediction has some of them elsewhere, cut or of another class.

    At most one crowd a class, and one segment a class of stuff, as COCO has it.
    """
    random = np.random.default_rng(seed)
    height, width = random.integers(5, 12, 2)
    true, pred = np.full((height, width), -1), np.full((height, width), -1)
    classes = [3, 2, 0, 0, 1, 1, 0][: random.integers(2, 8)]
    crowd = [
        crowds and number == classes.index(kind) and kind < 2 and random.random() < 0.4
        for number, kind in enumerate(classes)
    ]
    for number in range(len(classes)):
        top, left = random.integers(0, height - 2), random.integers(0, width - 2)
        tall, wide = random.integers(2, 6, 2)
        true[top : top + tall, left : left + wide] = number
        slip = random.integers(0, 2)
        pred[top : top + tall, max(left - slip, 0) : left - slip + wide] = number
    if not holes:
        pred[pred < 0] = 0
    guesses = [int(random.integers(0, 2)) if kind < 2 and random.random() < 0.2 else kind for kind in classes]
    # Only segments that have pixels.
    used = np.unique(true[true >= 0])
    true = np.where(true < 0, -1, np.searchsorted(used, true))
    seen = np.unique(pred[pred >= 0])
    pred = np.where(pred < 0, -1, np.searchsorted(seen, pred))
    return pred, [guesses[n] for n in seen], true, [classes[n] for n in used], [bool(crowd[n]) for n in used]


def measured(scenes: list[Scene]) -> PanopticMeter:
    meter = PanopticMeter(THINGS)
    for each in scenes:
        meter.update(*each)
    return meter


# The counts that panopticapi's loop (pq_compute_single_core, commit 1ad5afa) gives for these 60 scenes, run once on
# the arrays: the sum of the IoUs, TP, FP and FN by class.
PANOPTICAPI = {
    "cat": (42.85898360898361, 50, 20, 23),
    "dog": (20.96788350967918, 24, 18, 15),
    "sky": (27.346965452847808, 33, 19, 19),
    "sea": (27.513003663003666, 32, 9, 14),
}


def test_as_panopticapi_counts() -> None:
    scenes = [scene(seed) for seed in range(60)]
    assert sum(any(each[4]) for each in scenes) > 20  # crowds take part
    meter = measured(scenes)
    for number, expected in enumerate(PANOPTICAPI.values()):
        assert tuple(meter.tally[:, number].tolist()) == expected[1:]
        assert meter.ious[number].value == pytest.approx(expected[0], rel=1e-12)
    measures = meter.compute()
    assert measures["pq/cat"] == pytest.approx(42.85898360898361 / (50 + 20 / 2 + 23 / 2))
    assert measures["pq"] == pytest.approx(0.5688844718880761, rel=1e-12)
    assert measures["sq"] == pytest.approx(0.8548296930913515, rel=1e-12)
    assert measures["rq"] == pytest.approx(0.6655352151041806, rel=1e-12)
    assert measures["pq_things"] == pytest.approx(0.5585759314695498, rel=1e-12)
    assert measures["sq_stuff"] == pytest.approx(0.8442386436412173, rel=1e-12)
    assert measures["rq_stuff"] == pytest.approx(0.6851237842617153, rel=1e-12)


@pytest.mark.slow  # it takes seconds to import
def test_as_torchmetrics_measures_without_crowds_and_predicted_void() -> None:
    # torchmetrics forgives what the prediction leaves void and knows no crowd; COCO does neither.
    import torch
    from torchmetrics.detection import PanopticQuality

    reference = PanopticQuality(
        things={0, 1}, stuffs={2, 3}, allow_unknown_preds_category=True, return_sq_and_rq=True, return_per_class=True
    )
    scenes = [scene(seed, crowds=False, holes=False) for seed in range(200, 206)]
    for pred, pred_classes, true, true_classes, _ in scenes:
        coloured = [
            np.stack([np.where(labels < 0, 9, np.take(classes, labels)), labels + 1], axis=-1)
            for labels, classes in ((pred, pred_classes), (true, true_classes))
        ]
        # It takes all pixels of a class of stuff for one segment.
        assert all(classes.count(stuff) < 2 for classes in (pred_classes, true_classes) for stuff in (2, 3))
        reference.update(*(torch.from_numpy(each)[None] for each in coloured))
    measures = measured(scenes).compute()
    for number, row in enumerate(reference.compute().tolist()):
        name = THINGS.names[number]
        found = [measures[f"{measure}/{name}"] for measure in ("pq", "sq", "rq")]
        assert found == pytest.approx(row, abs=1e-6)  # it divides in float32


def image(rows: str) -> np.ndarray:
    """A row of pixels: a digit is a segment, a dot void."""
    return np.array([[-1 if pixel == "." else int(pixel) for pixel in rows]])


@pytest.mark.parametrize(
    ("pred", "true", "crowd", "expected"),
    [
        ("00..", "0011", [0, 1], ([1, 0, 0], [1])),
        ("000.", "0000", [0, 0], ([1, 0, 1], [3 / 4])),
        ("0000", "00..", [0, 0], ([1, 0, 1], [1])),  # void leaves the union
        ("0.", "00", [0, 0], ([0, 1, 2], [])),  # exactly one half is no match
        ("00", "0.", [0, 0], ([1, 0, 1], [1])),
        ("000", "0..", [0, 0], ([1, 0, 1], [1])),
        # More than half on void: forgiven. Half: not.
        ("1000", "1..0", [0, 0], ([2, 0, 0], [1, 1])),
        ("1100", "..11", [0, 0], ([0, 1, 2], [])),
        ("0000", "11..", [0, 0], ([0, 1, 2], [])),
        ("0000", "1...", [0, 0], ([0, 0, 2], [])),
        # A crowd matches nothing, is not missed, and forgives its own class alone.
        ("0000", "0000", [1, 0], ([0, 0, 1], [])),
        ("0000", "1111", [0, 1], ([0, 1, 1], [])),
        # Void and crowd forgive together.
        ("0000", "0.11", [1, 0], ([0, 1, 1], [])),
        ("0000", "0..1", [1, 0], ([0, 0, 1], [])),
        # Nothing predicted, and nothing true.
        ("....", "0011", [0, 0], ([0, 0, 2], [])),
        ("0011", "....", [0, 0], ([0, 0, 2], [])),
        ("0", "0", [0, 0], ([1, 0, 1], [1])),
    ],
)
def test_odd_cases_by_hand(pred: str, true: str, crowd: list[int], expected: Any) -> None:
    # Two segments on each side, the first a cat, the second a dog.
    matches = match_segments(image(pred), [0, 1], image(true), [0, 1], crowd)
    counts, ious = expected
    assert [len(matches.pairs), len(matches.spurious), len(matches.missed)] == counts
    assert matches.ious.tolist() == pytest.approx(ious)


def test_a_match_needs_the_same_class() -> None:
    matches = match_segments(image("0011"), [0, 1], image("0011"), [1, 1])
    assert matches.pairs.tolist() == [[1, 1]]
    assert (matches.spurious.tolist(), matches.missed.tolist()) == ([0], [0])


def test_all_crowds_of_a_class_forgive() -> None:
    # panopticapi looks at the last one only; COCO has at most one a class and image.
    assert not len(match_segments(image("000"), [0], image("011"), [0, 0], [True, True]).spurious)


def test_a_class_without_a_match_counts_as_nothing_and_an_absent_one_not_at_all() -> None:
    meter = PanopticMeter(THINGS)
    meter.update(image("01"), [0, 1], image("00"), [0])
    measures = meter.compute()
    assert (measures["pq/cat"], measures["sq/cat"]) == (0, 0)  # half of it is no match
    assert (measures["pq/dog"], measures["rq/dog"]) == (0, 0)
    assert math.isnan(measures["pq/sky"])
    assert (measures["pq"], measures["pq_things"]) == (0, 0)
    assert math.isnan(measures["pq_stuff"])


def test_nothing_seen_and_all_void() -> None:
    meter = PanopticMeter(THINGS)
    assert all(map(math.isnan, meter.compute().values()))
    assert all(map(math.isnan, meter.update(image("000"), [0], image("..."), []).values()))
    assert all(map(math.isnan, meter.update(image("..."), [], image("..."), []).values()))
    assert not meter.tally.any()


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_same(data: st.DataObject) -> None:
    scenes = [scene(seed) for seed in range(10)]
    order, cut = data.draw(st.permutations(range(10))), data.draw(st.integers(0, 10))
    first, second = (measured([scenes[place] for place in part]) for part in (order[:cut], order[cut:]))
    first.merge(pickle.loads(pickle.dumps(second)))
    assert first.compute() == measured(scenes).compute()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(1000, 2000))
def test_the_truth_itself_is_perfect(seed: int) -> None:
    _, _, true, classes, crowd = scene(seed)
    alone = measured([(true, classes, true, classes, crowd)])
    assert not alone.tally[1:].any()
    assert alone.compute()["pq"] == 1 or all(crowd)


def test_a_thousand_images_take_no_more_room() -> None:
    scenes = [scene(seed) for seed in range(20)]
    sizes = [len(pickle.dumps(measured(scenes * times))) for times in (1, 50)]
    assert sizes[1] < sizes[0] + 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pred_map": image("0")}, "pred_map is 1×1 but true_map is 2×1"),
        ({"pred_map": image("02")}, "pred_map has the label 2, and there are 2 segments"),
        ({"true_map": image("01") / 2}, "true_map is float64"),
        ({"pred_classes": [0, 4]}, "pred_classes has the class 4"),
        ({"true_classes": [-1, 0]}, "true_classes has the class -1"),
        ({"true_classes": [0.5, 0]}, "list of whole numbers"),
        ({"crowd": [True]}, "crowd has 1 entries for 2"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], words: str) -> None:
    given = {"pred_map": image("01"), "pred_classes": [0, 1], "true_map": image("01"), "true_classes": [0, 1]}
    meter = PanopticMeter(THINGS)
    with pytest.raises(InputError, match=words):
        meter.update(**given | change)
    assert not meter.tally.any()


def test_meters_of_other_classes_do_not_merge() -> None:
    with pytest.raises(InputError, match="different classes"):
        PanopticMeter(THINGS).merge(PanopticMeter(Categories(THINGS.names)))
