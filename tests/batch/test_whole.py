"""A batch that is killed in the instants between a result that is whole and its line in the manifest."""

import errno
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from perpixel.batch import whole
from perpixel.batch.job import Job
from perpixel.batch.manifest import Finished, Journal
from perpixel.batch.records import Row
from perpixel.batch.run import batch
from perpixel.batch.worker import Worker

STAGING = ".perpixel-1-of-1"


@pytest.fixture
def row(tmp_path):
    """Of a photograph with two files that lie whole in a folder of `out`'s staging folder, and that folder."""
    own = tmp_path / STAGING / "abc"
    own.mkdir(parents=True)
    (own / "a.png").write_bytes(b"picture")
    (own / "a.png.json").write_bytes(b"note")
    return own, Row("sub/a", "a.jpg", "done", "settings", outputs={"sub/a.png.json": 4, "sub/a.png": 7})


@pytest.mark.parametrize("save", [("png16",), ("npy", "colour")])
def test_every_instant_of_a_kill(photographs, tmp_path, monkeypatch, depth_model, save):
    """What lies on the disk is copied at each step of moving and noting: that is what a kill there leaves behind."""
    photos, _ = photographs(["a.png", "b.png"])
    job, out = Job("depth", save, model=depth_model), tmp_path / "out"
    copies = []

    def copy():
        copies.append(shutil.copytree(out, tmp_path / f"copy-{len(copies)}"))

    def with_copies(step):
        def stepped(*given):
            is_step = step is not replace_file or given[1].parent == out
            if is_step:
                copy()
            found = step(*given)
            if is_step:
                copy()
            return found

        return stepped

    def files(folder):
        return {path.name: path.read_bytes() for path in folder.glob("[ab]*")}

    batch(job, photos / "a.png", out)
    replace_file = Path.replace
    with monkeypatch.context() as during:
        for owner, name in ((Path, "replace"), (Journal, "add"), (Worker, "noted")):
            during.setattr(owner, name, with_copies(getattr(owner, name)))
        batch(job, photos, out, workers=1)
    assert len(copies) == len(files(out)) + 4  # around each file of one photograph, its line, and the end
    monkeypatch.setattr(Worker, "load", None)  # nothing may be worked on
    for each in copies:
        summary = batch(job, photos, each)
        assert (summary.done, summary.skipped, summary.failed) == (0, 2, 0)
        assert files(each) == files(out)
        assert len((each / "manifest.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_kill_between_a_file_and_its_line(photographs, tmp_path, program_environment, matting_model):
    photos, trimaps = photographs([f"{i}.png" for i in range(6)])
    out = tmp_path / "out"
    program = f"""
import os, signal
from perpixel import Job
from perpixel.batch.manifest import Journal
from perpixel.batch.run import batch
add, rows = Journal.add, []
def killing(journal, row):
    rows.append(row)
    if len(rows) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    add(journal, row)
Journal.add = killing
batch(Job("matte", model={matting_model!r}), {str(photos)!r}, {str(out)!r}, trimaps={str(trimaps)!r}, workers=1)
"""
    environment = {**program_environment, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    there = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.png")}
    assert len(there) >= 3 and len((out / "manifest.jsonl").read_text().splitlines()) == 2
    summary = batch(Job("matte", model=matting_model), photos, out, trimaps=trimaps)
    assert summary.skipped >= len(there) and summary.done + summary.skipped == 6
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.png")}
    assert after | there == after  # not written anew
    assert not (out / STAGING).exists()


def test_what_was_not_moved_is_moved(row, tmp_path):
    own, told = row
    whole.put_in_place(own, told, tmp_path)
    (tmp_path / "sub" / "a.png").rename(own / "a.png")  # the kill came between the two
    ((found, same),) = whole.left_whole(own.parent)
    assert (found, same) == (own, told)
    assert whole.is_put_in_place(own, told, tmp_path)
    assert (tmp_path / "sub" / "a.png").read_bytes() == b"picture"
    whole.forget(own)
    assert not own.exists()


@pytest.mark.parametrize("name", ["../a.png", "sub/../../a.png", "/a.png"])
def test_a_row_that_leaves_the_folder_is_none_of_ours(row, tmp_path, name):
    own, told = row
    (own / "row").write_text(replace(told, outputs={name: 7}).to_json())
    assert list(whole.left_whole(own.parent)) == []


def test_what_is_not_whole_does_not_count(row, tmp_path):
    own, told = row
    assert list(whole.left_whole(own.parent)) == []  # no row: perhaps half written
    (own / "row").write_text(told.to_json()[:50])
    assert list(whole.left_whole(own.parent)) == []
    (own / "a.png").unlink()
    assert not whole.is_put_in_place(own, told, tmp_path)


def test_what_cannot_be_moved_is_done_anew(row, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert not whole.is_put_in_place(*row, tmp_path)


def test_a_folder_that_a_later_run_did_not_see_changes_nothing(photographs, tmp_path, matting_model):
    photos, trimaps = photographs(["a.png"])
    job, out = Job("matte", model=matting_model), tmp_path / "out"
    batch(job, photos, out, trimaps=trimaps)
    finished = Finished(out)
    (row,) = finished.rows()
    finished.close()
    own = out / STAGING / "old"
    own.mkdir(parents=True)
    (own / "a.png").write_bytes(b"older")
    (own / "row").write_text(replace(row, time="2020-01-01T00:00:00.000+00:00", outputs={"a.png": 5}).to_json())
    before = (out / "a.png").read_bytes()
    assert batch(job, photos, out, trimaps=trimaps).skipped == 1
    assert (out / "a.png").read_bytes() == before and not own.exists()
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 1
