import sys

import numpy as np
import pytest

from data.miniatures_segmentation import pascal_context, picture
from perpixel.data.pascal_context import PascalContext
from perpixel.data.samples import VOID
from perpixel.errors import ConfigError, InputError, MissingDependencyError

FORMS = ["SegmentationClassContext", "trainval", "59_context_labels"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("below", ["", "VOCdevkit/VOC2010"])
def test_every_form_of_the_labels_gives_the_same_classes(tmp_path, form, below):
    words = pascal_context(tmp_path, form)
    data = PascalContext(tmp_path / below, split="val")
    assert (data.kind, data.names, len(data.categories)) == ("semantic", ("2008_000003", "2008_000002"), 59)
    named = np.array([*data.categories.names, ""])[data[0].labels]  # VOID is the last place
    assert np.array_equal(named, words)
    assert VOID in data[0].labels


@pytest.mark.parametrize("form", FORMS)
def test_all_else_can_be_a_class(tmp_path, form):
    words = pascal_context(tmp_path, form)
    data = PascalContext(tmp_path, split="val", background=True)
    assert (len(data.categories), data.categories.names[0], data.categories.things[0]) == (60, "background", False)
    assert np.array_equal(np.array(data.categories.names)[data[0].labels], np.where(words == "", "background", words))


def test_another_folder_in_the_authors_order(tmp_path):
    words = pascal_context(tmp_path, "59_context_labels")
    inner = tmp_path / "VOCdevkit" / "VOC2010"
    (inner / "59_context_labels").rename(inner / "mine")
    data = PascalContext(tmp_path, split="val", labels="mine", official=True)
    assert np.array_equal(np.array([*data.categories.names, ""])[data[0].labels], words)
    assert PascalContext(tmp_path, split="val", labels="mine").categories.ids == tuple(range(1, 60))


def test_files_with_other_numbers(tmp_path):
    import scipy.io

    pascal_context(tmp_path, "SegmentationClassContext")
    inner = tmp_path / "VOCdevkit" / "VOC2010"
    picture(inner / "SegmentationClassContext" / "2008_000003.png", np.full((24, 37), 60, np.uint8))
    with pytest.raises(InputError, match=r"2008_000003.png holds 60, which no class has: the labels are 0…59"):
        PascalContext(tmp_path, split="val")[0]
    (inner / "mat").mkdir()
    for name, content in (("2008_000002", {"LabelMap": np.full((24, 37), 460)}), ("2008_000003", {"other": 1})):
        scipy.io.savemat(inner / "mat" / f"{name}.mat", content)
    data = PascalContext(tmp_path, split="val", labels="mat")
    with pytest.raises(InputError, match=r"2008_000003.mat has no LabelMap"):
        data[0]
    with pytest.raises(InputError, match="holds 460"):
        data[1]
    (inner / "mat" / "2008_000003.mat").write_bytes(b"not a matlab file")
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        data[0]
    with pytest.raises(ConfigError, match="leave it out"):
        PascalContext(tmp_path, split="val", labels="mat", official=True)


def test_what_is_absent_is_named(tmp_path):
    pascal_context(tmp_path, "SegmentationClassContext")
    inner = tmp_path / "VOCdevkit" / "VOC2010"
    with pytest.raises(InputError, match=r"one of them has to say which photographs are train"):
        PascalContext(tmp_path)
    (inner / "ImageSets" / "SegmentationContext" / "val.txt").write_text("2008_000009\n")
    with pytest.raises(InputError, match="lists 2008_000009, but"):
        PascalContext(tmp_path, split="val")
    with pytest.raises(InputError, match="holds no labels"):
        PascalContext(tmp_path, split="val", labels="nothing")
    with pytest.raises(ConfigError, match="use semantic"):
        PascalContext(tmp_path, kind="panoptic")


def test_matlab_files_without_scipy(tmp_path, monkeypatch):
    pascal_context(tmp_path, "trainval")
    data = PascalContext(tmp_path, split="val")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingDependencyError, match="pip install scipy"):
        data[0]
