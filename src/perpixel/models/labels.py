"""Class names in a configuration: `id2label`, `label2id` and `num_labels` always tell the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from perpixel.errors import ConfigError
from perpixel.models.config import Config

DEFAULT_LABELS = 2
_NAMES = ("num_labels", "id2label", "label2id")


@dataclass
class LabelledConfig(Config):
    """A config of a model that tells classes apart.

    Any of the three fields is enough, the others follow from it, also when one is changed later. Without any
    there are two classes, as transformers has it.

    Attributes:
        num_labels: how many classes there are; the names become LABEL_0, LABEL_1 … where none are given.
        id2label: the name of every class id; keys may be strings, as JSON has them.
        label2id: the id of every name; of the first one where a name occurs twice.

    Example:
        >>> config = LabelledConfig(id2label={"0": "sky", "1": "sea"})
        >>> config.num_labels, config.id2label, config.label2id
        (2, {0: 'sky', 1: 'sea'}, {'sky': 0, 'sea': 1})
        >>> config.num_labels = 1
        >>> config.id2label
        {0: 'LABEL_0'}
    """

    num_labels: int | None = field(default=None, kw_only=True)
    id2label: dict[Any, str] | None = field(default=None, kw_only=True)
    label2id: dict[str, Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._align_labels(self.num_labels, self.id2label, self.label2id)

    def __setattr__(self, name: str, value: Any) -> None:
        # `_labelled` marks the end of construction: from then on each of the three moves the others.
        if name in _NAMES and self.__dict__.get("_labelled"):
            if name != "num_labels" or value != self.num_labels:
                self._align_labels(**{name: value})
        else:
            super().__setattr__(name, value)

    def _align_labels(
        self,
        num_labels: int | None = None,
        id2label: dict[Any, str] | None = None,
        label2id: dict[str, Any] | None = None,
    ) -> None:
        if id2label is None and label2id is not None:
            id2label = {number: name for name, number in label2id.items()}
        if id2label is None:
            count = DEFAULT_LABELS if num_labels is None else num_labels
            if count < 1:
                raise ConfigError(f"num_labels is {count}: there has to be at least one class")
            id2label = {i: f"LABEL_{i}" for i in range(count)}
        try:
            id2label = {int(number): name for number, name in sorted(id2label.items(), key=lambda item: int(item[0]))}
        except (TypeError, ValueError):
            raise ConfigError(f"id2label has the ids {list(id2label)}: they have to be whole numbers") from None
        if num_labels is not None and num_labels != len(id2label):
            raise ConfigError(
                f"num_labels is {num_labels} but id2label names {len(id2label)} classes: give one of the two"
            )
        if label2id is None:
            label2id = {name: number for number, name in reversed(id2label.items())}
            label2id = dict(sorted(label2id.items(), key=lambda item: item[1]))
        else:
            label2id = {name: int(number) for name, number in label2id.items()}
        self.__dict__.update(num_labels=len(id2label), id2label=id2label, label2id=label2id, _labelled=True)

    @classmethod
    def _resolve_overrides(cls, fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        changed = {name for name in _NAMES if overrides.get(name) is not None}
        same = changed == {"num_labels"} and overrides["num_labels"] == len(fields.get("id2label") or ())
        if changed and not same:
            # The file's names give way as a whole, they would contradict the caller's.
            fields = {key: value for key, value in fields.items() if key not in _NAMES}
        return super()._resolve_overrides(fields, overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values; `num_labels` follows from the names and is left out."""
        values = super().to_dict()
        del values["num_labels"]
        return values
