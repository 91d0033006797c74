"""The inference copy of a model that `Model.optimize` makes.

Modules of the copy that have a faster form for inference take it: linear maps are packed, query, key and value become
one product, activations join the linear map before them, 3×3 convolutions with enough work take a quarter of the
multiplications. All other tensors are those of the original. What a form needs of the processor or of a library and
does not find, it does as the original does.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from perpixel.backbones.dinov2 import Dinov2MLP
from perpixel.backbones.swin import SwinLayer, SwinSelfAttention
from perpixel.backbones.swin_packed import PackedWindowAttention
from perpixel.backbones.vit import ViTLayer
from perpixel.backbones.vitdet import VitDetMlp
from perpixel.layers.convolution import QuickConv2d, is_plain
from perpixel.layers.packed import Fused, PackedLinear, PackedSelfAttention, can_pack
from perpixel.layers.transformer import ViTSelfAttention
from perpixel.models.base import Model
from perpixel.models.depth_anything.model import DepthAnythingDepthEstimationHead
from perpixel.models.dpt.heads import DPTDepthEstimationHead
from perpixel.models.dpt.neck import DPTPreActResidualLayer, DPTReassembleStage
from perpixel.models.dpt.quick import QuickDepthAnythingHead, QuickDepthHead, QuickResidual
from perpixel.models.mask2former.pixel_decoder import Mask2FormerPixelDecoderEncoderLayer
from perpixel.models.mask2former.transformer_decoder import Mask2FormerMaskedAttentionDecoderLayer

AnyModel = TypeVar("AnyModel", bound=Model)

# Forms with the parameters of the class that they stand for.
FORMS: dict[type[nn.Module], type[nn.Module]] = {
    DPTPreActResidualLayer: QuickResidual,
    DPTDepthEstimationHead: QuickDepthHead,
    DepthAnythingDepthEstimationHead: QuickDepthAnythingHead,
}
# Where a linear map is followed by an activation: the map's place and the activation's name in a module.
FOLLOWED: dict[type[nn.Module], tuple[str, str]] = {
    VitDetMlp: ("fc1", "activate"),
    Dinov2MLP: ("fc1", "activation"),
    ViTLayer: ("intermediate.dense", "activation"),
    SwinLayer: ("intermediate.dense", "activation"),
    Mask2FormerPixelDecoderEncoderLayer: ("fc1", "activation"),
    Mask2FormerMaskedAttentionDecoderLayer: ("fc1", "activation"),
}
FUSED: dict[Any, Fused] = {functional.gelu: "gelu", functional.relu: "relu"}


def optimized(model: AnyModel) -> AnyModel:
    """Return the copy; see `perpixel.models.base.Model.optimize`."""
    made = _shallow(model).eval()
    for module in list(made.modules()):
        if isinstance(module, Model):
            module.optimized = True
        if type(module) in FORMS:
            module.__class__ = FORMS[type(module)]
        elif is_plain(module):
            module.__class__ = QuickConv2d
        if type(module) in FOLLOWED:
            _join(module, *FOLLOWED[type(module)])
    _pack(made)
    return made


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
        elif type(child) is SwinSelfAttention and all(map(can_pack, child.children())):
            setattr(module, name, PackedWindowAttention(child))
        elif can_pack(child):
            assert isinstance(child, nn.Linear)
            setattr(module, name, PackedLinear([child]))
        # These split the weights of their linear maps, or hand them to a function of torch.
        elif isinstance(module, DPTReassembleStage) and name == "readout_projects":
            continue
        elif not isinstance(child, nn.MultiheadAttention):
            _pack(child)


def _put(module: nn.Module, place: str, child: nn.Module) -> None:
    *path, name = place.split(".")
    setattr(module.get_submodule(".".join(path)), name, child)
