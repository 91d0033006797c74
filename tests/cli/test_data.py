"""`perpixel data check` over folders: what it says, what it writes, and its exit codes."""

import json

import numpy as np
import pytest
from PIL import Image

from perpixel.cli import main
from perpixel.cli.arguments import read_option
from perpixel.cli.reporting import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three photographs of noise with label pictures of two classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        for kind in ("images", "labels"):
            (tmp_path / "pets" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / "pets" / "images" / f"{name}.jpg")
        labels = np.zeros((30, 40), np.uint8)
        labels[5:20, 10:30] = 1
        Image.fromarray(labels).save(tmp_path / "pets" / "labels" / f"{name}.png")
    (tmp_path / "pets" / "names.txt").write_text("background\npet\n")
    return tmp_path / "pets"


def test_a_clean_folder(folder, capsys):
    assert main(["data", "check", "pets", "--sheet", "sheet.jpg"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert lines[0].startswith("pets: --layout label-folder (guessed: labels holds")
    assert lines[1] == "split train: 3 samples, semantic"
    assert lines[2] == "photographs: 40×30"
    assert lines[4].split() == ["background", "3", "75.00%"]
    assert lines[-2:] == ["→ sheet.jpg", "no problem found"]
    with Image.open("sheet.jpg") as sheet:
        assert sheet.width > 1000


def test_problems_are_listed_and_the_rest_is_checked(folder, capsys):
    (folder / "images" / "a.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((9, 40), np.uint8)).save(folder / "labels" / "b.png")
    assert main(["data", "check", "pets", "--sheet", "sheet.png"]) == 1
    told = capsys.readouterr()
    assert "problem: a: pets/images/a.jpg is empty" in told.out
    assert "problem: b: pets/labels/b.png is 40×9 but" in told.out
    assert "split train: 3 samples, semantic, 1 of them read" in told.out
    assert told.err == "perpixel: 2 problems in 2 of 3 samples\n"
    with Image.open("sheet.png") as sheet:
        assert sheet.height > 30


def test_many_problems_of_one_sort_are_told_once(folder, capsys):
    for number in range(9):
        Image.fromarray(np.full((30, 40, 3), number, np.uint8)).save(folder / "images" / f"x{number}.png")
        Image.fromarray(np.full((30, 40), 7 + number, np.uint8)).save(folder / "labels" / f"x{number}.png")
    assert main(["data", "check", "pets"]) == 1
    told = capsys.readouterr().out
    assert told.count("which no class has") == 4
    assert "… and 5 more like this; --json has them all" in told


def test_json_has_everything(folder, capsys):
    (folder / "images" / "a.jpg").write_bytes(b"")
    assert main(["data", "check", "pets", "--json"]) == 1
    told = capsys.readouterr()
    assert told.err == ""
    content = json.loads(told.out)
    assert (content["layout"], content["split"]) == ("label-folder", "train")
    assert (content["samples"], content["checked"]) == (3, 2)
    assert content["classes"][1] == {"name": "pet", "images": 2, "objects": None, "pixels": 600}
    assert [(problem["sample"], problem["kind"]) for problem in content["problems"]] == [("a", "reading")]


def test_a_folder_that_cannot_be_opened_is_a_problem(folder, capsys):
    (folder / "labels" / "c.png").unlink()
    assert main(["data", "check", "pets"]) == 1
    assert "images have no label" in capsys.readouterr().out
    assert main(["data", "check", "pets", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert (content["kind"], content["samples"], len(content["problems"])) == (None, 0, 1)
    (folder / "labels" / "c.PNG").touch()
    (folder / "images" / "a.png").touch()
    assert main(["data", "check", "pets"]) == 1
    assert "same name 'a'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "does not exist"),
        (["pets/names.txt"], "is no folder"),
        (["pets/images"], "looks like no layout known here"),
        (["pets", "--layout", "labelfolder"], "did you mean 'label-folder'"),
        (["pets", "--option", "nam=3"], "did you mean 'names'"),
        (["pets", "--option", "names"], "NAME=VALUE"),
        (["pets", "--kind", "panoptic"], "no labels of kind"),
        (["pets", "--kind", "pan"], "--kind"),
        (["pets", "--sheet", "sheet.xyz"], "suffix"),
        (["pets", "--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_command_is_2(folder, capsys, arguments, words):
    assert main(["data", "check", *arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""


def test_options_reach_the_reader_and_a_limit_holds(folder, capsys):
    (folder / "names.txt").unlink()
    assert main(["data", "check", "pets", "--option", "mapping=0:ground,1:cat", "--limit", "2"]) == 0
    told = capsys.readouterr().out
    assert "--option mapping=0:ground,1:cat" in told
    assert "cat" in told
    assert "3 samples, semantic, 2 of them read" in told


def test_values_of_options():
    assert read_option("scale=1000") == ("scale", 1000)
    assert read_option("names=cat, dog,") == ("names", ["cat", "dog"])
    assert read_option("mapping=#ff0000:cat,#000000:void") == ("mapping", {"#ff0000": "cat", "#000000": "void"})
    assert read_option("backgrounds=C:/photos") == ("backgrounds", "C:/photos")
    assert read_option('names=["a", "b,c"]') == ("names", ["a", "b,c"])
    assert read_option("image_suffix=") == ("image_suffix", "")
    with pytest.raises(UsageError):
        read_option("=3")


def test_layouts_are_listed(capsys):
    assert main(["data", "layouts"]) == 0
    told = capsys.readouterr().out
    assert "coco-panoptic" in told
    assert "images/NAME.jpg" in told
