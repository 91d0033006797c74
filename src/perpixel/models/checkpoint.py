"""Whether the tensors of a checkpoint fit a model, said in a way that helps."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping

from torch import Tensor

from perpixel.errors import CheckpointError, PerpixelWarning

_LISTED = 10


def fit_prefix(state: Mapping[str, Tensor], own: Iterable[str], prefix: str) -> dict[str, Tensor]:
    """Add or take away the name under which larger models hold this one ("vit" in a classifier).

    Where it is taken away, the larger model's other parts are left out, unless names of this model are among them:
    transformers writes a Swin backbone with some parts under "swin" and some not.

    Args:
        state: the checkpoint's tensors.
        own: the model's names.
        prefix: the name, without a dot; empty for none.
    """
    known, prefix = set(own), f"{prefix}."
    ours = any(key.startswith(prefix) for key in known)
    theirs = any(key.startswith(prefix) for key in state)
    if prefix == "." or ours == theirs:
        return dict(state)
    if theirs and not known.isdisjoint(state):
        return {bare if (bare := k.removeprefix(prefix)) in known else k: tensor for k, tensor in state.items()}
    if theirs:
        return {k.removeprefix(prefix): tensor for k, tensor in state.items() if k.startswith(prefix)}
    return {prefix + key if prefix + key in known else key: tensor for key, tensor in state.items()}


def check_fit(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    *,
    where: str,
    may_be_unexpected: Iterable[str] = (),
    may_be_missing: Iterable[str] = (),
    may_be_misshaped: bool = False,
) -> list[str]:
    """Return the names that the checkpoint has no values for, with a warning where there are any.

    Args:
        state: the checkpoint's tensors.
        own: the model's tensors, of which only names and shapes count.
        where: the beginning of the error's message.
        may_be_unexpected: patterns of names that the checkpoint may have too many.
        may_be_missing: patterns of names that it may lack.
        may_be_misshaped: whether tensors of another shape count as missing ones that it may lack.

    Raises:
        CheckpointError: names are missing or unexpected, or shapes differ; all of them are counted.
    """
    missing = [key for key in own if key not in state]
    misshaped = [key for key in own if key in state and state[key].shape != own[key].shape]
    wrong = [
        f"{key} is {_shape(state[key])} in the checkpoint and {_shape(own[key])} in the model" for key in misshaped
    ]
    faults = [
        _listing("missing", [key for key in missing if not _matches(key, may_be_missing)]),
        _listing("unexpected", [k for k in state if k not in own and not _matches(k, may_be_unexpected)]),
        "" if may_be_misshaped else _listing("mis-shaped", wrong),
    ]
    if any(faults):
        afresh = ", or pass ignore_mismatched_sizes=True to start those of another shape afresh" if faults[2] else ""
        raise CheckpointError(
            f"{where}: {'; '.join(fault for fault in faults if fault)}: "
            f"check that the config belongs to these weights and that the file is whole{afresh}"
        )
    if missing or misshaped:
        fresh = [_listing("missing", missing), _listing("mis-shaped", wrong)]
        warnings.warn(
            f"{where} wholly: {'; '.join(part for part in fresh if part)} start fresh, train them before use",
            PerpixelWarning,
            stacklevel=3,
        )
    return [*missing, *misshaped]


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(re.search(pattern, key) for pattern in patterns)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"


def _listing(kind: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f", … and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:_LISTED])}{more})"
