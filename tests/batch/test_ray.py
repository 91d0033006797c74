"""Batches on a real Ray cluster of two workers: the same as on one process, also when a worker is killed."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from perpixel import Cluster, Columns, Job
from perpixel.batch.ray_cluster import connected
from perpixel.batch.run import batch

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

TWO = Cluster(workers=(2, 2), object_store_memory=200 * 2**20)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ray():
    with pytest.MonkeyPatch.context() as patch:
        # The workers are processes that nobody told where the package and its tests are.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        with connected(TWO) as ray:
            yield ray


@pytest.fixture
def job(matting_model):
    return Job("matte", model=matting_model, save=("png", "tiff"))


def lines(out):
    """The rows of a manifest by key, without what differs from run to run; none may be there twice."""
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: {name: row[name] for name in row if name not in ("time", "seconds")} for row in rows}


def contents(out):
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "manifest.jsonl"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def workers(ray):
    """The processes of the actors of this cluster."""
    session = ray._private.worker.global_worker.node.session_name
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(b"ray::MapWorker(MapBatches(RayWorker))"):
                parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
                if session.encode() in Path("/proc", parent, "cmdline").read_bytes():
                    found.append(int(path.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_a_cluster_does_what_one_process_does(ray, job, photographs, tmp_path):
    photos, trimaps = photographs([f"{'sub/' if i % 3 else ''}{i}.png" for i in range(40)])
    (photos / "3.png").write_bytes(b"no picture")
    (trimaps / "6.png").unlink()
    options = {"trimaps": trimaps, "recursive": True}
    alone = batch(job, photos, tmp_path / "alone", **options)
    seen = []
    together = batch(job, photos, tmp_path / "ray", engine=TWO, report=seen.append, **options)
    assert (alone.done, alone.failed) == (together.done, together.failed) == (38, 2)
    assert contents(tmp_path / "alone") == contents(tmp_path / "ray")
    assert lines(tmp_path / "alone") == lines(tmp_path / "ray")
    assert [each.finished for each in seen] == list(range(1, 41))


def test_one_engine_goes_on_where_the_other_stopped(ray, job, photographs, tmp_path):
    photos, trimaps = photographs([f"{i}.png" for i in range(12)])
    out = tmp_path / "out"
    batch(job, [photos / f"{i}.png" for i in range(5)], out, trimaps=trimaps)
    every = Cluster(workers=(3, 3))  # all processors of the cluster: nothing is left for those who read
    on_ray = batch(job, photos, out, trimaps=trimaps, engine=every)
    assert (on_ray.done, on_ray.skipped) == (7, 5)
    (out / "8.png").unlink()
    again = batch(job, photos, out, trimaps=trimaps)
    assert (again.done, again.skipped) == (1, 11)


def test_a_killed_worker_loses_nothing_and_doubles_nothing(ray, job, photographs, tmp_path):
    photos, trimaps = photographs([f"{i}.png" for i in range(120)], size=(64, 80))
    killed = []

    def kill(progress):
        if progress.finished == 20:
            killed.extend(workers(ray)[:1])
            os.kill(killed[0], signal.SIGKILL)

    summary = batch(job, photos, tmp_path / "ray", trimaps=trimaps, engine=TWO, report=kill)
    assert len(killed) == 1
    assert (summary.done, summary.failed) == (120, 0) and len(lines(tmp_path / "ray")) == 120
    batch(job, photos, tmp_path / "alone", trimaps=trimaps)
    assert contents(tmp_path / "alone") == contents(tmp_path / "ray")
    assert lines(tmp_path / "alone") == lines(tmp_path / "ray")


def test_a_dataset_becomes_another(ray, job, photographs, tmp_path):
    import pyarrow

    photos, trimaps = photographs([f"{i}.png" for i in range(9)])
    batch(job, photos, tmp_path / "alone", trimaps=trimaps)
    rows = [{"id": i, "image": (photos / f"{i}.png").read_bytes(), "hint": str(trimaps / f"{i}.png")} for i in range(9)]
    dataset = ray.data.from_items([*rows, {"id": 9, "image": b"broken", "hint": "nowhere.png"}])
    results = batch(job, dataset, columns=Columns(trimap="hint"))
    found = {row["id"]: row for row in results.take_all()}
    for i in range(9):
        assert found[i]["png"] == (tmp_path / "alone" / f"{i}.png").read_bytes() and found[i]["error"] is None
        assert found[i]["tiff"] == (tmp_path / "alone" / f"{i}.tiff").read_bytes() and found[i]["width"] == 32
    assert found[9]["png"] is None and found[9]["error"] and found[9]["image"] == b"broken"
    assert isinstance(results.schema().base_schema, pyarrow.Schema)


def test_arrays_of_a_dataset_are_photographs_too(ray, depth_model, photographs, tmp_path):
    from batch.conftest import picture

    pixels = np.stack([picture(i) for i in range(4)])  # (4, 24, 32, 3)
    results = batch(Job("depth", model=depth_model), ray.data.from_numpy(pixels), columns=Columns(image="data"))
    rows = results.take_all()
    photos, _ = photographs([f"{i}.png" for i in range(4)])
    batch(Job("depth", model=depth_model), photos, tmp_path / "alone")
    expected = {(tmp_path / "alone" / f"{i}.png").read_bytes() for i in range(4)}
    assert {row["png16"] for row in rows} == expected
    assert all(json.loads(row["png16_note"])["kind"] for row in rows)
