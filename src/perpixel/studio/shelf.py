"""The models that Studio offers: what they are for, their size and licence, and whether they are here."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import gradio as gr

from perpixel.errors import CheckpointError, InputError
from perpixel.hub.catalog import CATALOG, LICENCE_NOTES, cached_models, find_entry
from perpixel.studio.settings import StudioSettings
from perpixel.tasks.load import load, task_of

Task: TypeAlias = Literal["matting", "segmentation", "depth"]
TASKS: tuple[Task, ...] = ("matting", "segmentation", "depth")


@dataclass(frozen=True)
class Offer:
    """A model that can be chosen.

    Attributes:
        name: what `perpixel.load` takes.
        task: what it is for.
        licence: the SPDX name of its weights' licence; None where it is not known.
        size: bytes on disk; None where it is not here.
        here: whether it is on this machine.
        summary: one line about it, or "".
    """

    name: str
    task: Task
    licence: str | None
    size: int | None
    here: bool
    summary: str = ""

    @property
    def title(self) -> str:
        """One line for the picker.

        >>> Offer("vitmatte-nano", "matting", "Apache-2.0", 12_900_000, True).title
        'vitmatte-nano · 13 MB · Apache-2.0 · on this machine'
        """
        own = Path(self.name).is_dir()
        shown, where = (Path(self.name).name, "licence not stated") if own else (self.name, "licence: see its page")
        size = f"{self.size / 1e6:.0f} MB" if self.size else None
        place = "on this machine" if self.here else "to download"
        return " · ".join(part for part in (shown, size, self.licence or where, place) if part)


class Shelf:
    """The models of this machine and of the Hub, each loaded at most once and the last few kept.

    Args:
        settings: which models there are, and where they compute.

    >>> shelf = Shelf(StudioSettings(offline=True))
    >>> shelf.offers("matting")[0].name
    'vitmatte-nano'
    """

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.offline = _without_network() if settings.offline is None else settings.offline
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def offers(self, task: Task) -> list[Offer]:
        """The models for a task: those that were asked for, then those that are here, then those on the Hub."""
        cached = {model.name: model for model in cached_models()}
        found: dict[str, Offer] = {}
        for name in self.settings.models:
            offer = _typed(name, cached.get(name))
            found[name] = offer
        for entry in CATALOG:
            here = cached.get(entry.name)
            if entry.name in found or (entry.folder is not None and not entry.embedded):
                continue
            size = here.size if here else _bytes(entry.path)
            found[entry.name] = Offer(
                entry.name,
                _task_of_family(entry.family, entry.name),
                entry.licence,
                size,
                entry.embedded or here is not None,
                entry.summary,
            )
        for name, model in cached.items():
            if name not in found and model.family in _FAMILIES:
                found[name] = Offer(name, _task_of_family(model.family, name), model.licence, model.size, True)
        chosen = [offer for offer in found.values() if offer.task == task and (offer.here or not self.offline)]
        first = {name: place for place, name in enumerate(self.settings.models)}
        return sorted(chosen, key=lambda offer: (first.get(offer.name, len(first)), not offer.here))

    def load(self, name: str, task: Task) -> Any:
        """The loaded model, ready for `perpixel.cutout`, `segment` or `depth` as `model`.

        Args:
            name: that of an offer; with `typed_models` also any Hub id or folder.
            task: what it has to be for.

        Raises:
            InputError: none is chosen, it is not offered, or it is for another task.
            CheckpointError: it cannot be loaded.
        """
        name = (name or "").strip()
        if not name:
            raise InputError(f"no model for {task} is chosen: choose one under Model")
        with self._lock:  # two people who ask for one model at once wait for one loading
            model = self.settings.loaded(name)
            if model is None:
                model = self._kept(name)
        found = _task_of_loaded(model)
        if found != task:
            raise InputError(f"{name} is for {found}, and this needs a model for {task}: choose another")
        return model

    def _kept(self, name: str) -> Any:
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name]
        self._check(name)
        self._loaded[name] = model = load(name, self.settings.device)
        while len(self._loaded) > self.settings.keep:
            self._loaded.popitem(last=False)
        return model

    def _check(self, name: str) -> None:
        offered = {offer.name for each in TASKS for offer in self.offers(each)}
        if name in offered:
            return
        if not self.settings.typed_models:
            raise InputError(f"{name!r} is not among the models that are offered here: choose one of the list")
        if self.offline and not Path(name).exists():
            raise CheckpointError(f"{name} is not on this machine, and there is no network: choose one that is here")


def model_picker(shelf: Shelf, task: Task, *, label: str = "Model", elem_id: str | None = None) -> gr.Dropdown:
    """A list to choose a model from, with a line below it about the chosen one.

    Args:
        shelf: the models.
        task: what they have to be for.
        label: its title.
        elem_id: its id in the page; "model-" and the task if not given.

    Returns:
        the list, whose value is the model's name, or None where there is no model for the task.
    """
    offers = shelf.offers(task)
    typed = shelf.settings.typed_models
    picker = gr.Dropdown(
        choices=[(offer.title, offer.name) for offer in offers],
        value=offers[0].name if offers else None,
        label=label,
        info=_picker_info(task, bool(offers), typed),
        allow_custom_value=typed,
        interactive=True,
        elem_id=elem_id or f"model-{task}",
    )
    about = gr.Markdown(_about(shelf, offers[0].name if offers else None, task), elem_classes=["about-model"])
    picker.change(
        lambda name: _about(shelf, name, task), picker, about, api_visibility="private", show_progress="hidden"
    )
    return picker


def _picker_info(task: Task, some: bool, typed: bool) -> str | None:
    if typed:
        return "Choose one, or type a folder or a Hub id." if some else "Type the folder of a model, or a Hub id."
    return None if some else f"There is no model for {task} on this machine."


def _about(shelf: Shelf, name: str | None, task: Task) -> str:
    offer = next((offer for offer in shelf.offers(task) if offer.name == name), None)
    if offer is None:
        return ""
    parts = [offer.summary[:1].upper() + offer.summary[1:]] if offer.summary else []
    if not offer.here:
        parts.append("It is downloaded when it is first used.")
    if offer.licence in LICENCE_NOTES:
        parts.append(f"**{offer.licence}**: {LICENCE_NOTES[offer.licence]}.")
    return " ".join(part if part.endswith((".", "!")) else f"{part}." for part in parts)


_FAMILIES: dict[str | None, Task] = {
    "vitmatte": "matting",
    "mask2former": "segmentation",
    "depth_anything": "depth",
    "dpt": "depth",
}


def _task_of_family(family: str | None, name: str) -> Task:
    # Of the known models this is the only DPT that tells classes; asking its files would ask the Hub.
    if family == "dpt" and name.endswith("-ade"):
        return "segmentation"
    return _FAMILIES[family]


def _task_of_loaded(model: Any) -> str:
    from perpixel.tasks.depth import DepthEstimator
    from perpixel.tasks.segmentation import Segmenter

    if isinstance(model, Segmenter):
        return "segmentation"
    return "depth" if isinstance(model, DepthEstimator) else "matting"


def _typed(name: str, cached: Any) -> Offer:
    """An offer for a name that somebody gave when starting Studio."""
    entry = find_entry(name)
    path = Path(name)
    here = path.exists() or cached is not None or (entry is not None and entry.embedded)
    size = cached.size if cached is not None else _bytes(path if path.is_dir() else entry.path if entry else None)
    task: Any = task_of(name)
    return Offer(
        name, task, entry.licence if entry else _said_licence(path), size, here, entry.summary if entry else ""
    )


def _said_licence(folder: Path) -> str | None:
    try:
        values = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    said = values.get("license") if isinstance(values, dict) else None
    return str(said) if said else None


def _bytes(folder: Path | None) -> int | None:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder else None


def _without_network() -> bool:
    """Whether the Hub is out of reach by this machine's settings or routes. Nothing is sent."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return True
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))  # of UDP this asks only the table of routes
                return False
        except OSError:
            continue
    return True
