"""`perpixel batch`: what it prints, its exit codes, and how it is stopped."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from perpixel.cli.app import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`in/` with five photographs and `hints/` with the mask of each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("perpixel.tune_allocator", lambda **_: False)
    mask = np.zeros((24, 32), np.uint8)
    mask[6:18, 8:24] = 255
    for number in range(5):
        for name, pixels in (
            ("in", np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)),
            ("hints", mask),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_cutouts_by_masks(folder, matting_model, capsys):
    assert main(["batch", "cutout", "in", "--masks", "hints", "--out", "out", "--model", matting_model]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("5 done in ") and "images a second; out/manifest.jsonl tells of each" in told.out
    assert told.err == ""
    for number in range(5):
        with Image.open(folder / "out" / f"{number}.png") as image:
            assert image.mode == "RGBA" and image.size == (32, 24)
    assert main(["batch", "cutout", "in", "--masks", "hints", "--out", "out", "--model", matting_model]) == 0
    assert capsys.readouterr().out.startswith("0 done, 5 were done before in ")


def test_depth_of_a_list_with_a_broken_file(folder, depth_model, capsys):
    (folder / "in" / "2.png").write_bytes(b"broken")
    (folder / "names.txt").write_text("".join(f"in/{number}.png\n" for number in range(5)))
    words = ["batch", "depth", "--list", "names.txt", "-o", "out", "--model", depth_model, "--save", "npy,colour"]
    assert main([*words, "--json", "--manifest", "out.parquet"]) == 1
    told = capsys.readouterr()
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert len(rows) == 6 and rows[-1]["done"] == 4 and rows[-1]["failed"] == 1
    assert {row["key"]: row["status"] for row in rows[:-1]} == {
        f"in/{number}": "failed" if number == 2 else "done" for number in range(5)
    }
    assert told.err.startswith("perpixel: in/2.png holds text, not an image")
    assert (folder / "out" / "in" / "4-colour.png").is_file() and (folder / "out.parquet").is_file()


def test_parts(folder, depth_model, capsys):
    for part in ("1/2", "2/2"):
        assert main(["batch", "depth", "in/*.png", "-o", "out", "--model", depth_model, "--shard", part]) == 0
    assert len(list((folder / "out").glob("*.png"))) == 5
    capsys.readouterr()
    numbers = range(1, 200)
    empty = next(n for n in numbers if not any(_owned(str(key), n) for key in range(5)))
    assert main(["batch", "depth", "in", "-o", "out", "--model", depth_model, "--shard", f"{empty}/199"]) == 0
    assert capsys.readouterr().out == "nothing is in this part\n"


def _owned(key, number):
    from perpixel.batch.shards import Shard

    return Shard(number, 199).owns(key)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depth", "empty", "-o", "out"], "the folder empty holds no picture"),
        (["depth", "in", "twins", "-o", "out"], "would both become 0 in out"),
        (["depth", "-o", "out"], "there is nothing to work on"),
        (["depth", "in", "-o", "out", "--save", "jpg"], "not saved as 'jpg'"),
        (["depth", "in", "-o", "out", "--shard", "0/2"], "no part 0 of 2"),
        (["depth", "in", "-o", "out", "--column", "picture=x"], "ROLE=NAME"),
        (["cutout", "in", "-o", "out"], "needs a hint for each picture"),
        (["cutout", "in", "-o", "out", "--masks", "nowhere"], "nowhere is no folder"),
        (["cutout", "in", "-o", "out", "--label", "cat", "--subject", "largest"], "give one of them"),
        (["matte", "in", "-o", "out", "--list", "none.txt", "--trimaps", "hints"], r"none\.txt cannot be read"),
        (["depth", "in"], "out"),
    ],
)
def test_wrong_commands(folder, capsys, words, message):
    import re

    (folder / "empty").mkdir()
    (folder / "twins").mkdir()
    (folder / "twins" / "0.png").write_bytes(b"")
    assert main(["batch", *words]) == 2
    told = capsys.readouterr()
    assert re.search(message, told.err) and told.err.count("\n") == 1 and told.out == ""
    assert not (folder / "out").exists()


def test_a_model_that_is_not_there(folder, capsys):
    assert main(["batch", "depth", "in", "-o", "out", "--model", "./none"]) == 1
    assert "none" in capsys.readouterr().err


def test_a_bar_with_images_a_second(folder, depth_model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["batch", "depth", "in", "-o", "out", "--model", depth_model]) == 0
    told = capsys.readouterr()
    assert "images a second; out/manifest.jsonl" in told.out and "images" in told.err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_what_is_done_kept(folder, matting_model, program_environment, number):
    for copy in range(5, 120):
        for name in ("in", "hints"):
            os.link(folder / name / "0.png", folder / name / f"{copy}.png")
    command = [sys.executable, "-m", "perpixel", "batch", "cutout", "in", "--masks", "hints", "-o", "out"]
    command += ["--model", matting_model, "--json"]
    process = subprocess.Popen(
        command, env=program_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and errors.splitlines()[-1] == "perpixel: stopped"
    assert "the same command goes on from here" in errors
    rows = (folder / "out" / "manifest.jsonl").read_text().splitlines()
    assert 0 < len(rows) < 120 and len(list((folder / "out").glob("*.png"))) == len(rows)
    assert not list((folder / "out").glob(".perpixel*"))
    done = subprocess.run(command[:-1], env=program_environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and f"{len(rows)} were done before" in done.stdout
