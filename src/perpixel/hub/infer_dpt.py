"""The configs of DPT's and Depth Anything's authors' weights, read off the names and shapes of the tensors.

What leaves no trace there is as in the authors' code. Two things have to come from elsewhere:

- Which layers a Depth Anything reads: version 1 reads the last four, version 2 four that are spread over the whole
  depth (depth_anything_v2/dpt.py), and no tensor of the two differs in name or shape. The file's name tells:
  depth_anything_vitl14.pth is of version 1, depth_anything_v2_vitl.pth of version 2.
- Whether a Depth Anything gives metres, and up to how many. The file's name tells this too: "metric_hypersim" is for
  indoors, up to 20 m, "metric_vkitti" for outdoors, up to 80 m. Any other name stands for relative depth.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from perpixel.errors import CheckpointError, PerpixelWarning
from perpixel.hub.keymaps_dpt import dpt_backbone

if TYPE_CHECKING:
    from torch import Tensor

    Shapes = Mapping[str, tuple[int, ...]]

# timm's and Meta's models have heads of this width and norms with this epsilon.
_HEAD = 64
_EPS = 1e-6
# Of MiDaS 3.1, by embed_dim: the side of the images, of the windows, and of the windows of the pretraining. The
# biases come from a small network, so the sizes leave no trace in the weights.
_SWINV2_SIZES = {
    96: (256, 16, [0, 0, 0, 0]),
    128: (384, 24, [12, 12, 12, 6]),
    192: (384, 24, [12, 12, 12, 6]),
}
_V1 = re.compile(r"depth_anything_vit[sbl]14")
_V2 = re.compile(r"depth_anything_v2")
_METRIC = {"metric_hypersim": 20, "metric_vkitti": 80}


def dpt_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields of a `DPTConfig` for weights of the authors of DPT or MiDaS.

    Args:
        state: the tensors of a whole model under the authors' names.

    Raises:
        CheckpointError: the model has a backbone that DPT on the Hub never has.
        KeyError: a tensor that every such model has is not there.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    kind = dpt_backbone(shapes)
    if kind is None:
        raise CheckpointError(
            "these weights of MiDaS have a backbone other than ViT, hybrid ViT, BEiT and Swin v2: take one of "
            "dpt_large, dpt_hybrid, dpt_beit_… and dpt_swin2_…"
        )
    maps = [shapes[f"scratch.layer{i}_rn.weight"] for i in range(1, 5)]
    norm = "scratch.refinenet1.resConfUnit1.bn1.weight" in shapes
    fields: dict[str, Any] = {
        "neck_hidden_sizes": [before for _, before, *_ in maps],
        "fusion_hidden_size": maps[0][0],
        "use_batch_norm_in_fusion_residual": norm,
        "use_bias_in_fusion_residual": "scratch.refinenet1.resConfUnit1.conv1.bias" in shapes,
    }
    if "scratch.output_conv.1.running_mean" in shapes:  # segmentation
        fields["num_labels"] = shapes["scratch.output_conv.4.weight"][0]
        fields["use_auxiliary_head"] = "auxlayer.4.weight" in shapes
    if kind == "swinv2":
        return {**fields, "backbone_config": _swinv2(shapes)}
    readout = "pretrained.act_postprocess4.0.project.0.weight" in shapes
    fields["readout_type"] = "project" if readout else "ignore"
    if kind == "beit":
        return {**fields, "backbone_config": _beit(shapes)}
    return {**fields, **_vit(shapes, hybrid=kind == "hybrid")}


def _vit(shapes: Shapes, hybrid: bool) -> dict[str, Any]:
    prefix = "pretrained.model."
    _, positions, hidden = shapes[f"{prefix}pos_embed"]
    depth = _count(shapes, r"pretrained\.model\.blocks\.(\d+)\.")
    # The patch of the hybrid is one pixel of its last convolutional map, which is 16 times smaller than the image.
    patch = 16 if hybrid else shapes[f"{prefix}patch_embed.proj.weight"][2]
    fields: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden // _HEAD,
        "intermediate_size": shapes[f"{prefix}blocks.0.mlp.fc1.weight"][0],
        "layer_norm_eps": _EPS,
        "image_size": math.isqrt(positions - 1) * patch,
        "patch_size": patch,
        "num_channels": 3,
        "qkv_bias": f"{prefix}blocks.0.attn.qkv.bias" in shapes,
        "backbone_out_indices": [stage - 1 for stage in _spread(depth)],
    }
    if not hybrid:
        return {**fields, "num_channels": shapes[f"{prefix}patch_embed.proj.weight"][1]}
    stem = shapes[f"{prefix}patch_embed.backbone.stem.conv.weight"]
    stages = _count(shapes, r"pretrained\.model\.patch_embed\.backbone\.stages\.(\d+)\.")
    blocks = [rf"pretrained\.model\.patch_embed\.backbone\.stages\.{i}\.blocks\.(\d+)\." for i in range(stages)]
    widths = [shapes[f"{prefix}patch_embed.backbone.stages.{i}.blocks.0.conv3.weight"][0] for i in range(stages)]
    return {
        **fields,
        "is_hybrid": True,
        "num_channels": stem[1],
        "reassemble_factors": [1, 1, 1, 0.5],
        "neck_ignore_stages": [0, 1],
        "backbone_featmap_shape": [1, widths[-1], fields["image_size"] // patch, fields["image_size"] // patch],
        "backbone_config": {
            "model_type": "bit",
            "num_channels": stem[1],
            "embedding_size": stem[0],
            "hidden_sizes": widths,
            "depths": [_count(shapes, pattern) for pattern in blocks],
            "layer_type": "bottleneck",
            "global_padding": "same",
            "embedding_dynamic_padding": True,
            "out_features": [f"stage{i + 1}" for i in range(stages)],
        },
    }


def _beit(shapes: Shapes) -> dict[str, Any]:
    prefix = "pretrained.model."
    hidden, channels, patch, _ = shapes[f"{prefix}patch_embed.proj.weight"]
    depth = _count(shapes, r"pretrained\.model\.blocks\.(\d+)\.")
    # A row for each offset, (2·side - 1)², and three for the class token.
    rows, heads = shapes[f"{prefix}blocks.0.attn.relative_position_bias_table"]
    return {
        "model_type": "beit",
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": shapes[f"{prefix}blocks.0.mlp.fc1.weight"][0],
        "layer_norm_eps": _EPS,
        "image_size": (math.isqrt(rows - 3) + 1) // 2 * patch,
        "patch_size": patch,
        "num_channels": channels,
        "use_relative_position_bias": True,
        "use_absolute_position_embeddings": f"{prefix}pos_embed" in shapes,
        "reshape_hidden_states": False,
        "out_features": [f"stage{stage}" for stage in _spread(depth)],
    }


def _swinv2(shapes: Shapes) -> dict[str, Any]:
    width, channels, patch, _ = shapes["pretrained.model.patch_embed.proj.weight"]
    stages = _count(shapes, r"pretrained\.model\.layers\.(\d+)\.")
    if width not in _SWINV2_SIZES:
        raise CheckpointError(
            f"these weights have a Swin v2 of width {width}, whose windows leave no trace in the weights: give config="
        )
    side, window, pretrained = _SWINV2_SIZES[width]
    return {
        "model_type": "swinv2",
        "image_size": side,
        "patch_size": patch,
        "num_channels": channels,
        "embed_dim": width,
        "depths": [_count(shapes, rf"pretrained\.model\.layers\.{i}\.blocks\.(\d+)\.") for i in range(stages)],
        "num_heads": [shapes[f"pretrained.model.layers.{i}.blocks.0.attn.logit_scale"][0] for i in range(stages)],
        "window_size": window,
        "pretrained_window_sizes": list(pretrained),
        "mlp_ratio": shapes["pretrained.model.layers.0.blocks.0.mlp.fc1.weight"][0] / width,
        "out_features": [f"stage{i + 1}" for i in range(stages)],
    }


def depth_anything_config(state: Mapping[str, Tensor], name: str | None = None) -> dict[str, Any]:
    """Return the fields of a `DepthAnythingConfig` for weights of the Depth Anything authors.

    Args:
        state: the tensors of a whole model under the authors' names.
        name: the file's name, which tells the version and metric models. With a name that does not tell the version,
            a warning says that version 2 was taken; without a name nothing does.

    Raises:
        KeyError: a tensor that every such model has is not there.

    Example:
        >>> import torch
        >>> depth_anything_config({"pretrained.cls_token": torch.zeros(1, 1, 64)})
        Traceback (most recent call last):
        ...
        KeyError: 'pretrained.pos_embed'
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    _, positions, hidden = shapes["pretrained.pos_embed"]
    _, channels, patch, _ = shapes["pretrained.patch_embed.proj.weight"]
    depth = _count(shapes, r"pretrained\.blocks\.(\d+)\.")
    gated = "pretrained.blocks.0.mlp.w12.weight" in shapes
    maps = [shapes[f"depth_head.scratch.layer{i}_rn.weight"] for i in range(1, 5)]
    backbone = {
        "model_type": "dinov2",
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden // _HEAD,
        # The width of a gated part follows from 4.
        "mlp_ratio": 4 if gated else shapes["pretrained.blocks.0.mlp.fc1.weight"][0] // hidden,
        "use_swiglu_ffn": gated,
        "layer_norm_eps": _EPS,
        "image_size": math.isqrt(positions - 1) * patch,
        "patch_size": patch,
        "num_channels": channels,
        "qkv_bias": "pretrained.blocks.0.attn.qkv.bias" in shapes,
        "out_indices": list(range(depth - 3, depth + 1)) if _first_version(name) else _spread_of_version_2(depth),
        "apply_layernorm": True,
        "reshape_hidden_states": False,
    }
    fields: dict[str, Any] = {
        "backbone_config": backbone,
        "patch_size": patch,
        "reassemble_hidden_size": hidden,
        "neck_hidden_sizes": [before for _, before, *_ in maps],
        "fusion_hidden_size": maps[0][0],
        "head_hidden_size": shapes["depth_head.scratch.output_conv2.0.weight"][0],
    }
    for part, farthest in _METRIC.items():
        if part in (name or ""):
            fields |= {"depth_estimation_type": "metric", "max_depth": farthest}
    return fields


def _first_version(name: str | None) -> bool:
    if name is None or _V2.search(name):
        return False
    if _V1.search(name):
        return True
    warnings.warn(
        f"{name} does not say which version of Depth Anything it holds, which its tensors do not show: version 2 was "
        "taken, for version 1 name it depth_anything_vitl14.pth (or vitb14, vits14) or give config=",
        PerpixelWarning,
        stacklevel=2,
    )
    return False


def _spread(depth: int) -> list[int]:
    """Four layers at even distances, counted from 1.

    >>> _spread(24)
    [6, 12, 18, 24]
    """
    return [depth * part // 4 for part in range(1, 5)]


def _spread_of_version_2(depth: int) -> list[int]:
    """The same, but of the large model's 24 layers the authors read the fifth for the sixth."""
    return [5, 12, 18, 24] if depth == 24 else _spread(depth)


def _count(names: Collection[str], pattern: str) -> int:
    """Return one more than the highest number that the pattern finds."""
    return 1 + max((int(found[1]) for name in names if (found := re.match(pattern, name))), default=-1)
