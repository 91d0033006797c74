"""What the models return: dataclasses that can also be read like a tuple or like a dict.

Fields that are None do not exist for `len`, iteration, indices and keys, so `output[0]` is the first thing
that was really computed (the loss when labels were given, otherwise the prediction), as people who come from
transformers expect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from torch import Tensor


class ModelOutput:
    """The base of every output: a dataclass with the manners of an ordered dict and of a tuple.

    >>> output = BackboneOutput(feature_maps=("map",), attentions=("weights",))
    >>> output.feature_maps == output["feature_maps"] == output[0]
    True
    >>> list(output.keys()), len(output), output.to_tuple()
    (['feature_maps', 'attentions'], 2, (('map',), ('weights',)))
    """

    def _present(self) -> dict[str, Any]:
        names = (field.name for field in dataclasses.fields(self))  # type: ignore[arg-type]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @overload
    def __getitem__(self, key: str | int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        present = self._present()
        return present[key] if isinstance(key, str) else tuple(present.values())[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in {field.name for field in dataclasses.fields(self)}:  # type: ignore[arg-type]
            raise KeyError(f"{type(self).__name__} has no field {key!r}")
        setattr(self, key, value)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the values, as a tuple does; use `keys()` for the names."""
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self._present())

    def __contains__(self, key: object) -> bool:
        return key in self._present()

    def keys(self) -> KeysView[str]:
        """Return the names of the fields that are not None."""
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        """Return the values that are not None."""
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        """Return pairs of name and value for the fields that are not None."""
        return self._present().items()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the field `key`, or `default` where it is None or does not exist."""
        return self._present().get(key, default)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the values that are not None as a tuple, in the order of the fields."""
        return tuple(self._present().values())


@dataclass(eq=False)
class BaseModelOutput(ModelOutput):
    """An encoder's output.

    Attributes:
        last_hidden_state: (b, n, c), or (b, c, h, w) where the encoder keeps a map.
        hidden_states: the embeddings and then the output of each layer, on request.
        attentions: the attention weights of each layer after the softmax, (b, heads, n, n), on request.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """An encoder's output with one vector for the whole image.

    Attributes:
        last_hidden_state: (b, n, c).
        pooler_output: (b, c), absent where the model has no pooler.
        hidden_states: the embeddings and then the output of each layer, on request.
        attentions: the attention weights of each layer after the softmax, (b, heads, n, n), on request.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class BackboneOutput(ModelOutput):
    """A backbone's output.

    Attributes:
        feature_maps: one (b, c, h, w) for each name in the backbone's `out_features`.
        hidden_states: the embeddings and then the output of each stage, on request.
        attentions: the attention weights of each layer after the softmax, on request.
    """

    feature_maps: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class ImageMattingOutput(ModelOutput):
    """A matting model's output.

    Attributes:
        loss: a scalar, where labels were given.
        alphas: (b, 1, h, w), in [0, 1].
        hidden_states: the backbone's, on request.
        attentions: the backbone's, on request.
    """

    loss: Tensor | None = None
    alphas: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
