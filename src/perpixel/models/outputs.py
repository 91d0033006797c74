"""What the models return: dataclasses that can also be read like a tuple or like a dict.

Fields that are None do not exist for `len`, iteration, indices and keys, so `output[0]` is the first thing
that was really computed (the loss when labels were given, otherwise the prediction), as people who come from
transformers expect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass, field
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
        # What perpixel adds to the fields of transformers stands aside: tuples and dicts must be the same as there.
        items = (item for item in dataclasses.fields(self) if not item.metadata.get("aside"))  # type: ignore[arg-type]
        return {item.name: value for item in items if (value := getattr(self, item.name)) is not None}

    @overload
    def __getitem__(self, key: str | int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        present = self._present()
        return present[key] if isinstance(key, str) else tuple(present.values())[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in {item.name for item in dataclasses.fields(self)}:  # type: ignore[arg-type]
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
class BaseModelOutputWithPoolingAndIntermediateActivations(ModelOutput):
    """The output of `DPTModel`.

    Attributes:
        last_hidden_state: (b, n, c).
        pooler_output: (b, c), absent where the model has no pooler.
        hidden_states: the embeddings and then the output of each layer, on request.
        attentions: the attention weights of each layer after the softmax, (b, heads, n, n), on request.
        intermediate_activations: of the hybrid, the maps of its first two convolutional stages.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    intermediate_activations: tuple[Tensor, ...] | None = None


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


@dataclass(eq=False)
class DepthEstimatorOutput(ModelOutput):
    """The output of a model that estimates depth.

    Attributes:
        loss: a scalar, where labels were given.
        predicted_depth: (b, h, w), inverse depth without a unit or depth in metres.
        hidden_states: the backbone's, on request.
        attentions: the backbone's, on request.
    """

    loss: Tensor | None = None
    predicted_depth: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class SemanticSegmenterOutput(ModelOutput):
    """The output of a model that gives every pixel a class.

    Attributes:
        loss: a scalar, where labels were given.
        logits: (b, k, h, w) for k classes, h and w usually smaller than the input's.
        hidden_states: the backbone's, on request.
        attentions: the backbone's, on request.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class Mask2FormerModelOutput(ModelOutput):
    """The output of `Mask2FormerModel`; q is the number of queries, H and W the size of the input.

    Attributes:
        encoder_last_hidden_state: the backbone's last map, (b, c, H / 32, W / 32).
        pixel_decoder_last_hidden_state: the mask features, (b, c, H / 4, W / 4).
        transformer_decoder_last_hidden_state: (b, q, c).
        encoder_hidden_states: the backbone's maps from fine to coarse, on request.
        pixel_decoder_hidden_states: the pixel decoder's three maps from coarse to fine, on request.
        transformer_decoder_hidden_states: the queries and then the output of each layer, (q, b, c), on request.
        transformer_decoder_intermediate_states: the same after the final norm, on request.
        masks_queries_logits: (b, q, H / 4, W / 4) for the queries and then for each layer's output.
        attentions: the weights of each layer's self-attention, (b, heads, q, q), on request.
        mask_sizes: (b, 2) float32, how many rows and columns of the masks each image covers, where a `pixel_mask`
            told; the rest is padding. No item of the tuple.
    """

    encoder_last_hidden_state: Tensor | None = None
    pixel_decoder_last_hidden_state: Tensor | None = None
    transformer_decoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    pixel_decoder_hidden_states: tuple[Tensor, ...] | None = None
    transformer_decoder_hidden_states: tuple[Tensor, ...] | None = None
    transformer_decoder_intermediate_states: tuple[Tensor, ...] | None = None
    masks_queries_logits: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    mask_sizes: Tensor | None = field(default=None, kw_only=True, metadata={"aside": True})


@dataclass(eq=False)
class Mask2FormerForUniversalSegmentationOutput(ModelOutput):
    """A segmentation model's output; q is the number of queries, k that of classes, H and W the input's size.

    Attributes:
        loss: a scalar, where labels were given.
        class_queries_logits: (b, q, k + 1), the last class is "no object".
        masks_queries_logits: (b, q, H / 4, W / 4).
        auxiliary_logits: the class and mask logits of the earlier layers, each a dict of the two names above, on
            request.
        encoder_last_hidden_state: the backbone's last map, (b, c, H / 32, W / 32).
        pixel_decoder_last_hidden_state: the mask features, (b, c, H / 4, W / 4).
        transformer_decoder_last_hidden_state: (b, q, c).
        encoder_hidden_states: the backbone's maps from fine to coarse, on request.
        pixel_decoder_hidden_states: the pixel decoder's three maps from coarse to fine, on request.
        transformer_decoder_hidden_states: the queries and then the output of each layer, (q, b, c), on request.
        attentions: the weights of each layer's self-attention, (b, heads, q, q), on request.
        mask_sizes: (b, 2) float32, how many rows and columns of the masks each image covers, where a `pixel_mask`
            told; the rest is padding. None: the whole map is the image. No item of the tuple.
    """

    loss: Tensor | None = None
    class_queries_logits: Tensor | None = None
    masks_queries_logits: Tensor | None = None
    auxiliary_logits: list[dict[str, Tensor]] | None = None
    encoder_last_hidden_state: Tensor | None = None
    pixel_decoder_last_hidden_state: Tensor | None = None
    transformer_decoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    pixel_decoder_hidden_states: tuple[Tensor, ...] | None = None
    transformer_decoder_hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    mask_sizes: Tensor | None = field(default=None, kw_only=True, metadata={"aside": True})
