"""The Mask2Former authors' names of parameters, and the Hugging Face names.

The authors' model (github.com/facebookresearch/Mask2Former, arXiv 2112.01527) is built on detectron2. Its parts
are `backbone` (Swin or detectron2's ResNet), `sem_seg_head.pixel_decoder`, `sem_seg_head.predictor` and
`criterion`. Three things are more than a new name: the joint projection of queries, keys and values is kept in
three parts in the Swin blocks and in the decoder's self-attention (its cross-attention keeps it whole); buffers
that can be computed are dropped; and the frozen normalisation of detectron2's ResNets counts no batches.

The order of the four neighbours that Swin merges is the same on both sides, so those weights stay as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_ENCODER = "model.pixel_level_module.encoder."
_PIXEL = "model.pixel_level_module.decoder."
_MODULE = "model.transformer_module."
_LAYER = _MODULE + r"decoder.layers.\1."
_BLOCK = _ENCODER + r"encoder.layers.\1.blocks.\2."

# Only the first rule that fits is used; each has to fit from the first letter.
_RULES: tuple[tuple[str, str], ...] = (
    # Swin
    (r"backbone\.patch_embed\.proj\.", _ENCODER + "embeddings.patch_embeddings.projection."),
    (r"backbone\.patch_embed\.norm\.", _ENCODER + "embeddings.norm."),
    (r"backbone\.absolute_pos_embed$", _ENCODER + "embeddings.position_embeddings"),
    (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.norm1\.", _BLOCK + "layernorm_before."),
    (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.norm2\.", _BLOCK + "layernorm_after."),
    (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.attn\.proj\.", _BLOCK + "attention.output.dense."),
    (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.attn\.relative", _BLOCK + "attention.self.relative"),
    (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc1\.", _BLOCK + "intermediate.dense."),
    (r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc2\.", _BLOCK + "output.dense."),
    (r"backbone\.layers\.(\d+)\.downsample\.", _ENCODER + r"encoder.layers.\1.downsample."),
    # The pixel decoder
    (r"sem_seg_head\.pixel_decoder\.input_proj\.", _PIXEL + "input_projections."),
    (r"sem_seg_head\.pixel_decoder\.transformer\.level_embed$", _PIXEL + "level_embed"),
    *(
        (
            rf"sem_seg_head\.pixel_decoder\.transformer\.encoder\.layers\.(\d+)\.{old}\.",
            _PIXEL + rf"encoder.layers.\1.{new}.",
        )
        for old, new in (
            ("self_attn", "self_attn"),
            ("norm1", "self_attn_layer_norm"),
            ("linear1", "fc1"),
            ("linear2", "fc2"),
            ("norm2", "final_layer_norm"),
        )
    ),
    (r"sem_seg_head\.pixel_decoder\.mask_features\.", _PIXEL + "mask_projection."),
    (r"sem_seg_head\.pixel_decoder\.(adapter|layer)_(\d+)\.norm\.", _PIXEL + r"\1_\2.1."),
    (r"sem_seg_head\.pixel_decoder\.(adapter|layer)_(\d+)\.", _PIXEL + r"\1_\2.0."),
    # The transformer decoder
    (r"sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.", _LAYER + "self_attn."),
    (r"sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.norm\.", _LAYER + "self_attn_layer_norm."),
    (r"sem_seg_head\.predictor\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.", _LAYER + "cross_attn."),
    (r"sem_seg_head\.predictor\.transformer_cross_attention_layers\.(\d+)\.norm\.", _LAYER + "cross_attn_layer_norm."),
    (r"sem_seg_head\.predictor\.transformer_ffn_layers\.(\d+)\.linear(\d)\.", _LAYER + r"fc\2."),
    (r"sem_seg_head\.predictor\.transformer_ffn_layers\.(\d+)\.norm\.", _LAYER + "final_layer_norm."),
    (r"sem_seg_head\.predictor\.decoder_norm\.", _MODULE + "decoder.layernorm."),
    (r"sem_seg_head\.predictor\.mask_embed\.layers\.(\d+)\.", _MODULE + r"decoder.mask_predictor.mask_embedder.\1.0."),
    (r"sem_seg_head\.predictor\.class_embed\.", "class_predictor."),
    (r"sem_seg_head\.predictor\.query_embed\.", _MODULE + "queries_embedder."),
    # The features of the queries had another name in the first files.
    (r"sem_seg_head\.predictor\.(?:query_feat|static_query)\.", _MODULE + "queries_features."),
    (r"sem_seg_head\.predictor\.level_embed\.", _MODULE + "level_embed."),
    (r"sem_seg_head\.predictor\.input_proj\.", _MODULE + "input_projections."),
)

_SWIN_NORM = re.compile(r"backbone\.norm(\d+)\.")
_RESNET_STEM = re.compile(r"backbone\.stem\.conv1\.(norm\.)?")
_RESNET_CONVOLUTION = re.compile(r"backbone\.res(\d+)\.(\d+)\.(shortcut|conv\d)\.(norm\.)?")
_JOINT = re.compile(r"(?:qkv\.|in_proj_)(weight|bias)$")
_OLD_PIXEL_DECODER = re.compile(r"sem_seg_head\.(?!predictor\.|pixel_decoder\.)")
# Computed from the window's size, or held by the image processor.
_DROPPED = re.compile(r"attn\.relative_position_index$|^pixel_(mean|std)$")


def is_mask2former(keys: Collection[str]) -> bool:
    """Tell whether these are names of the Mask2Former authors.

    >>> is_mask2former(["sem_seg_head.predictor.query_embed.weight"])
    True
    """
    return any(key.startswith("sem_seg_head.predictor.") for key in keys)


def from_mask2former_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under their Hugging Face names; a name that no rule knows stays as it is.

    Args:
        state: the tensors of a whole model under the authors' names.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        # The first files had no level of this name.
        key = _OLD_PIXEL_DECODER.sub("sem_seg_head.pixel_decoder.", key)
        if _DROPPED.search(key):
            continue
        if parts := _parts(key):
            # Copies, so that no parameter shares its memory with another one.
            renamed.update((name, part.clone()) for name, part in zip(parts, tensor.chunk(3), strict=True))
            continue
        new = _new_name(key)
        renamed[new] = tensor
        if new.startswith(_ENCODER) and new.endswith(".running_var"):
            counter = new.removesuffix("running_var") + "num_batches_tracked"
            if key.removesuffix("running_var") + "num_batches_tracked" not in state:
                renamed[counter] = tensor.new_zeros((), dtype=_long())
    return renamed


def _long() -> Any:
    import torch

    return torch.long


def _new_name(key: str) -> str:
    for pattern, replacement in _RULES:
        new, count = re.subn("^" + pattern, replacement, key)
        if count:
            return new
    if found := _SWIN_NORM.match(key):
        return f"{_ENCODER}hidden_states_norms.stage{int(found[1]) + 1}.{key[found.end() :]}"
    if found := _RESNET_STEM.match(key):
        return f"{_ENCODER}embedder.embedder.{_kind(found[1])}.{key[found.end() :]}"
    if found := _RESNET_CONVOLUTION.match(key):
        stage, layer, name, norm = found.groups()
        # detectron2 counts stages from res2 and convolutions from conv1.
        part = name if name == "shortcut" else f"layer.{int(name.removeprefix('conv')) - 1}"
        return f"{_ENCODER}encoder.stages.{int(stage) - 2}.layers.{layer}.{part}.{_kind(norm)}.{key[found.end() :]}"
    return key


def _kind(norm: str | None) -> str:
    return "normalization" if norm else "convolution"


def _parts(key: str) -> list[str]:
    """Return the three names that a joint projection is split into, none for any other tensor."""
    joint = _JOINT.search(key)
    if joint is None or "transformer_cross_attention" in key:
        return []
    stem = key[: joint.start()]
    if found := re.fullmatch(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.attn\.", stem):
        stem, names = found.expand(_BLOCK + "attention.self."), ("query", "key", "value")
    elif found := re.fullmatch(r"sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.", stem):
        stem, names = found.expand(_LAYER + "self_attn."), ("q_proj", "k_proj", "v_proj")
    else:
        return []
    return [f"{stem}{name}.{joint[1]}" for name in names]


def mask2former_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields of a config, read off the names and shapes of the authors' tensors.

    What leaves no trace in them is as in every model of the authors' zoo: post-norm layers, four sampling points.

    Args:
        state: the tensors of a whole model under the authors' names.

    Raises:
        KeyError: a tensor that every such model has is not there.
    """
    state = {_OLD_PIXEL_DECODER.sub("sem_seg_head.pixel_decoder.", key): tensor for key, tensor in state.items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    pixel, predictor = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    first = f"{pixel}transformer.encoder.layers.0."
    levels = shapes[f"{pixel}transformer.level_embed"][0]
    labels = shapes[f"{predictor}class_embed.weight"][0] - 1
    weights = state.get("criterion.empty_weight")
    inner, width = shapes[f"{first}linear1.weight"]
    queries, hidden = shapes[f"{predictor}query_embed.weight"]
    fields = {
        "feature_size": width,
        "mask_feature_size": shapes[f"{pixel}mask_features.weight"][0],
        "hidden_dim": hidden,
        "encoder_feedforward_dim": inner,
        "encoder_layers": _count(shapes, rf"{pixel}transformer\.encoder\.layers\.(\d+)\."),
        # The authors count the prediction before the first layer too.
        "decoder_layers": _count(shapes, rf"{predictor}transformer_ffn_layers\.(\d+)\.") + 1,
        # One weight for each head, level and sampling point.
        "num_attention_heads": shapes[f"{first}self_attn.attention_weights.bias"][0] // (levels * 4),
        "dim_feedforward": shapes[f"{predictor}transformer_ffn_layers.0.linear1.weight"][0],
        # Where the widths differ, the projection is there anyway.
        "enforce_input_projection": f"{predictor}input_proj.0.weight" in shapes and width == hidden,
        "num_queries": queries,
        "num_labels": labels,
        "backbone_config": _swin_config(shapes)
        if "backbone.patch_embed.proj.weight" in shapes
        else _resnet_config(shapes),
    }
    if weights is not None and not weights.is_meta:
        fields["no_object_weight"] = round(float(weights[-1]), 6)
    return fields


def _swin_config(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    width, channels, patch, _ = shapes["backbone.patch_embed.proj.weight"]
    stages = _count(shapes, r"backbone\.layers\.(\d+)\.")
    # A window's table has a row for every distance, (2·side - 1)², and a column for every head.
    tables = [shapes[f"backbone.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in range(stages)]
    window = (math.isqrt(tables[0][0]) + 1) // 2
    return {
        "model_type": "swin",
        # The authors' backbones of window 12 were trained on images of 384², those of window 7 on 224².
        "image_size": 32 * window,
        "patch_size": patch,
        "num_channels": channels,
        "embed_dim": width,
        "depths": [_count(shapes, rf"backbone\.layers\.{i}\.blocks\.(\d+)\.") for i in range(stages)],
        "num_heads": [heads for _, heads in tables],
        "window_size": window,
        "mlp_ratio": shapes["backbone.layers.0.blocks.0.mlp.fc1.weight"][0] / width,
        "qkv_bias": "backbone.layers.0.blocks.0.attn.qkv.bias" in shapes,
        "use_absolute_embeddings": "backbone.absolute_pos_embed" in shapes,
        "drop_path_rate": 0.3,
        "out_features": [f"stage{i + 1}" for i in range(stages)],
    }


def _resnet_config(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    width, channels, _, _ = shapes["backbone.stem.conv1.weight"]
    stages = _count(shapes, r"backbone\.res(\d+)\.") - 2
    bottleneck = "backbone.res2.0.conv3.weight" in shapes
    return {
        "model_type": "resnet",
        "num_channels": channels,
        "embedding_size": width,
        "hidden_sizes": [shapes[f"backbone.res{i + 2}.0.conv{2 + bottleneck}.weight"][0] for i in range(stages)],
        "depths": [_count(shapes, rf"backbone\.res{i + 2}\.(\d+)\.") for i in range(stages)],
        "layer_type": "bottleneck" if bottleneck else "basic",
        "out_features": [f"stage{i + 1}" for i in range(stages)],
    }


def _count(names: Collection[str], pattern: str) -> int:
    """Return one more than the highest number that the pattern finds."""
    return 1 + max((int(found[1]) for name in names if (found := re.match(pattern, name))), default=-1)
