"""1×1 convolutions by oneDNN, which torch asks only where there are several threads or larger kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perpixel.layers.exporting import is_recorded


def convolve_1x1(convolution: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution; a plain 1×1 one at inference on a processor takes the faster way.

    Args:
        convolution: any module.
        x: (b, c, h, w); the result has its layout.

    Example:
        >>> convolution = nn.Conv2d(3, 2, 1)
        >>> x = torch.randn(1, 3, 4, 5)
        >>> torch.allclose(convolve_1x1(convolution, x), convolution(x), atol=1e-5)
        True
    """
    if not isinstance(convolution, nn.Conv2d) or not _is_plain(convolution, x):
        result: Tensor = convolution(x)
        return result
    weight = convolution.weight
    return torch.mkldnn_convolution(x, weight, convolution.bias, (0, 0), (1, 1), (1, 1), 1)


def _is_plain(convolution: nn.Conv2d, x: Tensor) -> bool:
    return bool(
        type(convolution) is nn.Conv2d
        and (convolution.kernel_size, convolution.stride, convolution.padding) == ((1, 1), (1, 1), (0, 0))
        and convolution.groups == 1
        and x.ndim == 4
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == convolution.weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
        and not torch.compiler.is_compiling()
        and not is_recorded()
        and not convolution._forward_hooks
        and not convolution._forward_pre_hooks
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.enabled
    )
