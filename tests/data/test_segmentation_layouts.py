"""One test over every layout and kind: what a training or an evaluation may rely on."""

import pickle

import numpy as np
import pytest

from data.miniatures_segmentation import (
    SIZE,
    ade20k,
    box,
    cityscapes,
    coco_instances,
    coco_panoptic,
    pascal_context,
    photo,
    picture,
)
from perpixel.data.layouts import open_dataset
from perpixel.data.samples import VOID
from perpixel.errors import ConfigError
from perpixel.ops.rle import decode_rle


def label_folder(root):
    photo(root / "images" / "a.jpg")
    picture(root / "labels" / "a.png", box(1, 2, 3, 4).astype(np.uint8))
    picture(root / "masks" / "a" / "x.png", box(1, 2, 3, 4))


MINIATURES = {
    "label-folder": label_folder,
    "coco": coco_instances,
    "coco-panoptic": coco_panoptic,
    "ade20k": lambda root: ade20k(root, prepared=False),
    "cityscapes": cityscapes,
    "pascal-context": lambda root: pascal_context(root, "SegmentationClassContext"),
}
ROWS = [
    *((layout, kind) for layout in ("label-folder", "coco") for kind in ("semantic", "instance")),
    *(
        (layout, kind)
        for layout in ("coco-panoptic", "ade20k", "cityscapes")
        for kind in ("semantic", "instance", "panoptic")
    ),
    ("pascal-context", "semantic"),
]


@pytest.mark.parametrize(("layout", "kind"), ROWS)
def test_samples_keep_their_promises(tmp_path, layout, kind):
    MINIATURES[layout](tmp_path)
    options = {"names": ["sky", "sea"]} if layout == "label-folder" and kind == "semantic" else {}
    data = open_dataset(layout, tmp_path, split="train" if layout == "label-folder" else "val", kind=kind, **options)
    assert data.kind == kind
    assert len(data) == len(data.names) == len(set(data.names)) > 0
    assert len(data.categories) == len(set(data.categories.ids))
    for sample, again in zip(data, pickle.loads(pickle.dumps(data)), strict=True):
        assert (sample.name, sample.kind) == (again.name, kind)
        assert sample.image.shape == (*SIZE, 3) and sample.image.dtype == np.uint8
        assert sample.objects == again.objects
        assert all(0 <= item.category < len(data.categories) for item in sample.objects)
        if kind == "instance":
            assert sample.labels is None
            assert all(decode_rle(item.rle).shape == SIZE for item in sample.objects)
            assert all(data.categories.things)
        else:
            assert sample.labels.shape == SIZE and sample.labels.dtype == np.int32
            bound = len(data.categories) if kind == "semantic" else len(sample.objects)
            assert sample.labels.min() >= VOID and sample.labels.max() < bound
        if kind == "panoptic":
            assert set(np.unique(sample.labels)) - {VOID} == set(range(len(sample.objects)))
            assert all(item.rle is None for item in sample.objects)


@pytest.mark.parametrize("layout", MINIATURES)
def test_misspelt_options_are_mended(tmp_path, layout):
    MINIATURES[layout](tmp_path)
    with pytest.raises(ConfigError, match=f"the layout {layout!r} has no option 'lables'"):
        open_dataset(layout, tmp_path, lables="x")
