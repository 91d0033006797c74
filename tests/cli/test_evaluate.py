"""`perpixel evaluate`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate.folders import mattes, save
from models.vitmatte.tiny import tiny_model
from perpixel.cli import main
from perpixel.tasks import matting

MODEL = ["evaluate", "tiny", "--dataset", "matte-folder", "--root", ".", "--split", "all"]
FILES = ["evaluate", "--task", "matting", "--predictions", "predictions", "--truth", "alphas"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """alphas/, trimaps/, predictions/ and images/; the model is not loaded but stood in for."""
    monkeypatch.chdir(tmp_path)
    network = tiny_model()
    monkeypatch.setattr(matting, "load_matting_model", lambda *_: network)
    for name, true, _, trimap in mattes(tmp_path, 2):
        trimap[0], trimap[1] = 0, 255
        save(f"trimaps/{name}.png", trimap)
        save(f"images/{name}.png", np.zeros((*true.shape, 3), np.uint8))
    return tmp_path


def test_a_model(folder, capsys):
    assert main(MODEL) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("SAD / 1000") and "2 images in" in out and err == ""


def test_one_json_object_and_nothing_else(folder, capsys):
    assert main([*FILES, "--trimaps", "trimaps", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert out.count("\n") == 1 and err == ""
    assert found["task"] == "matting" and found["images"] == 2 and found["measures"]["sad"] > 0
    assert "rows" not in found and found["settings"]["trimaps"] == "trimaps"


@pytest.mark.parametrize("report", ["out", "one.html", "one.md", "one.json"])
def test_reports(folder, capsys, report):
    assert main([*FILES, "--report", report]) == 0
    if report == "out":
        assert sorted(path.name for path in Path("out").iterdir()) == ["report.html", "report.json", "report.md"]
        assert Path("out/report.html").read_text().count("<img") == 6
    else:
        assert Path(report).stat().st_size > 100 and f"→ {report}" in capsys.readouterr().out


def test_what_failed_is_named_and_the_code_says_so(folder, capsys):
    Path("predictions/photo0.png").unlink()
    assert main([*FILES, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["complete"] is False
    assert "photo0: there is no prediction" in err and "figures are of a part only" in err


def test_many_failures_are_not_all_told(folder, capsys):
    for number in range(15):
        save(f"predictions/stray{number}.png", np.zeros((2, 2), np.uint8))
    assert main(FILES) == 1
    assert "… and 5 more" in capsys.readouterr().err


def test_rules_and_options_arrive(folder, capsys):
    words = ["--option", "alpha_suffix=.png", "--option", 'image_suffix=".png"', "--max-memory", "4GB", "--limit", "1"]
    assert main([*MODEL, *words, "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["options"] == {"alpha_suffix": ".png", "image_suffix": ".png"}
    assert settings["max_memory"] == "4GB" and settings["limit"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate"], "give MODEL, --dataset and --root"),
        (["evaluate", "tiny"], "--dataset and --root must be given"),
        (["evaluate", "--predictions", "predictions"], "--task and --truth must be given"),
        ([*MODEL, "--predictions", "predictions"], "give MODEL"),
        ([*MODEL, "--scale", "1000"], "--scale is for files"),
        ([*FILES, "--limit", "3"], "--limit is for a model"),
        ([*MODEL, "--option", "x"], "NAME=VALUE"),
        ([*MODEL, "--size", "640x480"], "--size takes one or two whole numbers"),
        ([*MODEL, "--size", "0"], "--size takes one or two whole numbers"),
        ([*MODEL, "--align", "least"], "--align"),
        ([*FILES, "--report", "no/r.html"], "the folder no does not exist"),
        ([*FILES, "--report", "r.pdf"], ".json, .md or .html"),
    ],
)
def test_a_wrong_command(folder, capsys, words, message):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*MODEL, "--crop", "garg"], "crop is for depth"),
        ([*MODEL, "--option", "alphasuffix=.png"], "did you mean 'alpha_suffix'"),
        (["evaluate", "tiny", "--dataset", "coco-panoptik", "--root", "."], "did you mean 'coco-panoptic'"),
        (["evaluate", "tiny", "--dataset", "coco", "--root", "nowhere"], "nowhere does not exist"),
        ([*FILES[:-1], "nowhere"], "nowhere do not exist"),
    ],
)
def test_what_cannot_be_measured(folder, capsys, words, message):
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


def test_help_loads_nothing_heavy(program_environment):
    code = (
        "import sys\nfrom perpixel.cli import main\nassert main(['evaluate', '--help']) == 0\n"
        "assert not {'torch', 'numpy', 'cv2', 'PIL', 'accelerate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=program_environment, check=True, capture_output=True)
