"""A film's depth has one range, keeps its scale from frame to frame, and does not flicker."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image

from images.films import lossless
from perpixel.images.video import open_film
from perpixel.tasks.video_depth import depth_film, fitted
from tasks.known_depth import estimator


def wide(seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (48, 100), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 40, 220, cv2.NORM_MINMAX)


def film(path, count=8, seed=0):
    """A grey picture that moves; the model in use sees its brightness as depth."""
    frames = [np.repeat(wide(seed)[:, number : number + 64, None], 3, axis=2) for number in range(count)]
    lossless(path, [np.ascontiguousarray(frame) for frame in frames])
    return [frame[..., 0] / 255 for frame in frames]


def jumps(maps):
    """Mean absolute change along the known motion, one pixel to the left a frame."""
    return np.mean([np.abs(after[:, :-1] - before[:, 1:]).mean() for before, after in pairwise(maps)])


def test_a_model_that_changes_its_scale_with_every_frame_is_held(tmp_path):
    film(tmp_path / "a.mkv")
    free = [each.result.values for each in depth_film(tmp_path / "a.mkv", model=estimator(moody=True), steady=False)]
    held = [each.result.values for each in depth_film(tmp_path / "a.mkv", model=estimator(moody=True))]
    assert jumps(held) < 0.5 * jumps(free)


def test_a_steady_model_is_left_as_it_is(tmp_path):
    true = film(tmp_path / "a.mkv")
    found = depth_film(tmp_path / "a.mkv", model=estimator(side=48))
    for each, depth in zip(found, true, strict=True):
        assert np.abs(each.result.values - depth).mean() < 0.02
        assert each.result.kind == "inverse"


def test_the_range_is_that_of_the_whole_film(tmp_path):
    dark, bright = np.full((48, 64, 3), 50, np.uint8), np.full((48, 64, 3), 200, np.uint8)
    lossless(tmp_path / "a.mkv", [dark] * 10 + [bright] * 10)
    low, high = depth_film(tmp_path / "a.mkv", model=estimator()).range
    assert (low, high) == pytest.approx((50 / 255, 200 / 255), abs=0.01)


def test_nothing_is_carried_over_a_cut(tmp_path):
    first, second = wide(1)[:, :64], wide(2)[:, :64]
    pictures = [np.repeat(each[..., None], 3, axis=2) for each in (first, first, second, second)]
    lossless(tmp_path / "a.mkv", pictures)
    found = list(depth_film(tmp_path / "a.mkv", model=estimator(side=48)))
    assert [each.cut for each in found] == [True, False, True, False]
    assert np.abs(found[2].result.values - second / 255).mean() < 0.01


def test_metres_are_never_rescaled(tmp_path):
    film(tmp_path / "a.mkv")
    moody = estimator(moody=True, kind="metric")
    moody.network.moods = None
    found = list(depth_film(tmp_path / "a.mkv", model=moody))
    assert found[0].result.unit == "m"
    assert np.abs(found[-1].result.values - wide()[:, 7:71] / 255).mean() < 0.05


@pytest.mark.parametrize("name", ["frames", "out.mkv"])
def test_numbers_come_back_with_their_scale(tmp_path, name):
    film(tmp_path / "a.mkv", 4)
    results = depth_film(tmp_path / "a.mkv", model=estimator(side=48))
    found = [each.result.values for each in results]
    results.save(tmp_path / name)
    if name == "frames":
        meaning = json.loads((tmp_path / name / "depth.json").read_text())
        with Image.open(tmp_path / name / "000003.png") as picture:
            codes = np.asarray(picture).astype(float)
    else:
        import av

        meaning = json.loads((tmp_path / "out.mkv.json").read_text())
        with av.open(str(tmp_path / name)) as container:
            codes = [frame.to_ndarray() for frame in container.decode(video=0)][2].astype(float)
    restored = meaning["scale"] * codes + meaning["shift"]
    low, high = results.range
    assert np.abs(restored - np.clip(found[2], low, high)).max() <= meaning["scale"]
    assert meaning["kind"] == "inverse" and meaning["unit"] is None


def test_pictures_are_in_the_colours_of_the_map(tmp_path):
    film(tmp_path / "a.mkv", 3)
    results = depth_film(tmp_path / "a.mkv", model=estimator())
    results.save(tmp_path / "out.mp4", map="grey")
    expected = [results.picture(each.result, "grey") for each in results]
    shown = [frame.pixels for frame in open_film(tmp_path / "out.mp4").frames()]
    assert np.abs(shown[1].astype(int) - expected[1]).mean() < 3


def test_the_fit_takes_no_spread_away():
    rng = np.random.default_rng(0)
    before = rng.random((60, 60)).astype(np.float32)
    values = before
    for _ in range(40):  # noise in every frame: least squares would have flattened it to nothing
        noisy = (before + rng.normal(0, 0.2, before.shape)).astype(np.float32)
        values = fitted(noisy, values, np.ones_like(before))
    assert values.std() == pytest.approx(np.hypot(before.std(), 0.2), rel=0.1)


def test_depth_that_runs_against_the_last_frame_is_left_alone():
    before = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert np.array_equal(fitted(-before, before, np.ones_like(before)), -before)
    assert np.array_equal(fitted(before * 2, before, np.zeros_like(before)), before * 2)
