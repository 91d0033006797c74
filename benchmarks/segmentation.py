"""Mask2Former in perpixel and in transformers, side by side: time and memory.

    python benchmarks/segmentation.py --part postprocess --sizes 1920x1080 4000x3000 --repeats 3
    python benchmarks/segmentation.py --part model --sizes 384x384 1088x800 --repeats 3

Both sides take turns in one process for the time: the ratio is transformers' median over ours, in seconds of the
processor by default, because other work on the machine does not count in them (`--clock wall` for the other). Memory
is the highest resident size of a process that does nothing else, less its size before the call.

The model has random weights, the same on both sides; the differences are the largest ones of the class and of the mask
logits, relative to their standard deviations. The queries for the post-processing are drawn: round blobs with rough
edges, `--objects` of them confident, as many half sure, and the rest no object, as trained models give them;
`--objects 100` makes every one of the 100 queries an object.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import interpolate

KINDS = ("semantic", "instance", "panoptic")
CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}


def scene(width: int, height: int, objects: int, queries: int = 100, classes: int = 133, seed: int = 0):
    """What the model would return for an image of this shape: logits with 256 rows."""
    from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput

    rows, columns = 256, round(256 * width / height)
    generator = torch.Generator().manual_seed(seed)
    rough = interpolate(torch.randn(1, queries, 16, 16, generator=generator), size=(rows, columns), mode="bicubic")[0]
    y = torch.arange(rows)[:, None] / rows
    x = torch.arange(columns) / columns
    centre = torch.rand(2, queries, 1, 1, generator=generator)
    radius = torch.rand(queries, 1, 1, generator=generator) * 0.3 + 0.05
    distance = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2).sqrt()
    noise = torch.randn(queries, rows, columns, generator=generator) * 0.3
    masks = ((radius - distance) * rows * 0.6 + rough * 2 + noise).clamp(-18, 14)
    scores = torch.randn(queries, classes + 1, generator=generator)
    scores[:, -1] += 9
    labels = torch.randint(0, classes, (queries,), generator=generator)
    sure = torch.where(torch.arange(queries) < objects, 11, torch.where(torch.arange(queries) < 2 * objects, 8, 0))
    scores[torch.arange(queries), labels] += sure
    return Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=scores[None], masks_queries_logits=masks[None]
    )


def call(side: str, kind: str, outputs, size: tuple[int, int]):
    if side == "perpixel":
        from perpixel.models.mask2former import postprocess

        return getattr(postprocess, f"{kind}_segmentation")(outputs, target_sizes=[size])
    from transformers import Mask2FormerImageProcessorPil

    return getattr(Mask2FormerImageProcessorPil(), f"post_process_{kind}_segmentation")(outputs, target_sizes=[size])


def status(field: str) -> int:
    """A figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def memory(side: str, kind: str, width: int, height: int, objects: int) -> int:
    """Peak bytes above the start in a process of its own."""
    command = [sys.executable, __file__, "--alone", side, "--kinds", kind, "--sizes", f"{width}x{height}"]
    found = subprocess.run([*command, "--objects", str(objects)], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


def alone(side: str, kind: str, width: int, height: int, objects: int) -> None:
    call(side, kind, scene(32, 32, objects), (32, 32))  # imports
    outputs = scene(width, height, objects)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    call(side, kind, outputs, (height, width))
    print(status("VmHWM") - before)


def postprocess(arguments) -> None:
    print("| size | kind | transformers s | perpixel s | ratio | transformers MB | perpixel MB | memory |")
    print("|---|---|---|---|---|---|---|---|")
    clock = CLOCKS[arguments.clock]
    for width, height in arguments.sizes:
        outputs = scene(width, height, arguments.objects)
        for kind in arguments.kinds:
            seconds = {"transformers": [], "perpixel": []}
            for _ in range(arguments.repeats):
                for side, found in seconds.items():
                    start = clock()
                    call(side, kind, outputs, (height, width))
                    found.append(clock() - start)
            theirs, ours = (statistics.median(found) for found in seconds.values())
            peaks = [memory(side, kind, width, height, arguments.objects) / 1e6 for side in seconds]
            print(
                f"| {width}×{height} | {kind} | {theirs:.2f} | {ours:.3f} | {theirs / ours:.1f} | {peaks[0]:.0f} | "
                f"{peaks[1]:.0f} | {peaks[1] / peaks[0]:.3f} |",
                flush=True,
            )


def models():
    """Mask2Former with Swin-T for COCO's 133 classes, the same random weights on both sides."""
    import transformers

    import perpixel as px

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from parity.randomise import randomise

    backbone = px.SwinConfig(depths=[2, 2, 6, 2], out_features=["stage1", "stage2", "stage3", "stage4"])
    ours = px.Mask2FormerForUniversalSegmentation(px.Mask2FormerConfig(backbone, num_labels=133)).eval()
    randomise(ours, 0)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    return {"transformers": theirs, "perpixel": ours}


def model(arguments) -> None:
    print("| size | transformers s | perpixel s | ratio | transformers MB | perpixel MB | memory | classes | masks |")
    print("|---|---|---|---|---|---|---|---|---|")
    clock = CLOCKS[arguments.clock]
    both = models()
    for width, height in arguments.sizes:
        pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        seconds = {side: [] for side in both}
        peaks, outputs = dict.fromkeys(both, 0), {}
        for _ in range(arguments.repeats):
            for side, network in both.items():
                ctypes.CDLL(None).malloc_trim(0)
                Path("/proc/self/clear_refs").write_text("5")
                before = status("VmRSS")
                start = clock()
                with torch.inference_mode():
                    outputs[side] = network(pixels)
                seconds[side].append(clock() - start)
                peaks[side] = max(peaks[side], status("VmHWM") - before)
        ratio = statistics.median(a / b for a, b in zip(seconds["transformers"], seconds["perpixel"], strict=True))
        theirs, ours = (statistics.median(found) for found in seconds.values())
        differences = []
        for name in ("class_queries_logits", "masks_queries_logits"):
            expected, got = outputs["transformers"][name], outputs["perpixel"][name]
            differences.append(float((expected - got).abs().max() / expected.std()))
        their_peak, our_peak = (peak / 1e6 for peak in peaks.values())
        print(
            f"| {width}×{height} | {theirs:.2f} | {ours:.2f} | {ratio:.2f} | {their_peak:.0f} | {our_peak:.0f} | "
            f"{our_peak / their_peak:.2f} | {differences[0]:.1e} | {differences[1]:.1e} |",
            flush=True,
        )


def size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["postprocess", "model"], default="postprocess")
    parser.add_argument("--sizes", nargs="+", type=size, default=[(1920, 1080), (4000, 3000)], metavar="WIDTHxHEIGHT")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--objects", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    parser.add_argument("--alone", choices=["perpixel", "transformers"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        alone(arguments.alone, arguments.kinds[0], *arguments.sizes[0], arguments.objects)
        return
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.repeats} repeats")
    postprocess(arguments) if arguments.part == "postprocess" else model(arguments)


if __name__ == "__main__":
    main()
