"""Segments keep their ids from frame to frame, also when another grows larger or one is lost for a while."""

import numpy as np
import pytest

from images.films import lossless
from perpixel.images.video import open_film
from perpixel.ops.flow import Motion
from perpixel.results import Segments
from perpixel.tasks.video_segment import PATIENCE, SegmentFilm, Tracks, segment_film
from tasks.painted import moved, painted_segmenter, scene

LABELS = {0: "person", 1: "sky"}


def still(cut=False):
    return Motion(np.zeros((40, 60, 2), np.float32), np.ones((40, 60), np.float32), cut)


def found(*boxes, kind="panoptic", things=(0,)):
    """Segments of label 0 in boxes (x0, y0, x1, y1)."""
    map = np.zeros((40, 60), np.int32)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        map[y0:y1, x0:x1] = number
    infos = [{"id": number, "label_id": 0, "score": 0.9} for number in range(1, len(boxes) + 1)]
    return Segments.from_map(map, infos, LABELS, kind=kind, things=things)


def at(segments, x, y=20):
    return int(segments.map[y, x])


def test_ids_stay_when_the_order_of_sizes_changes():
    tracks = Tracks()
    first = tracks.follow(found((2, 5, 22, 35), (30, 10, 45, 30)), None)
    second = tracks.follow(found((4, 15, 20, 28), (28, 3, 50, 38)), still())
    assert at(first, 10) == at(second, 10) and at(first, 38) == at(second, 38)
    assert at(second, 10) != at(second, 38)
    assert {each.id for each in second} == {at(second, 10), at(second, 38)}


def test_ids_follow_the_flow_not_the_place():
    tracks = Tracks()
    first = tracks.follow(found((0, 5, 20, 35), (20, 5, 40, 35)), None)
    move = Motion(np.full((40, 60, 2), (-18, 0), np.float32), np.ones((40, 60), np.float32), False)
    second = tracks.follow(found((18, 5, 38, 35), (38, 5, 58, 35)), move)
    assert at(second, 28) == at(first, 10) and at(second, 48) == at(first, 30)


def test_a_segment_that_is_lost_for_a_while_comes_back_with_its_id():
    tracks = Tracks()
    first = tracks.follow(found((2, 5, 22, 35), (30, 10, 45, 30)), None)
    for _ in range(PATIENCE - 1):
        tracks.follow(found((2, 5, 22, 35)), still())
    back = tracks.follow(found((2, 5, 22, 35), (30, 10, 45, 30)), still())
    assert at(back, 38) == at(first, 38)
    for _ in range(PATIENCE + 1):
        tracks.follow(found((2, 5, 22, 35)), still())
    assert at(tracks.follow(found((2, 5, 22, 35), (30, 10, 45, 30)), still()), 38) != at(first, 38)


def test_a_cut_begins_anew():
    tracks = Tracks()
    first = tracks.follow(found((2, 5, 22, 35)), None)
    assert at(tracks.follow(found((2, 5, 22, 35)), still(cut=True)), 10) != at(first, 10)


def test_what_cannot_be_counted_is_one_thing_wherever_it_is():
    tracks = Tracks()
    first = tracks.follow(found((0, 0, 20, 40), things=()), None)
    assert at(tracks.follow(found((30, 0, 60, 40), things=()), still()), 40) == at(first, 10)


@pytest.mark.parametrize("kind", ["panoptic", "instance"])
def test_a_film_keeps_ids_and_colours(tmp_path, kind):
    path = lossless(tmp_path / "a.mkv", moved([0, 2, 4, 6]))
    results = segment_film(path, model=painted_segmenter(), kind=kind)
    assert isinstance(results, SegmentFilm)
    frames = [each.result for each in results]
    ids = [
        [int(one.map[70, 30 + shift]), int(one.map[70, 80 + shift])]
        for one, shift in zip(frames, (0, 2, 4, 6), strict=True)
    ]
    assert ids == [ids[0]] * 4 and len(set(ids[0])) == 2
    assert all(one.mask(number).any() for one in frames for number in ids[0])
    results.save(tmp_path / "out")
    from PIL import Image

    shown = [np.asarray(Image.open(tmp_path / "out" / f"{number:06}.png")).astype(int) for number in range(1, 5)]
    # Two people of one label have two colours, and both keep theirs.
    colours = [[picture[84, 30 + 2 * i], picture[84, 80 + 2 * i]] for i, picture in enumerate(shown)]
    assert np.abs(np.array(colours) - colours[0]).max() <= 3
    assert np.abs(colours[0][0] - scene()[84, 30] - (colours[0][1] - scene()[84, 80])).max() > 20


def test_labels_and_the_film_itself_are_kept(tmp_path):
    path = lossless(tmp_path / "a.mkv", moved([0, 1]))
    results = segment_film(path, model=painted_segmenter(), labels="dog")
    assert {each.label for one in results for each in one.result} == {"dog"}
    results.save(tmp_path / "out.mp4")
    made = open_film(tmp_path / "out.mp4")
    assert (made.width, made.height, made.count) == (128, 96, 2)
