"""What every task does with a model before its first image: to its device, and to the precision that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from perpixel.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch

    from perpixel.models.base import Model

    AnyModel = TypeVar("AnyModel", bound=Model)

Precision = Literal["float32", "bf16", "fp16"]


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
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"there is no device {str(device)!r} here: use 'cpu', or install a driver for it") from None


def ready(
    network: AnyModel, device: str | torch.device | None, dtype: Precision | str | torch.dtype | None
) -> AnyModel:
    """The model as a task runs it.

    Args:
        network: as it was loaded or given.
        device: where it is to run; None for where it is.
        dtype: "bf16" or "fp16" for a copy that computes in it, see `perpixel.models.precision`; None for as it is.

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
    return network
