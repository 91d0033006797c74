"""`cutout` by label: which segment is meant, and that its neighbours stay out."""

import numpy as np
import pytest

from models.vitmatte.tiny import tiny_model
from perpixel.errors import InputError
from perpixel.ops.trimap import trimap_from_mask
from perpixel.tasks.cutout import cutout
from perpixel.tasks.segmentation import segment
from perpixel.tasks.subject import choose, trimap_of
from tasks.painted import mask, painted_segmenter, same, scene
from tasks.striped import striped, stripes

MATTING = tiny_model()
PAINTED = painted_segmenter()


def cut(**options):
    return cutout(scene(), model=MATTING, segmentation_model=PAINTED, **options)


def test_all_of_a_label_by_default():
    people = segment(scene(), model=PAINTED, labels="person").map > 0
    assert same(people, mask(0, 1))
    np.testing.assert_array_equal(cut(label="Person").trimap, trimap_from_mask(people))


def test_a_model_of_labels_alone():
    """DPT tells no thing from another: all of a label is one segment."""
    found = cutout(stripes(), label="door", model=MATTING, segmentation_model=striped())
    assert found.trimap[24, 50] == 255 and found.trimap[24, 5] == 0 and found.trimap[24, 90] == 0


def test_one_of_a_label_the_largest_first():
    first, second = (cut(label="person", index=index) for index in (1, 2))
    assert first.trimap[60, 30] == 255 and first.trimap[60, 80] == 0
    assert second.trimap[60, 30] == 0 and second.trimap[60, 80] == 255
    assert first.alpha[60, 80] == 0 and second.alpha[60, 30] == 0
    assert first.alpha.shape == (96, 128)


def test_a_touching_instance_is_background_from_near_the_line():
    both = segment(scene(), model=PAINTED)
    alone = trimap_from_mask(both.mask(1))
    trimap = trimap_of(both, choose(both, ["person"], 1, "person"))
    inside = both.mask(2)
    unknown_before, unknown_now = (alone == 128) & inside, (trimap == 128) & inside
    assert 0 < unknown_now.sum() < unknown_before.sum() / 2
    assert not unknown_now[:, 63:].any()  # the people meet at x = 60
    np.testing.assert_array_equal(trimap[~inside], alone[~inside])  # elsewhere the band is whole
    assert not ((trimap == 255) & ~both.mask(1)).any()


def test_stuff_beside_the_subject_keeps_its_whole_band():
    segments = segment(scene(), model=PAINTED, things={0, 1})
    trimap = trimap_of(segments, [segments[0]])
    np.testing.assert_array_equal(trimap[:20], trimap_from_mask(segments.mask(1))[:20])


def test_the_largest_thing():
    np.testing.assert_array_equal(cut(subject="largest").trimap, cut(label="person", index=1).trimap)
    segments = segment(scene(), model=PAINTED, things={1, 2})
    assert choose(segments, None, None, None)[0].label == "sky-other-merged"
    with pytest.raises(InputError, match=r"no thing in the image \(found: .*person"):
        choose(segment(scene(), model=PAINTED, things=set()), None, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "cat"}, "no label 'cat'"),
        ({"label": "persson"}, "did you mean person"),
        ({"label": "person", "index": 3}, "index is 3, but 2 person were found: give 1 to 2"),
        ({"label": "person", "index": 0}, "give 1 to 2"),
        ({"subject": "smallest"}, "use 'largest', or label="),
        ({"label": "person", "subject": "largest"}, "got label and subject: give one"),
        ({"label": "person", "box": (1, 1, 9, 9)}, "got box and points and label: give one"),
        ({"index": 1}, "needs a hint"),
        ({"index": 1, "subject": "largest"}, "index=1 is given without a label"),
    ],
)
def test_what_is_not_there(options, words):
    with pytest.raises(InputError, match=words):
        cut(**options)


def test_a_label_that_the_model_knows_and_the_image_lacks():
    image = scene()
    image[60:, 104:] = 0
    with pytest.raises(InputError, match=r"there is no dog in the image \(found: 2 person, 2 sky-other-merged\)"):
        cutout(image, label="dog", model=MATTING, segmentation_model=PAINTED)
    with pytest.raises(InputError, match="nothing was found"):
        cutout(np.zeros((96, 128, 3), np.uint8), label="dog", model=MATTING, segmentation_model=PAINTED)
