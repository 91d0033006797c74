"""The inference copy of a model that `Model.optimize` makes.

Modules of the copy that have a faster form for inference take it: linear maps are packed, query, key and value become
one product, activations join the linear map before them, 3×3 convolutions with enough work take a quarter of the
multiplications. All other tensors are those of the original. What a form needs of the processor or of a library and
does not find, it does as the original does.
"""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from perpixel.layers.convolution import QuickConv2d, is_plain
from perpixel.layers.packed import Fused, PackedLinear, PackedSelfAttention, can_pack
from perpixel.layers.transformer import ViTSelfAttention
from perpixel.models.base import Model

AnyModel = TypeVar("AnyModel", bound=Model)

# Classes are named and not imported: a model of one family needs no other.
# Forms with the parameters of the class that they stand for.
FORMS = {
    "perpixel.backbones.vit.ViTLayer": "perpixel.backbones.vit_quick.QuickViTLayer",
    "perpixel.backbones.vit.ViTEncoder": "perpixel.backbones.vit_quick.QuickStack",
    "perpixel.backbones.dinov2.Dinov2Layer": "perpixel.backbones.vit_quick.QuickDinov2Layer",
    "perpixel.layers.transformer.LayerStack": "perpixel.backbones.vit_quick.QuickStack",
    "perpixel.backbones.vitdet.VitDetLayer": "perpixel.backbones.vitdet_quick.QuickVitDetLayer",
    "perpixel.models.dpt.neck.DPTReassembleLayer": "perpixel.models.dpt.quick.QuickReassemble",
    "perpixel.models.dpt.neck.DPTPreActResidualLayer": "perpixel.models.dpt.quick.QuickResidual",
    "perpixel.models.dpt.heads.DPTDepthEstimationHead": "perpixel.models.dpt.quick.QuickDepthHead",
    "perpixel.models.depth_anything.model.DepthAnythingDepthEstimationHead": (
        "perpixel.models.dpt.quick.QuickDepthAnythingHead"
    ),
}
# Where a linear map is followed by an activation: the map's place and the activation's name in a module.
FOLLOWED = {
    "perpixel.backbones.vitdet.VitDetMlp": ("fc1", "activate"),
    "perpixel.backbones.dinov2.Dinov2MLP": ("fc1", "activation"),
    "perpixel.backbones.vit.ViTLayer": ("intermediate.dense", "activation"),
    "perpixel.backbones.swin.SwinLayer": ("intermediate.dense", "activation"),
    "perpixel.models.mask2former.pixel_decoder.Mask2FormerPixelDecoderEncoderLayer": ("fc1", "activation"),
    "perpixel.models.mask2former.transformer_decoder.Mask2FormerMaskedAttentionDecoderLayer": ("fc1", "activation"),
}
# Forms that are made of a module whose linear maps can all be packed.
PACKED = {"perpixel.backbones.swin.SwinSelfAttention": "perpixel.backbones.swin_packed.PackedWindowAttention"}
# Modules that read the weights of their linear maps, and where these are.
READ = {"perpixel.models.dpt.neck.DPTReassembleStage": "readout_projects"}
FUSED: dict[Any, Fused] = {functional.gelu: "gelu", functional.relu: "relu"}


def optimized(model: AnyModel) -> AnyModel:
    """Return the copy; see `perpixel.models.base.Model.optimize`."""
    made = _shallow(model).eval()
    for module in list(made.modules()):
        if isinstance(module, Model):
            module.optimized = True
        name = _name(module)
        if name in FORMS:
            module.__class__ = _class(FORMS[name])
        elif is_plain(module):
            module.__class__ = QuickConv2d
        if name in FOLLOWED:
            _join(module, *FOLLOWED[name])
    _pack(made)
    return made


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _class(name: str) -> Any:
    place, _, own = name.rpartition(".")
    return getattr(import_module(place), own)


def _shallow(model: AnyModel) -> AnyModel:
    """A copy of the modules with the same tensors; moving it to another device leaves the original where it is."""
    shared: dict[int, Any] = {}
    for parameter in model.parameters():
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in model.buffers():
        shared[id(buffer)] = buffer.detach()
    return copy.deepcopy(model, shared)


def _join(module: nn.Module, place: str, name: str) -> None:
    linear, fused = module.get_submodule(place), FUSED.get(getattr(module, name))
    if fused is not None and can_pack(linear):
        assert isinstance(linear, nn.Linear)
        _put(module, place, PackedLinear([linear], fused=fused))
        setattr(module, name, _unchanged)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _pack(module: nn.Module) -> None:
    """Pack the linear maps of a module, one after the other, so that each original can go."""
    for name, child in list(module.named_children()):
        if type(child) is ViTSelfAttention and all(map(can_pack, child.children())):
            setattr(module, name, PackedSelfAttention([child.query, child.key, child.value], child.heads))
        elif _name(child) in PACKED and all(map(can_pack, child.children())):
            setattr(module, name, _class(PACKED[_name(child)])(child))
        elif can_pack(child):
            assert isinstance(child, nn.Linear)
            setattr(module, name, PackedLinear([child]))
        # torch's own attention hands its weights to a function.
        elif READ.get(_name(module)) != name and not isinstance(child, nn.MultiheadAttention):
            _pack(child)


def _put(module: nn.Module, place: str, child: nn.Module) -> None:
    *path, name = place.split(".")
    setattr(module.get_submodule(".".join(path)), name, child)
