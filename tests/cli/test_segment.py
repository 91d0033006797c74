"""`perpixel segment` and `perpixel cutout --label`, with a model that knows its one picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from models.vitmatte.tiny import tiny_model
from perpixel.cli import main
from perpixel.tasks import matting, segmentation
from tasks.painted import mask, painted_segmenter, same, scene


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures to work on; the models are not loaded but stood in for."""
    monkeypatch.chdir(tmp_path)
    segmenter, network = painted_segmenter(), tiny_model()
    load = segmentation.load_segmenter
    monkeypatch.setattr(
        segmentation, "load_segmenter", lambda model, *_: load(segmenter if isinstance(model, str) else model)
    )
    monkeypatch.setattr(matting, "load_matting_model", lambda *_: network)
    Path("in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(scene()).save(f"in/{name}.png")
    return tmp_path


MODEL = ["--model", "painted"]


def test_the_overlay_by_default(folder, capsys):
    assert main(["segment", "in/a.png", *MODEL]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("in/a.png → in/a-segments.png  128×96, ") and out.endswith(
        "2 person, 2 sky-other-merged, dog\n"
    )
    assert err == ""
    drawn = np.asarray(Image.open("in/a-segments.png"))
    assert drawn.shape == (96, 128, 3) and (drawn != scene()).any()
    assert [path.name for path in Path("in").iterdir() if "perpixel" in path.name] == []


def test_json_lines_tell_the_segments(folder, capsys):
    assert main(["segment", "in", "-o", "out", "--json", "--label", "dog", *MODEL]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["output"] for line in lines] == ["out/a.png", "out/b.png"]
    (dog,) = lines[0]["segments"]
    assert dog["label"] == "dog" and dog["box"] == [108, 64, 120, 80] and 0.9 < dog["score"] <= 1
    assert abs(dog["area"] - 192) <= 16


def test_one_coco_file_for_all_pictures(folder, capsys):
    assert main(["segment", "in", "--coco", "all.json", "--kind", "instance", *MODEL]) == 0
    assert not Path("in-segments").exists(), "no overlay was asked for"
    coco = COCO("all.json")
    assert [coco.imgs[number]["file_name"] for number in (1, 2)] == ["a.png", "b.png"]
    assert len(coco.anns) == 10 and len(coco.getAnnIds(imgIds=[2])) == 5
    largest = max(coco.imgToAnns[2], key=lambda annotation: annotation["area"])
    assert same(coco.annToMask(largest).astype(bool), mask(0))
    assert coco.cats[1]["name"] == "dog"


def test_a_panoptic_folder(folder):
    assert main(["segment", "in", "--panoptic-dir", "pan", "--overlay", *MODEL]) == 0
    data = json.loads(Path("pan/panoptic.json").read_text())
    assert [each["file_name"] for each in data["annotations"]] == ["a.png", "b.png"]
    ids = np.asarray(Image.open("pan/b.png")).astype(int) @ [1, 256, 65536]
    infos = data["annotations"][1]["segments_info"]
    assert {info["id"]: info["area"] for info in infos} == {
        number: int((ids == number).sum()) for number in range(1, 6)
    }
    assert len(list((folder / "in-segments").iterdir())) == 2


def test_a_broken_picture_does_not_stop_the_others(folder, capsys):
    Path("in/c.png").write_text("no picture")
    assert main(["segment", "in", "--coco", "all.json", *MODEL]) == 1
    assert "1 of 3 files failed" in capsys.readouterr().err
    assert sorted(COCO("all.json").imgs) == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in/a.png", "--kind", "things"], "--kind"),
        (["in/a.png", "--coco", "x.txt"], "ends in .json"),
        (["in/a.png", "--coco", "no/x.json"], "the folder no does not exist"),
        (["in", "-o", "x.png"], "2 pictures do not fit"),
        (["in/a.png", "--threshold", "2"], "--threshold"),
        (["in", "-o", "same", "--panoptic-dir", "same"], "give different folders"),
    ],
)
def test_a_wrong_command(folder, capsys, words, message):
    assert main(["segment", *words, *MODEL]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


def test_a_label_that_is_none(folder, capsys):
    assert main(["segment", "in/a.png", "--label", "persom", *MODEL]) == 1
    assert "did you mean person?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--label", "person", "--index", "1"], ["--subject", "largest"]], ids=["label", "subject"]
)
def test_cutout_by_label(folder, words):
    assert main(["cutout", "in/a.png", *words, "--segmentation-model", "painted", "-o", "x.png"]) == 0
    alpha = np.asarray(Image.open("x.png"))[..., 3]
    assert alpha[60, 30] == 255 and alpha[60, 80] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", "2", "--subject", "largest"], "--index 2 is given without --label"),
        (["--label", "dog", "--box", "1,1,9,9"], "--box and --label cannot be combined"),
        (["--label", "dog", "--index", "0"], "--index"),
        (["--subject", "smallest"], "--subject"),
    ],
)
def test_a_wrong_cutout(folder, capsys, words, message):
    assert main(["cutout", "in/a.png", *words]) == 2
    assert message in capsys.readouterr().err
