import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.metrics.depth import MEASURES, DepthMeter, counted_pixels, depth_errors, paired_depths

# Worked by hand: off by +1, −1 and 0 metres.
PRED, TRUE = np.array([[2.0, 3.0, 5.0]]), np.array([[1.0, 4.0, 5.0]])
LN2, LN34 = math.log(2), math.log(3 / 4)
BY_HAND = {
    "abs_rel": (1 / 1 + 1 / 4 + 0) / 3,
    "sq_rel": (1 / 1 + 1 / 4 + 0) / 3,
    "rmse": math.sqrt(2 / 3),
    "rmse_log": math.sqrt((LN2**2 + LN34**2) / 3),
    "log10": (math.log10(2) + math.log10(4 / 3)) / 3,
    "silog": 100 * math.sqrt((LN2**2 + LN34**2) / 3 - ((LN2 + LN34) / 3) ** 2),
    "delta1": 1 / 3,  # ratios 2, 4/3 and 1 against 1.25, 1.5625 and 1.953125
    "delta2": 2 / 3,
    "delta3": 2 / 3,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    assert depth_errors(PRED, TRUE)[name] == pytest.approx(BY_HAND[name], abs=1e-12)


def test_squared_error_is_relative_to_the_depth_once():
    assert depth_errors(np.array([6.0]), np.array([4.0]))["sq_rel"] == 1  # 2² / 4


def test_unknown_and_masked_pixels_do_not_count():
    true = np.array([[1, 4, 5, 0, np.nan, np.inf, -1, 2]])
    pred = np.array([[2, 3, 5, 9, np.nan, 9, 9, 9]])
    mask = np.array([[True] * 7 + [False]])
    assert depth_errors(pred, true, mask) == pytest.approx(BY_HAND)


def test_the_scale_does_not_matter_to_silog_alone():
    assert depth_errors(7 * PRED, TRUE)["silog"] == pytest.approx(BY_HAND["silog"])
    assert depth_errors(3 * TRUE, TRUE)["silog"] == pytest.approx(0, abs=1e-12)
    assert depth_errors(3 * TRUE, TRUE)["rmse_log"] == pytest.approx(math.log(3))


PERFECT = {"abs_rel": 0, "sq_rel": 0, "rmse": 0, "rmse_log": 0, "log10": 0, "silog": 0} | {
    f"delta{power}": 1 for power in (1, 2, 3)
}


def test_alignment_of_inverse_depth():
    inverse = 5 / TRUE - 0.3
    assert depth_errors(inverse, TRUE, align="scale_shift", inverse=True) == pytest.approx(PERFECT, abs=1e-9)
    assert depth_errors(5 / TRUE, TRUE, align="scale", inverse=True) == pytest.approx(PERFECT, abs=1e-9)
    assert depth_errors(inverse, TRUE, align="scale", inverse=True)["abs_rel"] > 0.01
    assert depth_errors(1 / TRUE, TRUE, inverse=True) == pytest.approx(PERFECT, abs=1e-9)


def test_alignment_of_metres():
    assert depth_errors(3 * TRUE, TRUE, align="scale") == pytest.approx(PERFECT, abs=1e-9)
    assert depth_errors(1 / (2 / TRUE + 1), TRUE, align="scale_shift") == pytest.approx(PERFECT, abs=1e-9)


def test_alignment_by_hand():
    # Inverse truths 1, 0.5 and 0.25; the line through (3, 1), (2, 0.5), (1, 0.25) by least squares has the slope
    # 0.375 and passes through (2, 7/12).
    guess, truth = paired_depths(np.array([3.0, 2, 1]), np.array([1.0, 2, 4]), align="scale_shift", inverse=True)
    assert guess == pytest.approx([1 / (7 / 12 + 0.375), 12 / 7, 4])  # the last, 1 / 0.208 = 4.8, is cut at 4
    assert truth.tolist() == [1, 2, 4]
    guess, _ = paired_depths(
        np.array([3.0, 2, 1]), np.array([1.0, 2, 4]), align="scale_shift", inverse=True, farthest=9
    )
    assert guess[2] == pytest.approx(1 / (7 / 12 - 0.375))


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    constant=st.booleans(),
    align=st.sampled_from(["median", "scale", "scale_shift"]),
)
def test_any_shape_gives_numbers(height, width, constant, align):
    random = np.random.default_rng(height * 7 + width)
    pred = np.full((height, width), 0.5) if constant else random.random((height, width))
    errors = depth_errors(pred, random.uniform(1, 9, (height, width)), align=align, inverse=True)
    assert all(math.isfinite(value) for value in errors.values())


@pytest.mark.parametrize(
    ("pred", "true", "options", "words"),
    [
        (PRED, TRUE[0], {}, "the same image"),
        (PRED, 0 * TRUE, {}, "nothing to compare"),
        (PRED, TRUE, {"mask": np.zeros((1, 3), bool)}, "nothing to compare"),
        (PRED, TRUE, {"mask": np.ones((1, 3))}, "bool of shape"),
        (PRED * np.nan, TRUE, {}, "NaN"),
        (PRED - 2, TRUE, {}, "above 0 is needed: mask them out"),
        (PRED - 2, TRUE, {"inverse": True}, "scale_shift"),
        (PRED - 2, TRUE, {"align": "scale", "nearest": 0.1}, "above 0 is needed"),
        (PRED - 4, TRUE, {"align": "median", "nearest": 0.1}, "median of pred is -1 metres"),
        (PRED - 4, TRUE, {"align": "median", "inverse": True}, "median of pred is inf metres"),
        (PRED, TRUE, {"align": "mean"}, "none, median, scale, scale_shift"),
        (PRED, TRUE, {"crop": "kitti"}, "eigen, garg, eigen_nyu"),
        (PRED[0], TRUE[0], {"crop": "garg"}, "give one plane"),
        (PRED, TRUE, {"nearest": 3, "farthest": 2}, "nearest must be less"),
        (PRED, TRUE, {"nearest": math.nan}, "nearest is nan"),
        (PRED, TRUE, {"align": "scale", "farthest": 0}, "farthest"),
    ],
)
def test_what_cannot_be_compared(pred, true, options, words):
    with pytest.raises(InputError, match=words):
        depth_errors(pred, true, **options)


def test_alignment_by_the_medians() -> None:
    # Medians 2 and 6: the prediction is tripled.
    guess, _ = paired_depths(np.array([1.0, 2, 5]), np.array([4.0, 6, 20]), align="median")
    assert guess.tolist() == [3, 6, 15]
    # The same as inverse depth; the last, at infinity, is put at the largest true depth.
    guess, _ = paired_depths(np.array([1, 1 / 2, 0]), np.array([4.0, 6, 20]), align="median", inverse=True)
    assert guess.tolist() == [3, 6, 20]


def test_caps_cut_predictions_and_leave_truths_out() -> None:
    true = np.array([0.001, 0.5, 4, 79, 80, 90])
    pred = np.array([1, -3.0, 100, 60, 1, 1])
    guess, truth = paired_depths(pred, true, nearest=0.001, farthest=80)
    assert truth.tolist() == [0.5, 4, 79]
    assert guess.tolist() == [0.001, 80, 60]
    guess, _ = paired_depths(np.array([-1.0, 0.5]), np.array([7.0, 3]), inverse=True, farthest=10)
    assert guess.tolist() == [10, 2]


def test_only_counted_pixels_take_part_in_the_fit() -> None:
    true = np.array([1.0, 2, 4, 500])
    errors = depth_errors(np.array([3.0, 6, 12, 7]), true, align="median", farthest=80)
    assert errors == pytest.approx(PERFECT, abs=1e-12)


# Corners that the published programmes give: int(fraction * side) for KITTI's usual sizes, and 45:471, 41:601 of NYUv2.
@pytest.mark.parametrize(
    ("crop", "size", "corners"),
    [
        ("garg", (375, 1242), (153, 371, 44, 1197)),
        ("eigen", (375, 1242), (124, 342, 44, 1197)),
        ("garg", (352, 1216), (143, 349, 43, 1172)),
        ("eigen_nyu", (480, 640), (45, 471, 41, 601)),
        ("eigen_nyu", (240, 320), (22, 235, 20, 300)),
    ],
)
def test_crops_as_published(crop, size, corners) -> None:
    top, bottom, left, right = corners
    rows, columns = np.nonzero(counted_pixels(np.ones(size), crop=crop))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == corners
    assert len(rows) == (bottom - top) * (right - left)


@pytest.mark.slow  # it takes seconds to import
def test_as_torchmetrics_measures() -> None:
    import torch
    from torchmetrics import functional

    random = np.random.default_rng(3)
    pred, true = random.uniform(1, 9, (2, 7, 5))
    errors = depth_errors(pred, true)
    p, t = torch.from_numpy(pred), torch.from_numpy(true)
    assert errors["abs_rel"] == pytest.approx(float(functional.mean_absolute_percentage_error(p, t)), abs=1e-12)
    assert errors["rmse"] == pytest.approx(float(functional.mean_squared_error(p, t, squared=False)), abs=1e-6)
    logs = functional.mean_squared_error(p.log(), t.log(), squared=False)
    assert errors["rmse_log"] == pytest.approx(float(logs), abs=1e-6)
    assert errors["silog"] == pytest.approx(100 * float((p.log() - t.log()).std(correction=0)), abs=1e-9)


def frames(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        (random.uniform(0.5, 9, size), random.uniform(-1, 9, size) * random.integers(0, 2))
        for size in random.integers(1, 6, (count, 2))
    ]


def measured(pairs: list[tuple[np.ndarray, np.ndarray]], **settings) -> DepthMeter:
    meter = DepthMeter(**settings)
    for pred, true in pairs:
        meter.update(pred, true)
    return meter


def test_a_data_set_is_the_mean_of_its_images() -> None:
    # One image of one pixel weighs as much as one of three.
    meter = DepthMeter()
    meter.update(PRED, TRUE)
    alone = meter.update(np.array([[3.0]]), np.array([[2.0]]))
    assert alone["abs_rel"] == 0.5
    assert meter.compute()["abs_rel"] == pytest.approx((BY_HAND["abs_rel"] + 0.5) / 2, abs=1e-15)


def test_an_image_of_unknown_depth_is_left_out() -> None:
    meter = DepthMeter(farthest=80)
    assert all(map(math.isnan, meter.compute().values()))
    for true in (0 * TRUE, TRUE * np.nan, TRUE + 80):
        assert all(map(math.isnan, meter.update(PRED, true).values()))
    meter.update(PRED, TRUE)
    assert meter.skipped == 3
    assert meter.compute() == pytest.approx(BY_HAND)
    assert tuple(meter.compute()) == MEASURES


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_same(data) -> None:
    pairs = frames(8)
    order, cut = data.draw(st.permutations(range(8))), data.draw(st.integers(0, 8))
    first, second = (measured([pairs[n] for n in part], align="scale") for part in (order[:cut], order[cut:]))
    first.merge(pickle.loads(pickle.dumps(second)))
    whole = measured(pairs, align="scale")
    assert (first.compute(), first.skipped) == (whole.compute(), whole.skipped)


def test_a_thousand_images_take_no_more_room() -> None:
    assert len(pickle.dumps(measured(frames(1000)))) < len(pickle.dumps(measured(frames(20)))) + 200


def test_meters_of_other_settings_do_not_merge() -> None:
    with pytest.raises(InputError, match="measure differently"):
        DepthMeter(align="median").merge(DepthMeter())
    for wrong in ({"align": "mean"}, {"crop": "kitti"}, {"nearest": 0}, {"nearest": 2, "farthest": 1}):
        with pytest.raises(InputError):
            DepthMeter(**wrong)
    with pytest.raises(InputError, match="the same image"):
        DepthMeter().update(PRED, 0 * TRUE[0])
