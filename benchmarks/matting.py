"""ViTMatte in perpixel and in transformers, side by side: time, memory, difference.

    python benchmarks/matting.py --sizes 512x512 1024x1024 --repeats 5

Both sides have the same random weights (every parameter and buffer drawn) and the same input, and take turns in one
process. The ratio is transformers' median time over ours. Memory is the highest resident size during a call, less the
resident size before it. `--only ours` measures a size that does not fit transformers, and `--unknown 0.14` gives the
trimap that share of unknown pixels and lets perpixel skip the others, as its tasks do.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def status(field: str) -> int:
    """A figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def measure(call) -> tuple[float, int, torch.Tensor]:
    """Seconds, peak bytes above the start, and the alphas of a call."""
    ctypes.CDLL(None).malloc_trim(0)  # what the other side left behind must not hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    start = time.perf_counter()
    with torch.inference_mode():
        alphas = call().alphas
    return time.perf_counter() - start, status("VmHWM") - before, alphas


def models(seed: int = 0):
    """ViTMatte-S on both sides with the same random weights."""
    import transformers

    import perpixel as px
    from parity.randomise import randomise

    ours = px.VitMatteForImageMatting(px.VitMatteConfig()).eval()
    randomise(ours, seed)
    config = ours.config.to_dict()
    theirs = transformers.VitMatteForImageMatting(transformers.VitMatteConfig(**config)).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["512x512", "1024x1024"], metavar="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=["ours"])
    parser.add_argument("--unknown", type=float, help="share of unknown pixels, in a band across the image")
    parser.add_argument("--tune", action="store_true", help="perpixel.tune_allocator() first, for both sides")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.tune:
        import perpixel

        perpixel.tune_allocator()
    ours, theirs = models()
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.repeats} repeats")
    print("| size | transformers s | perpixel s | ratio | transformers MB | perpixel MB | memory | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        width, height = (int(side) for side in size.split("x"))
        pixels = torch.randn(1, 4, -(-height // 32) * 32, -(-width // 32) * 32)
        needed = None
        if arguments.unknown is not None:
            needed = torch.zeros(1, 1, *pixels.shape[2:], dtype=torch.bool)
            needed[..., : round(width * arguments.unknown)] = True
        rows = {"theirs": [], "ours": []}
        for _ in range(arguments.repeats):
            if arguments.only is None:
                rows["theirs"].append(measure(lambda: theirs(pixels)))  # noqa: B023
            rows["ours"].append(measure(lambda: ours(pixels, needed=needed)))  # noqa: B023
        report(f"{width}×{height}", rows, needed)


def report(size: str, rows, needed) -> None:
    """One line of the table."""
    seconds = {side: statistics.median(row[0] for row in found) for side, found in rows.items() if found}
    memory = {side: max(row[1] for row in found) / 1e6 for side, found in rows.items() if found}
    if "theirs" in seconds:
        expected, got = rows["theirs"][-1][2], rows["ours"][-1][2]
        difference = (expected - got).abs() if needed is None else (expected - got).abs()[needed]
        ratio = statistics.median(a[0] / b[0] for a, b in zip(rows["theirs"], rows["ours"], strict=True))
        print(
            f"| {size} | {seconds['theirs']:.2f} | {seconds['ours']:.2f} | {ratio:.2f} | {memory['theirs']:.0f} | "
            f"{memory['ours']:.0f} | {memory['ours'] / memory['theirs']:.2f} | {float(difference.max()):.1e} |",
            flush=True,
        )
    else:
        print(f"| {size} | – | {seconds['ours']:.2f} | – | – | {memory['ours']:.0f} | – | – |", flush=True)


if __name__ == "__main__":
    main()
