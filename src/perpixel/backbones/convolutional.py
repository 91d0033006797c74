"""What the convolutional backbones share: ResNet and BiT give the map of every stage, and no attentions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from perpixel.backbones.base import Backbone
from perpixel.models.outputs import BackboneOutput


class ConvolutionalEncoder(nn.Module):
    """The stages, one after another."""

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the given map and that of every stage."""
        maps = [x]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return tuple(maps)


class ConvolutionalBackbone(Backbone):
    """A backbone whose feature maps are those of its stages as they are."""

    has_attentions = False

    @abstractmethod
    def maps(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The stem's and every stage's map of (b, c, H, W) pixels."""

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels of any size.

        Args:
            pixel_values: the images.
            output_hidden_states: return the map of every stage; None is the config's choice.
            output_attentions: every backbone takes it; there are none here.
            return_dict: return an output object rather than a tuple; None is the config's choice.

        Returns:
            `feature_maps`, one (b, c, h, w) a stage of `out_features`; `hidden_states`, the stem's and every stage's
            map, if asked for.

        Raises:
            InputError: the shape is wrong, or too small for a BiT's stem without padding.
        """
        maps = self.maps(pixel_values)
        output = BackboneOutput(
            feature_maps=tuple(maps[i] for i in self.out_indices),
            hidden_states=maps if self._flag("output_hidden_states", output_hidden_states) else None,
        )
        return self._result(output, return_dict)
