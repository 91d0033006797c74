"""A model as a program without Python: pixels in, tensors out.

The sizes of the pixels are fixed or left open. With open sizes the program is recorded once and holds for all of them;
what the models do differently for that is behind `perpixel.layers.exporting`.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from perpixel.errors import ConfigError
from perpixel.export.about import OUTPUTS, Sizes
from perpixel.models.base import Model

# Smaller tensors, such as biases, stay in 32 bits: they weigh nothing.
LEAST_HALVED = 1024
# The longest side that a program with open sizes is said to take.
LONGEST = 16384
# With open sizes it is recorded at about this size: more than one window at every stage, and no model's own size.
# The tensors have no values while it is recorded, so a large one costs nothing.
RECORDED = (1060, 1450)


class TensorsOnly(nn.Module):
    """A model with one tensor as its input and a tuple of tensors as its output.

    Args:
        model: one of `OUTPUTS`, in eval mode.
        half: keep the large weights in 16 bits, and compute in 32 bits all the same.
    """

    def __init__(self, model: Model, half: bool = False) -> None:
        super().__init__()
        self.model = model
        self.halved = []
        for name, parameter in model.named_parameters():
            if half and parameter.numel() >= LEAST_HALVED:
                parameter.data = parameter.data.half()
                self.halved.append(name)
        self.names = OUTPUTS[type(model).__name__]

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """(1, c, H, W) float32 → the outputs that `OUTPUTS` names, float32."""
        if self.halved:
            whole = {name: self.model.get_parameter(name).float() for name in self.halved}
            output = torch.func.functional_call(self.model, whole, (pixel_values,), {"return_dict": True})
        else:
            output = self.model(pixel_values, return_dict=True)
        return tuple(getattr(output, name).float() for name in self.names)


def tensors_only(model: Model, half: bool = False) -> TensorsOnly:
    """A copy of a model for recording, on the CPU in float32; the model itself stays as it is.

    Args:
        model: one of `OUTPUTS`.
        half: as in `TensorsOnly`.

    Raises:
        ConfigError: models of this class cannot be exported.
    """
    if type(model).__name__ not in OUTPUTS:
        raise ConfigError(
            f"a {type(model).__name__} cannot be exported: give one of {', '.join(OUTPUTS)}, with its head"
        )
    own = copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval().requires_grad_(False)
    return TensorsOnly(own, half)


def channels_of(model: Model) -> int:
    """How many channels the input of a model has."""
    holder: Any = model.config
    backbone = getattr(holder, "backbone_config", None)
    found: Any = getattr(backbone, "num_channels", None) or getattr(holder, "num_channels", 3)
    return int(found)


def record(wrapper: TensorsOnly, sizes: Sizes) -> ExportedProgram:
    """Record a model.

    Args:
        wrapper: from `tensors_only`.
        sizes: the sizes of its input.

    Returns:
        the program; its one input is (1, c, H, W).

    Raises:
        ConfigError: torch cannot record it with open sizes; the message has the reason.
    """
    height, width = sizes.fixed or tuple((side // sizes.multiple) * sizes.multiple for side in RECORDED)
    open_sizes: dict[int, Any] | None = None
    if sizes.fixed is None:
        most = LONGEST // sizes.multiple
        # In multiples, so that torch can prove that halves and doubles of the maps fit.
        rows, columns = Dim("rows", min=1, max=most), Dim("columns", min=1, max=most)
        open_sizes = {2: sizes.multiple * rows, 3: sizes.multiple * columns}
    pixels = torch.zeros(1, channels_of(wrapper.model), height, width)
    with torch.no_grad(), _sizes_of_one_allowed(), quiet():
        try:
            return torch.export.export(
                wrapper, (pixels,), dynamic_shapes=None if open_sizes is None else (open_sizes,), strict=False
            )
        except (RuntimeError, ValueError, TypeError, torch._dynamo.exc.TorchDynamoException) as error:
            if open_sizes is None:
                raise
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(
                f"this {type(wrapper.model).__name__} cannot be recorded with open sizes ({reason.strip()}): export it "
                "for one size with --fixed --size HxW (dynamic=False, size=(height, width))"
            ) from error


@contextmanager
def _sizes_of_one_allowed() -> Iterator[None]:
    """Keep torch from deciding, by the recorded size, that no size is 1: so torch's own ONNX exporter records too."""
    import torch.fx.experimental._config as settings

    with settings.patch(backed_size_oblivious=True):  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what torch's exporters say about themselves, such as that torchvision is not installed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
