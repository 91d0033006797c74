import pickle

import numpy as np
import pytest

from data.miniatures_segmentation import cityscapes, picture
from perpixel.data.cityscapes import Cityscapes
from perpixel.data.samples import VOID
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle

NAMES = ("frankfurt/frankfurt_000000_000294", "lindau/lindau_000000_000019")


def test_classes_by_pixel(tmp_path):
    truth = cityscapes(tmp_path)
    data = Cityscapes(tmp_path, split="val")
    assert (data.kind, data.names, len(data.categories)) == ("semantic", NAMES, 19)
    numbers = {0: VOID, 1: VOID, 7: 0, 26: 13, 29: VOID}
    assert np.array_equal(data[1].labels, np.vectorize(numbers.__getitem__)(truth["labels"]))


def test_a_thing_without_a_number_is_a_group(tmp_path):
    truth = cityscapes(tmp_path)
    data = Cityscapes(tmp_path, split="val", kind="instance")
    assert data.categories.names == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert data.categories.ids == (24, 25, 26, 27, 28, 31, 32, 33)
    objects = data[0].objects
    assert [(item.category, item.crowd) for item in objects] == [(2, True), (2, False), (2, False)]
    for item, number in zip(objects, (26, 26_000, 26_001), strict=True):
        assert np.array_equal(decode_rle(item.rle), truth["instances"] == number)


def test_segments_are_the_same_with_and_without_preparation(tmp_path):
    truth = cityscapes(tmp_path / "plain")
    cityscapes(tmp_path / "prepared", prepared=True)
    plain, prepared = (Cityscapes(tmp_path / how, split="val", kind="panoptic") for how in ("plain", "prepared"))
    assert plain.names == prepared.names == NAMES
    for one, other in zip(plain, prepared, strict=True):
        assert one.name == other.name
        assert one.objects == other.objects
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.image, other.image)
    sample = plain[0]
    assert [(item.category, item.crowd) for item in sample.objects] == [
        (0, False),
        (13, True),
        (13, False),
        (13, False),
    ]
    places = {0: VOID, 1: VOID, 7: 0, 26: 1, 26_000: 2, 26_001: 3, 29_000: VOID}
    assert np.array_equal(sample.labels, np.vectorize(places.__getitem__)(truth["instances"]))


def test_coarse_labels_of_the_extra_part(tmp_path):
    cityscapes(tmp_path)
    (tmp_path / "leftImg8bit" / "val").rename(tmp_path / "leftImg8bit" / "train_extra")
    (tmp_path / "gtFine").rename(tmp_path / "gtCoarse")
    (tmp_path / "gtCoarse" / "val").rename(tmp_path / "gtCoarse" / "train_extra")
    for path in list((tmp_path / "gtCoarse").rglob("*_gtFine_*.png")):
        path.rename(path.with_name(path.name.replace("gtFine", "gtCoarse")))
    assert len(Cityscapes(tmp_path, split="train_extra", labels="gtCoarse")) == 2
    with pytest.raises(ConfigError, match="no labels for the split 'train_extra'"):
        Cityscapes(tmp_path, split="train_extra")


def test_pictures_with_other_numbers(tmp_path):
    cityscapes(tmp_path)
    folder = tmp_path / "gtFine" / "val" / "frankfurt"
    picture(folder / "frankfurt_000000_000294_gtFine_labelIds.png", np.full((24, 37), 34, np.uint8))
    with pytest.raises(InputError, match=r"labelIds.png holds 34, which no class has: .* 0…33"):
        Cityscapes(tmp_path, split="val")[0]
    picture(folder / "frankfurt_000000_000294_gtFine_instanceIds.png", np.full((24, 37), 34_001, np.uint16))
    for kind in ("instance", "panoptic"):
        with pytest.raises(InputError, match=r"instanceIds.png holds 34001, which is no label"):
            Cityscapes(tmp_path, split="val", kind=kind)[0]


def test_what_is_absent_is_named(tmp_path):
    cityscapes(tmp_path)
    with pytest.raises(InputError, match="for train: expected is leftImg8bit"):
        Cityscapes(tmp_path)
    (tmp_path / "gtFine" / "val" / "lindau" / "lindau_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images have no label picture .*lindau_000000_000019_leftImg8bit.png"):
        Cityscapes(tmp_path, split="val")
    with pytest.raises(ConfigError, match="use 'gtFine' or 'gtCoarse'"):
        Cityscapes(tmp_path, labels="gtfine")


@pytest.mark.parametrize("kind", ["semantic", "instance", "panoptic"])
def test_what_is_opened_can_be_pickled(tmp_path, kind):
    cityscapes(tmp_path, prepared=True)
    data = Cityscapes(tmp_path, split="val", kind=kind)
    copy = pickle.loads(pickle.dumps(data))
    assert (copy.names, copy.kind, copy[1].objects) == (data.names, kind, data[1].objects)
