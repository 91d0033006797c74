"""Batches: complete, bounded, gone on with, split into parts, stopped, and with a full disk."""

import errno
import os
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batch.conftest import picture
from perpixel.batch.job import Job
from perpixel.batch.manifest import Finished
from perpixel.batch.pipeline import grouped
from perpixel.batch.run import batch
from perpixel.batch.worker import Worker
from perpixel.errors import ConfigError, InputError, OutputError
from perpixel.results import Matte

NAMES = [f"{'sub/' if i % 3 == 0 else ''}{i}.png" for i in range(10)]


@pytest.fixture
def job(matting_model):
    return Job("matte", model=matting_model)


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}


def rows(out):
    finished = Finished(out)
    found = {row.key: row for row in finished.rows()}
    finished.close()
    return found


def test_a_folder_becomes_another(job, photographs, tmp_path):
    photos, trimaps = photographs(NAMES)
    seen = []
    summary = batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True, workers=3, report=seen.append)
    assert (summary.done, summary.skipped, summary.failed) == (10, 0, 0)
    assert set(contents(tmp_path / "out")) == set(NAMES)
    assert [each.finished for each in seen] == list(range(1, 11)) and {each.total for each in seen} == {10}
    alone = Worker(job, tmp_path / "alone", tmp_path / "alone" / ".s")
    from perpixel.batch.hints import HintFolders
    from perpixel.batch.inputs import Inputs

    alone.process(list(Inputs((str(photos),), alone.out, recursive=True, hints=HintFolders(trimaps))))
    assert contents(alone.out) == contents(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".png") == [
        "manifest.jsonl",
        "manifest.settings.json",
        "sub",
    ]


def test_what_is_done_is_passed_over_and_what_changed_is_not(job, photographs, tmp_path, matting_model):
    photos, trimaps = photographs(NAMES)
    out = tmp_path / "out"

    def go(job=job):
        summary = batch(job, photos, out, trimaps=trimaps, recursive=True)
        return summary.done, summary.skipped, summary.failed

    assert go() == (10, 0, 0) and go() == (0, 10, 0)
    before = contents(out)
    (out / "1.png").unlink()  # an output is gone
    (out / "2.png").write_bytes(b"cut")  # or was cut
    assert go() == (2, 8, 0) and contents(out) == before
    Image.fromarray(picture(99)).save(photos / "4.png")  # an input is another
    os.utime(photos / "5.png", ns=(1, 1))  # only its time is another
    hint = np.array(Image.open(trimaps / "7.png"))
    hint[0, 0] = 128
    Image.fromarray(hint).save(trimaps / "7.png")  # a hint is another
    assert go() == (2, 8, 0)
    assert {name for name, data in contents(out).items() if before[name] != data} <= {"4.png", "7.png"}
    assert contents(out)["4.png"] != before["4.png"]
    assert go() == (0, 10, 0)
    assert go(Job("matte", model=matting_model, max_memory="1GB")) == (10, 0, 0)  # another setting


def test_broken_inputs_keep_nobody_up_and_are_tried_again(job, photographs, tmp_path):
    photos, trimaps = photographs(["a.png", "b.png", "c.png"])
    whole = (photos / "b.png").read_bytes()
    (photos / "b.png").write_bytes(whole[:200])
    (trimaps / "c.png").unlink()
    summary = batch(job, photos, tmp_path / "out", trimaps=trimaps)
    assert (summary.done, summary.failed) == (1, 2)
    found = rows(tmp_path / "out")
    assert "truncated" in found["b"].error and "there is no trimap" in found["c"].error
    (photos / "b.png").write_bytes(whole)
    summary = batch(job, photos, tmp_path / "out", trimaps=trimaps)
    assert (summary.done, summary.skipped, summary.failed) == (1, 1, 1)


def test_parts_make_the_whole(job, photographs, tmp_path):
    photos, trimaps = photographs(NAMES)
    batch(job, photos, tmp_path / "whole", trimaps=trimaps, recursive=True)
    done = 0
    for part in ("1/3", "2/3", "3/3"):
        done += batch(job, photos, tmp_path / "parts", trimaps=trimaps, recursive=True, shard=part).done
    assert done == 10 and contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert batch(job, photos, tmp_path / "parts", trimaps=trimaps, recursive=True).skipped == 10


def test_stacks_change_nothing_but_roundings(photographs, tmp_path, matting_model):
    photos, trimaps = photographs(NAMES)
    for number in (0, 3):
        Image.fromarray(picture(number, (40, 70))).save(photos / NAMES[number])
        known = np.asarray(Image.open(trimaps / NAMES[number]).resize((70, 40), Image.Resampling.NEAREST))
        Image.fromarray(known).save(trimaps / NAMES[number])
    for name, stack in (("alone", None), ("stacked", 3)):
        job = Job("matte", model=matting_model, stack=stack)
        assert batch(job, photos, tmp_path / name, trimaps=trimaps, recursive=True).done == 10
    for name in NAMES:
        one, other = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in ("alone", "stacked"))
        assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize(
    ("task", "hints", "message"),
    [
        ("matte", {}, "matte needs a hint for each picture: give a folder of trimaps"),
        ("cutout", {}, "a folder of masks, or a label"),
        ("matte", {"masks": "trimaps"}, "matte takes trimaps"),
        ("depth", {"trimaps": "trimaps"}, "depth needs no hints"),
        ("depth", {"manifest": "m.csv"}, "is no .parquet"),
        ("depth", {"manifest": "none/m.parquet"}, "does not exist: make it first"),
        ("depth", {"workers": 0}, "at least 1"),
        ("depth", {"shard": "3/2"}, "there is no part 3 of 2"),
    ],
)
def test_what_is_refused_before_any_work(photographs, tmp_path, monkeypatch, task, hints, message):
    photographs(["a.png"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        batch(task, "in", "out", **hints)
    assert not (tmp_path / "out").exists()


def test_two_processes_on_one_folder(job, photographs, tmp_path):
    from perpixel.batch.manifest import Journal
    from perpixel.batch.shards import Shard

    photos, trimaps = photographs(["a.png"])
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out", Shard()), pytest.raises(ConfigError, match="another process is at work"):
        batch(job, photos, tmp_path / "out", trimaps=trimaps)


def test_leftovers_of_a_killed_run_are_cleaned(job, photographs, tmp_path):
    photos, trimaps = photographs(["a.png"])
    left = tmp_path / "out" / ".perpixel-1-of-1" / "abc"
    left.mkdir(parents=True)
    (left / "half.png").write_bytes(b"half")
    batch(job, photos, tmp_path / "out", trimaps=trimaps)
    assert not left.parent.exists()


def test_a_full_disk_ends_it_and_keeps_what_is_done(job, photographs, tmp_path, monkeypatch):
    photos, trimaps = photographs(NAMES)
    saved, count = Matte.save, iter(range(100))

    def save(self, *args, **options):
        if next(count) < 4:
            return saved(self, *args, **options)
        error = OutputError("cannot be written")
        raise error from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Matte, "save", save)
    with pytest.raises(OutputError, match=r"No space left on device.*what is done is kept"):
        batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True, workers=2)
    done = [row for row in rows(tmp_path / "out").values() if row.status == "done"]
    assert len(done) == 4 == len(contents(tmp_path / "out")) and all(row.is_there(tmp_path / "out") for row in done)
    assert not list((tmp_path / "out").glob(".perpixel*"))
    monkeypatch.setattr(Matte, "save", saved)
    summary = batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True)
    assert (summary.done, summary.skipped) == (6, 4)


def test_a_manifest_that_has_no_room_ends_it(job, photographs, tmp_path):
    resource = pytest.importorskip("resource")
    photos, trimaps = photographs(NAMES)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1600, before[1]))  # room for three lines, and for each picture
    try:
        with pytest.raises(OutputError, match="what is done is kept"):
            batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    done, written = rows(tmp_path / "out"), contents(tmp_path / "out")
    assert 1 <= len(done) < 10 and all(row.is_there(tmp_path / "out") for row in done.values())
    assert len(written) > len(done)  # a picture whose line had no room
    assert batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True).skipped == len(written)
    assert len(rows(tmp_path / "out")) == 10


def test_ctrl_c_keeps_what_is_done(job, photographs, tmp_path, monkeypatch):
    photos, trimaps = photographs(NAMES)
    before = signal.getsignal(signal.SIGINT)

    def stop(progress):
        if progress.finished == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True, workers=1, report=stop)
    assert signal.getsignal(signal.SIGINT) is before
    found = rows(tmp_path / "out")
    assert 3 <= len(found) < 10 and len(contents(tmp_path / "out")) == len(found)
    assert not [thread for thread in threading.enumerate() if "_guarded" in thread.name]
    assert batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True).skipped == len(found)


def test_a_report_that_fails_stops_the_threads(job, photographs, tmp_path):
    photos, trimaps = photographs(NAMES)
    count = threading.active_count()

    def report(progress):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        batch(job, photos, tmp_path / "out", trimaps=trimaps, recursive=True, report=report)
    assert threading.active_count() == count


def test_few_photographs_are_in_memory(job, photographs, tmp_path, monkeypatch):
    photos, trimaps = photographs([f"{i}.png" for i in range(40)])
    load, write, inside, most = Worker.load, Worker.write, [], []

    def loaded(self, record):
        inside.append(1)
        most.append(len(inside))
        return load(self, record)

    def written(self, computed):
        time.sleep(0.005)
        inside.pop()
        return write(self, computed)

    monkeypatch.setattr(Worker, "load", loaded)
    monkeypatch.setattr(Worker, "write", written)
    assert batch(job, photos, tmp_path / "out", trimaps=trimaps, workers=2).done == 40
    assert max(most) <= 2 + 2 + 1 + 2 + 2 + 1  # read, waiting, in the model, waiting, written


class Shaped:
    def __init__(self, number, shape):
        self.number, self.shape = number, (shape,)


@settings(max_examples=40, deadline=None)
@given(shapes=st.lists(st.integers(1, 4), max_size=40), stack=st.integers(1, 5), more=st.integers(1, 4))
def test_groups_are_of_one_shape_and_nobody_is_left_out(shapes, stack, more):
    everyone = [Shaped(number, shape) for number, shape in enumerate(shapes)]
    window = stack * more
    ahead = []

    def feed():
        for each in everyone:
            ahead.append(each)
            assert len(ahead) <= window
            yield each

    found = []
    for group in grouped(feed(), stack, window):
        assert 0 < len(group) <= stack and len({each.shape for each in group}) == 1
        for each in group:
            ahead.remove(each)
        found += [each.number for each in group]
    assert sorted(found) == list(range(len(shapes)))
