"""LoRA: low-rank changes of some layers are trained instead of the layers, by peft.

"LoRA: Low-Rank Adaptation of Large Language Models", Hu et al., 2021, arXiv 2106.09685. Which layers: section 4.2, the
projections of the attention. What is new, such as a head for other classes, is trained in full.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from perpixel.errors import ConfigError, MissingDependencyError
from perpixel.models.base import Model

if TYPE_CHECKING:
    from perpixel.train.recipe import LoraRecipe

ADAPTER = "adapter"
# The projections of the attention in all backbones and decoders, as their names end. `attention.output.dense` is that
# of the plain vision transformers and of Swin; `output.dense` alone would be a layer of the feed-forward part too.
TARGETS = (
    *("attention.qkv", "attention.proj"),
    *("attention.query", "attention.key", "attention.value", "attention.output.dense"),
    *("self.query", "self.key", "self.value"),
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    *("self_attn.value_proj", "self_attn.output_proj", "cross_attn.out_proj"),
)
# What a family's models say at their end, trained in full where a whole checkpoint is fine-tuned.
HEADS = ("class_predictor", "decoder.matting_head", "head", "auxiliary_head")


def add_lora(model: Model, recipe: LoraRecipe, backbone: str, *, new: bool, source: str | None = None) -> nn.Module:
    """Put low-rank changes beside the layers; only they and what is new need gradients then.

    Args:
        model: changed in place.
        recipe: rank, strength and targets.
        backbone: the name of the model's backbone.
        new: whether all but the backbone is new and to be trained in full, else only the heads are.
        source: where the model's weights came from, for people who load the adapter.

    Returns:
        peft's wrapper of the model.

    Raises:
        MissingDependencyError: there is no peft.
        ConfigError: no layer has such a name.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingDependencyError('lora needs peft: pip install "perpixel[lora]"') from error

    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    ends = tuple(recipe.targets) or TARGETS
    full = _trained_in_full(model, backbone, new)
    targets = [
        name
        for name in linear
        if any(name == end or name.endswith(f".{end}") for end in ends)
        and not any(name == part or name.startswith(f"{part}.") for part in full)
    ]
    if not targets:
        examples = ", ".join(dict.fromkeys(".".join(name.split(".")[-2:]) for name in linear[:8]))
        raise ConfigError(f"lora.targets {list(ends)} end no layer's name: name some, such as {examples}")
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        modules_to_save=full,
    )
    wrapped: Any = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = source  # peft guesses it from the model's attributes
    found: nn.Module = wrapped
    return found


def base_model(model: nn.Module) -> nn.Module:
    """The model that peft wrapped, low-rank changes included; the model itself where it was not."""
    get = getattr(model, "get_base_model", None)
    return get() if callable(get) else model


def save_with_adapters(model: nn.Module, folder: Path) -> None:
    """Write a model as a checkpoint, with its low-rank changes merged, and these alone into `folder/adapter`."""
    if isinstance(model, Model):
        model.save_pretrained(folder)
        return
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        raise ConfigError(f"{type(model).__name__} is no model of perpixel's: unwrap it before it is saved")
    wrapped: Any = copy.deepcopy(model)
    # There are no embeddings of words to save, for which peft would look at the base model on the Hub.
    wrapped.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
    merged = wrapped.merge_and_unload()
    assert isinstance(merged, Model)
    merged.save_pretrained(folder)


def _trained_in_full(model: nn.Module, backbone: str, new: bool) -> list[str]:
    """The modules that are trained as they are, none of them inside another."""
    modules = dict(model.named_modules())
    found = [name for name in HEADS if name in modules]
    if new:
        # The backbone's ancestors are opened, all beside it is taken.
        around = [name for name in modules if name == "" or backbone.startswith(f"{name}.")]
        found = [name for name in _children(modules, around) if name not in (*around, backbone)]
    # peft takes every module whose name ends in one of these: what would also take a part of itself is opened.
    while opened := [
        whole for whole in found if any(_inside(name, whole) and name.endswith(tuple(found)) for name in modules)
    ]:
        found = [name for name in found if name not in opened] + _children(modules, opened)
    return found


def _children(modules: Mapping[str, nn.Module], parents: Sequence[str]) -> list[str]:
    """The names of the modules right inside others that have any parameters."""
    return [
        f"{parent}.{name}".removeprefix(".")
        for parent in parents
        for name, child in modules[parent].named_children()
        if any(True for _ in child.parameters())
    ]


def _inside(name: str, whole: str) -> bool:
    return name.startswith(f"{whole}.")
