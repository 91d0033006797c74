"""`segment`: what a known picture gives, how models and sizes are chosen, and errors."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.dpt.tiny import tiny_config as dpt_config
from models.dpt.tiny import tiny_model as dpt_model
from models.mask2former.tiny import tiny_config, tiny_model
from perpixel.errors import CheckpointError, InputError
from perpixel.hub import catalog
from perpixel.images.read import read_photo
from perpixel.models.dpt.model import DPTForSemanticSegmentation
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
from perpixel.results.segments import KINDS
from perpixel.tasks.segmentation import DEFAULT_MODEL, Segmenter, load_segmenter, segment
from tasks.painted import NAMES, mask, painted_model, painted_segmenter, same, scene
from tasks.striped import striped, stripes

TINY = tiny_model()
PAINTED = painted_segmenter()
THINGS = {0, 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    TINY.save_pretrained(path)
    Mask2FormerImageProcessor(size={"height": 32, "width": 64}).save_pretrained(path)
    return path


def test_panoptic_segments_of_a_known_picture():
    found = segment(scene(), model=PAINTED, things=THINGS)
    assert found.kind == "panoptic" and found.size == (128, 96)
    assert [(each.label, each.is_thing, each.was_fused) for each in found] == [
        ("person", True, False),
        ("person", True, False),
        ("sky-other-merged", False, True),
        ("dog", True, False),
    ]
    for number, expected in enumerate([mask(0), mask(1), mask(3, 4), mask(2)], 1):
        assert same(found.mask(number), expected)
    assert all(0.99 < each.score <= 1 for each in found)
    np.testing.assert_array_equal(found.image, scene())


def test_stuff_is_joined_only_where_things_are_known():
    assert len(segment(scene(), model=PAINTED)) == 5
    assert {each.is_thing for each in segment(scene(), model=PAINTED)} == {None}


def test_instances_are_things_only():
    found = segment(scene(), model=PAINTED, kind="instance", things=THINGS)
    assert [each.label for each in found] == ["person", "person", "dog"]
    for number, expected in enumerate([mask(0), mask(1), mask(2)], 1):
        assert same(found.mask(number), expected)
    assert len(segment(scene(), model=PAINTED, kind="instance")) == 5


def test_semantic_segments_are_one_a_label():
    image = scene()
    found = segment(image, model=PAINTED, kind="semantic")
    people = next(each for each in found if each.label == "person")
    seen = mask(0, 1, 2, 3, 4)  # elsewhere no query is sure, and every pixel still gets some label
    np.testing.assert_array_equal(found.mask(people) & seen, mask(0, 1))
    assert people.score is None and (found.map > 0).all()


def test_labels_by_their_plain_names():
    found = segment(scene(), model=PAINTED, labels=["Sky", "dog"])
    assert found.labels == ["sky-other-merged", "dog"]
    assert same(found.map > 0, mask(2, 3, 4))
    with pytest.raises(InputError, match=r"no label 'persom': did you mean person"):
        segment(scene(), model=PAINTED, labels="persom")
    with pytest.raises(InputError, match=r"use one of its 3, such as person, dog, sky"):
        segment(scene(), model=PAINTED, labels="zzz")


def test_a_threshold_that_nothing_reaches():
    for kind in ("panoptic", "instance"):
        found = segment(scene(), model=PAINTED, kind=kind, threshold=1)
        assert len(found) == 0 and found.map.shape == (96, 128)


@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50), kind=st.sampled_from(KINDS))
def test_any_size(height, width, kind):
    image = np.random.default_rng(0).integers(0, 256, (height, width + 4, 3), np.uint8)
    side = {"height": 64, "width": 64}
    found = segment(image, model=TINY, kind=kind, threshold=0, overlap_threshold=0, size=side)
    assert found.map.shape == (height, width + 4)
    assert all(each.area == found.mask(each).sum() for each in found)


def test_photographs_by_path_and_of_sixteen_bits(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.png")
    expected = segment(scene(), model=PAINTED).map
    for image in (tmp_path / "a.png", read_photo(tmp_path / "a.png"), scene().astype(np.uint16) * 257):
        np.testing.assert_array_equal(segment(image, model=PAINTED).map, expected)


# Models and sizes


def test_models_by_folder(folder):
    segmenter = load_segmenter(str(folder))
    assert segmenter.processor.size == {"height": 32, "width": 64}
    options = {"threshold": 0, "overlap_threshold": 0}
    by_name = segment(scene(), model=folder, **options)
    given = Segmenter(TINY, segmenter.processor)
    np.testing.assert_array_equal(by_name.map, segment(scene(), model=given, **options).map)


def test_a_loaded_model_sees_images_as_in_the_paper():
    processor = load_segmenter(TINY).processor
    assert processor.size == {"shortest_edge": 800, "longest_edge": 1333}
    assert processor.size_divisor == 0 and processor.pad_divisor == 32


def test_a_preset_goes_before_the_checkpoints_own_file(folder, monkeypatch):
    preset = {"size": {"shortest_edge": 48, "longest_edge": 96}, "size_divisor": 0, "pad_divisor": 32}
    monkeypatch.setattr(catalog, "preset", lambda name: dict(preset))
    assert load_segmenter(folder).processor.size == preset["size"]
    assert load_segmenter(folder, preset=False).processor.size == {"height": 32, "width": 64}


def test_without_a_processor_file_the_papers_way(tmp_path):
    TINY.save_pretrained(tmp_path)
    assert load_segmenter(tmp_path).processor == load_segmenter(TINY).processor


def test_the_size_that_the_model_sees(monkeypatch):
    seen = []
    original = type(TINY).forward

    def note(self, pixel_values, **options):
        seen.append(tuple(pixel_values.shape))
        return original(self, pixel_values, **options)

    monkeypatch.setattr(type(TINY), "forward", note)
    segment(scene(), model=TINY, size=60)
    assert seen == [(1, 3, 64, 96)]  # 60×80, filled up to multiples of 32


def test_the_default_model_and_a_missing_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked = []
    model = type(TINY)

    def refuse(source, **_):
        asked.append(source)
        raise CheckpointError("no network")

    monkeypatch.setattr(model, "from_pretrained", refuse)
    with pytest.raises(CheckpointError):
        segment(scene())
    assert asked == [DEFAULT_MODEL]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "things"}, "use one of panoptic, instance, semantic"),
        ({"threshold": 1.2}, "threshold is 1.2"),
        ({"mask_threshold": -1}, "mask_threshold is -1"),
        ({"overlap_threshold": float("nan")}, "overlap_threshold is nan"),
        ({"image": "there_is_none.jpg"}, r"there_is_none\.jpg"),
        ({"device": "gpu7"}, "there is no device 'gpu7'"),
    ],
)
def test_inputs_that_cannot_be_used(change, words):
    arguments = {"image": scene(), "model": PAINTED, **change}
    with pytest.raises(InputError, match=words):
        segment(arguments.pop("image"), **arguments)


def test_a_checkpoint_of_another_family(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vitmatte"}))
    with pytest.raises(Exception, match="mask2former"):
        segment(scene(), model=tmp_path)


def test_the_stub_is_a_real_model():
    assert painted_model().config.id2label == NAMES and tiny_config().num_labels == 3


# DPT


@pytest.mark.parametrize("kind", [None, "semantic"])
def test_dpt_tells_the_label_of_each_pixel(kind):
    found = segment(stripes(), model=striped(), kind=kind)
    assert found.kind == "semantic" and found.size == (96, 48)
    assert [(each.label, each.score, each.is_thing) for each in found] == [
        ("door", None, None),
        ("wall", None, None),
        ("floor", None, None),
    ]
    boxes = [each.box for each in found]
    np.testing.assert_allclose(boxes, [(30, 0, 70, 48), (0, 0, 30, 48), (70, 0, 96, 48)], atol=2)
    assert segment(stripes(), model=striped(), kind=kind, labels="door").labels == ["door"]


@pytest.mark.parametrize("kind", ["panoptic", "instance"])
def test_dpt_finds_no_single_things(kind):
    with pytest.raises(InputError, match=rf"kind='{kind}' .* use kind='semantic', or a Mask2Former"):
        segment(stripes(), model=striped(), kind=kind)
    assert segment(scene(), model=PAINTED).kind == "panoptic"


def test_dpt_by_its_folder(tmp_path):
    network = dpt_model(DPTForSemanticSegmentation, dpt_config(num_labels=4))
    network.save_pretrained(tmp_path)
    DPTImageProcessor(size=32).save_pretrained(tmp_path)
    found = segment(stripes(), model=tmp_path)
    processor = DPTImageProcessor(size=32, keep_aspect_ratio=True, ensure_multiple_of=16)
    inputs = processor(stripes(), return_tensors="pt")
    assert inputs.pixel_values.shape == (1, 3, 32, 64), "the image keeps its aspect"
    with torch.no_grad():
        classes = processor.post_process_semantic_segmentation(network(**inputs), [(48, 96)])[0].numpy()
    assert {each.label_id for each in found} == set(np.unique(classes))
    for each in found:
        np.testing.assert_array_equal(found.mask(each), classes == each.label_id)
    assert segment(stripes(), model=network, size=16).size == (96, 48)
