"""What a run tells: means in the log, no line twice, and a terminal's line where there is a terminal."""

import io
import json
import math
import sys
from types import SimpleNamespace

import pytest

from perpixel.train.progress import Progress, keep_log
from train.toy_task import toy_recipe


@pytest.fixture
def accelerator():
    told = []
    return SimpleNamespace(
        is_main_process=True, num_processes=1, told=told, log=lambda values, step: told.append((step, values))
    )


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_log_holds_the_means_since_the_last_line(tmp_path, accelerator):
    with Progress(accelerator, toy_recipe(tmp_path), 0) as progress:
        progress.add(1, 4, {"loss": 1.0, "rate": 0.5})
        progress.add(2, 4, {"loss": 2.0, "rate": 0.5})
        progress.report(2)
        progress.report(2)  # nothing new
        progress.add(3, 4, {"loss": 8.0, "rate": 0.25})
        progress.report(3)
        progress.measured(3, {"error": 0.5, "void": math.nan}, "error", True)
    first, second, third = lines(tmp_path)
    speed = first.pop("images_per_second")
    assert speed > 0 and first == {"step": 2, "loss": 1.5, "rate": 0.5}
    assert (second["step"], second["loss"], second["rate"]) == (3, 8.0, 0.25)
    assert third == {"step": 3, "validation": {"error": 0.5, "void": None}}
    assert accelerator.told[0] == (2, {"train/loss": 1.5, "train/rate": 0.5, "train/images_per_second": speed})
    assert accelerator.told[2][1]["validation/error"] == 0.5


def test_a_log_goes_on_without_a_line_twice(tmp_path, accelerator):
    (tmp_path / "log.jsonl").write_text('{"step": 2, "loss": 1}\n{"step": 4, "loss": 2}\n{"step": 5}\nno JSON\n{"st')
    with Progress(accelerator, toy_recipe(tmp_path), 4) as progress:
        progress.add(5, 4, {"loss": 3.0})
        progress.report(5)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 5]
    assert lines(tmp_path)[-1]["loss"] == 3.0
    keep_log(tmp_path / "log.jsonl", 0)
    assert (tmp_path / "log.jsonl").read_text() == ""
    keep_log(tmp_path / "none.jsonl", 0)
    assert not (tmp_path / "none.jsonl").exists()


def test_only_the_first_process_writes(tmp_path, accelerator):
    accelerator.is_main_process = False
    with Progress(accelerator, toy_recipe(tmp_path), 0) as progress:
        progress.add(1, 4, {"loss": 1.0})
        progress.report(1)
    assert not (tmp_path / "log.jsonl").exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_how_far_it_is_and_how_good(tmp_path, accelerator, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Progress(accelerator, toy_recipe(tmp_path, steps=50), 10) as progress:
            progress.add(11, 4, {"loss": 0.12345})
            progress.report(11)
            progress.measured(11, {"error": 0.25}, "error", True)
            progress.say("something in words")
    shown = terminal.getvalue()
    for part in ("11/50", "loss 0.1235", "error 0.25 (best)", "images/s", "left", "something in words"):
        assert part in shown
    assert capsys.readouterr() == ("", "")


def test_elsewhere_nothing_is_shown(tmp_path, accelerator, capsys):
    with Progress(accelerator, toy_recipe(tmp_path), 0) as progress:
        progress.add(1, 4, {"loss": 1.0})
        progress.say("something in words")
    assert capsys.readouterr() == ("", "")
