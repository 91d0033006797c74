"""What a training run is told: a YAML file, checked field by field, with `key=value` changes from the command line."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perpixel.errors import ConfigError, MissingDependencyError

# Counts of which nothing can be made with less than one.
_COUNTS = ("steps", "batch_size", "save_every", "validate_every", "validation_samples")


@dataclass
class DataRecipe:
    """Where the training pictures lie.

    Attributes:
        backgrounds: folders or files of photographs, used as backgrounds and as textures of the foregrounds.
        include: endings of the background paths to use, such as "mate/nature/*.jpg"; all if there are none.
        foregrounds: folders of RGBA art that joins the procedural foregrounds.
        size: side of a training crop in pixels.
    """

    backgrounds: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    foregrounds: list[str] = field(default_factory=list)
    size: int = 256


@dataclass
class Recipe:
    """Everything that a run of training depends on.

    Attributes:
        family: which model family is trained; "vitmatte".
        model: the configuration, as in `config.json`.
        start: a checkpoint of the family to go on from, or of a plain ViT for a new ViTMatte's backbone.
        data: where the training pictures lie.
        output: the folder for the checkpoints and the finished model.
        steps: how many optimizer steps the whole run takes.
        batch_size: samples a step and process.
        learning_rate: the peak rate of the decoder.
        backbone_rate: the backbone's rate as a part of `learning_rate`.
        warmup: steps over which the rate rises from 0.
        decay: the last part of the run, 0 to 1, over which the rate falls to 0 along half a cosine.
        weight_decay: AdamW's decay of the matrices and kernels.
        clip: the largest norm of the gradient.
        average: decay of the exponential moving average of the weights, which is what is saved.
        loss: weight of each term of the loss.
        precision: "no", "bf16" or "fp16" autocast.
        batch_norm_momentum: how fast batch norms follow the data.
        seed: of the initial weights and of the data.
        workers: processes that make data beside the training.
        save_every: steps between resumable checkpoints.
        validate_every: steps between measurements on held-out samples.
        validation_samples: how many held-out samples are measured.
    """

    family: str = "vitmatte"
    model: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    data: DataRecipe = field(default_factory=DataRecipe)
    output: str = "runs/vitmatte"
    steps: int = 10_000
    batch_size: int = 8
    learning_rate: float = 1e-3
    backbone_rate: float = 0.15
    warmup: int = 200
    decay: float = 0.4
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.999
    loss: dict[str, float] = field(default_factory=dict)
    precision: str = "no"
    batch_norm_momentum: float = 0.03
    seed: int = 0
    workers: int = 0
    save_every: int = 500
    validate_every: int = 1000
    validation_samples: int = 64

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"the recipe's {name} is {getattr(self, name)}: it must be 1 or more")
        for name in ("seed", "workers", "warmup"):
            if getattr(self, name) < 0:
                raise ConfigError(f"the recipe's {name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("decay", "average", "batch_norm_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"the recipe's {name} is {getattr(self, name)}: it must be from 0 to 1")


def load_recipe(path: str | Path, changes: list[str] | None = None) -> Recipe:
    """Read a recipe and apply changes such as `steps=200` or `data.size=128`.

    Raises:
        ConfigError: for a file that is no YAML mapping, a name that does not exist, or a value of another type.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError('recipes need PyYAML: pip install "perpixel[train]"') from error

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {path} holds {type(values).__name__}: it must be a mapping of names to values")
    for change in changes or []:
        name, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"{change!r} changes nothing: write it as name=value")
        place = values
        *parents, last = name.split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                if place.get(parent) is not None:
                    raise ConfigError(f"{change!r} cannot be made: the recipe's {parent} has no fields of its own")
                place[parent] = {}
            place = place[parent]
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"{change!r} cannot be read: what follows the sign must be a YAML value") from None
    recipe: Recipe = _build(Recipe, values, "")
    return recipe


def _build(kind: type[Any], values: dict[str, Any], path: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
            raise ConfigError(f"the recipe has no field {path}{name}: {hint}")
        expected = hints[name]
        if dataclasses.is_dataclass(expected) and isinstance(value, dict):
            values = {**values, name: _build(typing.cast(type[Any], expected), value, f"{path}{name}.")}
        elif expected is float and isinstance(value, int | str) and not isinstance(value, bool):
            values = {**values, name: _number(value, path + name)}
        elif expected == dict[str, float] and isinstance(value, dict):
            values = {**values, name: {key: _number(part, f"{path}{name}.{key}") for key, part in value.items()}}
        elif expected == list[str] and isinstance(value, list) and not all(isinstance(part, str) for part in value):
            raise ConfigError(f"the recipe's {path}{name} is {value!r}: it must be a list of texts")
        elif not isinstance(value, _plain(expected)) or (expected is int and isinstance(value, bool)):
            raise ConfigError(f"the recipe's {path}{name} is {value!r}: it must be {_words(expected)}")
    return kind(**values)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)  # YAML reads 1e-3 as text
    except (TypeError, ValueError):
        raise ConfigError(f"the recipe's {name} is {value!r}: it must be a number") from None


def _plain(hint: Any) -> tuple[type[Any], ...]:
    if isinstance(hint, types.UnionType):
        return tuple(kind for part in typing.get_args(hint) for kind in _plain(part))
    return (typing.get_origin(hint) or hint,)


def _words(hint: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    names |= {dict: "a mapping", types.NoneType: "nothing", DataRecipe: "a mapping"}
    return " or ".join(names[kind] for kind in _plain(hint))
