"""Checks of the settings of Mask2Former's image processor."""

from __future__ import annotations

import numbers
from typing import Any

from perpixel.errors import ConfigError
from perpixel.images.transforms import size_rule
from perpixel.models.processing import check_number, two_names

SHORTEST, LONGEST = 800, 1333


def checked_size(size: Any, max_size: Any) -> dict[str, int]:
    """Return the rule of a size whose limit may come by its older name."""
    longest = None if max_size is None else int(check_number("max_size", max_size, whole=True))
    if size is None:
        size = SHORTEST
    rule = size_rule(size, longest=LONGEST if longest is None else longest)
    sides_are_fixed = "height" in rule or "max_height" in rule
    if longest is not None and not sides_are_fixed and rule.setdefault("longest_edge", longest) != longest:
        raise two_names("size['longest_edge']", rule["longest_edge"], "max_size", longest)
    return rule


def checked_pad_size(value: Any) -> dict[str, int]:
    """Return a height and a width."""
    rule = size_rule(value, name="pad_size", square=True)
    if "height" not in rule:
        raise ConfigError(f"pad_size is {value!r}: it takes a height and a width")
    return rule


def checked_divisor(name: str, value: Any) -> int:
    """Return a whole number, 0 for none."""
    return 0 if value == 0 and not isinstance(value, bool) else int(check_number(name, value, whole=True))


def checked_index(name: str, value: Any) -> int | None:
    """Return a whole number, which may be negative, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise ConfigError(f"{name} is {value!r}: it has to be a whole number")
    return None if value is None else int(value)
