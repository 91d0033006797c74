"""Less precision, by choice, against transformers' float32: bf16 in torch, OpenVINO, OpenVINO with 8 bits.

With random weights the differences say nothing, so there are none here: docs/performance.md has what trained weights
lose. OpenVINO's files are made where they are not in perpixel's cache yet, which takes minutes, and stay there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal

from benchmarks import depth, matting, segmentation
from benchmarks.measure import Work, picture

# What the 8 bits are chosen by: with random weights and images any will do, the time is the same.
SHOWN = 2


def works(smoke: bool) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Names and makers of the works; of tiny ones only one, since a conversion takes long at any size."""
    models: list[tuple[str, Callable[[Callable[[Any], Any]], Work]]] = [
        ("ViTMatte-S 1024×1024", lambda prepare: matting.whole(False, 1024, prepare)),
        ("Mask2Former Swin-T 800×1088", lambda prepare: segmentation.forward(False, 800, 1088, prepare)),
        ("DPT-Large 384×384", lambda prepare: depth.forward(depth.LARGE, 384, prepare)),
        # Exported, 14-pixel patches must be even in number: 518 pixels are 37.
        ("DPT, DINOv2-small 532×532", lambda prepare: depth.forward(depth.SMALL, 532, prepare)),
    ]
    for name, make in [] if smoke else models:
        for way, prepare in _ways().items():
            yield f"{name}, {way}", lambda make=make, prepare=prepare: _plain(make(prepare))
    side = 64 if smoke else 1024
    name = f"ViTMatte-S {side}×{side}, {matting.UNKNOWN:.0%} unknown, bf16"
    yield name, lambda: _plain(matting.partly(smoke, side, _bf16))


def _ways() -> dict[str, Callable[[Any], Any]]:
    """What can be asked for here."""
    ways: dict[str, Callable[[Any], Any]] = {"bf16": _bf16}
    if find_spec("openvino") is None:
        print("OpenVINO is not installed, so it is left out", file=sys.stderr)
        return ways
    ways |= {"OpenVINO": _openvino(None), "OpenVINO bf16": _openvino("bf16")}
    if find_spec("nncf") is None:
        print("NNCF is not installed, so int8 is left out", file=sys.stderr)
        return ways
    return ways | {"OpenVINO int8": _openvino("bf16", "int8")}


def _plain(work: Work) -> Work:
    """Neither a difference nor a floor, which is that of float32."""
    return replace(work, difference=None, model=False)


def _bf16(model: Any) -> Any:
    import torch

    from perpixel.models.precision import in_half_precision

    return in_half_precision(model, torch.bfloat16)


def _openvino(dtype: str | None, quantize: Literal["int8"] | None = None) -> Callable[[Any], Any]:
    def prepare(model: Any) -> Any:
        from perpixel.export.model import channels_of
        from perpixel.export.runtime import FAMILIES
        from perpixel.tasks.precision import by_openvino

        channels = channels_of(model)
        shown = [lambda processor: picture(channels, 448, 448)] * SHOWN
        return by_openvino(model, FAMILIES[type(model).__name__][2], dtype, quantize, shown)

    return prepare
