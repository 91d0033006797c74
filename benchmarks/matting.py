"""ViTMatte-S against transformers: whole, and where a trimap leaves a part of the pixels unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Work, optimized, picture, randomised, relative

UNKNOWN = 0.14  # share of unknown pixels in the trimap of a photograph


def works(smoke: bool) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Names and makers of the works."""
    sizes = [64] if smoke else [512, 1024]
    for side in sizes:
        yield f"ViTMatte-S {side}×{side}", lambda side=side: whole(smoke, side)
    yield f"ViTMatte-S {sizes[-1]}×{sizes[-1]}, {UNKNOWN:.0%} unknown", lambda: partly(smoke, sizes[-1])


def _models(smoke: bool, prepare: Callable[[Any], Any]) -> tuple[Any, Any]:
    import perpixel as px

    config = px.VitMatteConfig()
    if smoke:
        backbone = px.VitDetConfig(
            hidden_size=48,
            num_attention_heads=3,
            num_hidden_layers=2,
            num_channels=4,
            image_size=64,
            pretrain_image_size=64,
            window_size=2,
            window_block_indices=[0],
            use_relative_position_embeddings=True,
            out_features=["stage2"],
        )
        config = px.VitMatteConfig(
            backbone, hidden_size=48, convstream_hidden_sizes=[8, 16, 32], fusion_hidden_sizes=[64, 32, 16, 8]
        )
    return randomised(px.VitMatteForImageMatting(config), prepare=prepare)


def whole(smoke: bool, side: int, prepare: Callable[[Any], Any] = optimized) -> Work:
    """One forward of both."""
    theirs, ours = _models(smoke, prepare)
    pixels = picture(4, side, side)
    return Work(lambda: theirs(pixels).alphas, lambda: ours(pixels).alphas, relative, model=True)


def partly(smoke: bool, side: int, prepare: Callable[[Any], Any] = optimized) -> Work:
    """Only unknown pixels count. The floor of the whole model is none for a part of it, so there is none."""
    theirs, ours = _models(smoke, prepare)
    pixels = picture(4, side, side)
    needed = torch.zeros(1, 1, side, side, dtype=torch.bool)
    needed[..., : round(side * UNKNOWN)] = True

    def difference(expected: Tensor, got: Tensor) -> float:
        return relative(expected[needed], got[needed])

    return Work(lambda: theirs(pixels).alphas, lambda: ours(pixels, needed=needed).alphas, difference)
