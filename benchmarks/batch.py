"""A batch from files to files beside the bare model on tensors that are ready: what reading and writing cost.

    python -m benchmarks.batch                              # vitmatte-nano, matting, one thread and two
    python -m benchmarks.batch --task depth --model MODEL   # depth with another model
    python -m benchmarks.batch --images 32 --turns 5 --threads 1
    python -m benchmarks.batch --device cuda --stack 1 4 8 16 32 --images 256 --workers 8   # a GPU

Both have the same photographs of one size. The bare model has them as tensors on its device, prepared, in stacks, and
throws its outputs away; the batch reads JPEG (and PNG trimaps), prepares, runs the model, and writes its files, with
its manifest left out on both sides. They take turns in one process. The ratios are the bare model's rate over the
batch's, so that 1 is as fast:

- wall: of the time on the clock, the median of the turns. On a machine with other work it is noise, and kind to the
  batch, whose threads get a larger share. On a GPU it is the number that counts.
- model: of the processor time of the model's own thread. What is below 1 is what the model's thread does beside the
  model. It is the throughput where other processors are free for reading and writing. Only for one thread.
- processor: of the whole process's processor time. It is the throughput where no processor is free.

The last column is the processor time of an image in all other threads. By the model's time for an image it says how
many processors a GPU wants beside it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import perpixel
from perpixel.batch.hints import HintFolders
from perpixel.batch.inputs import Inputs
from perpixel.batch.job import Job
from perpixel.batch.pipeline import Pipeline
from perpixel.batch.worker import Loaded, Worker
from perpixel.tasks.depth import run_estimator
from perpixel.tasks.matting import run_matting
from perpixel.tasks.segmentation import run_segmenter
from perpixel.tasks.stages import Depth, Matting, Segmentation

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


class Bare:
    """The model alone, on tensors that are ready on its device, in stacks.

    Args:
        stages: of the worker.
        prepared: the network's inputs of each photograph.
        stack: images in one forward.
    """

    def __init__(self, stages: Matting | Segmentation | Depth, prepared: list[Any], stack: int) -> None:
        import torch

        self.stages = stages
        self.device = _network(stages).device
        self.stacks = [
            [None if part[0] is None else torch.cat(part).to(self.device) for part in zip(*some, strict=True)]
            for some in (prepared[start : start + stack] for start in range(0, len(prepared), stack))
        ]

    def __call__(self) -> None:
        """Run all stacks, and wait until the device has finished."""
        import torch

        for stack in self.stacks:
            if isinstance(self.stages, Matting):
                run_matting(self.stages.network, *stack)
            elif isinstance(self.stages, Segmentation):
                run_segmenter(self.stages.segmenter, *stack)
            else:
                run_estimator(self.stages.estimator, *stack)
        if self.device.type != "cpu":
            torch.accelerator.synchronize()


def _network(stages: Matting | Segmentation | Depth) -> Any:
    if isinstance(stages, Matting):
        return stages.network
    return stages.segmenter.network if isinstance(stages, Segmentation) else stages.estimator.network


def measure(job: Job, count: int, side: int, turns: int, threads: int, workers: int) -> str:
    """One line of the table."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photographs(folder, count, side)
        hints = HintFolders(folder / "trimaps" if job.task == "matte" else None)
        inputs = Inputs((str(folder / "in"),), folder / "out", hints=hints)
        worker = Worker(job, folder / "out", folder / "out" / ".staging")
        loaded = [each for each in map(worker.load, inputs) if isinstance(each, Loaded)]
        assert len(loaded) == count
        on_cpu = _network(worker._stages).device.type == "cpu"
        bare = Bare(worker._stages, [each.ready.inputs for each in loaded], STACK if on_cpu else worker.stack)
        in_model = 0.0

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
        walls, models, processors, rates, beside = [], [], [], [], []
        for turn in range(turns):
            spent = {}
            for name, work in (("bare", bare), ("batch", whole)) if turn % 2 else (("batch", whole), ("bare", bare)):
                start, used = time.perf_counter(), time.process_time()
                work()
                spent[name] = time.perf_counter() - start, time.process_time() - used
            walls.append(spent["bare"][0] / spent["batch"][0])
            processors.append(spent["bare"][1] / spent["batch"][1])
            models.append(spent["bare"][1] / in_model)
            rates.append((count / spent["bare"][0], count / spent["batch"][0]))
            beside.append((spent["batch"][1] - in_model) / count * 1000)
    alone, both = (f"{statistics.median(of):.2f}" if on_cpu else "–" for of in (models, processors))
    return (
        f"| {job.task}, {Path(job.model or 'default').name} | {side} | {threads if on_cpu else bare.device.type} | "
        f"{' | '.join(f'{statistics.median(rate):.2f}' for rate in zip(*rates, strict=True))} | "
        f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f}) | {alone if threads == 1 else '–'} | "
        f"{both} | {statistics.median(beside):.1f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("matte", "segment", "depth"), default="matte")
    parser.add_argument("--model", help="the task's own when not given")
    parser.add_argument("--device", help="the CPU when not given; such as cuda")
    parser.add_argument("--dtype", choices=("float32", "bf16", "fp16"), help="of the model")
    parser.add_argument("--stack", type=int, nargs="+", help="images in one forward, on an accelerator")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=512, help="of the photographs, in pixels")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the model, on a CPU")
    parser.add_argument("--workers", type=int, default=2, help="threads that read, and as many that write")
    given = parser.parse_args()
    perpixel.tune_allocator()  # as the command does
    print("| work | side | threads | bare, images a second | batch | wall | model | processor | beside, ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    on_cpu = (given.device or "cpu") == "cpu"
    for threads in given.threads if on_cpu else given.threads[:1]:
        for stack in given.stack or [None]:
            job = Job(given.task, model=given.model, device=given.device, dtype=given.dtype, stack=stack)
            print(measure(job, given.images, given.side, given.turns, threads, given.workers), flush=True)


if __name__ == "__main__":
    main()
