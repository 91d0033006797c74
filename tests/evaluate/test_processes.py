"""Two processes that talk over gloo come to what one comes to."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate.folders import mattes, save
from evaluate.test_coco_files import instances
from models.vitmatte.tiny import tiny_model

pytestmark = pytest.mark.slow


def run(words, environment, processes=1):
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes), "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    start = [] if processes == 1 else launch
    command = [sys.executable, *start, "-m", "perpixel", "evaluate", *map(str, words), "--json"]
    done = subprocess.run(
        command, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    return done.returncode, done.stdout, done.stderr


def same(words, environment, report, code=0):
    found = []
    for processes in (1, 2):
        path = report.with_name(f"{report.stem}{processes}.json")
        given, out, err = run([*words, "--report", path], environment, processes)
        # Of two processes, the launcher says 1 for whatever its processes say.
        assert given == code, err
        (line,) = [line for line in out.splitlines() if line.startswith("{")]
        told, written = json.loads(line), json.loads(path.read_text())
        assert told["measures"] == written["measures"]
        for each in (told, written):
            each.pop("seconds")
        found.append(written)
    assert found[0] == found[1]
    return found[0]


def test_a_model(tmp_path, program_environment):
    random = np.random.default_rng(0)
    network = tiny_model()
    network.save_pretrained(tmp_path / "model")
    for number in range(5):
        trimap = np.full((32, 48 + number), 128, np.uint8)
        trimap[:, :12], trimap[:, 36:] = 255, 0
        alpha = np.where(trimap == 128, random.integers(0, 256, trimap.shape), trimap).astype(np.uint8)
        image = random.integers(0, 256, (*trimap.shape, 3), np.uint8)
        for part, values in (("images", image), ("alphas", alpha), ("trimaps", trimap)):
            save(tmp_path / "set" / part / f"{number}.png", values)
    words = [tmp_path / "model", "--dataset", "matte-folder", "--root", tmp_path / "set", "--split", "all"]
    found = same(words, program_environment, tmp_path / "report.json")
    assert found["images"] == 5 and found["measures"]["sad"] > 0 and len(found["worst"]) == 5


def test_files_and_a_missing_one(tmp_path, program_environment):
    mattes(tmp_path, 3)
    (tmp_path / "predictions" / "photo1.png").unlink()
    words = ["--task", "matting", "--predictions", tmp_path / "predictions", "--truth", tmp_path / "alphas"]
    found = same(words, program_environment, tmp_path / "report.json", code=1)
    assert found["images"] == 2 and [each["name"] for each in found["failures"]] == ["photo1"]


def test_average_precision(tmp_path, program_environment):
    truth, predictions, _ = instances(tmp_path)
    words = ["--task", "instance", "--predictions", predictions, "--truth", truth]
    assert same(words, program_environment, Path(tmp_path / "report.json"))["measures"]["ap"] > 0
