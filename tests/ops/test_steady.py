"""What is carried from frame to frame: mixed where it is trusted, and a trimap that follows the subject."""

import cv2
import numpy as np
import pytest

from perpixel.ops.flow import Motion, Motions
from perpixel.ops.steady import agreed_trimap, body_trimap, mixed, reach_of, steadied, subject_motion


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


def shifted(shape, x, y=0.0, trust=1.0):
    """Motions of a picture that goes x to the right and y down from a frame to the next."""
    back, ahead = (np.full((*shape, 2), way, np.float32) for way in ((-x, -y), (x, y)))
    sure = np.full(shape, trust, np.float32)
    return Motions(Motion(back, sure, cut=False), Motion(ahead, sure, cut=False))


def instants(alphas, moves):
    return [(np.float32(alpha), None if not number else moves) for number, alpha in enumerate(alphas)]


def test_a_still_film_is_the_median_and_then_the_mean_in_time():
    noise = np.random.default_rng(0).random((60, 20, 20)).astype(np.float32)
    found = np.stack(list(steadied(instants(noise, shifted((20, 20), 0)))))
    around = [slice(max(0, t - 2), t + 3) for t in range(60)]
    medians = np.stack([np.median(noise[each], axis=0) for each in around])
    weights = [np.array([1, 2, 3, 2, 1])[max(0, 2 - t) : 62 - t] for t in range(60)]
    means = [np.average(medians[each], axis=0, weights=weight) for each, weight in zip(around, weights, strict=True)]
    assert found == pytest.approx(np.stack(means), abs=1e-6)
    # The mean alone leaves a quarter of the change that white noise makes: (x₃ + x₂ + x₁ − x₀ − x₋₁ − x₋₂) / 9.
    assert np.diff(found, axis=0).std() < np.diff(noise, axis=0).std() / 4


def test_nothing_crosses_a_cut_either_way():
    moves = shifted((4, 5), 0)
    alphas = [np.full((4, 5), value, np.float32) for value in (0, 0, 0, 1, 1, 1)]
    stream = [(alpha, None if number in (0, 3) else moves) for number, alpha in enumerate(alphas)]
    assert all(np.array_equal(*pair) for pair in zip(steadied(stream), alphas, strict=True))


def test_nothing_is_taken_where_nothing_is_trusted():
    alphas = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    sure = shifted((6, 7), 0)
    sure.back.trust[:3], sure.ahead.trust[:3] = 0, 0
    found = np.stack(list(steadied(instants(alphas, sure))))
    assert np.array_equal(found[:, :3], alphas[:, :3])
    assert not np.isclose(found[:, 3:], alphas[:, 3:]).all(axis=(1, 2)).any()


def test_a_moving_edge_keeps_its_place_and_its_sharpness():
    x = np.arange(80)[None].repeat(9, axis=0)
    alphas = [np.clip((30.5 + 2 * t - x) / 3, 0, 1).astype(np.float32) for t in range(7)]
    for found, alpha in zip(steadied(instants(alphas, shifted((9, 80), 2))), alphas, strict=True):
        assert found == pytest.approx(alpha, abs=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_few_frames_are_steadied_too(count):
    alphas = [np.full((3, 4), 0.5, np.float32)] * count
    found = list(steadied(instants(alphas, shifted((3, 4), 0))))
    assert len(found) == count and all(np.array_equal(each, alphas[0]) for each in found)


def test_only_four_frames_are_read_ahead():
    read = 0

    def frames():
        nonlocal read
        for instant in instants([np.zeros((3, 4))] * 20, shifted((3, 4), 0)):
            read += 1
            yield instant

    for done, _ in enumerate(steadied(frames()), 1):
        assert read <= done + 4


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
    right = np.abs(found.shift[hair] - (-3, 1)).max(axis=1) < 0.3
    assert right.mean() > 0.9 and found.trust[hair].mean() > 0.95
    far = away > 52
    assert np.array_equal(found.shift[far], back[far]) and (found.trust[far] == 0.5).all()


def turning(x, y, angle=0.06):
    """A turn around (60, 50), as a shift."""
    left, down = x - 60, y - 50
    return np.stack(
        [np.cos(angle) * left - np.sin(angle) * down - left, np.sin(angle) * left + np.cos(angle) * down - down], 2
    )


def test_hair_turns_with_the_subject():
    y, x = np.mgrid[:100, :120].astype(np.float32)
    away = np.hypot(x - 60, y - 50)
    back = np.where(away[..., None] < 27, turning(x, y), (4, 0)).astype(np.float32)
    found = subject_motion(disc(), Motion(back, np.where(away < 27, 1, 0).astype(np.float32), False), 20.0)
    hair = (away > 30) & (away < 42)
    miss = np.linalg.norm(found.shift - turning(x, y), axis=2)[hair]
    assert np.percentile(miss, 90) < 0.4 and np.linalg.norm(turning(x, y), axis=2)[hair].max() > 2.4


def test_the_flow_of_the_hair_corrects_where_it_is_near_and_not_where_it_is_the_background():
    y, x = np.mgrid[:100, :120]
    away = np.hypot(x - 60, y - 50)
    hair = (away > 30) & (away < 42)
    body = np.maximum(disc(), np.where(hair, 0.6, 0)).astype(np.float32)
    back = np.full((100, 120, 2), (6, 0), np.float32)
    back[away < 27] = (2, 0)
    back[hair & (y < 50)] = (2.5, 0.5)  # hair that the wind moves; below, the flow is the background's
    found = subject_motion(body, Motion(back, np.ones((100, 120), np.float32), False), 20.0)
    assert np.abs(found.shift[hair & (y < 25)] - (2.5, 0.5)).mean() < 0.3
    assert np.abs(found.shift[hair & (y > 75)] - (2, 0)).mean() < 0.15


def test_without_a_body_the_motion_stays_as_it_is():
    move = still((30, 40), 0.5)
    found = subject_motion(np.zeros((30, 40), np.float32), move, 10.0)
    assert np.array_equal(found.shift, move.shift) and np.array_equal(found.trust, move.trust)
