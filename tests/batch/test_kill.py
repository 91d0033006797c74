"""A batch that is killed without warning again and again: in the end everything is there, whole, and once."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from batch.conftest import picture, trimap
from perpixel import Job
from perpixel.batch.run import batch

COUNT = 120
KILLS = 10


@pytest.mark.slow
def test_ten_kills_lose_nothing(tmp_path, matting_model, program_environment):
    for number in range(COUNT):
        for folder, pixels in (("in", picture(number)), ("trimaps", trimap())):
            path = tmp_path / folder / f"{number % 7}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "perpixel", "batch", "matte", str(tmp_path / "in"), "-r", "--out", str(out)]
    command += ["--trimaps", str(tmp_path / "trimaps"), "--model", matting_model, "--workers", "2"]
    environment = {**program_environment, "OMP_NUM_THREADS": "1"}
    journal = out / "manifest.jsonl"
    generator = np.random.default_rng(5)

    def lines():
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    kills = 0
    for _ in range(KILLS):
        before = lines()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # At a random moment of the work: after some rows, and then a little later.
        wanted = before + int(generator.integers(1, COUNT // KILLS))
        deadline = time.monotonic() + 300
        while process.poll() is None and lines() < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(generator.uniform(0, 0.02)))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == KILLS
    assert 0 < lines() < COUNT + KILLS
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "were done before" in done.stdout

    names = {f"{number % 7}/{number}" for number in range(COUNT)}
    written = {path.relative_to(out).with_suffix("").as_posix() for path in out.rglob("*") if path.suffix == ".png"}
    assert written == names
    assert {path.name for path in out.iterdir() if path.is_file()} == {"manifest.jsonl", "manifest.settings.json"}
    assert not list(out.rglob(".perpixel*"))
    for name in names:
        with Image.open(out / f"{name}.png") as image:
            image.load()
            assert image.size == (32, 24) and image.mode == "L"
    rows = []
    for line in journal.read_bytes().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # half a line of a kill
    assert {row["key"] for row in rows} == names and {row["status"] for row in rows} == {"done"}
    # What a line tells of was not done again.
    assert len(rows) == COUNT
    job = Job("matte", model=matting_model)
    again = batch(job, tmp_path / "in", out, trimaps=tmp_path / "trimaps", recursive=True)
    assert (again.done, again.skipped, again.failed) == (0, COUNT, 0)
