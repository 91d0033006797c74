"""The models of a server: found when it is made, loaded and warmed up before it is ready."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.hub.catalog import find_entry
from perpixel.serve.effort import Effort
from perpixel.serve.problems import Refusal
from perpixel.serve.settings import Settings

if TYPE_CHECKING:
    from perpixel.serve.work import Route

Task: TypeAlias = Literal["matting", "segmentation", "depth"]


class Rehearsed(NamedTuple):
    """A request that the server makes of itself before it is ready: its route, fields and options."""

    route: Route
    fields: Mapping[str, bytes]
    options: Mapping[str, Any]


@dataclass
class Served:
    """A model that requests may name.

    Attributes:
        name: what requests call it: a Hub id, or the last part of a path, so that no path of the server is shown.
        source: what loads it.
        task: what it is for.
        loaded: what the task takes as `model`; None before `load`.
        effort: how long it works on pictures of other sizes, where that can be told.
    """

    name: str
    source: str
    task: Task
    loaded: Any = None
    effort: Effort | None = None

    @property
    def licence(self) -> str | None:
        """The SPDX name of the weights' licence, where it is known."""
        entry = find_entry(self.source)
        return entry.licence if entry else None

    @property
    def labels(self) -> list[str]:
        """The names of a segmentation model's labels."""
        return list(self.loaded.labels.values()) if self.task == "segmentation" and self.loaded is not None else []

    def load(self, settings: Settings) -> None:
        """Load it as the server's settings say.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        from perpixel.tasks.depth import load_depth_model
        from perpixel.tasks.matting import load_matting_model
        from perpixel.tasks.segmentation import load_segmenter

        loaders: dict[Task, Any] = {
            "matting": load_matting_model,
            "segmentation": load_segmenter,
            "depth": load_depth_model,
        }
        self.loaded = loaders[self.task](self.source, settings.device, settings.dtype, settings.engine)

    def rehearsal(self, side: int) -> list[Rehearsed]:
        """Requests with a picture without content, which take what requests take.

        Args:
            side: of the picture in pixels.

        Returns:
            One of each sort.
        """
        grey = np.full((side, side), 128, np.uint8)
        photo = np.repeat(grey[..., None], 3, 2)
        photo[side // 6 : -side // 6, side // 6 : -side // 6] = 20
        fields: dict[str, bytes] = {"image": _file(photo, "PNG")}
        options: dict[str, Any] = {"model": self.name}
        if self.task != "matting":
            return [Rehearsed("segment" if self.task == "segmentation" else "depth", fields, options)]
        # The whole cut-out, whose foreground colours take buffers too: with all there can be for the model to do, and
        # with a box, from which a subject has to be found.
        grey[0], grey[-1] = 0, 255
        box = [side // 16, side // 16, side - side // 16, side - side // 16]
        return [
            Rehearsed("cutout", {**fields, "trimap": _file(grey, "PNG")}, options),
            Rehearsed("cutout", {"image": _file(photo, "JPEG")}, {**options, "box": box}),
        ]


class Models:
    """All models of a server.

    Args:
        sources: Hub ids, folders or exported files.

    Raises:
        CheckpointError: one is not there, or is for no task.
        InputError: two would have the same name.

    >>> models = Models(["vitmatte-nano"])
    >>> models.find("matting", None).name
    'vitmatte-nano'
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.all = [Served(_name(source), source, _task(source)) for source in sources]
        names = [model.name for model in self.all]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two models are called {name!r}: give each once, and rename one of two folders")

    def load(self, settings: Settings) -> None:
        """Load all of them."""
        for model in self.all:
            model.load(settings)

    def default(self, task: Task) -> Served | None:
        """The model that a request gets which names none."""
        return next((model for model in self.all if model.task == task), None)

    def find(self, task: Task, name: str | None) -> Served:
        """The model that a request means.

        Raises:
            Refusal: 422 for a name that is not served, 404 where there is no model for the task.
        """
        default = self.default(task)
        if default is None:
            raise Refusal(404, "no_model", f"this server has no model for {task}: start it with one by --model")
        if name is None:
            return default
        served = [model for model in self.all if model.task == task]
        for model in served:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in served)
        raise Refusal(422, "input", f"the model {name!r} is not served for {task}: use {known}, or name none")


def _file(pixels: NDArray[np.uint8], form: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def _name(source: str) -> str:
    """Without the folders of this machine.

    >>> _name("/usr/bin/env"), _name("hustvl/vitmatte-small-composition-1k")
    ('env', 'hustvl/vitmatte-small-composition-1k')
    """
    path = Path(source)
    if not path.exists():
        return source
    return path.name if path.name not in ("", "..") else path.resolve().name


def _task(source: str) -> Task:
    from perpixel.export.runtime import is_exported, open_exported
    from perpixel.tasks.load import task_of

    found: Any = open_exported(source).task if is_exported(source) else task_of(source)
    task: Task = found
    return task
