"""A film's subject is followed from its first frame, over motion, into and out of the picture, but not over cuts."""

import resource
import weakref

import cv2
import numpy as np
import pytest
from PIL import Image

from images.films import broken_film, lossless
from perpixel.errors import InputError, OutputError, PerpixelWarning
from perpixel.images.video import open_film
from perpixel.metrics.temporal import flicker
from perpixel.ops.trimap import trimap_from_alpha
from perpixel.tasks import video_cutout
from perpixel.tasks.video_cutout import cutout_film
from tasks.painted import PARTS, moved, painted_segmenter

HEIGHT, WIDTH = 72, 96


def ground(seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH + 60, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 20, 120, cv2.NORM_MINMAX)


def ball(x, y=36, radius=15):
    """The alpha of a ball."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1).astype(np.float32)


def film(path, places, seed=0):
    """A bright, textured ball over a ground that moves; returns the alphas."""
    back, skin = ground(seed), ground(7)[:, :WIDTH] + 110
    alphas = [ball(x) for x in places]
    frames = []
    for number, (x, alpha) in enumerate(zip(places, alphas, strict=True)):
        step = np.array([[1, 0, x], [0, 1, 0]], np.float32)
        front = cv2.warpAffine(skin, step, (WIDTH, HEIGHT), borderMode=cv2.BORDER_WRAP)
        picture = alpha[..., None] * front + (1 - alpha[..., None]) * back[:, number : number + WIDTH]
        frames.append(np.rint(picture).astype(np.uint8))
    lossless(path, frames)
    return alphas


class Known:
    """A stand-in for the matting model: the true alpha with errors of its own in every frame."""

    def __init__(self, alphas, noise=0.0):
        self.alphas, self.noise, self.rng, self.calls = alphas, noise, np.random.default_rng(0), []

    def __call__(self, network, pixels, trimap, limit=None):
        self.calls.append(trimap)
        true = self.alphas[len(self.calls) - 1]
        soft = cv2.GaussianBlur(self.rng.normal(0, 1, true.shape).astype(np.float32), (0, 0), 1.5) * 4
        return np.clip(true + self.noise * soft, 0, 1).astype(np.float32)


@pytest.fixture
def known(monkeypatch):
    def stand_in(alphas, noise=0.0):
        model = Known(alphas, noise)
        monkeypatch.setattr(video_cutout, "estimate_alpha", model)
        monkeypatch.setattr(video_cutout, "load_matting_model", lambda *_: None)
        return model

    return stand_in


def test_the_subject_is_followed_and_the_known_stays_right(tmp_path, known):
    places = np.linspace(25, 60, 12)
    alphas = film(tmp_path / "a.mkv", places)
    model = known(alphas)
    found = list(cutout_film(tmp_path / "a.mkv", trimap_first=trimap_from_alpha(alphas[0], band=4)))
    assert len(found) == 12
    for each, true, trimap in zip(found, alphas, model.calls, strict=True):
        assert (true[trimap == 255] > 0.9).all() and (true[trimap == 0] < 0.1).all()
        assert 0.03 < (trimap == 128).mean() < 0.4
        assert np.abs(each.result.alpha - true).mean() < 0.01
        assert np.array_equal(each.result.trimap, trimap)
    assert [each.cut for each in found] == [True] + [False] * 11


def test_the_ground_that_comes_in_over_the_border_is_known(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", np.linspace(22, 34, 8))
    first = trimap_from_alpha(alphas[0], band=8)
    first[20:52, 37:64] = 128  # at the right the hair is long
    assert (first[32:40, 0] == 128).all()  # at the left the unknown ends at the picture's border
    model = known(alphas)
    list(cutout_film(tmp_path / "a.mkv", trimap_first=first))
    assert (model.calls[-1][:, :8] == 0).all()
    assert (model.calls[-1][32:40, 55:65] == 128).all()


def test_steady_halves_the_flicker_and_loses_nothing(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", np.linspace(25, 55, 14))
    trimap = trimap_from_alpha(alphas[0], band=5)
    figures = {}
    for steady in (False, True):
        known(alphas, noise=0.15)
        found = [each.result.alpha for each in cutout_film(tmp_path / "a.mkv", trimap_first=trimap, steady=steady)]
        # Along the known motion, in the ball's surroundings.
        step = np.full((HEIGHT, WIDTH, 2), (-30 / 13, 0), np.float32)
        moving = [
            flicker(before, after, step, ball(x, radius=22) > 0.5)
            for before, after, x in zip(found[2:], found[3:], np.linspace(25, 55, 14)[3:], strict=False)
        ]
        figures[steady] = np.mean(moving), np.mean([np.abs(f - a).mean() for f, a in zip(found, alphas, strict=True)])
    assert figures[True][0] < 0.5 * figures[False][0]
    assert figures[True][1] < 1.05 * figures[False][1]


def test_every_frame_gets_its_own_alpha_steady_or_not(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", np.linspace(25, 60, 6))
    trimap = trimap_from_alpha(alphas[0], band=4)
    for steady in (False, True):
        known(alphas)
        found = list(cutout_film(tmp_path / "a.mkv", trimap_first=trimap, steady=steady))
        assert [each.frame.number for each in found] == list(range(6))
        for each, true in zip(found, alphas, strict=True):
            assert min(range(6), key=lambda t: np.abs(each.result.alpha - alphas[t]).sum()) == each.frame.number
            assert steady or np.abs(each.result.alpha - true).max() < 0.1


@pytest.mark.parametrize("steady", [False, True])
def test_only_a_few_frames_are_held(tmp_path, known, monkeypatch, steady):
    alphas = film(tmp_path / "a.mkv", np.full(24, 40))
    known(alphas)
    frames = weakref.WeakSet()
    followed = video_cutout.followed

    def watched(film):
        for frame, moves in followed(film):
            frames.add(frame)
            yield frame, moves

    monkeypatch.setattr(video_cutout, "followed", watched)
    trimap = trimap_from_alpha(alphas[0], band=4)
    for _ in cutout_film(tmp_path / "a.mkv", trimap_first=trimap, steady=steady):
        assert len(frames) <= 8


def test_the_hints_for_the_first_frame(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", [40, 41, 42])
    mask = alphas[0] > 0.5
    for hint in (
        {"mask_first": mask},
        {"box": (22, 18, 58, 54)},
        {"points": [(40, 36)], "background_points": [(4, 4)]},
    ):
        model = known(alphas)
        result = [each.result for each in cutout_film(tmp_path / "a.mkv", **hint)]
        assert len(result) == 3
        assert result[2].alpha[36, 42] == 1 and result[2].alpha[4, 4] == 0
        assert (model.calls[0] == 128).any()


def test_a_cut_is_not_bridged_and_is_said(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", [40, 41, 42])
    film(tmp_path / "b.mkv", [60, 61], seed=3)
    frames = [frame.pixels for name in "ab" for frame in open_film(tmp_path / f"{name}.mkv").frames()]
    frames[3:] = [np.ascontiguousarray(255 - frame[::-1]) for frame in frames[3:]]
    lossless(tmp_path / "c.mkv", frames)
    known(alphas)
    with pytest.warns(PerpixelWarning, match=r"a cut at frame 3 \(0\.30 s\)"):
        found = list(cutout_film(tmp_path / "c.mkv", trimap_first=trimap_from_alpha(alphas[0], band=4)))
    assert [each.cut for each in found] == [True, False, False, True, False]
    assert all(not each.result.alpha.any() for each in found[3:])
    assert np.abs(found[2].result.alpha - alphas[2]).mean() < 0.01


def test_a_subject_that_leaves_the_picture_is_gone(tmp_path, known):
    places = np.linspace(70, 118, 14)
    alphas = film(tmp_path / "a.mkv", places)
    assert not alphas[-1].any()
    known(alphas)
    found = list(cutout_film(tmp_path / "a.mkv", trimap_first=trimap_from_alpha(alphas[0], band=4)))
    assert found[-1].result.alpha.mean() < 0.01


class Plain:
    """A stand-in for the matting model that halves what is unknown."""

    def __call__(self, network, pixels, trimap, limit=None):
        return np.full(trimap.shape, 0.5, np.float32)


def test_a_label_is_found_and_looked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(video_cutout, "estimate_alpha", Plain())
    monkeypatch.setattr(video_cutout, "load_matting_model", lambda *_: None)
    path = lossless(tmp_path / "a.mkv", moved(range(6)))
    segmenter = painted_segmenter()
    found = list(cutout_film(path, label="dog", segmentation_model=segmenter, every=2))
    x0, y0, x1, y1 = PARTS[2][2]
    for shift, each in enumerate(found):
        alpha = each.result.alpha
        assert alpha[(y0 + y1) // 2, (x0 + x1) // 2 + shift] >= 0.5
        assert alpha[:, :90].max() == 0


def test_a_label_that_is_nowhere_makes_an_empty_film(tmp_path, monkeypatch):
    monkeypatch.setattr(video_cutout, "load_matting_model", lambda *_: None)
    path = lossless(tmp_path / "a.mkv", [np.zeros((96, 128, 3), np.uint8)] * 2)
    with pytest.warns(PerpixelWarning, match="dog was found in no frame"):
        found = list(cutout_film(path, label="dog", segmentation_model=painted_segmenter()))
    assert all(not each.result.alpha.any() for each in found)


def test_a_film_that_breaks_off_keeps_what_was_finished(tmp_path, known):
    path = broken_film(tmp_path)
    known([np.full((48, 64), 0.5, np.float32)] * 20)
    trimap = np.full((48, 64), 128, np.uint8)
    trimap[:5], trimap[-5:] = 0, 255
    with (
        pytest.raises(InputError, match=r"breaks off after 1\d frames .* are kept in .*out\.mov"),
        pytest.warns(PerpixelWarning, match="cut at frame"),  # noise has no motion
    ):
        cutout_film(path, trimap_first=trimap).save(tmp_path / "out.mov")
    kept = list(open_film(tmp_path / "out.mov").frames())
    assert 10 <= len(kept) < 15


def test_another_error_keeps_what_was_finished_too(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", [40, 41, 42, 43])
    known(alphas[:2])  # the third frame is one too many
    with pytest.raises(IndexError), pytest.warns(PerpixelWarning, match="the 2 frames before, 0.20 s, are kept"):
        cutout_film(tmp_path / "a.mkv", trimap_first=trimap_from_alpha(alphas[0])).save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["000001.png", "000002.png"]
    with Image.open(tmp_path / "out" / "000002.png") as picture:
        assert picture.mode == "RGBA"
        assert np.abs(np.asarray(picture)[..., 3] / 255 - alphas[1]).mean() < 0.02


@pytest.mark.parametrize("name", ["out.mov", "out.mkv", "out"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, known, name):
    alphas = film(tmp_path / "a.mkv", np.linspace(25, 55, 8))
    known(alphas)
    results = cutout_film(tmp_path / "a.mkv", trimap_first=trimap_from_alpha(alphas[0], band=4))
    (tmp_path / "goal").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # writing more fails, as on a full disk
    try:
        with pytest.raises(OutputError, match="cannot"):
            results.save(tmp_path / "goal" / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "goal").iterdir())


def test_hints_that_do_not_fit_are_refused(tmp_path):
    path = lossless(tmp_path / "a.mkv", [np.zeros((48, 64, 3), np.uint8)] * 2)
    with pytest.raises(InputError, match="trimap is 10×20 but the image is 64×48"):
        cutout_film(path, trimap_first=np.array([[0, 255] * 5] * 20, np.uint8))
    with pytest.raises(InputError, match="mask is 10×20 but the image is 64×48"):
        cutout_film(path, mask_first=np.array([[False, True] * 5] * 20))
    with pytest.raises(InputError, match=r"needs a hint that tells the subject"):
        cutout_film(path)
    with pytest.raises(InputError, match="got box and points and label"):
        cutout_film(path, box=(0, 0, 9, 9), label="dog")
    with pytest.raises(InputError, match="without a label"):
        cutout_film(path, box=(0, 0, 9, 9), index=1)
    with pytest.raises(InputError, match="every is 0"):
        cutout_film(path, label="dog", every=0)


def test_a_bad_place_is_found_before_the_work(tmp_path, known):
    alphas = film(tmp_path / "a.mkv", [40, 41])
    model = known(alphas)
    results = cutout_film(tmp_path / "a.mkv", trimap_first=trimap_from_alpha(alphas[0]))
    with pytest.raises(OutputError, match="does not exist"):
        results.save(tmp_path / "no" / "out.mov")
    with pytest.raises(InputError, match="cannot hold a film with transparency"):
        results.save(tmp_path / "out.mp4")
    assert not model.calls
