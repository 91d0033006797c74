"""DPT against transformers: the shapes of Intel/dpt-large and facebook/dpt-dinov2-small-nyu.

transformers' DPT with a ViT of its own takes square images only, so there is nothing beside ours for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.measure import Work, optimized, picture, randomised, relative

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "backbone_out_indices": [5, 11, 17, 23],
    "neck_hidden_sizes": [256, 512, 1024, 1024],
}
SMALL: dict[str, Any] = {
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
}
TINY_LARGE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 16, 32, 32],
    "fusion_hidden_size": 64,
}
TINY_SMALL: dict[str, Any] = {
    **SMALL,
    "backbone_config": {
        **SMALL["backbone_config"],
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": 70,
        "out_indices": [1, 2, 3, 4],
    },
    "neck_hidden_sizes": [8, 16, 24, 48],
}


def works(smoke: bool) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Names and makers of the works."""
    large, small = ((TINY_LARGE, 64), (TINY_SMALL, 70)) if smoke else ((LARGE, 384), (SMALL, 518))
    yield f"DPT-Large {large[1]}×{large[1]}", lambda: forward(*large)
    yield f"DPT, DINOv2-small {small[1]}×{small[1]}", lambda: forward(*small)


def forward(shape: dict[str, Any], side: int, prepare: Callable[[Any], Any] = optimized) -> Work:
    """One forward of both."""
    import perpixel as px

    theirs, ours = randomised(px.DPTForDepthEstimation(px.DPTConfig(**shape)), _lift, prepare)
    pixels = picture(3, side, side)
    return Work(lambda: theirs(pixels).predicted_depth, lambda: ours(pixels).predicted_depth, _difference, model=True)


def _difference(expected: torch.Tensor, got: torch.Tensor) -> float:
    assert (expected > 0).float().mean() > 0.9  # there is something to compare
    return relative(expected, got)


def _lift(model: Any) -> None:
    """Bring the last convolution's output to a standard deviation of 1 and a mean of 4.

    With random weights it is far below zero nearly everywhere, and the ReLU after it would hide all differences.
    """
    last, seen = model.head.head[4], []
    hook = last.register_forward_hook(lambda module, given, depth: seen.append(depth.clone()))
    with torch.no_grad():
        side = model.config.backbone_config.image_size if model.config.backbone_config else model.config.image_size
        model(picture(3, side, side))
        hook.remove()
        std, mean = torch.std_mean(seen[0])
        last.weight /= std
        last.bias.copy_(4 + (last.bias - mean) / std)
