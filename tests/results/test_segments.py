import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.errors import InputError
from perpixel.ops.rle import encode_rle
from perpixel.results import Segment, Segments

NAMES = {0: "person", 1: "Cat", 2: "sky"}


def panoptic(**options):
    """Ids 10, 20 and 30 of 2, 3 and 5 pixels; 40 has none, 99 is not told about."""
    given = np.array([[10, 10, 20, 99], [30, 30, 20, 20], [30, 30, 30, -1]])
    infos = [
        {"id": 10, "label_id": 0, "score": 0.9, "was_fused": False},
        {"id": 20, "label_id": 0, "score": 0.6, "was_fused": False},
        {"id": 30, "label_id": 2, "score": 0.8, "was_fused": True},
        {"id": 40, "label_id": 1, "score": 0.7, "was_fused": False},
    ]
    return Segments.from_map(given, infos, NAMES, things=[0, 1], **options)


def overlapping(**options):
    """A large person of low score, with a sure cat over it."""
    person, cat = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    person[:, :6], cat[2:4, 4:8] = True, True
    infos = [{"label_id": 1, "score": 0.9}, {"label_id": 0, "score": 0.6}, {"label_id": 0, "score": 1.0}]
    masks = [encode_rle(mask) for mask in (cat, person, np.zeros((6, 8), bool))]
    return Segments.from_masks(masks, infos, NAMES, (6, 8), **options), person, cat


def test_from_map_numbers_by_size_and_leaves_out_what_has_no_pixel():
    found = panoptic()
    assert found.map.tolist() == [[3, 3, 2, 0], [1, 1, 2, 2], [1, 1, 1, 0]] and found.map.dtype == np.int32
    assert list(found) == [
        Segment(1, 2, "sky", 0.8, 5, (0, 1, 3, 3), is_thing=False, was_fused=True),
        Segment(2, 0, "person", 0.6, 3, (2, 0, 4, 2), is_thing=True),
        Segment(3, 0, "person", 0.9, 2, (0, 0, 2, 1), is_thing=True),
    ]
    assert found.size == (4, 3) and (found.height, found.width) == (3, 4)
    assert found.label_map.tolist() == [[0, 0, 0, -1], [2, 2, 0, 0], [2, 2, 2, -1]]
    assert found.labels == ["sky", "person"]


def test_it_is_a_sequence():
    found = panoptic()
    assert len(found) == 3 and found[0].label == "sky" and found[-1].id == 3
    assert [segment.id for segment in found[1:]] == [2, 3]
    assert isinstance(found[:1], Segments) and found[:1].map.max() == 1
    with pytest.raises(IndexError):
        found[3]


def test_masks_by_id_or_segment():
    found = panoptic()
    for segment in found:
        mask = found.mask(segment.id)
        assert mask.dtype == bool and mask.sum() == segment.area
        np.testing.assert_array_equal(mask, found.mask(segment))
        rows, columns = np.nonzero(mask)
        assert segment.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    with pytest.raises(InputError, match="there is no segment 4: the ids are 1, 2, 3"):
        found.mask(4)


def test_overlapping_instances_stay_whole():
    found, person, cat = overlapping()
    assert [(each.id, each.label, each.area, each.box, each.is_thing) for each in found] == [
        (1, "person", 36, (0, 0, 6, 6), True),
        (2, "Cat", 8, (4, 2, 8, 4), True),
    ]
    np.testing.assert_array_equal(found.mask(1), person)
    np.testing.assert_array_equal(found.mask(2), cat)
    np.testing.assert_array_equal(found.map, np.where(cat, 2, np.where(person, 1, 0)))  # the surer one on top
    alone = found.filter(label="person")
    np.testing.assert_array_equal(alone.map, person)  # what the cat hid is seen again


def test_of_equally_sure_masks_the_smaller_is_on_top():
    masks = [np.array([[0, 1, 0]], bool), np.array([[1, 1, 1]], bool)]
    infos = [{"label_id": 0, "score": 0.5}] * 2
    found = Segments.from_masks([encode_rle(mask) for mask in masks], infos, NAMES, (1, 3))
    assert found.map.tolist() == [[1, 2, 1]]


def test_filter():
    found = panoptic()
    assert [each.id for each in found.filter(label="PERSON")] == [2, 3]
    assert [each.id for each in found.filter(label=["person", "sky"], min_score=0.8)] == [1, 3]
    assert [each.id for each in found.filter(min_area=3)] == [1, 2]
    assert len(found.filter(label="cat")) == 0
    people = found.filter(label="person", min_score=0.7)
    assert people.map.tolist() == [[3, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert people.mask(3).sum() == 2
    with pytest.raises(InputError, match="the ids are 3"):
        people.mask(1)


def test_classes():
    found = Segments.from_classes(np.array([[2, 2, 7], [-1, 0, 2]]), NAMES)
    assert [(each.label, each.area, each.score) for each in found] == [
        ("sky", 3, None),
        ("person", 1, None),
        ("label 7", 1, None),
    ]
    assert found.kind == "semantic"
    assert found.label_map.tolist() == [[2, 2, 7], [-1, 0, 2]]
    assert len(found.filter(min_score=0.9)) == 3  # without a score nothing is known against them


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_any_map(height, width, seed):
    given = np.random.default_rng(seed).integers(-1, 5, (height, width))
    found = Segments.from_classes(given, NAMES)
    np.testing.assert_array_equal(found.label_map, given)
    assert sum(each.area for each in found) == (given >= 0).sum()
    assert [each.area for each in found] == sorted((each.area for each in found), reverse=True)
    assert set(np.unique(found.map)) - {0} == set(range(1, len(found) + 1))


def test_nothing_found():
    for found in (
        Segments.from_map(np.full((2, 3), -1), [], NAMES),
        Segments.from_masks([], [], NAMES, (2, 3)),
        Segments.from_classes(np.full((2, 3), -1), NAMES),
    ):
        assert len(found) == 0 and not found.map.any() and found.map.shape == (2, 3)
        assert repr(found) == f"Segments(3×2, {found.kind}, nothing found)"
        assert found.overlay().shape == (2, 3, 3)
        assert found.to_coco() == [] and found.label_map.max() == -1
        with pytest.raises(InputError, match="there is no segment 1: nothing was found"):
            found.mask(1)


def test_repr_in_words():
    assert repr(panoptic()) == "Segments(4×3, panoptic, 3 segments: sky, 2 person)"
    many = Segments.from_classes(np.arange(11).reshape(1, 11), {})
    assert repr(many).endswith("label 7, 3 more labels)")


def test_the_overlay_is_drawn_on_the_photograph_or_on_another_picture(tmp_path):
    photo = np.full((3, 4, 3), 51400, np.uint16)
    found = panoptic(image=photo)
    clear = found.overlay(opacity=0)
    assert clear.dtype == np.uint8 and clear[0, 3].tolist() == [200] * 3
    Image.new("RGB", (4, 3), "black").save(tmp_path / "other.png")
    assert found.overlay(tmp_path / "other.png")[0, 3].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="give the photograph that was segmented"):
        found.overlay(np.zeros((3, 5, 3), np.uint8))


def test_names_and_scores_are_written():
    image = np.zeros((120, 160, 3), np.uint8)
    found = Segments.from_map(np.ones((120, 160), int), [{"id": 1, "label_id": 0, "score": 0.5}], NAMES, image=image)
    pictures = [found.overlay(names=False), found.overlay(), found.overlay(scores=True)]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(pictures))


def test_notebooks_show_the_overlay():
    found = Segments.from_map(np.ones((1200, 1500), int), [{"id": 1, "label_id": 0}], NAMES)
    with Image.open(io.BytesIO(found._repr_png_())) as shown:
        assert shown.format == "PNG" and shown.size == (1024, 819)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"map": np.zeros((2, 2))}, "the map is float64"),
        ({"map": np.full((2, 2), 3)}, "number 3, which is no segment's"),
        ({"map": np.full((2, 2), -1)}, "number -1, which is no segment's"),
        ({"kind": "things"}, "use one of panoptic, instance, semantic"),
        ({"segments": [Segment(0, 0, "", None, 1, (0, 0, 1, 1))]}, "from 1 to 16777215"),
        ({"segments": [Segment(1, 0, "", None, 1, (0, 0, 1, 1))] * 2}, "give each its own"),
        ({"masks": {}}, "give one for each segment"),
        ({"image": np.zeros((2, 3, 3), np.uint8)}, "give the photograph that was segmented"),
        ({"image": np.zeros((2, 2, 3), np.float32)}, "uint8 or uint16"),
    ],
)
def test_parts_that_do_not_fit_together(change, words):
    parts = {"map": np.ones((2, 2), int), "segments": [Segment(1, 0, "a", 0.5, 4, (0, 0, 2, 2))], **change}
    with pytest.raises(InputError, match=words) as caught:
        Segments(parts.pop("map"), parts.pop("segments"), **parts)
    assert "\n" not in str(caught.value)
