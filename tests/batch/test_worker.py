"""A worker: the results of the tasks themselves, rows for what fails, and files that are whole or not there."""

import errno
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from batch.conftest import picture, trimap
from perpixel.batch import worker as module
from perpixel.batch.job import Job
from perpixel.batch.records import Record, content_hash
from perpixel.batch.worker import Computed, Loaded, Worker
from perpixel.errors import CheckpointError, InputError, OutputError
from perpixel.results import DepthMap
from perpixel.tasks.depth import depth, load_depth_model
from perpixel.tasks.matting import load_matting_model, matte
from tasks.painted import painted_segmenter, scene


@pytest.fixture
def make(tmp_path, matting_model, depth_model):
    models = {"matte": matting_model, "cutout": matting_model, "depth": depth_model}

    def worker(task, **options):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        job = Job(task, model=models[task], **options)
        return Worker(pickle.loads(pickle.dumps(job)), out, out / ".staging")

    return worker


def records(photos, trimaps=None):
    found = []
    for path in sorted(photos.rglob("*.png")):
        key = path.relative_to(photos).with_suffix("").as_posix()
        hint = None if trimaps is None else str(trimaps / f"{key}.png")
        found.append(Record(key, str(path), str(path), ".png", trimap=hint))
    return found


def test_mattes_are_those_of_the_task(make, photographs, matting_model):
    worker = make("matte")
    asked = records(*photographs(["a.png", "sub/b.png"]))
    rows = worker.process(asked)
    model = load_matting_model(matting_model)
    for row, record in zip(rows, asked, strict=True):
        expected = matte(record.image, record.trimap, model=model)
        expected.save(worker.staging / "expected.png", "alpha")
        written = (worker.out / f"{record.key}.png").read_bytes()
        assert written == (worker.staging / "expected.png").read_bytes()
        assert row.status == "done" and row.outputs == {f"{record.key}.png": len(written)}
        assert (row.width, row.height, row.error) == (32, 24, None) and row.seconds > 0
        assert row.blake2b == content_hash(record.image) and row.hint_blake2b == content_hash(record.trimap)
        assert row.settings == worker.job.fingerprint()


def test_depth_in_many_forms(make, photographs, depth_model):
    worker = make("depth", save=("png16", "npy", "colour"))
    photos, _ = photographs(["a.png"])
    (row,) = worker.process(records(photos))
    assert set(row.outputs) == {"a.png", "a.png.json", "a.npy", "a.npy.json", "a-colour.png"}
    expected = depth(photos / "a.png", model=load_depth_model(depth_model)).values
    np.testing.assert_array_equal(DepthMap.load(worker.out / "a.npy").values, expected)
    assert row.is_there(worker.out)


def test_segments(tmp_path, monkeypatch):
    monkeypatch.setattr("perpixel.tasks.segmentation.load_segmenter", lambda *_, **__: painted_segmenter())
    Image.fromarray(scene()).save(tmp_path / "a.png")
    worker = Worker(Job("segment", threshold=0.9, labels=("person",)), tmp_path, tmp_path / ".s")
    (row,) = worker.process([Record("x/a", "a.png", str(tmp_path / "a.png"), ".png")])
    assert set(row.outputs) == {"x/a.png.json", "x/a.png"}
    told = json.loads((tmp_path / "x" / "a.png.json").read_text())
    assert told["images"][0]["file_name"] == "a.png" and len(told["annotations"]) == 2
    assert len(np.unique(np.asarray(Image.open(tmp_path / "x" / "a.png")))) == 3


def test_hints_of_their_own_count_more_than_the_jobs(make, monkeypatch):
    monkeypatch.setattr("perpixel.tasks.segmentation.load_segmenter", lambda *_, **__: painted_segmenter())
    worker = make("cutout", label="dog", save=("alpha",))
    image = scene()
    Image.fromarray(image).save(worker.out / "scene.png")
    content = (worker.out / "scene.png").read_bytes()
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[20:88, 8:60] = 255
    Image.fromarray(mask).save(worker.out / "mask.png")
    rows = worker.process(
        [
            Record("dog", "1", content, ".png"),
            Record("person", "2", content, ".png", label="person"),
            Record("mask", "3", content, ".png", mask=str(worker.out / "mask.png")),
            Record("none", "4", content, ".png", label="cat"),
        ]
    )
    assert [row.status for row in rows] == ["done", "done", "done", "failed"]
    assert "no label 'cat'" in rows[3].error
    subject = [np.asarray(Image.open(worker.out / f"{name}-alpha.png")) == 255 for name in ("dog", "person", "mask")]
    assert subject[0][72, 114] and not subject[0][50, 30]
    assert subject[1][50, 30] and subject[1][60, 80] and not subject[1][72, 114]
    assert subject[2][50, 30] and not subject[2][60, 80]


def test_what_cannot_be_used_is_told(make, photographs, tmp_path):
    photos, trimaps = photographs(["a.png", "b.png", "c.png"])
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:100])
    Image.fromarray(trimap((20, 20))).save(trimaps / "c.png")
    asked = [
        *records(photos, trimaps),
        Record("missing", "missing.jpg", str(photos / "missing.jpg"), trimap=str(trimaps / "a.png")),
        Record("hintless", "d", (photos / "a.png").read_bytes()),
        Record("told", "e", error="it is told"),
    ]
    worker = make("matte")
    rows = worker.process(asked)
    assert [row.key for row in rows] == [record.key for record in asked]
    assert [row.status for row in rows] == ["done", *["failed"] * 5]
    words = ["truncated", "trimap is 20×20 but the image is 32×24", "No such file", "there is no trimap", "it is told"]
    assert [word in row.error for word, row in zip(words, rows[1:], strict=True)] == [True] * 5
    assert all("\n" not in row.error for row in rows[1:])
    worker.noted(rows[0])
    assert [path.name for path in worker.out.glob("*.png")] == ["a.png"] and not list(worker.staging.iterdir())


def test_one_that_upsets_the_network_does_not_keep_the_others_from_their_results(make, photographs, monkeypatch):
    worker = make("matte", stack=4)
    asked = records(*photographs(["a.png", "b.png", "c.png"]))
    bad = picture(1)
    run = worker._stages.run

    def upset(ready):
        if any(np.array_equal(each.photo.pixels, bad) for each in ready):
            raise RuntimeError("no\nreason")
        return run(ready)

    monkeypatch.setattr(worker._stages, "run", upset)
    rows = worker.process(asked)
    assert [row.status for row in rows] == ["done", "failed", "done"]
    assert rows[1].error.startswith("unexpected RuntimeError: no reason (test_worker.py, line ")


def test_what_is_done_and_unchanged_is_not_done_again(make, photographs):
    worker = make("matte")
    (record,) = records(*photographs(["a.png"]))
    (row,) = worker.process([record])
    again = Record(record.key, record.source, record.image, ".png", record.trimap, stamp="new", known=row)
    found = worker.load(again)
    assert found.stamp == "new" and found.time == row.time and found.status == "done"
    Image.fromarray(picture(7)).save(record.image)
    assert isinstance(worker.load(again), Loaded)


def test_files_that_cannot_be_written(make, photographs, monkeypatch):
    worker = make("matte")
    asked = records(*photographs(["a.png"]))
    (loaded,) = [worker.load(record) for record in asked]
    (computed,) = worker.compute([loaded])
    for number, fatal in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.ENAMETOOLONG, False)):

        def full(*_, number=number, **__):
            try:
                raise OSError(number, "no room")
            except OSError as error:
                raise OutputError("cannot be written") from error

        monkeypatch.setattr("perpixel.results.Matte.save", full)
        if fatal:
            with pytest.raises(OutputError, match=r"no room.*what is done is kept"):
                worker.write(computed)
        else:
            assert "no room" in worker.write(computed).error
        assert not list(worker.out.glob("*.png")) and not list(worker.staging.iterdir())


def test_nothing_half_written_takes_a_place(make, photographs, monkeypatch):
    worker = make("depth", save=("png16", "npy"))
    photos, _ = photographs(["a.png"])
    saved = DepthMap.save

    def second_fails(self, path, *args, **options):
        if path.suffix == ".npy":
            raise RuntimeError("no")
        return saved(self, path, *args, **options)

    monkeypatch.setattr(DepthMap, "save", second_fails)
    (row,) = worker.process(records(photos))
    assert row.status == "failed" and not list(worker.out.glob("a*"))


def test_rows_go_through_every_stage_untouched(make):
    worker = make("matte")
    row = module.failed(worker.load(Record("a", "a", error="x")), InputError("y"), 0.0)
    assert worker.write(Computed(None, row=row)) is row and worker.compute([]) == []


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError):
        Worker(Job("matte", model=str(tmp_path / "none")), tmp_path, tmp_path / ".s")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "a\0", "a\\b", "."])
def test_keys_that_lead_elsewhere(key):
    with pytest.raises(InputError, match="rename it"):
        Record(key, "a.jpg")


@pytest.mark.parametrize("task", ["cutout", "matte", "segment", "depth"])
def test_the_engine_and_the_bits_are_those_of_the_task(task, tmp_path):
    with pytest.raises(InputError, match="is done by OpenVINO"):
        Worker(Job(task, engine="torch", quantize="int8"), tmp_path, tmp_path / "staging")
