"""What a batch on Ray is made of, without Ray running: the options, the chunks, and what kills a worker."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from batch.conftest import picture, trimap
from perpixel.batch.job import Job
from perpixel.batch.ray_cluster import Cluster, probe
from perpixel.batch.records import Record
from perpixel.batch.run import batch
from perpixel.errors import CheckpointError, ConfigError, InputError, OutputError, PerpixelError

pytest.importorskip("ray")
pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    "options",
    [
        {"workers": (0, 2)},
        {"workers": (3, 2)},
        {"cpus_per_worker": 0},
        {"gpus_per_worker": -1},
        {"gpus_per_worker": 1.5},
        {"address": "nowhere"},
        {"address": "ray://10.0.0.1:10001"},
        {"address": "host:99999999"},
    ],
)
def test_a_cluster_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError):
        Cluster(**options)


@pytest.mark.parametrize("text", ["", "two", "2:", ":3", "1:2:3", "1.5"])
def test_numbers_of_workers_that_are_none_are_refused(text):
    if text == "2:":
        assert Cluster.parse_workers(text) == (2, 2)
        return
    with pytest.raises(ConfigError, match="as 4 or"):
        Cluster.parse_workers(text)


def test_a_gpu_is_used_where_workers_have_one_and_missed_where_not():
    assert Cluster(gpus_per_worker=0.5).device(None) == "cuda"
    assert Cluster().device(None) is None and Cluster().device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="gpus_per_worker"):
        Cluster().device("cuda")


def test_an_address_where_nobody_listens_is_told_at_once(free_port):
    with pytest.raises(InputError, match="no Ray cluster answers"):
        probe(f"127.0.0.1:{free_port}", seconds=1)


def test_an_address_where_something_else_listens_is_told_in_bounded_time():
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        with pytest.raises(InputError, match="is no Ray cluster"):
            probe(f"127.0.0.1:{port}", seconds=0.5)


def test_a_head_that_wants_its_token_is_told_from_one_that_does_not_and_from_another_server():
    grpc = pytest.importorskip("grpc")
    answer = None

    class Head(grpc.GenericRpcHandler):
        def service(self, details):
            return answer and grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1), [Head()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(InputError, match="is no Ray cluster"):
            probe(f"127.0.0.1:{port}", seconds=5)
        answer = lambda request, context: b""  # noqa: E731
        assert probe(f"127.0.0.1:{port}", seconds=5) is False
        answer = lambda request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")  # noqa: E731
        assert probe(f"127.0.0.1:{port}", seconds=5) is True
    finally:
        server.stop(None)


def test_an_unreachable_cluster_ends_a_batch_and_keeps_what_is_done(matting_model, photographs, tmp_path, free_port):
    photos, trimaps = photographs(["a.png", "b.png"])
    job = Job("matte", model=matting_model)
    batch(job, photos / "a.png", tmp_path / "out", trimaps=trimaps)
    manifest = (tmp_path / "out" / "manifest.jsonl").read_bytes()
    with pytest.raises(InputError, match=f"127.0.0.1:{free_port}"):
        batch(job, photos, tmp_path / "out", trimaps=trimaps, engine=Cluster(f"127.0.0.1:{free_port}"))
    assert (tmp_path / "out" / "a.png").exists() and (tmp_path / "out" / "manifest.jsonl").read_bytes() == manifest


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def test_chunks_end_at_the_same_places_whatever_was_done_before():
    from perpixel.batch.ray import chunked

    records = [Record(str(i), str(i), b"") for i in range(7)]
    whole = list(chunked(records, 3))
    again = list(chunked([None, records[1], None, None, None, None, records[6]], 3))
    assert [len(chunk.records) + chunk.passed for chunk in whole] == [3, 3, 1]
    assert [len(chunk.records) + chunk.passed for chunk in again] == [3, 3, 1]
    assert [record.key for chunk in again for record in chunk.records] == ["1", "6"]


@pytest.fixture
def ray_worker(matting_model, tmp_path):
    from perpixel.batch.ray_worker import Place, RayWorker

    place = Place.here(tmp_path / "out", tmp_path / "out" / ".staging", "settings")
    place.staging.mkdir(parents=True)
    return lambda: RayWorker(Job("matte", model=matting_model), place, 1)


@pytest.fixture
def records(photographs):
    photos, trimaps = photographs([f"{i}.png" for i in range(4)])
    return tuple(
        Record(str(i), f"{i}.png", str(photos / f"{i}.png"), trimap=str(trimaps / f"{i}.png")) for i in range(4)
    )


def told(worker, *chunks):
    """What a worker tells of chunks."""
    import pyarrow

    from perpixel.batch.ray_worker import Outcome, pack, unpack

    return unpack(worker(pyarrow.concat_tables([pack(chunk) for chunk in chunks])), Outcome)


def test_a_worker_tells_a_row_for_each_record(ray_worker, records, tmp_path):
    from perpixel.batch.ray_worker import Chunk

    first, second = told(ray_worker(), Chunk(records[:3], 5), Chunk(records[3:]))
    assert sorted(row.key for row in first.rows) == ["0", "1", "2"] and first.passed == 5
    assert [row.key for row in second.rows] == ["3"] and {row.status for row in (*first.rows, *second.rows)} == {"done"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".staging",
        "0.png",
        "1.png",
        "2.png",
        "3.png",
    ]
    assert set((tmp_path / "out" / ".staging").iterdir()) == {first.trials, second.trials}


def test_what_kills_its_worker_twice_alone_fails_and_the_rest_is_done(ray_worker, records, monkeypatch):
    from perpixel.batch.ray_worker import Chunk
    from perpixel.batch.worker import Worker

    load, lock, deaths = Worker.load, threading.Lock(), []

    def deadly(self, record):
        if record.key == "2":
            with lock:
                deaths.append(record.key)
            raise SystemExit  # stands for the end of the process: nothing catches it
        return load(self, record)

    monkeypatch.setattr(Worker, "load", deadly)
    for _ in range(3):
        with pytest.raises(SystemExit):
            told(ray_worker(), Chunk(records))
    (outcome,) = told(ray_worker(), Chunk(records))
    rows = {row.key: row for row in outcome.rows}
    assert [rows[key].status for key in "0123"] == ["done", "done", "failed", "done"]
    assert "died of it 2 times" in rows["2"].error and len(deaths) == 3


def test_one_death_of_a_worker_blames_nobody(ray_worker, records, monkeypatch):
    from perpixel.batch.ray_worker import Chunk
    from perpixel.batch.worker import Worker

    with monkeypatch.context() as during:
        during.setattr(Worker, "load", lambda self, record: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            told(ray_worker(), Chunk(records))
    (outcome,) = told(ray_worker(), Chunk(records))
    assert [row.status for row in outcome.rows] == ["done"] * 4


def test_what_a_dead_worker_has_finished_is_not_done_again(ray_worker, records, monkeypatch):
    from perpixel.batch.ray_worker import Chunk
    from perpixel.batch.worker import Worker

    write, written = Worker.write, []

    def deadly(self, computed):
        if computed.loaded.record.key == "2" and written == ["0", "1"]:
            raise SystemExit
        written.append(computed.loaded.record.key)
        return write(self, computed)

    monkeypatch.setattr(Worker, "write", deadly)
    with pytest.raises(SystemExit):
        told(ray_worker(), Chunk(records))
    written.append("dead")
    (outcome,) = told(ray_worker(), Chunk(records))
    assert sorted(row.key for row in outcome.rows) == ["0", "1", "2", "3"]
    assert written == ["0", "1", "dead", "2", "3"]


def test_what_a_dead_worker_had_whole_but_not_noted_is_not_done_again(ray_worker, records, monkeypatch):
    from perpixel.batch.ray_worker import Chunk
    from perpixel.batch.trials import Trials
    from perpixel.batch.worker import Worker

    write, written = Worker.write, []

    def counted(self, computed):
        written.append(computed.loaded.record.key)
        return write(self, computed)

    def deadly(self, row):
        raise SystemExit

    monkeypatch.setattr(Worker, "write", counted)
    with monkeypatch.context() as during:
        during.setattr(Trials, "finish", deadly)
        with pytest.raises(SystemExit):
            told(ray_worker(), Chunk(records))
    (outcome,) = told(ray_worker(), Chunk(records))
    assert [row.status for row in outcome.rows] == ["done"] * 4 and "0" in written
    assert sorted(written) == sorted(row.key for row in outcome.rows)  # each once
    assert not [path for path in outcome.trials.parent.iterdir() if path.is_dir()]


def test_after_ctrl_c_what_workers_had_finished_is_counted(matting_model, photographs, tmp_path, monkeypatch):
    from perpixel.batch import ray
    from perpixel.batch.trials import Trials

    photos, trimaps = photographs([f"{i}.png" for i in range(4)])
    seen = []

    def interrupted(job, inputs, staging, settings, cluster, total):
        found = list(inputs)
        from perpixel.batch.worker import Worker

        rows = Worker(job, inputs.out, staging, settings).process(found[:3])
        trials = Trials(staging, found)
        for row in rows[:2]:
            trials.finish(row)
        yield rows[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "ray_rows", interrupted)
    options = {"trimaps": trimaps, "report": seen.append}
    with pytest.raises(KeyboardInterrupt):
        batch(Job("matte", model=matting_model), photos, tmp_path / "out", engine="ray", **options)
    assert [each.done for each in seen] == [1, 2, 3] and seen[-1].finished == 3
    assert len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()) == 3


def test_what_workers_had_finished_when_all_was_killed_counts_as_done(matting_model, photographs, tmp_path):
    from perpixel.batch.manifest import Finished
    from perpixel.batch.run import staging_folder
    from perpixel.batch.shards import Shard
    from perpixel.batch.trials import Trials

    photos, trimaps = photographs([f"{i}.png" for i in range(4)])
    job, out = Job("matte", model=matting_model), tmp_path / "out"
    batch(job, photos, out, trimaps=trimaps)
    finished = Finished(out)
    rows = list(finished.rows())
    finished.close()
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:2]))  # the rows of two got no further than their chunk
    staging = staging_folder(out, Shard())
    staging.mkdir()
    trials = Trials(staging, [Record(row.key, row.input, b"") for row in rows])
    for row in rows[1:3]:
        trials.finish(row)
    trials.path.write_bytes(trials.path.read_bytes() + b'\n{"key": "3", "inp')
    summary = batch(job, photos, out, trimaps=trimaps)
    assert (summary.done, summary.skipped) == (1, 3) and not staging.exists()
    after = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    assert after[:3] == lines[:3] and len(after) == 4


def test_a_full_disk_ends_the_batch_and_tells_what_was_finished(ray_worker, records, monkeypatch):
    from perpixel.batch.ray_worker import Chunk
    from perpixel.batch.worker import Worker

    write = Worker.write

    def full(self, computed):
        if computed.loaded.record.key == "2":
            raise OutputError("out cannot be written (No space left on device)")
        return write(self, computed)

    monkeypatch.setattr(Worker, "write", full)
    (outcome,) = told(ray_worker(), Chunk(records))
    assert isinstance(outcome.end, OutputError) and "No space" in str(outcome.end)
    assert {row.status for row in outcome.rows} <= {"done"}


def test_a_model_that_is_not_there_ends_the_batch(records, tmp_path):
    from perpixel.batch.ray_worker import Chunk, Place, RayWorker

    (tmp_path / "out" / ".staging").mkdir(parents=True)
    place = Place.here(tmp_path / "out", tmp_path / "out" / ".staging", "settings")
    (outcome,) = told(RayWorker(Job("matte", model=str(tmp_path / "nowhere")), place, 1), Chunk(records))
    assert isinstance(outcome.end, CheckpointError) and "nowhere" in str(outcome.end) and outcome.rows == ()


def test_a_machine_that_does_not_see_the_folders_says_so(ray_worker, records, tmp_path):
    from perpixel.batch.ray_worker import Chunk

    (tmp_path / "out" / ".staging").rmdir()
    (outcome,) = told(ray_worker(), Chunk(records))
    assert isinstance(outcome.end, OutputError) and "does not see" in str(outcome.end)


def test_a_reader_gives_what_the_local_engine_would_do(matting_model, photographs, tmp_path):
    from perpixel.batch.hints import HintFolders
    from perpixel.batch.inputs import Inputs
    from perpixel.batch.ray import read_chunks
    from perpixel.batch.ray_worker import Chunk, Place, pack, unpack

    photos, trimaps = photographs([f"{i}.png" for i in range(5)])
    job, out = Job("matte", model=matting_model), tmp_path / "out"
    batch(job, [photos / "1.png", photos / "3.png"], out, trimaps=trimaps)
    inputs = Inputs((str(photos),), out, hints=HintFolders(trimaps))
    (out / ".staging").mkdir()
    place = Place.here(out, out / ".staging", job.fingerprint())
    chunks = [chunk for table in read_chunks(pack(inputs), place, 2) for chunk in unpack(table, Chunk)]
    assert sorted(record.key for chunk in chunks for record in chunk.records) == ["0", "2", "4"]
    assert sum(chunk.passed for chunk in chunks) == 2 and len(chunks) == 3
    missing = list(read_chunks(pack(Inputs((str(tmp_path / "no/*.png"),), out)), place, 2))
    assert missing == []


def test_columns_become_results_and_rows_that_cannot_say_why(matting_model):
    import io

    import numpy as np
    from PIL import Image

    from perpixel import Columns, read_photo
    from perpixel.batch.ray_dataset import DatasetWorker
    from perpixel.tasks.matting import load_matting_model, matte

    stream = io.BytesIO()
    Image.fromarray(picture(0)).save(stream, "PNG")
    images = np.empty(4, object)
    images[:] = [stream.getvalue(), picture(1), b"no picture\0\0", picture(3).astype(np.float32)]
    hints = np.empty(4, object)
    hints[:] = [trimap()] * 4
    worker = DatasetWorker(Job("matte", model=matting_model), Columns(trimap="hint"))
    found = worker({"image": images, "hint": hints, "id": np.arange(4)})
    assert list(found["id"]) == [0, 1, 2, 3] and list(found["width"][:2]) == [32, 32]
    assert found["error"][0] is None and found["error"][1] is None
    assert found["png"][2] is None and found["error"][2] and "float32" in found["error"][3]
    network = load_matting_model(matting_model)
    for number in (0, 1):
        expected = matte(read_photo(picture(number)).pixels, trimap(), model=network)
        shown = np.asarray(Image.open(io.BytesIO(found["png"][number])))
        assert np.array_equal(shown, np.round(expected.alpha * 255).astype(np.uint8))
    with pytest.raises(InputError, match="already"):
        worker({"image": images, "hint": hints, "png": hints})
    with pytest.raises(PerpixelError, match="which column"):
        worker({"picture": images, "hint": hints})


def test_a_dataset_takes_no_files(matting_model):
    class Dataset:
        map_batches = None

    with pytest.raises(InputError, match="in its columns"):
        batch("matte", Dataset(), "out")
    with pytest.raises(InputError, match="trimap="):
        batch("matte", Dataset())
