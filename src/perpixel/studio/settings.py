"""What can be set when Studio starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from perpixel.images.files import MAX_PIXELS
from perpixel.studio.work import Stop, in_thread

# Does what it is given, in another thread, and gives its result; the work is stopped if the awaiting task is cancelled.
Work: TypeAlias = Callable[[Callable[[Stop], Any]], Awaitable[Any]]


def nothing_loaded(name: str) -> Any:
    """The models that somebody else has loaded: none."""
    return None


@dataclass(frozen=True)
class StudioSettings:
    """How Studio behaves.

    Attributes:
        models: Hub ids or folders that the model pickers offer beside the known models, the first of its task chosen.
        device: where models compute, such as "cuda"; None is the CPU.
        offline: offer only models that are on this machine and never ask the Hub; None is True where this machine has
            no way to any network, or `HF_HUB_OFFLINE` is set.
        typed_models: whether the page may name a folder of this machine or any Hub id as a model. Only for a page that
            nobody but its own user can reach.
        keep: so many loaded models are kept.
        loaded: gives the model of an offer's name that is in memory already, or None.
        work: how models and what belongs to them are worked with.
        at_once: how many people's work of each kind may be given to `work` at a time; others wait.
        max_pixels: pixels of a picture; larger ones are refused before they are decoded.
        max_memory: working memory of a model for one picture, as in `perpixel.matte`.
    """

    models: tuple[str, ...] = ()
    device: str | None = None
    offline: bool | None = None
    typed_models: bool = False
    keep: int = 3
    loaded: Callable[[str], Any] = nothing_loaded
    work: Work = in_thread
    at_once: int = 1
    max_pixels: int = MAX_PIXELS
    max_memory: int | str | None = None
