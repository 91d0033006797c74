"""Batches at scale: a proof on a Ray cluster with a worker killed in the middle, and what an image costs a core.

    python -m benchmarks.batch_ray proof FOLDER --images 1000
    python -m benchmarks.batch_ray rates --works matte depth segment --repeats 3
    python -m benchmarks.batch_ray rates --device cuda --stacks 1 8 32      # the rows of a GPU
    python -m benchmarks.batch_ray steps --images 20000

The proof makes photographs of 64×64 to 96×96 and their trimaps in an empty folder, works on them in one process and on
a local cluster of two workers, kills one of these when a third of the rows have come, and compares everything: every
file byte for byte, every row of the manifest.

The rates are the processor's seconds, with one thread, of the three stages of a batch: reading (decoding and the
network's input), the network, and writing (the result and its file). Weights are random but for vitmatte-nano, which
changes no time. A forward before the clock starts does what is done once. On another device the network's time is that
of the clock, for an image of a stack that goes there and back, in float32 and bf16; the last columns are how many
processors reading and writing keep busy beside it, and the memory of the stack.

The steps are what a batch does for each photograph beside these three: in seconds of the processor, and bytes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch_ray", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("proof")
    one.add_argument("folder", type=Path)
    one.add_argument("--images", type=int, default=1000)
    one.set_defaults(run=lambda given: proof(given.folder, given.images))
    two = commands.add_parser("rates")
    two.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    two.add_argument("--repeats", type=int, default=3)
    two.add_argument("--device", default="cpu", help="such as cuda; the processor when not given")
    two.add_argument("--stacks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="elsewhere than on a CPU")
    two.set_defaults(run=lambda given: rates(given.works, given.repeats, given.device, given.stacks))
    three = commands.add_parser("steps")
    three.add_argument("--images", type=int, default=20_000)
    three.set_defaults(run=lambda given: steps(given.images))
    given = parser.parse_args()
    return int(given.run(given))


def proof(folder: Path, images: int) -> int:
    """1 where the cluster's results are others, or not all there."""
    # Read when the workers start.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from batch.test_ray import contents, lines, workers
    from perpixel import Cluster, Job, batch
    from perpixel.batch.ray_cluster import connected

    model = folder / "model"
    if not model.exists():  # else it goes on where it was stopped
        _photographs(folder, images)
        _tiny_model(model)
    job = Job("matte", model=str(model))
    options: dict[str, Any] = {"trimaps": folder / "trimaps"}
    start = time.perf_counter()
    alone = batch(job, folder / "photos", folder / "alone", **options)
    print(f"one process: {alone.done} done, {alone.failed} failed, {time.perf_counter() - start:.0f} s")
    killed: list[int] = []
    cluster = Cluster(workers=(2, 2), object_store_memory=200 * 2**20)
    start = time.perf_counter()
    with connected(cluster) as ray:

        def kill(progress: Any) -> None:
            if progress.finished == images // 3:
                killed.extend(workers(ray)[:1])
                os.kill(killed[0], signal.SIGKILL)
                print(f"killed worker {killed[0]} after {progress.finished} rows")

        begun = time.perf_counter()
        together = batch(job, folder / "photos", folder / "ray", engine=cluster, report=kill, **options)
        ended = time.perf_counter()
    print(
        f"on Ray: {together.done} done, {together.failed} failed, {ended - begun:.0f} s, {begun - start:.0f} s to start"
    )
    rows = lines(folder / "ray")  # none twice
    same = {
        "all rows": len(rows) == images and {row["status"] for row in rows.values()} == {"done"},
        "equal files": contents(folder / "alone") == contents(folder / "ray"),
        "equal rows": lines(folder / "alone") == rows,
        "one was killed": len(killed) == 1,
    }
    print(json.dumps(same))
    return 0 if all(same.values()) else 1


def rates(works: list[str], repeats: int, device: str, stacks: list[int]) -> int:
    """Print a line for each work; on another device than a CPU for each work, precision and stack."""
    import torch

    from perpixel import tune_allocator

    tune_allocator()
    torch.set_num_threads(1)
    if device == "cpu":
        print(
            "| work | reading | network | writing | one image, s | images an hour and core |\n|---|---|---|---|---|---|"
        )
        for name in works:
            with tempfile.TemporaryDirectory() as folder:
                parts = _stages(Path(folder), *WORKS[name](Path(folder)), repeats)
            total = sum(parts)
            print(f"| {name} | {' | '.join(f'{part:.4f}' for part in parts)} | {total:.3f} | {3600 / total:.0f} |")
        return 0
    print(
        "| work | precision | stack | reading | network | writing | images an hour | processors beside | memory, GiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, dtype, stack in itertools.product(works, ("float32", "bf16"), stacks):
        with tempfile.TemporaryDirectory() as folder:
            job, record = WORKS[name](Path(folder))
            job = replace(job, device=device, dtype=dtype, stack=stack)
            torch.accelerator.reset_peak_memory_stats()
            reading, network, writing = _stages(Path(folder), job, record, repeats, stack)
        print(
            f"| {name} | {dtype} | {stack} | {reading:.4f} | {network:.4f} | {writing:.4f} | {3600 / network:.0f} | "
            f"{(reading + writing) / network:.1f} | {torch.accelerator.max_memory_allocated() / 2**30:.2f} |"
        )
    return 0


def _stages(folder: Path, job: Any, record: Any, repeats: int, stack: int = 1) -> list[float]:
    """The median seconds of reading, network and writing, for an image."""
    from perpixel.batch.records import Row
    from perpixel.batch.worker import Worker

    out = folder / "out"
    out.mkdir()
    worker = Worker(job, out, out / ".staging")
    # What comes back to memory has been waited for, so the clock has all of another device's work.
    clock = time.process_time if job.device is None else time.perf_counter
    found: list[list[float]] = []
    for _ in range(repeats + 1):
        marks = [time.process_time()]
        loaded = worker.load(record)
        assert not isinstance(loaded, Row), loaded.error
        marks.append(time.process_time())
        start = clock()
        computed = worker.compute([loaded] * stack)
        spent = (clock() - start) / stack
        marks.append(time.process_time())
        row = worker.write(computed[0])
        worker.noted(row)
        assert row.status == "done", row.error
        marks.append(time.process_time())
        found.append([marks[1] - marks[0], spent, marks[3] - marks[2]])
    return [statistics.median(column) for column in zip(*found[1:], strict=True)]


def steps(images: int) -> int:
    """Print a line for each step."""
    import pickle

    from perpixel.batch.hints import HintFolders
    from perpixel.batch.inputs import Inputs
    from perpixel.batch.job import Job
    from perpixel.batch.manifest import Finished, Journal, write_parquet
    from perpixel.batch.ray_worker import Chunk
    from perpixel.batch.records import Row, content_hash
    from perpixel.batch.run import fresh
    from perpixel.batch.shards import Shard
    from perpixel.images.read import read_photo

    def spent(name: str, work: Any, count: int = images) -> Any:
        start = time.process_time()
        found = work()
        print(f"{name}: {(time.process_time() - start) / count * 1e6:.1f} µs")
        return found

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("photos", "trimaps"):
            (folder / kind).mkdir()
            for number in range(images):
                (folder / kind / f"{number:08}.png").touch()
        out = folder / "out"
        out.mkdir()
        plain = Inputs((str(folder / "photos"),), out)
        hinted = replace(plain, hints=HintFolders(folder / "trimaps"))
        spent("counting and checking names", plain.survey)
        spent("finding a photograph", lambda: list(plain))
        records = spent("finding a photograph and its trimap", lambda: list(hinted))
        settings = Job("matte").fingerprint()
        rows = []
        for record in records:
            (out / f"{record.key}.png").touch()
            source = f"photos/{record.key}.png"
            hashes = content_hash(record.key.encode()), content_hash(source.encode())
            rows.append(Row(record.key, source, "done", settings, *hashes, record.stamp, seconds=0.1234))
        rows = [replace(row, width=512, height=512, outputs={f"{row.key}.png": 0}) for row in rows]
        with Journal(out, Shard()) as journal:
            spent("a row of the manifest", lambda: [journal.add(row) for row in rows])
        print(f"a row of the manifest: {journal.path.stat().st_size / images:.0f} bytes")
        finished = spent("reading a row when a run goes on", lambda: Finished(out))
        assert spent("passing over what is done", lambda: set(fresh(records, finished, settings, out))) == {None}
        write_parquet(finished.rows(), out / "manifest.parquet")
        finished.close()
        print(f"a row as Parquet: {(out / 'manifest.parquet').stat().st_size / images:.0f} bytes")
        chunk = pickle.dumps(Chunk(tuple(records[:32])))
        print(f"a record on its way to a worker: {len(chunk) / 32:.0f} bytes")
        for height, width in ((512, 512), (3000, 4000)):
            path = _photograph(folder, height, width)
            read_photo(path)
            spent(f"decoding a JPEG of {width}×{height}", lambda path=path: [read_photo(path) for _ in range(5)], 5)
            print(f"  of {Path(path).stat().st_size} bytes")
    return 0


def _matte(folder: Path) -> tuple[Any, Any]:
    from PIL import Image

    from perpixel.batch.job import Job
    from perpixel.batch.records import Record

    trimap = np.full((512, 512), 128, np.uint8)
    trimap[:, :170], trimap[:, 342:] = 0, 255  # a third is unknown
    Image.fromarray(trimap).save(folder / "trimap.png")
    return Job("matte"), Record("a", "a", _photograph(folder, 512, 512), ".jpg", trimap=str(folder / "trimap.png"))


def _depth(folder: Path) -> tuple[Any, Any]:
    from perpixel import DPTConfig, DPTForDepthEstimation, DPTImageProcessor
    from perpixel.batch.job import Job
    from perpixel.batch.records import Record

    # The sizes of dpt-large: ViT-L/16 at 384.
    config = DPTConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        image_size=384,
        backbone_out_indices=[5, 11, 17, 23],
        neck_hidden_sizes=[256, 512, 1024, 1024],
    )
    DPTForDepthEstimation(config).save_pretrained(folder / "model")
    DPTImageProcessor(size=384).save_pretrained(folder / "model")
    return Job("depth", model=str(folder / "model")), Record("a", "a", _photograph(folder, 384, 384), ".jpg")


def _segment(folder: Path) -> tuple[Any, Any]:
    from perpixel import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor, SwinConfig
    from perpixel.batch.job import Job
    from perpixel.batch.records import Record

    swin = SwinConfig(
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        embed_dim=96,
        window_size=7,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(backbone_config=swin, num_labels=133)
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder / "model")
    Mask2FormerImageProcessor(size={"height": 384, "width": 384}).save_pretrained(folder / "model")
    return Job("segment", model=str(folder / "model"), kind="panoptic"), Record(
        "a", "a", _photograph(folder, 384, 384), ".jpg"
    )


WORKS = {"matte": _matte, "depth": _depth, "segment": _segment}


def _photograph(folder: Path, height: int, width: int) -> str:
    """Smooth with some grain, so that a JPEG has an ordinary size."""
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    picture = np.clip(picture + rng.integers(-12, 13, picture.shape), 0, 255).astype(np.uint8)
    Image.fromarray(picture).save(folder / "a.jpg", quality=90)
    return str(folder / "a.jpg")


def _photographs(folder: Path, count: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("photos", "trimaps"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        height, width = (int(side) for side in rng.integers(64, 97, 2))
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"photos/{number:04}.png")
        trimap = np.full((height, width), 128, np.uint8)
        trimap[:, : width // 3], trimap[:, -(width // 3) :] = 0, 255
        Image.fromarray(trimap).save(folder / f"trimaps/{number:04}.png")


def _tiny_model(path: Path) -> None:
    from models.vitmatte.tiny import tiny_model

    tiny_model().save_pretrained(path)


if __name__ == "__main__":
    sys.exit(main())
