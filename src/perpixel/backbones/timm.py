"""Any timm model as a backbone (Wightman, PyTorch Image Models); needs the `timm` extra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn

from perpixel.backbones.base import Backbone, BackboneConfig
from perpixel.errors import CheckpointError, ConfigError, InputError, MissingDependencyError
from perpixel.models.base import resolve_dtype
from perpixel.models.outputs import BackboneOutput


@dataclass
class TimmBackboneConfig(BackboneConfig):
    """Which timm model is the backbone, and which of its stages come out.

    The stages are known only once timm has built the model; until then any names or indices are taken as given, the
    last stage where there are none.

    Args:
        backbone: the timm model's name, for instance "resnet50".
        num_channels: channels of the input.
        features_only: has to be True: maps come out, no logits.
        freeze_batch_norm_2d: whether batch norms keep their statistics and weights in training.
        output_stride: stride of the last map, where the model can keep it smaller.

    Example:
        >>> TimmBackboneConfig("resnet50").out_indices
        [-1]
    """

    model_type: ClassVar[str] = "timm_backbone"

    backbone: str | None = None
    num_channels: int = 3
    features_only: bool = True
    freeze_batch_norm_2d: bool = False
    output_stride: int | None = None

    def __post_init__(self) -> None:
        if not self.features_only:
            raise ConfigError("features_only is False: a backbone has to return feature maps, leave it True")
        self.stage_names = []
        super().__post_init__()

    def _align(self, features: Any, indices: Any) -> None:
        if self.stage_names:
            super()._align(features, indices)
        else:
            indices = [-1] if features is None and indices is None else indices
            self.__dict__.update(out_features=features, out_indices=indices)

    def set_stages(self, names: list[str]) -> None:
        """Name the stages, now that timm has built the model, and check the choice among them."""
        if self.stage_names == names:
            return
        self.stage_names = names
        if self.out_features is not None and self.out_indices is not None:
            self._align(self.out_features, self.out_indices)
        elif self.out_features is not None:
            self._align(self.out_features, None)
        else:
            self._align(None, self.out_indices)


class TimmBackbone(Backbone):
    """A timm model that returns its feature maps.

    Example:
        >>> backbone = TimmBackbone(TimmBackboneConfig("resnet18", out_indices=[1, 4]))  # doctest: +SKIP
        >>> backbone.channels  # doctest: +SKIP
        [64, 512]
    """

    config_class = TimmBackboneConfig
    config: TimmBackboneConfig
    has_attentions = False

    def __init__(self, config: TimmBackboneConfig, *, pretrained: bool = False) -> None:
        """Build the model.

        Args:
            config: which model.
            pretrained: whether timm fetches its weights.

        Raises:
            MissingDependencyError: timm, or what it needs, is not installed.
            ConfigError: timm has no such model, or the model no such stages.
        """
        super().__init__(config)
        timm = _import_timm()
        if not config.backbone:
            raise ConfigError('backbone is not set: name a timm model, TimmBackboneConfig("resnet50")')
        strides = {} if config.output_stride is None else {"output_stride": config.output_stride}
        options = {"features_only": True, "in_chans": config.num_channels, **strides}
        try:
            indices = config.out_indices
            if config.out_features is not None:
                # Only the built model knows its names: one without values tells them.
                with torch.device("meta"):
                    config.set_stages(_stages(timm.create_model(config.backbone, **options)))
                indices = config.out_indices
            body: nn.Module = timm.create_model(
                config.backbone, pretrained=pretrained, out_indices=tuple(indices or [-1]), **options
            )
        except (OSError, ConnectionError) as error:
            raise CheckpointError(
                f"timm cannot fetch the weights of {config.backbone!r} ({str(error)[:200]}): check the network"
            ) from error
        except (RuntimeError, TypeError, AssertionError, IndexError) as error:
            raise ConfigError(
                f"timm cannot build {config.backbone!r} ({str(error).splitlines()[0] if str(error) else 'no reason'}): "
                "see timm.list_models() for names, and its feature_info for stages"
            ) from error
        config.set_stages(_stages(body))
        self.num_features = [int(stage["num_chs"]) for stage in body.feature_info.info]  # type: ignore[union-attr]
        self._backbone = body
        if config.freeze_batch_norm_2d:
            timm.utils.model.freeze_batch_norm_2d(body)

    @classmethod
    def from_timm(
        cls,
        config: TimmBackboneConfig,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Build the backbone with the weights that timm has for it, ready for inference.

        Args:
            config: which model.
            dtype: the type of the weights; None is float32, "auto" is as stored.
            device: where it goes; None is the CPU.
        """
        return cls(config, pretrained=True).to(device=device, dtype=resolve_dtype(dtype)).eval()

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BackboneOutput | tuple[Any, ...]:
        """Encode (b, c, H, W) pixels.

        Returns:
            `feature_maps`, one (b, c, h, w) a stage of `out_features`; a tuple if `return_dict` is False.

        Raises:
            InputError: attentions or hidden states are asked for, which timm does not give.
        """
        hidden = self._flag("output_hidden_states", output_hidden_states)
        if hidden or self._flag("output_attentions", output_attentions):
            raise InputError("timm backbones give no hidden states or attentions: choose stages with out_indices")
        maps = self._backbone(pixel_values)
        if str(getattr(self._backbone, "output_fmt", "NCHW")).endswith("NHWC"):  # Swin and its kin
            maps = [part.permute(0, 3, 1, 2).contiguous() for part in maps]  # (b, c, h, w)
        output = BackboneOutput(feature_maps=tuple(maps))
        return self._result(output, return_dict)


def _stages(body: Any) -> list[str]:
    return [str(stage["module"]) for stage in body.feature_info.info]


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError(
            f'timm backbones need timm, which cannot be imported ({error}): pip install "perpixel[timm]"'
            + (", with the torchvision that fits your torch" if "torchvision" in str(error) else "")
        ) from error
    return timm
