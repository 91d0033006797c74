"""What can be set when Studio starts."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    models: tuple[str, ...] = ()
    device: str | None = None
    offline: bool | None = None
    typed_models: bool = False
    keep: int = 3
