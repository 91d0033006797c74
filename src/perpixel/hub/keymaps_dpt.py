"""The names of parameters of DPT's and of Depth Anything's authors, and the Hugging Face names.

Three kinds of files share one neck: those of DPT (github.com/isl-org/DPT) and of MiDaS 3.0 and 3.1
(github.com/isl-org/MiDaS), whose backbones are timm's, and those of Depth Anything 1 and 2
(github.com/LiheYoung/Depth-Anything, github.com/DepthAnything/Depth-Anything-V2), whose backbone is Meta's DINOv2.

The authors number the fusion from the finest map, `refinenet1`, to the coarsest, `refinenet4`; it runs the other way,
so `refinenet4` is layer 0. Its `resConfUnit1` is never run, on either side, but both sides keep it. Three things are
more than a new name: the joint projection of queries, keys and values is kept in three parts; the classifier of
ImageNet (`head`, `fc_norm`), the last norm of Swin v2 and BEiT, and buffers that can be computed are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_TIMM = "pretrained.model."
_BIT = "dpt.embeddings.backbone.bit."
_STAGE = "neck.reassemble_stage."

# The parts of a block that is named "attn" by the authors and "attention" here.
_BLOCK: tuple[tuple[str, str], ...] = (
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
    ("attn.proj.", "attention.output.dense."),
)

# Each has to fit from the first letter; only the first that fits is used.
_HEADS: tuple[tuple[str, str], ...] = (
    (r"scratch\.output_conv\.", "head.head."),
    (r"auxlayer\.", "auxiliary_head.head."),
    (r"depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
    (r"depth_head\.projects\.(\d+)\.", _STAGE + r"layers.\1.projection."),
    (r"depth_head\.resize_layers\.(\d+)\.", _STAGE + r"layers.\1.resize."),
)

_VIT: tuple[tuple[str, str], ...] = (
    (r"cls_token$", "dpt.embeddings.cls_token"),
    (r"pos_embed$", "dpt.embeddings.position_embeddings"),
    (r"patch_embed\.proj\.", "dpt.embeddings.patch_embeddings.projection."),
    (r"norm\.", "dpt.layernorm."),
    *((rf"blocks\.(\d+)\.{re.escape(old)}", rf"dpt.encoder.layer.\1.{new}") for old, new in _BLOCK),
)

_HYBRID: tuple[tuple[str, str], ...] = (
    (r"patch_embed\.proj\.", "dpt.embeddings.projection."),
    (r"patch_embed\.backbone\.stem\.conv\.", _BIT + "embedder.convolution."),
    (r"patch_embed\.backbone\.stem\.norm\.", _BIT + "embedder.norm."),
    (r"patch_embed\.backbone\.stages\.(\d+)\.blocks\.", _BIT + r"encoder.stages.\1.layers."),
    *_VIT,
)

_BEIT: tuple[tuple[str, str], ...] = (
    (r"cls_token$", "backbone.embeddings.cls_token"),
    (r"pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"blocks\.(\d+)\.gamma_(\d)$", r"backbone.encoder.layer.\1.lambda_\2"),
    (r"blocks\.(\d+)\.attn\.q_bias$", r"backbone.encoder.layer.\1.attention.attention.query.bias"),
    (r"blocks\.(\d+)\.attn\.v_bias$", r"backbone.encoder.layer.\1.attention.attention.value.bias"),
    (
        r"blocks\.(\d+)\.attn\.relative_position_bias_table$",
        r"backbone.encoder.layer.\1.attention.attention.relative_position_bias.relative_position_bias_table",
    ),
    *((rf"blocks\.(\d+)\.{re.escape(old)}", rf"backbone.encoder.layer.\1.{new}") for old, new in _BLOCK),
)

_SWINV2_BLOCK = r"backbone.encoder.layers.\1.blocks.\2."
_SWINV2: tuple[tuple[str, str], ...] = (
    (r"patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"patch_embed\.norm\.", "backbone.embeddings.norm."),
    (r"layers\.(\d+)\.downsample\.", r"backbone.encoder.layers.\1.downsample."),
    *(
        (rf"layers\.(\d+)\.blocks\.(\d+)\.{re.escape(old)}", _SWINV2_BLOCK + new)
        for old, new in (
            *_BLOCK,
            ("attn.q_bias", "attention.self.query.bias"),
            ("attn.v_bias", "attention.self.value.bias"),
            ("attn.logit_scale", "attention.self.logit_scale"),
            ("attn.cpb_mlp.", "attention.self.continuous_position_bias_mlp."),
        )
    ),
)

_DINOV2: tuple[tuple[str, str], ...] = (
    (r"cls_token$", "backbone.embeddings.cls_token"),
    (r"mask_token$", "backbone.embeddings.mask_token"),
    (r"pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"norm\.", "backbone.layernorm."),
    (r"blocks\.(\d+)\.ls(\d)\.gamma$", r"backbone.encoder.layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.attn\.proj\.", r"backbone.encoder.layer.\1.attention.output.dense."),
    # The gated feed-forward part of the giant one.
    (r"blocks\.(\d+)\.mlp\.w12\.", r"backbone.encoder.layer.\1.mlp.weights_in."),
    (r"blocks\.(\d+)\.mlp\.w3\.", r"backbone.encoder.layer.\1.mlp.weights_out."),
    (r"blocks\.(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)\.", r"backbone.encoder.layer.\1.\2."),
)

_MAP = re.compile(r"(?:depth_head\.)?scratch\.layer(\d)_rn\.")
_FUSION = re.compile(r"(?:depth_head\.)?scratch\.refinenet(\d)\.(?:(out_conv)|resConfUnit(\d)\.(conv|bn)(\d))\.")
_REASSEMBLE = re.compile(r"pretrained\.act_postprocess(\d)\.(0\.project\.0|3|4)\.")
_REASSEMBLED = {"0.project.0": "readout_projects.{}.0.", "3": "layers.{}.projection.", "4": "layers.{}.resize."}
_JOINT = re.compile(r"(?:blocks|layers)\.\d+\.(?:.*\.)?attn\.qkv\.(weight|bias)$")
# The classifier, norms after the last map, and what is computed from the sizes of windows; the biases of keys are zero.
_DROPPED = re.compile(
    r"pretrained\.model\.(head|head_drop|fc_norm)\.|attn\.(relative_position_index|relative_coords_table|k_bias)$"
    r"|\.attn_mask$"
)
_LAST_NORM = re.compile(r"pretrained\.model\.norm\.")


def is_dpt(keys: Collection[str]) -> bool:
    """Tell whether these are names of the authors of DPT and of MiDaS.

    >>> is_dpt(["pretrained.model.cls_token", "scratch.refinenet4.out_conv.weight"])
    True
    """
    return any(key.startswith("scratch.") for key in keys) and any(key.startswith("pretrained.") for key in keys)


def is_depth_anything(keys: Collection[str]) -> bool:
    """Tell whether these are names of the Depth Anything authors.

    >>> is_depth_anything(["pretrained.cls_token", "depth_head.projects.0.weight"])
    True
    """
    return any(key.startswith("depth_head.") for key in keys) and any(key.startswith("pretrained.") for key in keys)


def dpt_backbone(keys: Collection[str]) -> str | None:
    """Tell which backbone a file of DPT's authors has: "vit", "hybrid", "beit" or "swinv2"; None for any other.

    >>> dpt_backbone(["pretrained.model.blocks.0.attn.qkv.bias"])
    'vit'
    """
    for kind, name in (
        ("hybrid", "patch_embed.backbone.stem.conv.weight"),
        ("swinv2", "layers.0.blocks.0.attn.logit_scale"),
        ("beit", "blocks.0.attn.relative_position_bias_table"),
        ("vit", "blocks.0.attn.qkv.bias"),
    ):
        if _TIMM + name in keys:
            return kind
    return None


def from_dpt_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under their Hugging Face names; a name that no rule knows stays as it is.

    Args:
        state: the tensors of a whole model under the names of the authors of DPT or MiDaS.
    """
    kind = dpt_backbone(state.keys())
    rules = {"vit": _VIT, "hybrid": _HYBRID, "beit": _BEIT, "swinv2": _SWINV2}.get(kind or "", ())
    dropped = [_DROPPED, _LAST_NORM] if kind in ("beit", "swinv2") else [_DROPPED]
    kept = {key: tensor for key, tensor in state.items() if not any(pattern.search(key) for pattern in dropped)}
    return _renamed(kept, _TIMM, rules, "attention.self." if kind == "swinv2" else "attention.attention.")


def from_depth_anything_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under their Hugging Face names; a name that no rule knows stays as it is.

    Args:
        state: the tensors of a whole model under the Depth Anything authors' names.
    """
    return _renamed(state, "pretrained.", _DINOV2, "attention.attention.")


def _renamed(
    state: Mapping[str, Tensor], prefix: str, rules: tuple[tuple[str, str], ...], attention: str
) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.startswith(prefix) and (joint := _JOINT.search(key)):
            stem = key.removesuffix(f"attn.qkv.{joint[1]}")
            # The norm's name tells where the block goes.
            block = _apply(rules, stem.removeprefix(prefix) + "norm1.").rsplit(".", 2)[0]
            # Copies, so that no parameter shares its memory with another one.
            for name, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[f"{block}.{attention}{name}.{joint[1]}"] = part.clone()
            continue
        renamed[_neck_name(key) or _backbone_name(key, prefix, rules) or key] = tensor
    return renamed


def _neck_name(key: str) -> str | None:
    if found := _MAP.match(key):
        return f"neck.convs.{int(found[1]) - 1}.{key[found.end() :]}"
    if found := _FUSION.match(key):
        level, projection, unit, part, number = found.groups()
        kind = "convolution" if part == "conv" else "batch_norm"
        name = "projection" if projection else f"residual_layer{unit}.{kind}{number}"
        return f"neck.fusion_stage.layers.{4 - int(level)}.{name}.{key[found.end() :]}"
    if found := _REASSEMBLE.match(key):
        return _STAGE + _REASSEMBLED[found[2]].format(int(found[1]) - 1) + key[found.end() :]
    new = _apply(_HEADS, key)
    return new if new != key else None


def _backbone_name(key: str, prefix: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    if not key.startswith(prefix):
        return None
    bare = key.removeprefix(prefix)
    new = _apply(rules, bare)
    return new if new != bare else None


def _apply(rules: tuple[tuple[str, str], ...], key: str) -> str:
    for pattern, replacement in rules:
        new, count = re.subn("^" + pattern, replacement, key)
        if count:
            return new
    return key
