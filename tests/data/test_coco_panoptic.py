import json

import numpy as np
import pytest

from data.miniatures_segmentation import SIZE, coco_panoptic, colours, picture
from perpixel.data.coco_panoptic import CocoPanoptic
from perpixel.data.samples import VOID, LabelledObject
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle


@pytest.mark.parametrize("pictures", ["panoptic_val2017", "annotations/panoptic_val2017"])
def test_segments_of_every_pixel(tmp_path, pictures):
    ids = coco_panoptic(tmp_path, pictures=pictures)
    data = CocoPanoptic(tmp_path, split="val")
    assert (data.kind, data.names, data.image_ids) == ("panoptic", ("000000000139",), (139,))
    assert data.categories.names == ("person", "sky")
    assert data.categories.things == (True, False)
    sample = data[0]
    assert sample.objects == (
        LabelledObject(0, False, None, 40.0),
        LabelledObject(1, False, None, 370.0),
        LabelledObject(0, True, None, 80.0),
    )
    places = {0: VOID, 70_000: 0, 3_226_956: 1, 5: 2}
    assert np.array_equal(sample.labels, np.vectorize(places.__getitem__)(ids))
    assert sample.labels.dtype == np.int32


def test_the_other_kinds_are_made_from_the_segments(tmp_path):
    ids = coco_panoptic(tmp_path)
    semantic = CocoPanoptic(tmp_path, split="val", kind="semantic")[0]
    classes = {0: VOID, 70_000: 0, 3_226_956: 1, 5: 0}
    assert np.array_equal(semantic.labels, np.vectorize(classes.__getitem__)(ids))
    data = CocoPanoptic(tmp_path, split="val", kind="instance")
    assert data.categories.names == ("person",)
    single, group = data[0].objects
    assert data[0].labels is None
    assert (single.crowd, group.crowd) == (False, True)
    assert np.array_equal(decode_rle(single.rle), ids == 70_000)
    assert np.array_equal(decode_rle(group.rle), ids == 5)


def test_grey_pictures_of_ids_are_read_too(tmp_path):
    ids = coco_panoptic(tmp_path)
    small = np.select([ids == 70_000, ids == 3_226_956, ids == 5], [300, 2, 5], 0)
    path = tmp_path / "annotations" / "panoptic_val2017.json"
    path.write_text(path.read_text().replace("70000", "300").replace("3226956", "2"))
    picture(tmp_path / "panoptic_val2017" / "000000000139.png", small.astype(np.uint16))
    assert (
        np.bincount(CocoPanoptic(tmp_path, split="val")[0].labels.ravel() + 1).tolist()
        == np.array([(ids == number).sum() for number in (0, 70_000, 3_226_956, 5)]).tolist()
    )


def test_pictures_and_lists_that_do_not_fit(tmp_path):
    ids = coco_panoptic(tmp_path)
    path = tmp_path / "panoptic_val2017" / "000000000139.png"
    data = CocoPanoptic(tmp_path, split="val")
    strange = np.where(ids == 5, 6, ids)
    picture(path, colours(strange))
    with pytest.raises(InputError, match=r"000000000139.png holds the segments 6, of which its list says nothing"):
        data[0]
    picture(path, colours(np.where(ids == 5, 0, ids)))
    with pytest.raises(InputError, match="has no pixel of the segments 5 that its list names"):
        data[0]
    picture(path, colours(ids[:-1]))
    with pytest.raises(InputError, match=f"is 37×23 but .* is 37×{SIZE[0]}"):
        data[0]


def test_wrong_files_and_options(tmp_path):
    coco_panoptic(tmp_path)
    with pytest.raises(ConfigError, match="belong together"):
        CocoPanoptic(tmp_path, annotations="a.json", images="b")
    with pytest.raises(ConfigError, match="no labels of kind 'depth'"):
        CocoPanoptic(tmp_path, kind="depth")
    path = tmp_path / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["category_id"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="image 139 has category_id 3, which is no category"):
        CocoPanoptic(tmp_path, split="val")
    content["annotations"][0]["segments_info"][0].update(category_id=1, id=5)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="image 139 has two segments with the id 5"):
        CocoPanoptic(tmp_path, split="val")
    content["annotations"][0]["segments_info"].pop()
    content["annotations"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="image 139 is of no image that the file lists, or there are two"):
        CocoPanoptic(tmp_path, split="val")
    content["annotations"] = [{"image_id": 139, "file_name": "../x.png", "segments_info": []}]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has the file_name '../x.png'"):
        CocoPanoptic(tmp_path, split="val")
    content["annotations"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="has no annotation"):
        CocoPanoptic(tmp_path, split="val")


def test_other_folders(tmp_path):
    coco_panoptic(tmp_path)
    (tmp_path / "val2017").rename(tmp_path / "photos")
    data = CocoPanoptic(
        tmp_path,
        split="val",
        annotations="annotations/panoptic_{split}2017.json",
        segments="panoptic_val2017",
        images="photos",
    )
    assert len(data[0].objects) == 3
