"""Weights that a new ViTMatte starts from: a plain ViT, as the paper starts from ImageNet (section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from perpixel.backbones.vitdet import VitDetBackbone
from perpixel.errors import CheckpointError

_LAYER = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attention.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def start_from_vit(backbone: VitDetBackbone, vit: Mapping[str, Tensor]) -> None:
    """Copy a plain ViT's weights into a ViTDet backbone of the same width.

    Input channels that the ViT does not have (the trimap) start at zero, and so do relative positions. A backbone with
    fewer layers takes the first ones.

    Args:
        backbone: changed in place.
        vit: state dict in the Hugging Face names of ViT, with or without the prefix `vit.`.

    Raises:
        CheckpointError: if a tensor is absent or of another shape.
    """
    source = {name.removeprefix("vit."): tensor for name, tensor in vit.items()}

    def copy(name: str, target: Tensor) -> None:
        if name not in source or source[name].shape != target.shape:
            found = "absent" if name not in source else f"{tuple(source[name].shape)}"
            raise CheckpointError(
                f"the ViT's {name} is {found} but the backbone needs {tuple(target.shape)}: "
                "start from a ViT of the same width, depth and patch, and set pretrain_image_size to its image size"
            )
        target.copy_(source[name])

    with torch.no_grad():
        copy("embeddings.patch_embeddings.projection.weight", backbone.embeddings.projection.weight[:, :3])
        backbone.embeddings.projection.weight[:, 3:] = 0
        assert backbone.embeddings.projection.bias is not None
        copy("embeddings.patch_embeddings.projection.bias", backbone.embeddings.projection.bias)
        if backbone.embeddings.position_embeddings is not None:
            copy("embeddings.position_embeddings", backbone.embeddings.position_embeddings)
        for i, layer in enumerate(backbone.encoder.layer):
            own = dict(layer.named_parameters())
            if "attention.qkv.bias" not in own:
                raise CheckpointError("the backbone has qkv_bias=False but a ViT has these biases: set qkv_bias=True")
            for kind in ("weight", "bias"):
                for theirs, ours in _LAYER.items():
                    copy(f"encoder.layer.{i}.{theirs}.{kind}", own[f"{ours}.{kind}"])
                parts = own[f"attention.qkv.{kind}"].chunk(3)
                for part, name in zip(parts, ("query", "key", "value"), strict=True):
                    copy(f"encoder.layer.{i}.attention.attention.{name}.{kind}", part)
            for name in ("attention.rel_pos_h", "attention.rel_pos_w"):
                if name in own:
                    own[name].zero_()
