import numpy as np
import pytest

from data.miniatures_segmentation import ade20k, picture
from perpixel.data.ade20k import Ade20k
from perpixel.data.samples import VOID
from perpixel.errors import InputError
from perpixel.ops.rle import decode_rle

NAME = "ADE_val_00000001"


def test_classes_by_pixel(tmp_path):
    truth = ade20k(tmp_path, prepared=False)
    data = Ade20k(tmp_path, split="val")
    assert (data.kind, data.names, len(data.categories)) == ("semantic", (NAME,), 150)
    assert np.array_equal(data[0].labels, truth["semantic"].astype(int) - 1)
    assert VOID in data[0].labels
    again = Ade20k(tmp_path / "ADEChallengeData2016", split="validation", kind="semantic")
    assert np.array_equal(again[0].labels, data[0].labels)


@pytest.mark.parametrize("prepared", [False, True])
def test_things(tmp_path, prepared):
    truth = ade20k(tmp_path, prepared)
    data = Ade20k(tmp_path, split="val", kind="instance")
    assert len(data.categories) == 100
    sample = data[0]
    assert [data.categories.names[item.category] for item in sample.objects] == ["bed", "flag"]
    assert [data.categories.ids[item.category] for item in sample.objects] == [7, 149]
    assert np.array_equal(decode_rle(sample.objects[0].rle), truth["bed"])
    assert np.array_equal(decode_rle(sample.objects[1].rle), truth["flag"])
    assert (sample.name, sample.labels) == (NAME, None)


def test_segments_are_the_same_with_and_without_preparation(tmp_path):
    truth = ade20k(tmp_path / "plain", prepared=False)
    ade20k(tmp_path / "prepared", prepared=True)
    plain, prepared = (Ade20k(tmp_path / how, split="val", kind="panoptic") for how in ("plain", "prepared"))
    assert plain.names == prepared.names == (NAME,)
    assert plain.categories == prepared.categories
    assert plain[0].objects == prepared[0].objects
    assert np.array_equal(plain[0].labels, prepared[0].labels)
    sample = plain[0]
    assert [plain.categories.names[item.category] for item in sample.objects] == ["wall", "floor", "bed", "flag"]
    # A thing covers stuff; what is labelled as a thing without a number is void.
    assert (sample.labels[truth["bed"]] == 2).all()
    assert sample.labels[4, 5] == sample.labels[16, 11] == VOID
    assert sample.labels[0, 0] == 0


def test_pictures_with_other_numbers(tmp_path):
    ade20k(tmp_path, prepared=False)
    data, things = Ade20k(tmp_path, split="val"), Ade20k(tmp_path, split="val", kind="instance")
    path = tmp_path / "ADEChallengeData2016" / "annotations" / "validation" / f"{NAME}.png"
    picture(path, np.full((24, 37), 151, np.uint8))
    with pytest.raises(InputError, match=r"ADE_val_00000001.png holds 151, which no class has: .* 1…150"):
        data[0]
    path = tmp_path / "ADEChallengeData2016" / "annotations_instance" / "validation" / f"{NAME}.png"
    picture(path, np.full((24, 37, 3), 101, np.uint8))
    with pytest.raises(InputError, match="holds the thing 101 in red"):
        things[0]
    picture(path, np.full((24, 37), 1, np.uint8))
    with pytest.raises(InputError, match="is grey"):
        things[0]


def test_what_is_absent_is_named(tmp_path):
    ade20k(tmp_path, prepared=False)
    with pytest.raises(InputError, match="holds no annotations for training"):
        Ade20k(tmp_path)
    with pytest.raises(
        InputError, match=r"holds no annotations_instance for training, nor is there ade20k_instance_tr"
    ):
        Ade20k(tmp_path, kind="instance")
    with pytest.raises(InputError, match="has no folder images"):
        Ade20k(tmp_path / "elsewhere")
    ade20k(tmp_path, prepared=True)
    (tmp_path / "ADEChallengeData2016" / "images" / "validation" / f"{NAME}.jpg").unlink()
    with pytest.raises(InputError, match=f"lists {NAME}, but .* does not hold it"):
        Ade20k(tmp_path, split="val", kind="panoptic")
