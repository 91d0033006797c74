"""Checks of a config's fields: names, types, sides in pixels; and their plain form for JSON."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from perpixel.errors import ConfigError


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the field that was probably meant, else all of them.

    >>> nearest("hiden_size", ["hidden_size", "patch_size"])
    ": did you mean 'hidden_size'?"
    """
    known = [item for item in known if item != "extras"]
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f": it takes {', '.join(known)}"


def refuse_unknown(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise `ConfigError` for the first name that is not known, with the one that was probably meant."""
    for name in given:
        if name not in known:
            raise ConfigError(f"{owner} has no argument {name!r}{nearest(name, known)}")


def plain(value: Any) -> Any:
    """Return a copy of lists, dicts and nested configs that `json` can write.

    >>> plain({"sizes": (1, 2)})
    {'sizes': [1, 2]}
    """
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def check_types(cls: type, values: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where a value has a type that the annotation of its field does not allow."""
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ConfigError(f"{cls.__name__}({name}={value!r}): it has to be {_describe(hints[name])}")


def takes_none(cls: Any) -> set[str]:
    """Return the names of the fields that may be None."""
    hints = typing.get_type_hints(cls)
    return {item.name for item in dataclasses.fields(cls) if _fits(None, hints[item.name])}


def pair(value: int | list[int], name: str) -> tuple[int, int]:
    """Return a config's height and width, which may be given as one side.

    Args:
        value: the side, or height and width.
        name: the field, for the error's message.
    """
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"{name} is {value}: give one positive number or [height, width]")
    return sides[0], sides[1]


def check_rate(value: float, name: str) -> None:
    """Raise `ConfigError` where a share of what is dropped is not at least 0 and below 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} is {value}: it has to be at least 0 and below 1")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in inner)
    if origin is typing.Literal:
        return value in inner
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(_fits(entry, inner[0]) for entry in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if hint is type(None):
        return "None"
    return getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
