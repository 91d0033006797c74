"""Names of parameters in other files, and the Hugging Face names that perpixel's models use.

A Hugging Face checkpoint needs no map. These do: the ViTMatte authors' own files (github.com/hustvl/ViTMatte,
built on detectron2), those of the Mask2Former authors (`keymaps_mask2former`), those of the authors of DPT, MiDaS and
Depth Anything (`keymaps_dpt`), the names that transformers 5 uses in memory for ViT, Swin and DINOv2, and the prefixes
and suffixes that training tools and old converters leave behind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from perpixel.errors import CheckpointError
from perpixel.hub.infer_dpt import depth_anything_config, dpt_config
from perpixel.hub.keymaps_dpt import from_depth_anything_authors, from_dpt_authors, is_depth_anything, is_dpt
from perpixel.hub.keymaps_mask2former import from_mask2former_authors, is_mask2former, mask2former_config

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["depth-anything-authors", "dpt-authors", "hugging-face", "mask2former-authors", "vitmatte-authors"]

# Added by DistributedDataParallel, torch.compile and averaging wrappers.
_WRAPPERS = ("module.", "_orig_mod.", "model.module.")

_VITMATTE_AUTHORS: tuple[tuple[str, str], ...] = (
    (r"^backbone\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^backbone\.patch_embed\.proj\.", "backbone.embeddings.projection."),
    (r"^backbone\.blocks\.(\d+)\.attn\.", r"backbone.encoder.layer.\1.attention."),
    (r"^backbone\.blocks\.", "backbone.encoder.layer."),
    (r"^decoder\.fusion_blks\.(\d+)\.", r"decoder.fusion_blocks.\1."),
    (r"^(decoder\.convstream\.convs\.\d+|decoder\.fusion_blocks\.\d+\.conv)\.bn\.", r"\1.batch_norm."),
)

_TRANSFORMERS_5: tuple[tuple[str, str], ...] = (
    (r"(^|\.)layers\.(\d+)\.attention\.q_proj\.", r"\1encoder.layer.\2.attention.attention.query."),
    (r"(^|\.)layers\.(\d+)\.attention\.k_proj\.", r"\1encoder.layer.\2.attention.attention.key."),
    (r"(^|\.)layers\.(\d+)\.attention\.v_proj\.", r"\1encoder.layer.\2.attention.attention.value."),
    (r"(^|\.)layers\.(\d+)\.attention\.o_proj\.", r"\1encoder.layer.\2.attention.output.dense."),
    (r"(^|\.)layers\.(\d+)\.mlp\.fc1\.", r"\1encoder.layer.\2.intermediate.dense."),
    (r"(^|\.)layers\.(\d+)\.mlp\.fc2\.", r"\1encoder.layer.\2.output.dense."),
    (r"(^|\.)layers\.(\d+)\.(layernorm_before|layernorm_after)\.", r"\1encoder.layer.\2.\3."),
    (r"(\.layer\.\d+\.attention)\.q_proj\.", r"\1.attention.query."),
    (r"(\.layer\.\d+\.attention)\.k_proj\.", r"\1.attention.key."),
    (r"(\.layer\.\d+\.attention)\.v_proj\.", r"\1.attention.value."),
    (r"(\.layer\.\d+\.attention)\.o_proj\.", r"\1.output.dense."),
    (r"(^|\.)encoder\.swin\.", r"\1encoder."),
    (r"(\.blocks\.\d+\.attention)\.q_proj\.", r"\1.self.query."),
    (r"(\.blocks\.\d+\.attention)\.k_proj\.", r"\1.self.key."),
    (r"(\.blocks\.\d+\.attention)\.v_proj\.", r"\1.self.value."),
    (r"(\.blocks\.\d+\.attention)\.o_proj\.", r"\1.output.dense."),
    (r"(\.blocks\.\d+\.attention)\.relative_position_bias\.relative", r"\1.self.relative"),
    (r"(\.blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(\.blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
)


def detect_layout(keys: Collection[str]) -> Layout:
    """Tell whose names these are.

    >>> detect_layout(["backbone.pos_embed", "decoder.fusion_blks.0.conv.conv.weight"])
    'vitmatte-authors'
    """
    if any(key.startswith(("backbone.blocks.", "decoder.fusion_blks.")) for key in keys):
        return "vitmatte-authors"
    if is_mask2former(keys):
        return "mask2former-authors"
    if is_depth_anything(keys):
        return "depth-anything-authors"
    if is_dpt(keys):
        return "dpt-authors"
    return "hugging-face"


def to_hugging_face_names(state: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Rename the tensors of a checkpoint to the names that a model has.

    A name that the model has is never touched, nor one that no rule makes fit: that one turns up as unexpected.

    Args:
        state: the checkpoint's tensors.
        own: the model's names.
    """
    own = set(own)
    state = _unwrapped(state)
    layout = detect_layout(state.keys())
    if layout == "mask2former-authors":
        state = from_mask2former_authors(state)
    elif layout == "depth-anything-authors":
        state = from_depth_anything_authors(state)
    elif layout == "dpt-authors":
        state = from_dpt_authors(state)
    rules = _VITMATTE_AUTHORS if layout == "vitmatte-authors" else _TRANSFORMERS_5
    # A name may still have to gain or lose a prefix such as "vit.": judge the tail alone.
    tails = {tail for key in own for tail in _tails(key)}
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        new = _rename(key, own, tails, rules)
        if new in renamed:
            raise CheckpointError(f"the checkpoint holds {new} twice, under old and new names: keep one of them")
        renamed[new] = tensor
    return renamed


def _unwrapped(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    for wrapper in _WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): tensor for key, tensor in state.items()}
    return state


def _rename(key: str, own: set[str], tails: set[str], rules: tuple[tuple[str, str], ...]) -> str:
    if key in own:
        return key
    new = key
    for pattern, replacement in rules:
        new = re.sub(pattern, replacement, new)
    if new not in tails:
        # TensorFlow's names for the scale and the shift of a normalisation.
        for old, modern in ((".gamma", ".weight"), (".beta", ".bias")):
            if new.endswith(old) and _known(renamed := new.removesuffix(old) + modern, tails):
                return renamed
    return new if _known(new, tails) else key


def _known(key: str, tails: set[str]) -> bool:
    return any(tail in tails for tail in _tails(key))


def _tails(key: str) -> tuple[str, ...]:
    """Return the name and the name without its first part."""
    _, _, rest = key.partition(".")
    return (key, rest) if "." in rest else (key,)


def infer_config(state: Mapping[str, Tensor], model_type: str, name: str | None = None) -> dict[str, Any] | None:
    """Return a config's fields for an original author's weights, read off the names and shapes of the tensors.

    Works for the ViTMatte authors' small and base models and any other width, for the Mask2Former authors' models
    with Swin and ResNet backbones, and for those of DPT, MiDaS 3 and Depth Anything.

    Args:
        state: the tensors under the authors' names.
        model_type: the model that is to be built, for instance "vitmatte".
        name: the file's name, which tells what the tensors of a Depth Anything do not (`infer_dpt`).

    Returns:
        The fields, or None where the file is not of a known author of such a model.
    """
    state = _unwrapped(state)
    layout = detect_layout(state.keys())
    authors = {
        "depth_anything": "Depth Anything",
        "dpt": "DPT",
        "mask2former": "Mask2Former",
        "vitmatte": "ViTMatte",
    }.get(model_type)
    if authors is None or layout != f"{model_type.replace('_', '-')}-authors":
        return None
    try:
        if model_type == "depth_anything":
            return depth_anything_config(state, name)
        if model_type == "dpt":
            return dpt_config(state)
        if model_type == "mask2former":
            return mask2former_config(state)
        return _vitmatte_config({key: tuple(tensor.shape) for key, tensor in state.items()})
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"these weights have the names of the {authors} authors but lack {error}: download the file again"
        ) from error


def _vitmatte_config(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    _, positions, hidden = shapes["backbone.pos_embed"]
    _, channels, patch, _ = shapes["backbone.patch_embed.proj.weight"]
    depth = 1 + max(int(key.split(".")[2]) for key in shapes if key.startswith("backbone.blocks."))
    relative = [shapes.get(f"backbone.blocks.{i}.attn.rel_pos_h") for i in range(depth)]
    residual = [i for i in range(depth) if f"backbone.blocks.{i}.residual.conv1.weight" in shapes]
    # A block's relative positions span 2·side - 1: the side of a window, or of the image in global blocks.
    sides = [(shape[0] + 1) // 2 if shape else 0 for shape in relative]
    windowed = [i for i in range(depth) if sides[i] < max(sides)]
    head = next(shape[1] for shape in relative if shape) if any(relative) else 64
    conv_widths = [shapes[key][0] for key in _numbered(shapes, "decoder.convstream.convs.{}.conv.weight")]
    fusion_widths = [shapes[key][0] for key in _numbered(shapes, "decoder.fusion_blks.{}.conv.conv.weight")]
    return {
        "hidden_size": hidden,
        "convstream_hidden_sizes": conv_widths,
        "fusion_hidden_sizes": fusion_widths,
        "backbone_config": {
            "model_type": "vitdet",
            "hidden_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": hidden // head,
            "num_channels": channels,
            "patch_size": patch,
            "mlp_ratio": shapes["backbone.blocks.0.mlp.fc1.weight"][0] // hidden,
            "qkv_bias": "backbone.blocks.0.attn.qkv.bias" in shapes,
            "image_size": max(sides) * patch or 512,
            "pretrain_image_size": math.isqrt(positions - 1) * patch,
            "use_relative_position_embeddings": any(relative),
            "window_size": min(sides) if windowed else 0,
            "window_block_indices": windowed,
            "residual_block_indices": residual,
            "out_features": [f"stage{depth}"],
        },
    }


def _numbered(shapes: Collection[str], pattern: str) -> list[str]:
    names: list[str] = []
    while (name := pattern.format(len(names))) in shapes:
        names.append(name)
    return names
