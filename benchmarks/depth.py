"""DPT in perpixel and in transformers, side by side: time and memory.

    python benchmarks/depth.py --model large --repeats 3
    python benchmarks/depth.py --model dinov2-small --sizes 518x518 784x518 --repeats 3

The models have the shapes of Intel/dpt-large and facebook/dpt-dinov2-small-nyu and random weights; both sides have the
same ones and take turns in one process. Time is in seconds of the processor by default, because other work on
the machine does not count in them (`--clock wall` for the other); the ratio is the median of transformers' time over
ours, so above 1 is faster. Memory is the highest resident size during a call, less that before it. The difference is
the largest one of the predicted depth, relative to its standard deviation.

transformers' DPT with a ViT of its own takes square images only; ours takes others, but there is nothing beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from segmentation import CLOCKS, size, status

SHAPES: dict[str, dict[str, Any]] = {
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "backbone_out_indices": [5, 11, 17, 23],
        "neck_hidden_sizes": [256, 512, 1024, 1024],
    },
    "dinov2-small": {
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": 384,
            "num_attention_heads": 6,
            "image_size": 518,
            "patch_size": 14,
            "out_indices": [3, 6, 9, 12],
            "apply_layernorm": False,
            "reshape_hidden_states": False,
        },
        "neck_hidden_sizes": [48, 96, 192, 384],
        "use_bias_in_fusion_residual": False,
        "add_projection": True,
    },
}
SIZES = {"large": [(384, 384)], "dinov2-small": [(518, 518), (784, 518)]}


def models(name: str) -> dict[str, Any]:
    """Both sides, with the same random weights."""
    import transformers

    import perpixel as px

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from parity.randomise import randomise

    ours = px.DPTForDepthEstimation(px.DPTConfig(**SHAPES[name])).eval()
    randomise(ours, 0)
    lift(ours)
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = transformers.DPTForDepthEstimation.from_pretrained(folder).eval()
        for parameter in theirs.parameters():
            parameter.data = parameter.data.clone()  # out of the file and into memory before that is measured
    return {"transformers": theirs, "perpixel": ours}


def lift(model: Any) -> None:
    """Bring the last convolution's output to a standard deviation of 1 and a mean of 4.

    With random weights it is far below zero nearly everywhere, and the ReLU after it would hide all differences.
    """
    last, seen = model.head.head[4], []
    hook = last.register_forward_hook(lambda module, given, depth: seen.append(depth.clone()))
    with torch.no_grad():
        model(torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)))
        hook.remove()
        std, mean = torch.std_mean(seen[0])
        last.weight /= std
        last.bias.copy_(4 + (last.bias - mean) / std)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="dinov2-small")
    parser.add_argument("--sizes", nargs="+", type=size, metavar="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock, both = CLOCKS[arguments.clock], models(arguments.model)
    print(
        f"{arguments.model}, torch {torch.__version__}, {arguments.threads} threads, {arguments.repeats} repeats, "
        f"transformers' attention: {both['transformers'].config._attn_implementation}"
    )
    print("| size | transformers s | perpixel s | ratio | transformers MB | perpixel MB | memory | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for width, height in arguments.sizes or SIZES[arguments.model]:
        pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        seconds: dict[str, list[float]] = {side: [] for side in both}
        peaks, depths = dict.fromkeys(both, 0), {}
        for _ in range(arguments.repeats):
            for side, network in both.items():
                ctypes.CDLL(None).malloc_trim(0)
                Path("/proc/self/clear_refs").write_text("5")
                before, start = status("VmRSS"), clock()
                with torch.inference_mode():
                    depths[side] = network(pixels).predicted_depth
                seconds[side].append(clock() - start)
                peaks[side] = max(peaks[side], status("VmHWM") - before)
        ratio = statistics.median(a / b for a, b in zip(seconds["transformers"], seconds["perpixel"], strict=True))
        theirs, ours = (statistics.median(found) for found in seconds.values())
        expected, got = depths["transformers"], depths["perpixel"]
        assert (expected > 0).float().mean() > 0.9  # there is something to compare
        difference = float((expected - got).abs().max() / expected.std())
        their_peak, our_peak = (peak / 1e6 for peak in peaks.values())
        print(
            f"| {width}×{height} | {theirs:.2f} | {ours:.2f} | {ratio:.2f} | {their_peak:.0f} | {our_peak:.0f} | "
            f"{our_peak / their_peak:.2f} | {difference:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
