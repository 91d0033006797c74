"""What every backbone has: named stages, and a choice of those whose feature maps come out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from perpixel.errors import ConfigError
from perpixel.models.base import Model
from perpixel.models.config import Config


@dataclass
class BackboneConfig(Config):
    """A config with stages, of which `out_features` (names) or `out_indices` (positions) choose some.

    A subclass names its stages (`_name_stages`) in its `__post_init__` and then calls this one. Both choices always
    agree: setting one changes the other. With neither, the last stage comes out. Negative indices count from
    the end.

    Attributes:
        out_features: names out of `stage_names`, in their order.
        out_indices: positions in `stage_names`, in their order.
        stage_names: every stage, the stem first; derived, not an argument.
    """

    out_features: list[str] | None = field(default=None, kw_only=True)
    out_indices: list[int] | None = field(default=None, kw_only=True)
    stage_names: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._align(self.out_features, self.out_indices)

    def _name_stages(self, count: int) -> None:
        self.stage_names = ["stem", *(f"stage{i}" for i in range(1, count + 1))]

    def __setattr__(self, name: str, value: Any) -> None:
        # `_aligned` marks the end of construction: from then on either choice moves the other.
        if name in ("out_features", "out_indices") and self.__dict__.get("_aligned"):
            features, indices = (value, None) if name == "out_features" else (None, value)
            self._align(features, indices)
        else:
            super().__setattr__(name, value)

    def _align(self, features: Any, indices: Any) -> None:
        """Check both choices against the stages and store them in agreement."""
        stages = self.stage_names
        if features is None and indices is None:
            features, indices = [stages[-1]], [len(stages) - 1]
        if features is not None:
            features = _check_features(features, stages)
        if indices is not None:
            indices = _check_indices(indices, stages)
        if features is None:
            features = [stages[index] for index in indices]
        elif indices is None:
            indices = [stages.index(name) for name in features]
        elif features != [stages[index] for index in indices]:
            raise ConfigError(
                f"out_features {features} and out_indices {indices} choose different stages of {stages}: "
                "give one of them"
            )
        self.__dict__.update(out_features=features, out_indices=indices, _aligned=True)

    @classmethod
    def _resolve_overrides(cls, fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        if "out_features" in overrides or "out_indices" in overrides:
            # The file's choice gives way as a whole, it would contradict the caller's.
            fields = {key: value for key, value in fields.items() if key not in ("out_features", "out_indices")}
        return {**fields, **overrides}


def _check_features(given: Any, stages: list[str]) -> list[str]:
    if not isinstance(given, list | tuple):
        raise ConfigError(f"out_features is {given!r}: give a list of names out of {stages}")
    features: list[str] = list(given)
    if unknown := [name for name in features if name not in stages]:
        raise ConfigError(f"out_features {unknown} are no stages of this backbone: choose out of {stages}")
    if features != (ordered := [name for name in stages if name in features]):
        raise ConfigError(f"out_features {features} has to be in the backbone's order, each once: give {ordered}")
    return features


def _check_indices(given: Any, stages: list[str]) -> list[int]:
    if not isinstance(given, list | tuple):
        raise ConfigError(f"out_indices is {given!r}: give a list of positions in {stages}")
    indices: list[int] = list(given)
    count = len(stages)
    if wrong := [index for index in indices if not -count <= index < count]:
        raise ConfigError(f"out_indices {wrong} are outside the {count} stages: choose from 0 to {count - 1}")
    positive = [index % count for index in indices]
    if positive != (ordered := sorted(set(positive))):
        raise ConfigError(f"out_indices {indices} has to be in rising order, each once: give {ordered}")
    return indices


class Backbone(Model):
    """A model whose output is feature maps, `BackboneOutput.feature_maps`, one for each of `out_features`.

    A subclass sets `self.num_features`, the channels of every stage in the order of `stage_names`.
    """

    has_attentions: ClassVar[bool] = True
    # Under which names matting, depth and segmentation models hold their backbone.
    _prefixes_in_larger_models: ClassVar[tuple[str, ...]] = (
        "backbone",
        "model.pixel_level_module.encoder",
        "pixel_level_module.encoder",
    )
    num_features: list[int]

    @property
    def stage_names(self) -> list[str]:
        """The names of all stages, the stem first."""
        return list(self.config.stage_names)

    @property
    def out_features(self) -> list[str]:
        """The names of the stages that come out."""
        return list(self.config.out_features)

    @out_features.setter
    def out_features(self, names: list[str]) -> None:
        self.config.out_features = names

    @property
    def out_indices(self) -> list[int]:
        """The positions of the stages that come out."""
        return list(self.config.out_indices)

    @out_indices.setter
    def out_indices(self, indices: list[int]) -> None:
        self.config.out_indices = indices

    @property
    def out_feature_channels(self) -> dict[str, int]:
        """The channels of every stage, also of those that do not come out."""
        return dict(zip(self.stage_names, self.num_features, strict=True))

    @property
    def channels(self) -> list[int]:
        """The channels of each feature map that comes out."""
        return [self.out_feature_channels[name] for name in self.out_features]
