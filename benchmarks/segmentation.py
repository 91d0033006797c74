"""Mask2Former with Swin-T against transformers: the model, and what makes segments of its output.

The queries for the post-processing are drawn: round blobs with rough edges, 15 of them confident, as many half sure,
and the rest no object, as trained models give them. The two sides do not give the same segments there, because
perpixel keeps to the paper (docs/differences.md); the model's outputs are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import interpolate

from benchmarks.measure import Work, optimized, picture, randomised, relative

KINDS = ("semantic", "instance", "panoptic")
OBJECTS = 15


def works(smoke: bool) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Names and makers of the works."""
    for width, height in [(64, 96)] if smoke else [(384, 384), (800, 1088)]:
        yield f"Mask2Former Swin-T {width}×{height}", lambda w=width, h=height: forward(smoke, w, h)
    width, height = (96, 64) if smoke else (1920, 1080)
    for kind in KINDS:
        name = f"Mask2Former {kind} post-processing {width}×{height}"
        yield name, lambda kind=kind: _postprocess(kind, width, height)


def forward(smoke: bool, width: int, height: int, prepare: Callable[[Any], Any] = optimized) -> Work:
    """One forward of both: Swin-T for COCO's 133 classes."""
    import perpixel as px

    stages = ["stage1", "stage2", "stage3", "stage4"]
    if smoke:
        backbone = px.SwinConfig(
            embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=3, out_features=stages
        )
        config = px.Mask2FormerConfig(
            backbone,
            num_labels=5,
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=48,
            dim_feedforward=48,
            encoder_layers=2,
            decoder_layers=3,
            num_attention_heads=4,
            num_queries=7,
        )
    else:
        config = px.Mask2FormerConfig(px.SwinConfig(depths=[2, 2, 6, 2], out_features=stages), num_labels=133)
    theirs, ours = randomised(px.Mask2FormerForUniversalSegmentation(config), prepare=prepare)
    pixels = picture(3, width, height)
    return Work(lambda: theirs(pixels), lambda: ours(pixels), _difference, model=True)


def _difference(expected: Any, got: Any) -> float:
    names = ("class_queries_logits", "masks_queries_logits")
    return max(relative(expected[name], got[name]) for name in names)


def _postprocess(kind: str, width: int, height: int) -> Work:
    from transformers import Mask2FormerImageProcessorPil

    from perpixel.models.mask2former import postprocess

    outputs = _scene(width, height)
    theirs = getattr(Mask2FormerImageProcessorPil(), f"post_process_{kind}_segmentation")
    ours = getattr(postprocess, f"{kind}_segmentation")
    size = [(height, width)]
    return Work(lambda: theirs(outputs, target_sizes=size), lambda: ours(outputs, target_sizes=size))


def _scene(width: int, height: int, queries: int = 100, classes: int = 133, seed: int = 0) -> Any:
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
    sure = torch.where(torch.arange(queries) < OBJECTS, 11, torch.where(torch.arange(queries) < 2 * OBJECTS, 8, 0))
    scores[torch.arange(queries), labels] += sure
    return Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=scores[None], masks_queries_logits=masks[None]
    )
