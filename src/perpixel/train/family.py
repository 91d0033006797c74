"""What training has in common for all families: the model's frozen parts and layers, the data, saving."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from perpixel.data.layouts import open_dataset
from perpixel.data.samples import LabelKind, LabelledImages, Sample
from perpixel.data.stream import SampleStream, holdout
from perpixel.errors import ConfigError
from perpixel.metrics.meter import Meter
from perpixel.models.base import Model
from perpixel.models.fields import nearest
from perpixel.models.processing import ImageProcessor
from perpixel.train.lora import add_lora, base_model, save_with_adapters
from perpixel.train.recipe import DataRecipe, Recipe
from perpixel.train.start import Start, backbone_name

SampleType = TypeVar("SampleType", bound=Sample)

# The layer that a parameter of a backbone belongs to, whatever the backbone calls its layers or stages.
_LAYER = re.compile(r"(?:^|\.)(?:layers?|stages?|blocks|hidden_states_norms\.stage)[._]?(\d+)")
_STEM = re.compile(r"embed|stem|cls_token|mask_token|relative_position|(?:^|\.)(?:conv1|bn1|norm_pre)\.")
# What wrappers put before the names of a model's parameters.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|base_model\.model\.)+")


class HeldOut(Dataset[SampleType], Generic[SampleType]):
    """Labelled images as torch's loaders take them, each once and in order."""

    def __init__(self, data: LabelledImages[SampleType]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> SampleType:
        return self.data[index]


class FamilyTask(ABC, Generic[SampleType]):
    """A family in the training loop; see `perpixel.train.task.TrainingTask`.

    Args:
        recipe: the run's recipe.

    Raises:
        ConfigError: a setting that the family does not have.
        InputError: data that are not there.
    """

    headline: str
    larger_is_better: bool

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._last_layer = 0

    # The family's own

    @property
    @abstractmethod
    def start(self) -> Start:
        """Which model is trained."""

    @property
    @abstractmethod
    def processor(self) -> ImageProcessor:
        """How its images are prepared, in training, for validation and in the saved folder."""

    @abstractmethod
    def prepare(self, sample: SampleType, number: int) -> dict[str, Any]:
        """Make training item `number` of a sample; a pure function of both and the seed."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, which gradients are taken of, and its terms for the log."""

    @abstractmethod
    def meter(self) -> Meter:
        """A new meter for the validation."""

    @abstractmethod
    def measure(self, model: nn.Module, batch: dict[str, Any], meter: Any) -> None:
        """Add a held-out batch's predictions to the meter."""

    # The model

    def model(self) -> nn.Module:
        """A new model on the CPU, in training mode, started as the recipe says; frozen parts need no gradient."""
        recipe = self.recipe
        whole = self.start.build()
        backbone = backbone_name(whole)
        frozen = [_module_name(whole, name, backbone) for name in recipe.freeze]
        model: nn.Module = whole
        if recipe.lora is not None:
            model = add_lora(whole, recipe.lora, backbone, new=not self.start.whole, source=recipe.start)
        for name in frozen:
            whole.get_submodule(name).requires_grad_(False)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = recipe.batch_norm_momentum
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(f"freeze {recipe.freeze} leaves nothing to train: name fewer modules")
        inside = [name for name, _ in whole.named_parameters()]
        self._last_layer = max((layer_number(name, backbone, 0) or 0 for name in inside), default=0)
        return model.train()

    def layer(self, name: str) -> int | None:
        """For layer-wise rates: the depth of a parameter in the backbone, 0 the embeddings; None outside of it."""
        for backbone in ("model.pixel_level_module.encoder", "dpt", "backbone"):
            number = layer_number(name, backbone, self._last_layer)
            if number is not None:
                return number
        return None

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the model and its image processor; what LoRA changed is merged, and lies apart in `adapter` too."""
        save_with_adapters(model, folder)
        self.processor.save_pretrained(folder)

    # The data

    @cached_property
    def parts(self) -> tuple[LabelledImages[SampleType], LabelledImages[SampleType]]:
        """The images to train on, and those held out."""
        recipe = self.recipe
        data = opened(recipe.data, recipe.task)
        if recipe.validation is None:
            return holdout(data, recipe.holdout, part="train"), holdout(data, recipe.holdout, part="validation")
        held = opened(recipe.validation, recipe.task)
        if held.categories != data.categories:
            raise ConfigError(
                f"the classes of validation ({_names(held)}) are not those of data ({_names(data)}): "
                "give both the same categories"
            )
        return data, held

    def training_data(self, length: int) -> Dataset[Any]:
        """Items 0 … length - 1 of the endless training stream, each a pure function of the seed and its number."""
        return SampleStream(self.parts[0], length, self.recipe.seed, self.prepare)

    def validation_data(self) -> Dataset[Any]:
        """The held-out images, each once, in a fixed order."""
        return HeldOut(self.parts[1])

    def collate(self, items: Sequence[Any]) -> dict[str, Any]:
        """Make a batch: tensors of training items; held-out images stay as they are, each of its own size."""
        if isinstance(items[0], Sample):
            return {"samples": list(items)}
        names = {"names": [item["name"] for item in items]} if "name" in items[0] else {}
        return {name: torch.stack([item[name] for item in items]) for name in items[0] if name != "name"} | names

    def crop(self, multiple: int) -> tuple[int, int]:
        """The size of the training crops.

        Raises:
            ConfigError: there is none, or the model does not take it.
        """
        crop = self.recipe.augment.crop
        if crop is None:
            raise ConfigError(
                "the recipe has no augment.crop: a batch needs pictures of one size, give height and width such as "
                f"[{24 * multiple}, {24 * multiple}]"
            )
        if any(side % multiple for side in crop):
            fits = [max(1, round(side / multiple)) * multiple for side in crop]
            raise ConfigError(f"augment.crop is {list(crop)}: the model needs multiples of {multiple}, such as {fits}")
        return crop

    def weights(self, defaults: dict[str, float]) -> dict[str, float]:
        """The weights of the loss's terms: the recipe's over the defaults.

        Raises:
            ConfigError: a term that there is not.
        """
        for name in self.recipe.loss:
            if name not in defaults:
                raise ConfigError(f"the recipe's loss has no term {name!r}{nearest(name, defaults)}")
        return defaults | self.recipe.loss


def opened(data: DataRecipe, kind: LabelKind) -> LabelledImages[Any]:
    """Open the labelled images that a recipe names; errors as in `open_dataset`."""
    return open_dataset(data.layout, data.root, split=data.split, kind=kind, **data.options)


def layer_number(name: str, backbone: str, last: int) -> int | None:
    """The layer of a backbone that a parameter belongs to, from 1; 0 for the embeddings, None outside of it.

    Args:
        name: of the parameter, as the model or a wrapper of it gives it.
        backbone: what the names of the backbone begin with.
        last: the number for what comes after all layers, such as the final norm.

    >>> layer_number("backbone.encoder.layer.3.mlp.fc1.weight", "backbone", 12)
    4
    >>> layer_number("backbone.embeddings.cls_token", "backbone", 12), layer_number("neck.convs.0.weight", "dpt", 12)
    (0, None)
    """
    name = _WRAPPERS.sub("", name)
    if not name.startswith(f"{backbone}."):
        return None
    rest = name.removeprefix(f"{backbone}.")
    found = _LAYER.search(rest)
    if found and not rest.startswith("embed"):
        # Norms are named by their stage, counted from 1; layers and stages are counted from 0.
        return int(found[1]) + ("hidden_states_norms" not in rest)
    return 0 if _STEM.search(rest) else last


def hold_still(model: nn.Module) -> None:
    """Keep batch norms that are not trained from following the data."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:
            parameters = list(module.parameters(recurse=False))
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()


def plain_model(model: nn.Module) -> Model:
    """The family's own model inside of what training wraps around it."""
    while isinstance(inner := getattr(model, "module", None), nn.Module) and not isinstance(model, Model):
        model = inner
    found = base_model(model)
    assert isinstance(found, Model)
    return found


def _module_name(model: nn.Module, name: str, backbone: str) -> str:
    """The module that a recipe's `freeze` names."""
    if name == "backbone":
        return backbone
    known = [known for known, _ in model.named_modules() if known]
    if name not in known:
        raise ConfigError(f"freeze names {name!r}, which is no module of the model{nearest(name, _short(known))}")
    return name


def _short(names: list[str]) -> list[str]:
    return ["backbone", *(name for name in names if name.count(".") < 2)]


def _names(data: LabelledImages[Any]) -> str:
    names = data.categories.names if data.categories is not None else ()
    return f"{len(names)}: {', '.join(names[:3])}…" if len(names) > 3 else ", ".join(names) or "none"
