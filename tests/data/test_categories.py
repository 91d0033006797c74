import pytest

from perpixel.data.categories.ade20k import ADE20K
from perpixel.data.categories.cityscapes import CITYSCAPES
from perpixel.data.categories.coco import COCO_PANOPTIC, COCO_THINGS
from perpixel.data.categories.pascal_context import (
    PASCAL_CONTEXT,
    PASCAL_CONTEXT_MAT,
    PASCAL_CONTEXT_OFFICIAL,
)
from perpixel.tasks.things import known_things


@pytest.mark.parametrize(
    ("categories", "count", "things"),
    [
        (COCO_THINGS, 80, 80),
        (COCO_PANOPTIC, 133, 80),
        (ADE20K, 150, 100),
        (CITYSCAPES, 19, 8),
        (PASCAL_CONTEXT, 59, 59),
    ],
)
def test_as_many_classes_as_the_papers_say(categories, count, things):
    assert (len(categories), sum(categories.things)) == (count, things)
    assert len(set(categories.names)) == len(set(categories.ids)) == count if categories is not COCO_PANOPTIC else True


@pytest.mark.parametrize("categories", [COCO_PANOPTIC, ADE20K, CITYSCAPES])
def test_models_of_these_data_sets_have_the_same_things(categories):
    things = frozenset(number for number, thing in enumerate(categories.things) if thing)
    assert known_things(categories.id2label) == things


def test_some_numbers_of_the_published_tables():
    def numbered(categories, *names):
        return [categories.ids[categories.names.index(name)] for name in names]

    assert numbered(COCO_THINGS, "person", "stop sign", "toothbrush") == [1, 13, 90]
    assert numbered(COCO_PANOPTIC, "person", "banner", "tree-merged", "rug-merged") == [1, 92, 184, 200]
    assert numbered(ADE20K, "bed", "person", "sky", "flag") == [7, 12, 2, 149]
    assert numbered(CITYSCAPES, "road", "person", "train", "bicycle") == [7, 24, 31, 33]
    assert numbered(PASCAL_CONTEXT, "aeroplane", "truck", "window") == [1, 54, 58]
    assert numbered(PASCAL_CONTEXT_MAT, "aeroplane", "bag", "bicycle", "wood") == [2, 9, 23, 458]
    assert numbered(PASCAL_CONTEXT_OFFICIAL, "aeroplane", "tvmonitor", "bag", "wood") == [1, 20, 21, 59]


def test_the_labels_of_pascal_context_stay_in_the_alphabet():
    # The authors' 459 labels are in alphabetical order, so the 59 of them are too.
    assert list(PASCAL_CONTEXT.names) == sorted(PASCAL_CONTEXT.names)
    assert list(PASCAL_CONTEXT_MAT.ids) == sorted(PASCAL_CONTEXT_MAT.ids)
    assert sorted(PASCAL_CONTEXT_OFFICIAL.ids) == list(range(1, 60))
