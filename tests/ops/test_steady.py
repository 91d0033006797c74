"""What is carried from frame to frame: mixed where it is trusted, and a trimap that follows the subject."""

import cv2
import numpy as np
import pytest

from perpixel.ops.flow import Motion
from perpixel.ops.steady import agreed_trimap, body_trimap, mixed, reach_of, subject_motion


def trimap_of(body, move, reach=20.0):
    return body_trimap(body, np.zeros(body.shape, bool), move, reach)


def disc(radius=25, height=100, width=120):
    y, x = np.mgrid[:height, :width]
    sharp = (np.hypot(x - width / 2, y - height / 2) < radius).astype(np.float32)
    return cv2.GaussianBlur(sharp, (0, 0), 1)


def still(shape, trust=1.0):
    return Motion(np.zeros((*shape, 2), np.float32), np.full(shape, trust, np.float32), cut=False)


def test_mixing_stays_between_and_leaves_out_what_is_not_trusted():
    rng = np.random.default_rng(0)
    now, carried, trust = (rng.random((9, 7), np.float32) for _ in range(3))
    trust[:3] = 0
    result = mixed(now, carried, trust, 0.7)
    assert np.array_equal(result[:3], now[:3])
    assert (result >= np.minimum(now, carried) - 1e-6).all() and (result <= np.maximum(now, carried) + 1e-6).all()


def test_mixing_quiets_noise_as_the_equation_says():
    # Differences of x' = (1 - s) n + s x for white noise n have the variance 2 (1 - s)² / (1 + s).
    rng = np.random.default_rng(0)
    share, trust = 0.7, np.ones((40, 40), np.float32)
    value, steps = np.zeros((40, 40), np.float32), []
    for number in range(60):
        after = mixed(rng.normal(0, 1, (40, 40)).astype(np.float32), value, trust, share)
        steps += [after - value] if number > 20 else []
        value = after
    assert np.std(steps) == pytest.approx(np.sqrt(2 * (1 - share) ** 2 / (1 + share)), rel=0.03)


def test_the_trimap_is_a_band_around_the_outline():
    body = disc()
    trimap = trimap_of(body, still(body.shape))
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert (body[trimap == 255] > 0.9).all() and (body[trimap == 0] < 0.1).all()
    ring = trimap[50, 60:]
    assert 6 <= np.count_nonzero(ring == 128) <= 16


def test_the_band_neither_dries_out_nor_spreads():
    body = disc()
    share = [float((trimap_of(body, still(body.shape)) == 128).mean())]
    for _ in range(10):
        trimap = trimap_of(body, still(body.shape))
        body = np.where(trimap == 128, disc(), trimap / 255).astype(np.float32)  # a model that is right
        share.append(float((trimap == 128).mean()))
    assert share[-1] == share[1]


def test_specks_beside_the_subject_are_dropped_and_hair_is_kept():
    body = disc()
    body[10:14, 10:30] = 0.8  # a bright edge of the background
    cv2.line(body, (60, 26), (60, 8), 0.6, 1)  # a hair
    trimap = trimap_of(body, still(body.shape))
    assert (trimap[10:14, 10:30] == 0).all()
    assert (trimap[8:26, 60] == 128).all()


def test_what_came_into_sight_beside_the_outline_is_unknown():
    body = disc()
    move = still(body.shape)
    move.trust[:, 86:92] = 0
    trimap = trimap_of(body, move)
    assert (trimap[48:52, 86:92] == 128).all()
    move.trust[:, :6] = 0
    assert (trimap_of(body, move)[48:52, :6] == 0).all()  # far from the subject


@pytest.mark.parametrize("value", [0.0, 0.05])
def test_without_a_subject_all_is_background(value):
    body = np.full((20, 30), value, np.float32)
    assert (trimap_of(body, still(body.shape)) == 0).all()


def test_two_trimaps_agree_only_on_what_both_know():
    first, second = np.array([[0, 0, 255, 255, 128]], np.uint8), np.array([[0, 255, 255, 128, 128]], np.uint8)
    assert agreed_trimap(first, second).tolist() == [[0, 128, 255, 128, 128]]


def test_nothing_is_unknown_beyond_the_reach_of_the_hair():
    body = disc()
    everywhere = np.ones(body.shape, bool)
    trimap = body_trimap(body, everywhere, still(body.shape), 12.0)
    y, x = np.mgrid[:100, :120]
    away = np.hypot(x - 60, y - 50)
    assert (trimap[away > 25 + 14] == 0).all() and (trimap[away < 25 + 10] == 128).all()


def test_the_reach_is_that_of_the_first_trimap():
    y, x = np.mgrid[:100, :120]
    away = np.hypot(x - 60, y - 50)
    trimap = np.where(away > 43, 0, np.where(away < 22, 255, 128)).astype(np.uint8)
    assert reach_of(trimap, disc()) == pytest.approx(18, abs=1)
    assert reach_of(trimap, np.zeros_like(disc())) > 0


def test_hair_moves_with_the_subject_not_with_the_background():
    body = disc()
    back = np.zeros((100, 120, 2), np.float32)
    y, x = np.mgrid[:100, :120]
    away = np.hypot(x - 60, y - 50)
    back[...] = (5, 0)  # the background
    back[away < 27] = (-3, 1)
    found = subject_motion(body, Motion(back, np.full((100, 120), 0.5, np.float32), False), 10.0)
    hair = (away > 29) & (away < 34) & (x > 60)
    right = np.abs(found.back[hair] - (-3, 1)).max(axis=1) < 0.3
    assert right.mean() > 0.9 and found.trust[hair].mean() > 0.95
    far = away > 52
    assert np.array_equal(found.back[far], back[far]) and (found.trust[far] == 0.5).all()


def test_without_a_body_the_motion_stays_as_it_is():
    move = still((30, 40), 0.5)
    found = subject_motion(np.zeros((30, 40), np.float32), move, 10.0)
    assert np.array_equal(found.back, move.back) and np.array_equal(found.trust, move.trust)
