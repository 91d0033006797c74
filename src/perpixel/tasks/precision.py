"""What every task does with a model before its first image: where it runs, in which precision, and by what engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from perpixel.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch

    from perpixel.export.runtime import ExportedModel
    from perpixel.models.base import Model

    AnyModel = TypeVar("AnyModel", bound=Model)

Precision = Literal["float32", "bf16", "fp16"]
Engine = Literal["torch", "openvino"]
Quantize = Literal["int8"]


def check_device(device: str | torch.device | None) -> None:
    """Refuse a device that is not here, before anything is loaded for it.

    Raises:
        InputError: there is none of this name.
    """
    import torch

    if device is None:
        return
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError):  # AssertionError of CUDA, ImportError of rarer ones
        raise InputError(f"there is no device {str(device)!r} here: use 'cpu', or install a driver for it") from None


def ready(
    network: AnyModel,
    device: str | torch.device | None,
    dtype: Precision | str | torch.dtype | None,
    *,
    loaded: bool = False,
) -> AnyModel:
    """The model as a task runs it.

    Args:
        network: as it was loaded or given.
        device: where it is to run; None for where it is.
        dtype: "bf16" or "fp16" for a copy that computes in it, see `perpixel.models.precision`; None for as it is.
        loaded: whether the task loaded it and nobody else has it; in float32 on the CPU it is then optimized. A model
            that was given stays as it is: `Model.optimize` makes a faster copy of it, once for many images.

    Returns:
        the model, or its copy, in eval mode on the device.

    Raises:
        InputError: there is no such precision, or not on this device.
        ConfigError: the model computes in another precision already.
    """
    from perpixel.models.precision import half_precision, in_half_precision

    half = half_precision(dtype)
    network = network.eval() if device is None else network.eval().to(device)
    if half is not None:
        return in_half_precision(network, half)
    if dtype is not None and network.compute_dtype is not None:
        raise ConfigError(
            f"the model computes in {network.compute_dtype}, and dtype={dtype!r} is asked for: load it anew"
        )
    if loaded and network.device.type == "cpu" and network.compute_dtype is None:
        return network.optimize()
    return network


def by_openvino(
    model: Any,
    task: str,
    dtype: Precision | str | torch.dtype | None,
    quantize: Quantize | None = None,
    shown: Iterable[Callable[[Any], torch.Tensor]] | None = None,
) -> ExportedModel:
    """A model as OpenVINO runs it, on the CPU; converted when it is first asked for, and kept in the user's cache.

    Args:
        model: as the task takes it.
        task: "matting", "segmentation" or "depth".
        dtype: "bf16" lets OpenVINO compute in it where the processor can; None is float32.
        quantize: "int8" for weights and activations of 8 bits.
        shown: what makes the pixels (1, c, H, W) of each image that the model is quantised by, from its processor.

    Raises:
        ConfigError: the model is an exported file, or computes in another precision already.
        InputError: there is no such precision, or OpenVINO has it not on the CPU.
        MissingDependencyError: the `export` extra is not installed.
    """
    import torch

    from perpixel.export.openvino import import_openvino
    from perpixel.models.precision import half_precision

    half = half_precision(dtype)
    if half == torch.float16:
        raise InputError("dtype='fp16' is for GPUs and engine='openvino' runs on the CPU: use 'bf16'")
    import_openvino()  # before the work
    from perpixel.export.cache import converted
    from perpixel.export.runtime import is_exported, open_exported
    from perpixel.tasks.export import describe

    if is_exported(model) or is_exported(getattr(model, "network", None)):
        raise ConfigError("engine='openvino' converts a checkpoint, and an exported file is given: leave engine out")
    network, about = describe(model)
    if quantize is not None:
        from perpixel.export.int8 import check_int8

        check_int8(about.architecture)
    if network.compute_dtype is not None or network.dtype != torch.float32:
        raise ConfigError(
            f"engine='openvino' needs weights in float32 and these are for {network.compute_dtype or network.dtype}: "
            "load the model without dtype, and give dtype with engine"
        )
    path = converted(network, about)
    precision = "f32" if half is None else "bf16"
    if quantize is not None:
        from perpixel.export.int8 import quantized, window_of

        def pixels(converted: Path) -> Iterator[torch.Tensor]:
            processor = open_exported(converted, task).processor
            for make in shown or ():
                yield window_of(make(processor), about.sizes.multiple)

        path = quantized(path, about, pixels(path))
    return open_exported(path, task, precision=precision)


def check_engine(engine: Engine | None, quantize: Quantize | None = None) -> bool:
    """Refuse an engine that there is not, and say whether it is OpenVINO, which also computes in 8 bits.

    Raises:
        InputError: there is none of this name, or no such quantisation by it.
    """
    if quantize is not None and quantize not in get_args(Quantize):
        raise InputError(f"quantize={quantize!r} is not known: use 'int8', or leave it out")
    if engine is not None and engine not in get_args(Engine):
        raise InputError(f"engine={engine!r} is not known: use one of {', '.join(get_args(Engine))}")
    if quantize is not None and engine == "torch":
        raise InputError(f"quantize={quantize!r} is done by OpenVINO: use engine='openvino', or leave engine out")
    return engine == "openvino" or quantize is not None
