"""What a training run is told: a YAML file, checked field by field, with `key=value` changes from the command line."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perpixel.data.augment import AugmentRecipe
from perpixel.data.samples import LabelKind
from perpixel.errors import ConfigError, MissingDependencyError

Precision = Literal["no", "bf16", "fp16"]
Schedule = Literal["cosine", "poly", "constant"]


@dataclass
class DataRecipe:
    """Where labelled pictures lie.

    Attributes:
        layout: how they lie there, a name that `perpixel.data.layouts.open_dataset` knows, such as "coco-panoptic".
        root: the data set's folder.
        split: which part of it, such as "train".
        options: what else the layout's reader takes.
    """

    layout: str
    root: str = ""
    split: str = "train"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class LoraRecipe:
    """Train low-rank changes of some layers rather than the layers (Hu et al. 2021, arXiv 2106.09685).

    Attributes:
        rank: of each change.
        alpha: the change is multiplied by alpha / rank.
        dropout: share of a changed layer's inputs that is dropped, 0 to 1.
        targets: ends of the names of the layers; none stands for the attention's projections.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _at_least(1, self, "lora.", "rank")
        _share(self, "lora.", "dropout")


@dataclass
class Recipe:
    """Everything that a run of training depends on.

    Attributes:
        task: what is trained: "matting", "semantic", "instance", "panoptic" or "depth".
        data: the training pictures.
        validation: the pictures that are measured; without it, a share of `data` is held out.
        holdout: that share, 0 to 1.
        start: a checkpoint of the family to go on from (with a new head where the data have other classes), or of a
            backbone (ViT, DINOv2, BEiT, Swin, ResNet …) for a new model around it.
        model: the configuration of a new model, as in `config.json`, or changes to that of `start`.
        processor: settings of the image processor, such as `size` for whole images, that are not to follow from
            `start` and `augment`.
        output: the folder for the checkpoints, the log and the finished model.
        steps: how many optimizer steps the whole run takes.
        batch_size: samples that a process takes at once.
        accumulate: batches whose gradients are averaged into one step.
        learning_rate: the peak rate.
        backbone_rate: the backbone's rate as a part of `learning_rate`.
        layer_decay: the rate falls by this factor with each layer of the backbone, from its end to its start; 1 is off.
        weight_decay: AdamW's decay of the matrices and kernels; vectors and positions have none.
        clip: the largest norm of the gradient; 0 is off.
        schedule: how the rate falls after the warm-up: "cosine", "poly" or "constant".
        power: the exponent of "poly".
        warmup: steps over which the rate rises from 0.
        decay: the last share of the run, 0 to 1, over which the rate falls; 1 is from the end of the warm-up.
        average: decay of the moving average of the weights, which is what is measured and saved; 0 is off.
        loss: weight of each term of the family's loss.
        freeze: modules that are not trained: "backbone", or names of the model's parts such as "decoder.convstream".
        lora: train low-rank changes only.
        batch_norm_momentum: how fast batch norms follow the data, 0 to 1.
        augment: how the training pictures are varied.
        precision: "no", "bf16" or "fp16" autocast.
        gradient_checkpointing: compute layers twice rather than keep what they hold.
        seed: of the initial weights, of the data's order and of every variation.
        workers: processes that read data beside the training.
        validate_every: steps between measurements of the held-out pictures.
        validation_samples: how many of them are measured; 0 is all.
        save_every: steps between checkpoints that a stopped run goes on from.
        patience: validations without a gain before the run ends early; 0 is never.
        trackers: who is told of the numbers, by the names that Accelerate gives them.
    """

    task: LabelKind
    data: DataRecipe
    validation: DataRecipe | None = None
    holdout: float = 0.1
    start: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    output: str = "runs/model"
    steps: int = 10_000
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 1e-4
    backbone_rate: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    clip: float = 1.0
    schedule: Schedule = "cosine"
    power: float = 0.9
    warmup: int = 200
    decay: float = 1.0
    average: float = 0.999
    loss: dict[str, float] = field(default_factory=dict)
    freeze: list[str] = field(default_factory=list)
    lora: LoraRecipe | None = None
    batch_norm_momentum: float = 0.1
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    precision: Precision = "no"
    gradient_checkpointing: bool = False
    seed: int = 0
    workers: int = 0
    validate_every: int = 1000
    validation_samples: int = 0
    save_every: int = 500
    patience: int = 0
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])

    def __post_init__(self) -> None:
        _at_least(1, self, "", "steps", "batch_size", "accumulate", "save_every", "validate_every")
        _at_least(0, self, "", "seed", "workers", "warmup", "validation_samples", "patience")
        _at_least(0, self, "", "learning_rate", "backbone_rate", "weight_decay", "clip", "power")
        _share(self, "", "holdout", "layer_decay", "decay", "average", "batch_norm_momentum")
        for name, hint in typing.get_type_hints(Recipe).items():
            if typing.get_origin(hint) is Literal:
                _checked(hint, getattr(self, name), name)


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe, changes: Sequence[str] | Mapping[str, Any] = ()
) -> Recipe:
    """Read a recipe and apply changes.

    Args:
        source: a YAML file, or what it would hold.
        changes: texts such as "steps=200" or "data.root=photos", or a mapping of such names to values.

    Raises:
        ConfigError: for a file that is no YAML mapping, a name that does not exist, or a value that cannot be.

    Example:
        >>> recipe = load_recipe({"task": "depth", "data": {"layout": "nyuv2", "root": "nyu"}}, {"data.split": "all"})
        >>> recipe.data.split
        'all'
    """
    values = plain(source) if isinstance(source, Recipe | Mapping) else _read(Path(source))
    pairs = changes.items() if isinstance(changes, Mapping) else [_change(text) for text in changes]
    for name, value in pairs:
        place = values
        *parents, last = name.split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                if place.get(parent) is not None:
                    raise ConfigError(f"{name} cannot be changed: the recipe's {parent} has no fields of its own")
                place[parent] = {}
            place = place[parent]
        place[last] = plain(value)
    recipe: Recipe = _build(Recipe, values, "")
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, which `load_recipe` reads back."""
    return str(
        _yaml().safe_dump(plain(recipe), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    )


def _read(path: Path) -> dict[str, Any]:
    yaml = _yaml()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {path} holds {type(values).__name__}: it must be a mapping of names to values")
    return values


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} changes nothing: write it as name=value")
    yaml = _yaml()
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{text!r} cannot be read: what follows the sign must be a YAML value") from None


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError('recipes need PyYAML: pip install "perpixel[train]"') from error
    return yaml


def _build(kind: type[Any], values: Mapping[Any, Any], path: str) -> Any:
    """Make a dataclass of a mapping; `path` names it in errors, and ends in a dot."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
            raise ConfigError(f"the recipe has no field {path}{name}: {hint}")
    hints = typing.get_type_hints(kind)
    for name, spec in fields.items():
        if name not in values and spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(f"the recipe has no {path}{name}: it must be {_words(hints[name])}")
    return kind(**{name: _checked(hints[name], value, path + name) for name, value in values.items()})


def _checked(hint: Any, value: Any, name: str, needed: str | None = None) -> Any:
    """The value as the type hint has it, or a ConfigError that names the field and what is `needed` there."""
    needed = needed or _words(hint)
    wrong = ConfigError(f"the recipe's {name} is {value!r}: it must be {needed}")
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        (other,) = (part for part in parts if part is not types.NoneType)
        return None if value is None else _checked(other, value, name, needed)
    if _is_record(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise wrong
        return _build(hint, value, f"{name}.")
    if hint is Any:
        return value
    if origin is Literal:
        # A bare `no` is false in YAML.
        value = "no" if value is False and "no" in parts else value
        if value not in parts:
            near = difflib.get_close_matches(str(value), parts, n=1)
            raise ConfigError(f"{wrong} (did you mean {near[0]}?)") if near else wrong
        return value
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise wrong
        try:
            number = float(value)  # YAML reads 1e-3 as text
        except ValueError:
            raise wrong from None
        if not math.isfinite(number):
            raise wrong
        return number
    if origin is dict and isinstance(value, Mapping):
        return {key: _checked(parts[1], item, f"{name}.{key}") for key, item in value.items()}
    if origin is list and isinstance(value, list | tuple):
        return [_checked(parts[0], item, f"{name}[{i}]") for i, item in enumerate(value)]
    if origin is tuple and isinstance(value, list | tuple):
        kinds = parts if parts[-1] is not Ellipsis else (parts[0],) * len(value)
        if len(kinds) != len(value):
            raise wrong
        places = enumerate(zip(kinds, value, strict=True))
        return tuple(_checked(part, item, f"{name}[{i}]") for i, (part, item) in places)
    if origin is not None or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise wrong
    return value


def _words(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_words(part) for part in typing.get_args(hint))
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin is tuple:
        return f"a list of {len(parts)} numbers" if parts[-1] is not Ellipsis else "a list"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    names |= {dict: "a mapping", types.NoneType: "nothing"}
    return names.get(origin or hint, "a mapping")


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value)


def plain(value: Any) -> Any:
    """A copy made of what YAML can write: mappings, lists and single values."""
    if _is_record(value):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _at_least(least: float, record: Any, path: str, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if value < least:
            raise ConfigError(f"the recipe's {path}{name} is {value}: it must be {least} or more")


def _share(record: Any, path: str, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"the recipe's {path}{name} is {value}: it must be from 0 to 1")
