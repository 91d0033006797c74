"""From the labels of a model to the classes of a data set, which are rarely numbered the same way."""

from __future__ import annotations

from collections.abc import Mapping

from perpixel.data.samples import Categories
from perpixel.errors import InputError

__all__ = ["match_labels"]

_NAMED = 8
# One name of ten may mean another class in the other spelling, as "screen" does among ADE20K's.
IN_ORDER = 0.9


def match_labels(labels: Mapping[int, str], categories: Categories) -> tuple[dict[int, int], tuple[str, ...]]:
    """Find the class of the data set for each label of a model.

    By name where every class of the data set has a label of its name, capitals and punctuation apart. Otherwise by
    number, if there are as many labels as classes and nearly all names that do agree have the same numbers: the others
    are then spelt another way. Otherwise by name as far as names agree; what is left of the model's labels is never
    counted, and the data set's classes without a label count as never found.

    Args:
        labels: the model's names by label.
        categories: the data set's classes.

    Returns:
        the class number by label, and what is to be told to the reader.

    Raises:
        InputError: no name agrees, and the numbers differ.

    >>> match_labels({0: "Dog", 1: "cat"}, Categories(("cat", "dog")))
    ({0: 1, 1: 0}, ())
    >>> match_labels({0: "a", 1: "b"}, Categories(("cat", "dog")))[0]
    {0: 0, 1: 1}
    """
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(categories.names):
        numbers.setdefault(_plain(name), []).append(number)
    found: dict[int, int] = {}
    taken: set[int] = set()
    for label in sorted(labels):
        # Two classes may share a name, as ADE20K's screens do: the first label takes the first of them.
        free = [number for number in numbers.get(_plain(labels[label]), []) if number not in taken]
        if free:
            found[label] = free[0]
            taken.add(free[0])
    missing = [name for number, name in enumerate(categories.names) if number not in taken]
    if not missing:
        return found, ()
    in_order = sum(label == number for label, number in found.items()) >= IN_ORDER * len(found)
    if in_order and sorted(labels) == list(range(len(categories))):
        note = (
            f"the model's labels are taken by number, as {len(missing)} of the data set's {len(categories)} names "
            f"are not among them ({_some(missing)})"
        )
        return {label: label for label in labels}, (note,)
    if not found:
        raise InputError(
            f"none of the model's {len(labels)} labels ({_some(list(labels.values()))}) is a class of the data set "
            f"({_some(list(categories.names))}): use a model for these classes"
        )
    return found, (f"the model has no label for {len(missing)} classes, which so are never found: {_some(missing)}",)


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
