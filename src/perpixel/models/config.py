"""The base of every configuration: its fields are checked, and read from and written to `config.json`."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from perpixel.errors import ConfigError
from perpixel.hub.load import load_json
from perpixel.hub.save import Uploadable, write_json
from perpixel.models.fields import check_types, plain, refuse_unknown, takes_none

CONFIG_NAME = "config.json"
Source = str | PathLike[str]


@dataclass
class Config(Uploadable):
    """The numbers that define a model, read from and written to `config.json`.

    A subclass is a dataclass with a `model_type`; its fields carry transformers' names and defaults. Tuples
    become lists, so that a config equals itself after a round trip through JSON. A keyword that does not
    exist raises `ConfigError`; an unknown key of a file is kept in `extras` and written back, because other
    versions of transformers write other keys.

    Attributes:
        output_attentions: return the attention weights unless the call says otherwise.
        output_hidden_states: return the hidden states unless the call says otherwise.
        return_dict: return an output object rather than a tuple unless the call says otherwise.
        architectures: the classes that the weights beside this file were saved from.
        dtype: the name of the weights' type, for instance "float32".
        extras: keys of the file that this version does not know.
    """

    model_type: ClassVar[str] = ""
    _named = "config"

    output_attentions: bool = field(default=False, kw_only=True)
    output_hidden_states: bool = field(default=False, kw_only=True)
    return_dict: bool = field(default=True, kw_only=True)
    architectures: list[str] | None = field(default=None, kw_only=True, compare=False)
    dtype: str | None = field(default=None, kw_only=True, compare=False)
    extras: dict[str, Any] = field(default_factory=dict, kw_only=True, compare=False, repr=False)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        # Here and not in __post_init__, so that no subclass computes with a wrong name or type first.
        refuse_unknown(cls.__name__, kwargs, cls.field_names())
        positional = [item.name for item in dataclasses.fields(cls) if item.init and not item.kw_only]
        check_types(cls, {**dict(zip(positional, args, strict=False)), **kwargs})
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            # A field that the constructor does not take may not be there yet.
            if isinstance(value := getattr(self, item.name, None), tuple):
                setattr(self, item.name, list(value))

    @classmethod
    def field_names(cls) -> list[str]:
        """Return the names that the constructor takes."""
        return [item.name for item in dataclasses.fields(cls) if item.init]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Build a config from a mapping such as `config.json` holds.

        Args:
            values: field values; unknown keys are kept in `extras`.
            overrides: fields to change; an unknown name raises `ConfigError`.
        """
        values = dict(values)
        model_type = values.pop("model_type", None) or cls.model_type
        if model_type != cls.model_type:
            raise ConfigError(
                f"this is the config of a {model_type!r} model, {cls.__name__} reads {cls.model_type!r}: "
                "use the class of that model"
            )
        if "torch_dtype" in values:  # the name that transformers wrote before version 5
            values.setdefault("dtype", values["torch_dtype"])
            del values["torch_dtype"]
        known = cls.field_names()
        derived = {item.name for item in dataclasses.fields(cls) if not item.init}
        extras = {key: value for key, value in values.items() if key not in known and key not in derived}
        # A null where none can be is how older files say "the default".
        unset = {key for key, value in values.items() if value is None} - takes_none(cls)
        fields = {key: value for key, value in values.items() if key in known and key not in unset}
        fields["extras"] = copy.deepcopy({**extras, **values.get("extras", {})})
        if isinstance(overrides.get("dtype"), torch.dtype):
            overrides["dtype"] = str(overrides["dtype"]).removeprefix("torch.")
        return cls(**cls._resolve_overrides(fields, overrides))

    @classmethod
    def _resolve_overrides(cls, fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        """Join the file's fields with the caller's; where fields depend on each other, a class decides."""
        return {**fields, **overrides}

    def to_dict(self) -> dict[str, Any]:
        """Return every field as plain lists, dicts, strings and numbers, with `model_type`."""
        values = {
            item.name: plain(getattr(self, item.name)) for item in dataclasses.fields(self) if item.name != "extras"
        }
        for name in ("architectures", "dtype"):
            if values[name] is None:
                del values[name]
        return {**copy.deepcopy(self.extras), **values, "model_type": self.model_type}

    def to_json_string(self) -> str:
        """Return the config as the text of `config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_pretrained(
        cls,
        source: Source,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Source | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Self:
        """Read `config.json` from a folder, an embedded model's name or a Hub id.

        Args:
            source: a local folder, a name that `perpixel models` lists, or a Hub id.
            revision: a branch, a tag or a commit on the Hub.
            token: an access token for private and gated models.
            cache_dir: where downloads are kept.
            local_files_only: never ask the network.
            overrides: fields to change.
        """
        values = load_json(
            source, CONFIG_NAME, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        return cls.from_dict(cls._select(values), **overrides)

    @classmethod
    def _select(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Pick this class's part of a larger config: that of ViTMatte also holds one of VitDet."""
        nested = values.get("backbone_config")
        if not isinstance(nested, dict) or values.get("model_type") == cls.model_type:
            return values
        return nested if nested.get("model_type") == cls.model_type else values

    def save_pretrained(self, folder: Source) -> None:
        """Write `config.json` into `folder`, which is made if it is not there."""
        write_json(Path(folder) / CONFIG_NAME, self.to_dict())
