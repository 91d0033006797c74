"""What a training run starts from: a checkpoint of the family, or the weights of a backbone for a new model.

As the papers do, which start from ImageNet: ViTMatte (arXiv 2305.15272, section 4.1), Mask2Former (arXiv 2112.01527,
section 4.1) and DPT (arXiv 2103.13413, section 4).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perpixel.backbones import BACKBONES, AutoBackbone, config_from_dict
from perpixel.backbones.vitdet import VitDetBackbone
from perpixel.errors import CheckpointError, ConfigError, PerpixelWarning
from perpixel.hub.keymaps import infer_config
from perpixel.hub.load import load_json, load_state_dict
from perpixel.models.base import Model
from perpixel.models.config import Config
from perpixel.models.fields import nearest
from perpixel.tasks.dense import family_of

_LAYER = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attention.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}

# How many maps the necks of DPT and Mask2Former take of a backbone.
_MAPS = 4


@dataclass(frozen=True)
class Start:
    """A model that is still to be built: its class, its shape, and where its weights come from.

    Attributes:
        model_class: of the whole model.
        config: its shape, with the classes of the data.
        source: a checkpoint of the family or of a backbone; None for new weights.
        whole: whether the source holds a model of the family rather than a backbone.
    """

    model_class: type[Model]
    config: Config
    source: str | None
    whole: bool

    def build(self) -> Model:
        """The model in training mode, on the CPU.

        Raises:
            CheckpointError: the weights do not fit.
        """
        if self.source is not None and self.whole:
            known = self.config.architectures or [self.model_class.__name__]
            return self.model_class.from_pretrained(
                self.source,
                config=self.config,
                ignore_mismatched_sizes=True,
                # A checkpoint of the family's other task has another head, of which this one's parts are missing.
                strict=self.model_class.__name__ in known,
            ).train()
        model = self.model_class(self.config).train()
        if self.source is not None:
            _take_backbone(model, self.source)
        return model


def plan_start(
    start: str | None,
    changes: Mapping[str, Any],
    classes: Mapping[str, str],
    *,
    fields: Mapping[str, Any] | None = None,
) -> Start:
    """Decide which model a recipe asks for.

    Args:
        start: a folder, a weights file, an embedded name or a Hub id: of one of the families, or of a backbone. None
            for new weights.
        changes: the recipe's `model`: the configuration of a new model, or changes to that of `start`. Its
            `model_type` chooses the family of a new model, the first one by default.
        classes: the families by their model_type, and their model's "module:Class".
        fields: what the task says of the configuration, such as the names of the classes.

    Returns:
        What is to be built.

    Raises:
        CheckpointError: there is no such checkpoint.
        ConfigError: another family, or a configuration that cannot be.
    """
    kind = None if start is None else family_of(start, tuple(classes))
    wanted = str(changes.get("model_type") or (kind if kind in classes else next(iter(classes))))
    if wanted not in classes:
        raise ConfigError(f"the recipe's model.model_type is {wanted!r}{nearest(wanted, classes)}")
    if kind in classes and kind != wanted:
        raise ConfigError(f"start {start} is a {kind!r} but model.model_type is {wanted!r}: leave out one of them")
    if start is not None and kind not in classes and kind not in BACKBONES:
        raise ConfigError(
            f"start {start} is {kind or 'of no known family'}: give a checkpoint of {' or '.join(classes)}, or of a "
            f"backbone, one of {', '.join(BACKBONES)}"
        )
    module, _, name = classes[wanted].partition(":")
    model_class: type[Model] = getattr(importlib.import_module(module), name)
    whole = start is not None and kind in classes
    values: dict[str, Any] = {}
    if start is not None:
        values = _own_values(start, wanted) if whole else _values_for(wanted, start, changes)
    changed = {key: value for key, value in changes.items() if key != "model_type"}
    config = model_class.config_class.from_dict(merged(values, changed), **(fields or {}))
    return Start(model_class, config, start, whole)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the changes on top, mappings inside of them merged likewise.

    A mapping that names another `model_type` than the one below it takes its place as a whole.

    >>> merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}})
    {'a': {'b': 5, 'c': 2}, 'd': 3}
    """
    result = dict(values)
    for key, value in changes.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            other = value.get("model_type", below.get("model_type")) != below.get("model_type")
            result[key] = dict(value) if other else merged(below, value)
        else:
            result[key] = value
    return result


def _own_values(start: str, family: str) -> dict[str, Any]:
    """The configuration of a whole checkpoint."""
    path = Path(start)
    if not path.is_file():
        return load_json(start, "config.json")
    if (path.parent / "config.json").is_file():
        return load_json(path.parent, "config.json")
    found = infer_config(load_state_dict(path), family, path.name)
    if found is None:
        raise CheckpointError(f"{path} has no config.json beside it: give the folder that holds both")
    return dict(found)


def _values_for(family: str, start: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of a new model around a backbone, as far as it follows from the backbone."""
    backbone = AutoBackbone.config_from_pretrained(start)
    shape: dict[str, Any] = backbone.to_dict()
    for name in ("out_features", "out_indices", "stage_names", "architectures"):
        shape.pop(name, None)
    layers = int(shape.get("num_hidden_layers") or 0)
    plain = backbone.model_type == "vit"
    if family == "vitmatte":
        # The given backbone_config, if there is one, says all.
        if not plain or "backbone_config" in changes:
            return {}
        width = shape["hidden_size"]
        return {
            "hidden_size": width,
            "backbone_config": {
                "model_type": "vitdet",
                "hidden_size": width,
                "num_hidden_layers": layers,
                "num_attention_heads": shape["num_attention_heads"],
                "mlp_ratio": shape["intermediate_size"] / width,
                "hidden_act": shape["hidden_act"],
                "layer_norm_eps": shape["layer_norm_eps"],
                "num_channels": 4,
                "image_size": 512,
                "pretrain_image_size": shape["image_size"],
                "patch_size": shape["patch_size"],
                "use_relative_position_embeddings": True,
                "window_size": 14,
                # Three layers in a window, one that sees all, whose block mixes what the windows saw.
                "window_block_indices": [i for i in range(layers) if i % 3 != 2],
                "residual_block_indices": [i for i in range(layers) if i % 3 == 2],
            },
        }
    if plain and family == "dpt":
        names = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"]
        names += ["layer_norm_eps", "image_size", "patch_size", "qkv_bias"]
        return {
            **{name: shape[name] for name in names},
            "backbone_out_indices": [layers * part // _MAPS - 1 for part in range(1, _MAPS + 1)],
        }
    if layers:  # of one size: four of them, evenly spread
        shape["out_indices"] = [layers * part // _MAPS for part in range(1, _MAPS + 1)]
    else:  # stages of several layers: all but the stem
        shape["out_indices"] = list(range(1, len(backbone.stage_names)))
    values: dict[str, Any] = {"backbone_config": shape}
    given = changes.get("backbone_config")
    shape = merged(shape, given if isinstance(given, Mapping) else {})
    if family == "depth_anything":
        values |= {"reassemble_hidden_size": shape["hidden_size"], "patch_size": shape["patch_size"]}
    elif family == "dpt" and not layers:
        with torch.device("meta"):
            channels = AutoBackbone.from_config(config_from_dict(shape)).channels
        values |= {"neck_hidden_sizes": channels, "readout_type": "ignore"}
    return values


def _take_backbone(model: nn.Module, start: str) -> None:
    """Copy a backbone's weights into a new model."""
    backbone = backbone_of(model)
    if isinstance(backbone, VitDetBackbone):
        start_from_vit(backbone, load_state_dict(start))
        return
    if not isinstance(backbone, Model) or not hasattr(backbone, "channels"):
        # DPT's own ViT, whose names are those of a plain one.
        weights = AutoBackbone.from_pretrained(start).state_dict()
        backbone.load_state_dict(weights)
        return
    own = backbone.config
    if getattr(own, "num_channels", 3) != 3:
        raise ConfigError(
            f"start is a plain backbone, and of those with {own.num_channels} channels only a vitdet can start from "
            "a plain ViT: give such a model.backbone_config, or a checkpoint of the whole model"
        )
    with warnings.catch_warnings():
        # Norms that only this model has, as those of Swin's stages, start fresh and are trained with it.
        warnings.simplefilter("ignore", PerpixelWarning)
        loaded = type(backbone).from_pretrained(start, config=own)
    backbone.load_state_dict(loaded.state_dict())


def backbone_name(model: nn.Module) -> str:
    """What the names of the backbone's parameters begin with, without the dot.

    >>> from perpixel.models.dpt import config, model
    >>> small = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 4, "intermediate_size": 8}
    >>> backbone_name(model.DPTForDepthEstimation(config.DPTConfig(backbone_out_indices=[0, 1, 2, 3], **small)))
    'dpt'
    """
    for name in ("model.pixel_level_module.encoder", "dpt", "backbone"):
        try:
            if model.get_submodule(name) is not None:
                return name
        except AttributeError:
            continue
    raise ConfigError(f"{type(model).__name__} has no backbone")


def backbone_of(model: nn.Module) -> nn.Module:
    """The module that `backbone_name` names."""
    return model.get_submodule(backbone_name(model))


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
