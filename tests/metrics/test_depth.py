import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.metrics import depth as measures
from perpixel.metrics.depth import depth_errors, paired_depths

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
    assert getattr(measures, name)(PRED, TRUE) == pytest.approx(BY_HAND[name], abs=1e-12)
    assert depth_errors(PRED, TRUE)[name] == pytest.approx(BY_HAND[name], abs=1e-12)


def test_squared_error_is_relative_to_the_depth_once():
    assert measures.sq_rel(np.array([6.0]), np.array([4.0])) == 1  # 2² / 4


def test_unknown_and_masked_pixels_do_not_count():
    true = np.array([[1, 4, 5, 0, np.nan, np.inf, -1, 2]])
    pred = np.array([[2, 3, 5, 9, np.nan, 9, 9, 9]])
    mask = np.array([[True] * 7 + [False]])
    assert depth_errors(pred, true, mask) == pytest.approx(BY_HAND)


def test_the_scale_does_not_matter_to_silog_alone():
    assert measures.silog(7 * PRED, TRUE) == pytest.approx(BY_HAND["silog"])
    assert measures.silog(3 * TRUE, TRUE) == pytest.approx(0, abs=1e-12)
    assert measures.rmse_log(3 * TRUE, TRUE) == pytest.approx(math.log(3))


PERFECT = {"abs_rel": 0, "sq_rel": 0, "rmse": 0, "rmse_log": 0, "log10": 0, "silog": 0} | {
    f"delta{power}": 1 for power in (1, 2, 3)
}


def test_alignment_of_inverse_depth():
    inverse = 5 / TRUE - 0.3
    assert depth_errors(inverse, TRUE, align="scale_shift", inverse=True) == pytest.approx(PERFECT, abs=1e-9)
    assert depth_errors(5 / TRUE, TRUE, align="scale", inverse=True) == pytest.approx(PERFECT, abs=1e-9)
    assert measures.abs_rel(inverse, TRUE, align="scale", inverse=True) > 0.01
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
    align=st.sampled_from(["scale", "scale_shift"]),
)
def test_any_shape_gives_numbers(height, width, constant, align):
    random = np.random.default_rng(height * 7 + width)
    pred = np.zeros((height, width)) if constant else random.random((height, width))
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
        (PRED, TRUE, {"align": "median"}, "none, scale, scale_shift"),
        (PRED, TRUE, {"align": "scale", "farthest": 0}, "farthest"),
    ],
)
def test_what_cannot_be_compared(pred, true, options, words):
    with pytest.raises(InputError, match=words):
        depth_errors(pred, true, **options)
