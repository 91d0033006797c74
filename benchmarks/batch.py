"""A batch from files to files beside the bare model on tensors that are ready: what reading and writing cost.

    python -m benchmarks.batch                              # vitmatte-nano, matting, one thread and two
    python -m benchmarks.batch --task depth --model MODEL   # depth with another model
    python -m benchmarks.batch --images 32 --turns 5 --threads 1

Both have the same photographs of one size. The bare model has them in memory as tensors, prepared, in stacks, and
throws its outputs away; the batch reads JPEG (and PNG trimaps), prepares, runs the model, and writes PNG, with its
manifest left out on both sides. They take turns in one process. Two ratios are told, the bare model's over the
batch's, so that 1 is as fast:

- wall: of the time on the clock, the median of the turns. On a machine with other work it is noise, and kind to the
  batch, whose threads get a larger share.
- model: of the processor time of the model's own thread. What is below 1 is what the model's thread does beside the
  model. It is the throughput where other processors are free for reading and writing. Only for one thread.
- processor: of the whole process's processor time. It is the throughput where no processor is free.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
STACK = 4


def write_photographs(folder: Path, count: int, side: int) -> None:
    """Cut `count` different squares out of the example photographs, with a trimap for each."""
    generator = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    (folder / "in").mkdir()
    (folder / "trimaps").mkdir()
    y, x = np.mgrid[:side, :side] / side - 0.5
    for number in range(count):
        source = sources[number % len(sources)]
        part = int(min(source.size) * generator.uniform(0.6, 1))
        left, top = (int(generator.integers(0, length - part + 1)) for length in source.size)
        square = source.crop((left, top, left + part, top + part)).resize((side, side), Image.Resampling.LANCZOS)
        square.save(folder / "in" / f"{number}.jpg", quality=92)
        radius = np.hypot(x * generator.uniform(0.8, 1.2), y)
        trimap = np.where(radius < 0.22, 255, np.where(radius > 0.38, 0, 128)).astype(np.uint8)
        Image.fromarray(trimap).save(folder / "trimaps" / f"{number}.png")


def measure(task: str, model: str | None, count: int, side: int, turns: int, threads: int, workers: int) -> str:
    """One line of the table."""
    import torch

    from perpixel.batch.hints import HintFolders
    from perpixel.batch.inputs import Inputs
    from perpixel.batch.job import Job
    from perpixel.batch.pipeline import Pipeline
    from perpixel.batch.worker import Loaded, Worker
    from perpixel.tasks.depth import run_estimator
    from perpixel.tasks.matting import run_matting
    from perpixel.tasks.stages import Matting

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photographs(folder, count, side)
        hints = HintFolders(folder / "trimaps" if task == "matte" else None)
        inputs = Inputs((str(folder / "in"),), folder / "out", hints=hints)
        worker = Worker(Job(task, model=model), folder / "out", folder / "out" / ".staging")
        loaded = [each for each in map(worker.load, inputs) if isinstance(each, Loaded)]
        assert len(loaded) == count
        prepared = [each.ready.inputs for each in loaded]
        stacks = [
            [torch.cat(part) for part in zip(*prepared[start : start + STACK], strict=True)]
            for start in range(0, count, STACK)
        ]
        stages = worker._stages
        in_model = 0.0

        def bare() -> None:
            for stack in stacks:
                if isinstance(stages, Matting):
                    run_matting(stages.network, *stack)
                else:
                    run_estimator(stages.estimator, *stack)

        class Timed(Pipeline):
            def _compute(self) -> None:
                nonlocal in_model
                start = time.thread_time()
                super()._compute()
                in_model = time.thread_time() - start

        def whole() -> None:
            with Timed(worker, iter(inputs), workers) as pipeline:
                rows = list(pipeline.rows())
            assert [row.status for row in rows] == ["done"] * count, rows

        bare()
        whole()
        walls, models, processors, rates = [], [], [], []
        for turn in range(turns):
            spent = {}
            for name, work in (("bare", bare), ("batch", whole)) if turn % 2 else (("batch", whole), ("bare", bare)):
                start, used = time.perf_counter(), time.process_time()
                work()
                spent[name] = time.perf_counter() - start, time.process_time() - used
            walls.append(spent["bare"][0] / spent["batch"][0])
            processors.append(spent["bare"][1] / spent["batch"][1])
            models.append(spent["bare"][1] / in_model)
            rates.append(count / spent["batch"][0])
    alone = f"{statistics.median(models):.2f}" if threads == 1 else "–"
    return (
        f"| {task}, {model or 'default'} | {side} | {threads} | {statistics.median(rates):.2f} | "
        f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f}) | {alone} | "
        f"{statistics.median(processors):.2f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("matte", "depth"), default="matte")
    parser.add_argument("--model", help="the task's own when not given")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=512, help="of the photographs, in pixels")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the model")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print("| work | side | threads | images a second | wall | model | processor |")
    print("|---|---|---|---|---|---|---|")
    for threads in given.threads:
        line = measure(given.task, given.model, given.images, given.side, given.turns, threads, given.workers)
        print(line, flush=True)


if __name__ == "__main__":
    main()
