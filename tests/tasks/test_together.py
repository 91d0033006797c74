"""Many photographs through one model: the same as each on its own, in a stack too, and errors of one alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dpt.tiny import tiny_config as dpt_config
from models.dpt.tiny import tiny_model as dpt_model
from models.mask2former.tiny import tiny_model as mask2former
from models.vitmatte.pictures import picture
from models.vitmatte.tiny import tiny_model as vitmatte
from parity.randomise import randomise
from perpixel.errors import InputError
from perpixel.images.read import Photo
from perpixel.models.dpt.model import DPTForSemanticSegmentation
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
from perpixel.tasks.cutout import cutout
from perpixel.tasks.depth import DepthEstimator, depth
from perpixel.tasks.matting import matte
from perpixel.tasks.segmentation import Segmenter, segment
from perpixel.tasks.stages import Matting, stacked
from perpixel.tasks.together import (
    Hint,
    cutout_together,
    depth_together,
    matte_together,
    segment_together,
)
from tasks.painted import painted_segmenter, scene

MATTING = vitmatte()
DEPTH = DepthEstimator(dpt_model(), DPTImageProcessor(size=32, keep_aspect_ratio=True, ensure_multiple_of=32))
SEGMENTER = Segmenter(mask2former(), Mask2FormerImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}))
# Two of one size of the network's input, one of another, and one more of the first.
SIZES = [(40, 60), (33, 64), (70, 20), (40, 60)]


def semantic():
    network = DPTForSemanticSegmentation(dpt_config(num_labels=3)).eval()
    randomise(network)
    return Segmenter(network, DPTImageProcessor(size=32, keep_aspect_ratio=True, ensure_multiple_of=32))


def photographs(sizes=SIZES):
    generator = np.random.default_rng(1)
    return [Photo(generator.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


def trimaps(sizes=SIZES):
    return [picture(*size)[1] for size in sizes]


@pytest.mark.parametrize("stack", [None, 2, 8])
def test_mattes(stack):
    photos, known = photographs(), trimaps()
    known[2] = np.where(np.arange(20) < 10, 0, 255).astype(np.uint8)[None].repeat(70, 0)  # nothing to be found out
    found = matte_together(photos, known, model=MATTING, stack=stack)
    for result, photo, trimap in zip(found, photos, known, strict=True):
        expected = matte(photo, trimap, model=MATTING)
        np.testing.assert_allclose(result.alpha, expected.alpha, rtol=0, atol=1e-4 if stack else 0)
        np.testing.assert_array_equal(result.trimap, expected.trimap)
        np.testing.assert_array_equal(result.image, photo.pixels)


def test_mattes_in_little_memory_and_refined():
    pytest.importorskip("pymatting")
    photos, known = photographs(), trimaps()
    options = {"model": MATTING, "max_memory": "1GB", "refine": "closed-form"}
    for result, photo, trimap in zip(matte_together(photos, known, **options), photos, known, strict=True):
        np.testing.assert_array_equal(result.alpha, matte(photo, trimap, **options).alpha)


@pytest.mark.parametrize("stack", [None, 8])
@pytest.mark.parametrize(
    ("segmenter", "kind"),
    [(SEGMENTER, "panoptic"), (SEGMENTER, "instance"), (SEGMENTER, "semantic"), (semantic(), "semantic")],
)
def test_segments(segmenter, kind, stack):
    photos = photographs()
    options = {"model": segmenter, "kind": kind, "threshold": 0.0, "overlap_threshold": 0.0}
    found = segment_together(photos, **options, stack=stack)
    assert sum(map(len, found))
    for result, photo in zip(found, photos, strict=True):
        expected = segment(photo, **options)
        if stack is None:
            np.testing.assert_array_equal(result.map, expected.map)
            assert [vars(each) for each in result] == [vars(each) for each in expected]
        else:  # rounding may move pixels whose two best labels are alike
            assert np.mean(result.label_map != expected.label_map) < 0.02


@pytest.mark.parametrize("stack", [None, 8])
def test_depths(stack):
    photos = photographs()
    for result, photo in zip(depth_together(photos, model=DEPTH, stack=stack), photos, strict=True):
        expected = depth(photo, model=DEPTH).values
        np.testing.assert_allclose(result.values, expected, rtol=0, atol=1e-4 * np.abs(expected).max() if stack else 0)


def test_depth_in_tiles_and_little_memory():
    photos = photographs([(80, 90), (40, 30)])
    for options in ({"detail": "tiled"}, {"max_memory": "1GB", "size": 64}):
        for result, photo in zip(depth_together(photos, model=DEPTH, **options), photos, strict=True):
            np.testing.assert_array_equal(result.values, depth(photo, model=DEPTH, **options).values)
    with pytest.raises(InputError, match="max_memory"):
        depth_together(photos, model=DEPTH, max_memory="1MB")


@pytest.mark.parametrize("stack", [None, 8])
def test_cutouts_by_each_kind_of_hint(stack):
    photo = Photo(scene())
    mask = np.zeros((96, 128), np.uint8)
    mask[20:88, 8:60] = 255
    hints = [{"mask": mask}, {"label": "person"}, {"box": (8, 20, 60, 88)}, {"label": "dog"}, {"subject": "largest"}]
    options = {"model": MATTING, "segmentation_model": painted_segmenter()}
    found = cutout_together([photo] * 5, [Hint(**hint) for hint in hints], **options, stack=stack)
    for result, hint in zip(found, hints, strict=True):
        expected = cutout(photo, **hint, **options)
        np.testing.assert_array_equal(result.trimap, expected.trimap)
        np.testing.assert_allclose(result.alpha, expected.alpha, rtol=0, atol=1e-4 if stack else 0)


def test_a_subject_that_is_not_there_keeps_nobody_else_from_theirs():
    work = Matting(MATTING, segmenter=painted_segmenter())
    photos = [Photo(scene()), Photo(np.zeros((96, 128, 3), np.uint8))]
    ready = [work.prepare(photo, Hint(label="dog")) for photo in photos]
    found = work.run(ready)
    np.testing.assert_array_equal(
        work.finish(ready[0], found[0]).alpha,
        cutout(photos[0], label="dog", model=MATTING, segmentation_model=painted_segmenter()).alpha,
    )
    with pytest.raises(InputError, match="no dog"):
        work.finish(ready[1], found[1])


def test_what_does_not_fit_together():
    photos, known = photographs(), trimaps()
    with pytest.raises(InputError, match="4 photographs and 3 hints"):
        matte_together(photos, known[:3], model=MATTING)
    with pytest.raises(InputError, match="stack is 0"):
        depth_together(photos, model=DEPTH, stack=0)
    with pytest.raises(InputError, match="segmentation model has to find cat"):
        cutout_together(photos[:1], [Hint(label="cat")], model=MATTING)
    with pytest.raises(InputError, match="resize the trimap"):
        matte_together(photos[:2], [known[0], known[2]], model=MATTING)


def test_nothing_gives_nothing():
    assert matte_together([], [], model=MATTING) == [] == segment_together([], model=SEGMENTER)
    assert depth_together([], model=DEPTH) == []


@settings(max_examples=25, deadline=None)
@given(sides=st.lists(st.integers(1, 3), max_size=12), most=st.integers(1, 5), room=st.integers(1, 5))
def test_stacks_keep_the_order_and_their_limits(sides, most, room):
    calls = []

    def call(values, none):
        assert none is None
        if len(values) > room:
            raise torch.OutOfMemoryError
        calls.append(len(values))
        return [float(value.flatten()[0]) for value in values]

    inputs = [(torch.full((1, side), float(i)), None) for i, side in enumerate(sides)]
    assert stacked(call, inputs, most) == list(range(len(sides)))
    assert all(length <= min(most, room) for length in calls)
    if room >= most:
        assert len(calls) == sum(-(-sides.count(side) // most) for side in set(sides))


def test_what_is_out_of_memory_alone_is_an_error():
    def call(values):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        stacked(call, [(torch.zeros(1, 1),)] * 3, 2)
