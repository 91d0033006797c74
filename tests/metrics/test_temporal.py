"""Flicker, dtSSD and MESSDdt, against their definitions worked by hand."""

import numpy as np
import pytest

from perpixel.errors import InputError
from perpixel.metrics.temporal import dtssd, dtssd_along, flicker, messddt

STILL = np.zeros((12, 16, 2), np.float32)


def ramp(shift=0.0):
    return np.clip((np.arange(16)[None] - shift) / 15 * np.ones((12, 1)), 0, 1).astype(np.float32)


def test_what_moves_along_the_flow_does_not_flicker():
    moved = np.full((12, 16, 2), (-2, 0), np.float32)
    where = np.zeros((12, 16), bool)
    where[:, 4:] = True
    assert flicker(ramp(), ramp(2), moved, where) == pytest.approx(0, abs=1e-6)
    assert flicker(ramp(), ramp(2), STILL, where) == pytest.approx(2 / 15, abs=1e-6)


def test_flicker_is_the_mean_over_the_pixels_that_count():
    after = np.zeros((12, 16))
    after[:, :8] = 0.5
    where = np.zeros((12, 16), bool)
    assert flicker(np.zeros((12, 16)), after, STILL) == pytest.approx(0.25)
    assert flicker(np.zeros((12, 16)), after, STILL, where) == 0
    where[:, 4:12] = True
    assert flicker(np.zeros((12, 16)), after, STILL, where) == pytest.approx(0.25)


def test_dtssd_is_the_root_of_the_mean_square_of_the_difference_of_changes():
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.random((5, 7)) for _ in range(4))
    total = sum(((b[i, j] - a[i, j]) - (d[i, j] - c[i, j])) ** 2 for i in range(5) for j in range(7))
    assert dtssd(a, b, c, d) == pytest.approx((total / 35) ** 0.5)


def test_an_error_that_stays_counts_nothing():
    true = [ramp(), ramp(1)]
    assert dtssd(true[0] * 0 + 0.3 + true[0], true[1] + 0.3, *true) == pytest.approx(0, abs=1e-6)


def test_along_the_motion_an_error_counts_that_changes_and_not_one_that_moves():
    # All goes one pixel to the right; what comes in at the left was not in the picture and does not count.
    back = np.full((1, 4, 2), (-1, 0), np.float32)
    true_before, true = np.array([[1, 0.5, 0, 0]]), np.array([[1, 1, 0.5, 0]])
    before, after = true_before + np.array([[0.1, 0.2, 0, 0.4]]), true + np.array([[0.9, 0.1, 0.5, 0]])
    # The errors were 0.1, 0.2 and 0, and are 0.1, 0.5 and 0 at the same places of the subject.
    assert dtssd_along(before, after, true_before, true, back) == pytest.approx((0.3**2 / 3) ** 0.5)
    assert messddt(before, after, true_before, true, back) == pytest.approx((0.5**2 - 0.2**2) / 3)
    # A moving error of another sign is as large, so that its square does not change.
    turned = true - np.array([[0, 0.1, 0.2, 0]])
    assert messddt(before, turned, true_before, true, back) == pytest.approx(0, abs=1e-7)
    assert dtssd_along(before, turned, true_before, true, back) == pytest.approx(((0.2**2 + 0.4**2) / 3) ** 0.5)


def test_at_rest_it_is_dtssd_and_out_of_the_picture_nothing():
    rng = np.random.default_rng(0)
    four = [rng.random((12, 16)) for _ in range(4)]
    assert dtssd_along(*four, STILL) == pytest.approx(dtssd(*four), abs=1e-6)
    assert dtssd_along(*four, STILL + 50) == messddt(*four, STILL + 50) == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="shapes"):
        dtssd(np.zeros((2, 3)), np.zeros((3, 2)), np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(InputError, match="same size"):
        dtssd(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="flow"):
        flicker(np.zeros((2, 3)), np.zeros((2, 3)), STILL)
    with pytest.raises(InputError, match="flow"):
        messddt(*[np.zeros((2, 3))] * 4, STILL)
    with pytest.raises(InputError, match="where"):
        flicker(np.zeros((12, 16)), np.zeros((12, 16)), STILL, np.ones((12, 16)))
