"""Every layout opens by its name, and what is misspelt or absent is answered with what is right."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

from data.miniatures_matting import matte_folder
from perpixel.data.layouts import EXPECTED, LAYOUTS, open_dataset
from perpixel.errors import ConfigError, InputError


def reader(layout: str) -> type:
    module, name = LAYOUTS[layout].split(":")
    return getattr(importlib.import_module(module), name)


def test_the_tables_have_the_same_rows():
    assert LAYOUTS.keys() == EXPECTED.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_reader_is_there_and_is_opened_alike(layout):
    parameters = inspect.signature(reader(layout)).parameters
    names = list(parameters)
    assert names[0] == "root"
    assert parameters["split"].default == "train"
    assert parameters["kind"].default is None
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in list(parameters.values())[1:])
    assert reader(layout).__doc__


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_shows_what_was_expected(layout, tmp_path):
    with pytest.raises(InputError, match="is empty") as caught:
        open_dataset(layout, tmp_path)
    assert EXPECTED[layout] in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_folder_is_refused(layout, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError):
        open_dataset(layout, tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist: give the folder of 'rgba' with"):
        open_dataset("rgba", tmp_path / "no")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is no folder"):
        open_dataset("rgba", str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("mattefolder", {}, "did you mean 'matte-folder'"),
        ("xyz", {}, "there are rgba, matte-folder"),
        ("matte-folder", {"kind": "mating"}, "did you mean 'matting'"),
        ("matte-folder", {"kind": "depth"}, "labelled for matting, not depth"),
        ("matte-folder", {"alfa_suffix": ".png"}, "no option 'alfa_suffix': did you mean 'alpha_suffix'"),
        ("matte-folder", {"zzz": 1}, "there are image_suffix, alpha_suffix"),
        ("kitti", {"protocoll": "eigen"}, "did you mean 'protocol'"),
    ],
)
def test_misspelt(tmp_path, layout, options, message):
    matte_folder(tmp_path)
    with pytest.raises(ConfigError, match=message):
        open_dataset(layout, tmp_path, **options)


def test_opening_imports_no_torch():
    code = "import sys, perpixel.data.layouts as l, importlib; "
    code += "[importlib.import_module(place.split(':')[0]) for place in l.LAYOUTS.values()]; "
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True, env=environment)
