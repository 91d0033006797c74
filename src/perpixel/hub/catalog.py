"""The models that perpixel knows by name: where they come from, under which licence, how good they measured.

Any other Hub id works too; this is what `perpixel models` lists.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from perpixel.errors import CheckpointError
from perpixel.hub.zoo_depth import DEPTH
from perpixel.hub.zoo_mask2former import MASK2FORMER


@dataclass(frozen=True)
class Entry:
    """One known model.

    Attributes:
        name: what `from_pretrained` and `--model` take.
        family: the model type, for instance "vitmatte".
        summary: one line for people.
        source: where the weights were made.
        licence: the SPDX name of the weights' licence.
        folder: the folder inside perpixel/weights where the model is embedded, else None.
        published: figures that the authors of the weights give and nobody measured here, for instance
            {"PQ": 53.2}; in percent, but for AbsRel.
        settings: the settings of the image processor that those figures were measured with.
    """

    name: str
    family: str
    summary: str
    source: str
    licence: str
    folder: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """The embedded model's folder, or None where this installation does not hold its weights."""
        if self.folder is None:
            return None
        path = Path(str(resources.files("perpixel"))) / "weights" / self.folder
        return path if (path / "config.json").is_file() and any(path.glob("*.safetensors")) else None

    @property
    def embedded(self) -> bool:
        """Whether the weights came with this installation."""
        return self.path is not None

    @property
    def measured(self) -> dict[str, Any]:
        """What was measured with the embedded weights (`metrics.json` beside them), empty without."""
        try:
            values = json.loads((self.path / "metrics.json").read_text("utf-8")) if self.path else {}
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}


CATALOG: tuple[Entry, ...] = (
    Entry(
        "vitmatte-nano",
        "vitmatte",
        "matting, small enough to come with the package",
        "trained by the perpixel authors, started from ViT-Tiny (Google Research, AugReg)",
        "Apache-2.0",
        folder="vitmatte_nano",
    ),
    *(
        Entry(
            f"hustvl/vitmatte-{size}-{data}",
            "vitmatte",
            f"matting, the authors' {size} model trained on {title}",
            f"https://huggingface.co/hustvl/vitmatte-{size}-{data}",
            "Apache-2.0",
        )
        for data, title in (("composition-1k", "Composition-1k"), ("distinctions-646", "Distinctions-646"))
        for size in ("small", "base")
    ),
    *(
        Entry(
            model.name,
            "mask2former",
            model.summary,
            f"https://huggingface.co/{model.name}",
            "CC-BY-NC-4.0",
            published=dict(model.published),
            settings=model.settings,
        )
        for model in MASK2FORMER
    ),
    *(
        Entry(
            model.name,
            model.family,
            model.summary,
            f"https://huggingface.co/{model.name}",
            model.licence,
            published=dict(model.published),
        )
        for model in DEPTH
    ),
)

# What a licence's name alone does not tell.
LICENCE_NOTES = {
    "CC-BY-NC-4.0": (
        "not for commercial use; so say the authors of Mask2Former in their MODEL_ZOO.md, while the cards on the Hub "
        "say only 'other', and those of Depth Anything V2 in their README and on the cards"
    ),
}


def find_entry(name: str | PathLike[str]) -> Entry | None:
    """Return the entry called `name`, or None.

    >>> find_entry("hustvl/vitmatte-small-composition-1k").licence
    'Apache-2.0'
    """
    return next((entry for entry in CATALOG if entry.name == str(name)), None)


def preset(name: str | PathLike[str]) -> dict[str, object] | None:
    """Return the image processor's settings with which a model's authors evaluated it; None where unknown.

    They replace the checkpoint's own settings of the same names.

    >>> preset("facebook/mask2former-swin-tiny-coco-panoptic")["size"]
    {'shortest_edge': 800, 'longest_edge': 1333}
    >>> preset("vitmatte-nano") is None
    True
    """
    entry = find_entry(name)
    return copy.deepcopy(dict(entry.settings)) if entry and entry.settings else None


def embedded_folder(name: str | PathLike[str]) -> Path | None:
    """Return the folder of an embedded model; None for any other name.

    Raises:
        CheckpointError: the model belongs to the package but this installation lacks its weights.
    """
    entry = find_entry(name)
    if entry is None or entry.folder is None:
        return None
    if entry.path is None:
        raise CheckpointError(
            f"this installation of perpixel lacks the weights of {entry.name!r}: reinstall it from a wheel, "
            "or name another model"
        )
    return entry.path


@dataclass(frozen=True)
class CachedModel:
    """A model in the Hub's cache on this machine.

    Attributes:
        name: the Hub id.
        size: bytes on disk.
        path: the cache's folder for it.
        family: its model type where the cache holds its config, else None.
        licence: the licence where the model is a known one, else None.
        revisions: the commits that are cached.
    """

    name: str
    size: int
    path: Path
    family: str | None = None
    licence: str | None = None
    revisions: tuple[str, ...] = field(default=())


def cached_models(cache_dir: str | PathLike[str] | None = None) -> list[CachedModel]:
    """List the models in the Hub's cache, in alphabetical order; empty where there is no cache.

    Args:
        cache_dir: the cache to look in; None is the default one (`HF_HUB_CACHE`).
    """
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        info = scan_cache_dir(Path(cache_dir) if cache_dir is not None else None)
    except CacheNotFound:
        return []
    found = []
    for repo in info.repos:
        if repo.repo_type != "model":
            continue
        entry = find_entry(repo.repo_id)
        snapshots = [revision.snapshot_path for revision in repo.revisions]
        found.append(
            CachedModel(
                name=repo.repo_id,
                size=repo.size_on_disk,
                path=repo.repo_path,
                family=entry.family if entry else _family(snapshots),
                licence=entry.licence if entry else None,
                revisions=tuple(sorted(revision.commit_hash for revision in repo.revisions)),
            )
        )
    return sorted(found, key=lambda model: model.name)


def _family(snapshots: list[Path]) -> str | None:
    for folder in snapshots:
        try:
            values = json.loads((folder / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(values, dict) and isinstance(values.get("model_type"), str):
            return str(values["model_type"])
    return None
