"""The commands, with the tasks replaced by something fast: what they are asked, written and reported."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import perpixel
from perpixel.cli import main
from perpixel.errors import InputError, PerpixelWarning


class Recorder:
    """Stands in for a task: keeps what it was asked and returns a result of the picture's size."""

    def __init__(self):
        self.calls = []

    def __call__(self, image, *args, **options):
        self.calls.append((image, *args, options))
        if Path(image).stem == "broken":
            raise InputError(f"{image} is not a picture: give one")
        if Path(image).stem == "bug":
            raise KeyError("oops")
        if Path(image).stem == "stop":
            raise KeyboardInterrupt
        with Image.open(image) as opened:
            width, height = opened.size
        saved = []

        def save(path, what="cutout"):
            saved.append(what)
            Path(path).write_text(what)

        return SimpleNamespace(
            alpha=np.ones((height, width), np.float32),
            icc_profile=None,
            save=save,
            composite=lambda background: np.full((height, width, 3), 7, np.uint8),
        )


@pytest.fixture
def task(monkeypatch):
    recorder = Recorder()
    for name in ("cutout", "matte"):
        monkeypatch.setitem(vars(perpixel), name, recorder)
    monkeypatch.setitem(vars(perpixel), "tune_allocator", lambda **_: None)
    loader = SimpleNamespace(load_matting_model=lambda model, device, *_: f"{model} on {device}")
    monkeypatch.setitem(sys.modules, "perpixel.tasks.matting", loader)
    return recorder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "broken.png", "trimap.png"):
        Image.new("RGB", (5, 3)).save(name)
    return tmp_path


def test_every_hint_reaches_the_task(task, folder):
    box = ["--box", "1,0,5,3"]
    points = ["--point", "2,1", "--point", "3, 1", "--background-point", "0,0"]
    others = ["--model", "some/model", "--device", "cpu", "--max-memory", "2GB", "--refine", "closed-form"]
    assert main(["cutout", "a.png", *box, *points, *others]) == 0
    (image, options) = task.calls[0]
    assert image == Path("a.png")
    assert options == {
        "trimap": None,
        "mask": None,
        "box": (1, 0, 5, 3),
        "points": [(2, 1), (3, 1)],
        "background_points": [(0, 0)],
        "model": "some/model on cpu",
        "max_memory": "2GB",
        "refine": "closed-form",
    }
    assert Path("a-cutout.png").read_text() == "cutout"


def test_the_report_is_one_line_on_stdout(task, folder, capsys):
    assert main(["cutout", "a.png", "--box", "1,0,5,3", "-o", "x.png"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a.png → x.png  5×3, ")
    assert out.count("\n") == 1
    assert err == ""


def test_json_is_one_object_a_file_even_for_a_broken_one(task, folder, capsys):
    assert main(["cutout", "a.png", "broken.png", "b.png", "--box", "1,0,5,3", "-o", "out", "--json"]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [set(line) for line in lines] == [{"input", "output", "width", "height", "seconds", "ok", "error"}] * 3
    assert [line["ok"] for line in lines] == [True, False, True]
    assert lines[0]["output"] == "out/a.png"
    assert (lines[0]["width"], lines[0]["height"]) == (5, 3)
    assert lines[1]["output"] is None
    assert lines[1]["error"] == "broken.png is not a picture: give one"
    assert err.splitlines() == [
        "perpixel: broken.png is not a picture: give one",
        "perpixel: 1 of 3 files failed, 2 done",
    ]


def test_background_gives_a_picture_without_transparency(task, folder):
    assert main(["cutout", "a.png", "--box", "1,0,5,3", "--background", "white", "-o", "x.png"]) == 0
    with Image.open("x.png") as written:
        assert written.mode == "RGB"
        assert written.getpixel((0, 0)) == (7, 7, 7)


def test_matte_writes_the_alpha(task, folder):
    assert main(["matte", "a.png", "--trimap", "trimap.png"]) == 0
    assert task.calls[0][:2] == (Path("a.png"), Path("trimap.png"))
    assert Path("a-alpha.png").read_text() == "alpha"


def test_a_folder_of_trimaps_is_matched_by_name(task, folder):
    Path("t").mkdir()
    for name in ("a.png", "b-trimap.png"):
        Image.new("L", (5, 3)).save(Path("t") / name)
    assert main(["matte", "a.png", "b.png", "--trimap", "t", "-o", "out"]) == 0
    assert [call[1] for call in task.calls] == [Path("t/a.png"), Path("t/b-trimap.png")]


def test_without_a_hint_the_error_shows_the_four_as_commands_for_this_file(task, folder, capsys):
    Image.new("RGB", (200, 100)).save("my cat.png")
    assert main(["cutout", "my cat.png"]) == 2
    err = capsys.readouterr().err
    assert "perpixel cutout 'my cat.png' --box 20,10,180,100\n" in err
    assert "perpixel cutout 'my cat.png' --point 100,50 --background-point 10,5\n" in err
    assert "perpixel cutout 'my cat.png' --mask 'my cat-mask.png'\n" in err
    assert "perpixel cutout 'my cat.png' --trimap 'my cat-trimap.png'\n" in err
    assert task.calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cutout"], "IMAGE"),
        (["cutout", "a.png", "--box", "1,2,3"], "--box takes 4 whole numbers such as 60,20,440,512, not '1,2,3'"),
        (["cutout", "a.png", "--point", "x,y"], "--point takes 2 whole numbers such as 320,240, not 'x,y'"),
        (["cutout", "a.png", "--box", "1,0,5,3", "--mask", "b.png"], "--mask and --box cannot be combined"),
        (["cutout", "a.png", "--background-point", "1,2"], "add --point or --box"),
        (["cutout", "a.png", "--mask", "absent.png"], "no file absent.png"),
        (["cutout", "a.png", "b.png", "--mask", "trimap.png"], "one hint for 2 pictures"),
        (["cutout", "*.nothing", "--box", "1,0,5,3"], "no file matches"),
        (["cutout", "a.png", "--bocks", "1,0,5,3"], "--bocks"),
        (["matte", "a.png"], "--trimap"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(task, folder, capsys, arguments, words):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.startswith("perpixel: ")
    assert err.count("\n") == 1
    assert out == ""
    assert task.calls == []


def test_a_bug_is_one_line_and_debug_shows_where(task, folder, capsys):
    Image.new("RGB", (5, 3)).save("bug.png")
    assert main(["cutout", "bug.png", "--box", "1,0,5,3"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("perpixel: bug.png: unexpected KeyError: 'oops'")
    assert err.count("\n") == 1
    assert main(["--debug", "cutout", "bug.png", "--box", "1,0,5,3"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_environment_switches_debugging_too(task, folder, capsys, monkeypatch):
    monkeypatch.setenv("PERPIXEL_DEBUG", "1")
    assert main(["cutout", "a.png"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_cleanly(task, folder, capsys):
    Image.new("RGB", (5, 3)).save("stop.png")
    assert main(["cutout", "stop.png", "a.png", "--box", "1,0,5,3"]) == 130
    assert capsys.readouterr().err == "perpixel: stopped\n"
    assert len(task.calls) == 1


def test_a_warning_is_one_line(task, folder, capsys, monkeypatch):
    import warnings

    def warning_task(image, **options):
        warnings.simplefilter("always")
        warnings.warn("the trimap was snapped", PerpixelWarning, stacklevel=2)
        return task(image, **options)

    monkeypatch.setitem(vars(perpixel), "cutout", warning_task)
    assert main(["cutout", "a.png", "--box", "1,0,5,3"]) == 0
    assert capsys.readouterr().err == "perpixel: note: the trimap was snapped\n"


def test_version_and_no_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"perpixel {perpixel.__version__}\n"
    assert main([]) == 0
    assert "cutout" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["cutout", "matte", "trimap", "models"])
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"perpixel {command}" in capsys.readouterr().out
