"""What a batch does with every photograph: a description that can be sent to other processes and machines."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perpixel.errors import ConfigError

if TYPE_CHECKING:
    from perpixel.ops.depth import Kind as DepthKind
    from perpixel.results.segments import Kind
    from perpixel.tasks.depth import Detail
    from perpixel.tasks.precision import Engine, Precision, Quantize

Task = Literal["cutout", "matte", "segment", "depth"]


@dataclass(frozen=True)
class Form:
    """A kind of file that a result is saved as.

    Attributes:
        suffix: of the file.
        ending: what is added to its name, so that forms of one suffix do not meet.
        options: of the result's `save`.
        keeps_suffix: whether the photograph's own suffix stays in the name, as in `a.jpg.json`.
    """

    suffix: str
    ending: str = ""
    options: Mapping[str, Any] | None = None
    keeps_suffix: bool = False


ALPHA = {"what": "alpha"}
FORMS: dict[str, dict[str, Form]] = {
    "cutout": {
        "png": Form(".png"),
        "webp": Form(".webp"),
        "tiff": Form(".tiff"),
        "alpha": Form(".png", "-alpha", ALPHA),
    },
    "matte": {"png": Form(".png", "", ALPHA), "webp": Form(".webp", "", ALPHA), "tiff": Form(".tiff", "", ALPHA)},
    "segment": {
        "coco": Form(".json", keeps_suffix=True),
        "map": Form(".png", "", {"what": "map"}),
        "panoptic": Form(".png", "-panoptic", {"what": "panoptic"}),
        "overlay": Form(".png", "-overlay", {"what": "overlay"}),
    },
    "depth": {
        "png16": Form(".png"),
        "png8": Form(".png", "", {"bits": 8}),
        "tiff": Form(".tiff"),
        "npy": Form(".npy"),
        "pfm": Form(".pfm"),
        "exr": Form(".exr"),
        "ply": Form(".ply"),
        "glb": Form(".glb"),
        "colour": Form(".png", "-colour", {"what": "colour"}),
        "relief": Form(".png", "-relief", {"what": "relief"}),
    },
}
"""What each task's results can be saved as; the first is taken by itself, for segments the first two."""

# Which fields each task has beside the model and how it computes.
_OWN = {
    "cutout": {"label", "index", "subject", "segmentation_model", "max_memory", "refine"},
    "matte": {"max_memory", "refine"},
    "segment": {"kind", "threshold", "labels"},
    "depth": {"detail", "size", "depth_kind", "max_memory"},
}
_SHARED = {"task", "save", "model", "device", "dtype", "engine", "quantize", "stack"}
# These change how fast a result is there, and at most the last bits of its numbers.
_NO_SETTING = ("device", "stack")


@dataclass(frozen=True)
class Job:
    """What is done with every photograph of a batch. It can be pickled.

    Attributes:
        task: "cutout", "matte", "segment" or "depth".
        save: what the results are saved as, names of `FORMS[task]`; by default ("png",) for cut-outs and mattes,
            ("coco", "map") for segments and ("png16",) for depth.
        model: a name, a Hub id or a folder, as the task takes it.
        device: as the task takes it.
        dtype: as the task takes it.
        engine: as the task takes it.
        quantize: as the task takes it; the model has been shown photographs before, on each machine.
        stack: how many photographs of one size go into one forward; 1 on a CPU and 8 elsewhere if not given.
        label: cutout: the subject's label in every photograph that brings no hint of its own.
        index: cutout: which one with that label.
        subject: cutout: "largest" in every photograph that brings no hint of its own.
        segmentation_model: cutout: what finds labels.
        max_memory: cutout, matte and depth: as the task takes it.
        refine: cutout and matte: as the task takes it.
        kind: segment: as the task takes it.
        threshold: segment: as the task takes it.
        labels: segment: as the task takes it.
        detail: depth: as the task takes it.
        size: depth: as the task takes it.
        depth_kind: depth: `kind` of the task.

    Raises:
        ConfigError: a task or a form that is not known, or a field of another task.

    Example:
        >>> Job("depth", save=("npy", "colour")).forms[1].ending
        '-colour'
    """

    task: Task
    save: tuple[str, ...] = ()
    model: str | None = None
    device: str | None = None
    dtype: Precision | None = None
    engine: Engine | None = None
    quantize: Quantize | None = None
    stack: int | None = None
    label: str | None = None
    index: int | None = None
    subject: Literal["largest"] | None = None
    segmentation_model: str | None = None
    max_memory: int | str | None = None
    refine: Literal["closed-form"] | None = None
    kind: Kind | None = None
    threshold: float | None = None
    labels: tuple[str, ...] | None = None
    detail: Detail | None = None
    size: int | None = None
    depth_kind: DepthKind | None = None

    def __post_init__(self) -> None:
        if self.task not in FORMS:
            raise ConfigError(f"a batch has no task {self.task!r}: use one of {', '.join(FORMS)}")
        if not self.save:
            every = tuple(FORMS[self.task])
            object.__setattr__(self, "save", every[:2] if self.task == "segment" else every[:1])
        if unknown := [name for name in self.save if name not in FORMS[self.task]]:
            raise ConfigError(
                f"{self.task} is not saved as {unknown[0]!r}: use {', '.join(FORMS[self.task])}, one or more"
            )
        ends = [(form.suffix, form.ending) for form in self.forms]
        if len(set(ends)) < len(ends):
            raise ConfigError(f"two of {', '.join(self.save)} would become one file: leave one of them out")
        own = _SHARED | _OWN[self.task]
        given = [each.name for each in fields(self) if getattr(self, each.name) is not None]
        if other := [name for name in given if name not in own]:
            raise ConfigError(f"{other[0]} is no option of {self.task}: leave it out")
        if self.label is not None and self.subject is not None:
            raise ConfigError("label and subject are both given: give one of them")
        if self.index is not None and self.label is None:
            raise ConfigError(f"index={self.index} is given without a label: add it, such as label='person'")

    @property
    def forms(self) -> list[Form]:
        """The forms of `save`."""
        return [FORMS[self.task][name] for name in self.save]

    def settings(self) -> dict[str, Any]:
        """All that a result depends on beside its photograph and hint: the options, the models, and the version.

        A model in a folder or a file counts by its content, so that the same name with other weights is another
        setting; that reads the weights once.
        """
        from perpixel import __version__

        told = {name: value for name, value in asdict(self).items() if value is not None and name not in _NO_SETTING}
        for name in ("model", "segmentation_model"):
            if name in told:
                told[name] = _identity(str(told[name]))
        return {"perpixel": __version__, **told}

    def fingerprint(self) -> str:
        """16 hexadecimal digits that are the same as long as `settings` are.

        >>> Job("matte").fingerprint() == Job("matte", device="cuda").fingerprint() != Job("cutout").fingerprint()
        True
        """
        return fingerprint_of(self.settings())


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """See `Job.fingerprint`."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def _identity(model: str) -> str:
    """The name of a model that is found by name; name and hash of one that lies here."""
    path = Path(model)
    if not path.exists():
        return model
    content = hashlib.blake2b(digest_size=16)
    for file in [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file()):
        content.update(os.fsencode(file.name))
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest())
    return f"{path.name}@{content.hexdigest()}"
