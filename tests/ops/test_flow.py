"""The flow finds known motion, is trusted only where it is right, and a cut is told from fast motion."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.ops.flow import Motion, consistent, flow, followed_on, inside, motions, warp, warp_nearest


def scene(seed, height=120, width=160):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)


def test_a_shift_is_found_and_trusted():
    wide = scene(0, 130, 180)
    before, after = wide[5:125, 10:170], wide[2:122, 14:174]
    found = motions(before, after)
    assert np.abs(found.back.shift[10:-10, 10:-10] - (4, -3)).max() < 0.3
    assert found.back.trust[10:-10, 10:-10].min() > 0.9
    assert np.abs(found.ahead.shift[10:-10, 10:-10] - (-4, 3)).max() < 0.3
    assert found.ahead.trust[10:-10, 10:-10].min() > 0.9
    assert not (found.cut or found.back.cut or found.ahead.cut)
    assert np.abs(warp(before, found.back.shift)[10:-10, 10:-10].astype(int) - after[10:-10, 10:-10]).mean() < 2


def test_the_flow_agrees_with_another_algorithm():
    wide = scene(1, 130, 180)
    before, after = wide[:120, :160], wide[2:122, 3:163]
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (after, before)]
    other = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 21, 3, 7, 1.5, 0)
    assert np.abs(flow(after, before)[15:-15, 15:-15] - other[15:-15, 15:-15]).mean() < 0.25


def test_what_comes_out_from_behind_is_not_trusted():
    ground, thing = scene(2), scene(3)[:60, :50]
    before, after = ground.copy(), ground.copy()
    before[30:90, 50:100] = thing
    after[30:90, 55:105] = thing
    found = motions(before, after)
    assert found.back.trust[40:80, 51:54].mean() < 0.4  # ground that the thing hid
    assert found.back.trust[40:80, 65:100].mean() > 0.9  # the thing itself
    assert np.abs(found.back.shift[40:80, 65:100] - (-5, 0)).mean() < 0.5
    assert found.ahead.trust[40:80, 101:104].mean() < 0.4  # ground that it is about to hide


@pytest.mark.parametrize("seed", range(3))
def test_another_scene_is_a_cut(seed):
    assert motions(scene(seed), scene(seed + 10)).cut


def test_a_flash_is_not_followed_but_noise_is_no_cut():
    still = scene(4)
    noise = np.random.default_rng(0).normal(0, 4, still.shape)
    assert not motions(still, np.clip(still + noise, 0, 255).astype(np.uint8)).cut
    bright = np.clip(still.astype(int) + 90, 0, 255).astype(np.uint8)
    assert motions(still, bright).back.trust.mean() < 0.2


def test_sixteen_bits_and_large_frames_move_the_same():
    wide = scene(5, 130, 180)
    before, after = (np.ascontiguousarray(each) for each in (wide[:120, :160], wide[:120, 4:164]))
    eight = motions(before, after).back.shift
    sixteen = motions(before.astype(np.uint16) * 257, after.astype(np.uint16) * 257).back.shift
    assert np.array_equal(eight, sixteen)
    large = [cv2.resize(each, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC) for each in (before, after)]
    found = flow(large[1], large[0])
    assert found.shape == (960, 1280, 2)
    assert np.abs(found[100:-100, 100:-100] - (32, 0)).mean() < 2


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_any_size_works(height, width):
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    found = motions(picture, picture)
    assert found.back.shift.shape == (height, width, 2)
    assert found.back.trust.shape == (height, width)
    assert not found.cut
    assert np.abs(found.back.shift).max() < 0.1


def test_warping_by_whole_pixels_is_exact():
    values = np.random.default_rng(0).random((20, 30), np.float32)
    step = np.full((20, 30, 2), (3, -2), np.float32)
    assert np.allclose(warp(values, step)[2:, :-3], values[:-2, 3:], atol=1e-6)
    ids = np.arange(600, dtype=np.float32).reshape(20, 30)
    assert np.array_equal(warp_nearest(ids, step)[2:, :-3], ids[:-2, 3:])


def test_warping_does_not_ring_beside_an_edge():
    edge = np.zeros((20, 40), np.float32)
    edge[:, 20:] = 1
    for _ in range(30):
        edge = warp(edge, np.full((20, 40, 2), (0.37, 0), np.float32))
        assert edge.min() >= 0 and edge.max() <= 1


def test_flow_that_does_not_come_back_is_inconsistent():
    step = np.zeros((10, 10, 2), np.float32)
    back = step.copy()
    back[3:6, 3:6] = (5, 0)
    assert not consistent(back, step)[3:6, 3:6].any()
    assert consistent(back, step)[7:].all()


def test_two_motions_follow_on_each_other():
    y, x = np.mgrid[:20, :30].astype(np.float32)
    one, ramp = np.ones((20, 30), np.float32), (x / 30).astype(np.float32)
    first = Motion(np.full((20, 30, 2), (3, 0), np.float32), one * 0.5, False)
    both = followed_on(first, Motion(np.stack([0.1 * x, 0.2 * y], axis=2), ramp, False))
    assert both.shift[:, :25] == pytest.approx(np.stack([3 + 0.1 * (x + 3), 0.2 * y], axis=2)[:, :25], abs=1e-4)
    assert both.trust[:, :25] == pytest.approx((0.5 * (x + 3) / 30)[:, :25], abs=1e-5)
    assert np.array_equal(inside(first.shift), x + 3 <= 29.5)
    assert followed_on(first, Motion(first.shift, one, True)).cut
