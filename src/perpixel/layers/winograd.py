"""3×3 convolutions with a quarter of the multiplications, for inference on a processor.

"Fast Algorithms for Convolutional Neural Networks", Lavin and Gray, 2015, arXiv 1509.09308, section 4.3, F(4×4, 3×3).
The points are chosen for exactness after "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep
Neural Networks", Barabasz et al., 2018, arXiv 1803.10986: results are about as far from the exact ones as a plain
convolution's, some 1e-6 of their deviation.

A map goes through in strips of tiles, so that the memory beside it is small; the weights are brought to the products'
points at every call or, where one serves several calls, once by `prepare`, and never stay in the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from perpixel.layers.winograd_kernel import loops

# Below these a plain convolution is as fast.
LEAST_INPUTS, LEAST_OUTPUTS = 48, 32
# Multiplications, in the plain way, that are worth the call.
LEAST_WORK = 1 << 28
# Tiles that a strip has; fewer where the weights are small, so that strips stay in the core's cache.
TILES, FEW_TILES, SMALL_WEIGHT = 192, 64, 1 << 18
# What 3 weights become at the six points, beside the loops' steps in `winograd_kernel`.
POINTS = (
    (1.0, 0.0, 0.0),
    (1 / 3, 1 / 3, 1 / 3),
    (1 / 3, -1 / 3, 1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 30, -1 / 15, 2 / 15),
    (0.0, 0.0, 1.0),
)


class Part(NamedTuple):
    """Some of a convolution's input channels.

    Attributes:
        plane: (h, w, c) float32 with contiguous channels; outside it the input is 0.
        top: the row of `plane` where the output's first row is.
        left: likewise the column.
    """

    plane: Tensor
    top: int = 0
    left: int = 0


class Enlarged(NamedTuple):
    """Some of a convolution's input channels, at half the size: their bilinear enlargement by two is what goes in.

    Attributes:
        plane: (h, w, c) float32 with contiguous channels, of which the enlargement has (2h, 2w).
        top: the row of the enlargement where the output's first row is.
        left: likewise the column.
        reach: the first row of `plane` that may be read and the one after the last, then the columns. They have to
            hold what the output's window depends on.
    """

    plane: Tensor
    top: int
    left: int
    reach: tuple[int, int, int, int]


class Kernel(NamedTuple):
    """A 3×3 convolution's weights at the products' points, (36, inputs, outputs), and its bias (outputs,)."""

    weight: Tensor
    bias: Tensor


class Window(NamedTuple):
    """Where in a map a result is written."""

    top: int
    bottom: int
    left: int
    right: int


def has_loops(*, enlarging: bool = False) -> bool:
    """Whether the compiled loops can be had, for `Enlarged` too; compiles or loads them at the first call."""
    return loops(enlarging=enlarging) is not None


def pays(inputs: int, outputs: int, pixels: int, x: Tensor, *, enlarging: bool = False) -> bool:
    """Whether `convolve` is a faster way for x: float32 on a processor without gradient, and enough work.

    Args:
        inputs: channels that go in.
        outputs: channels that come out.
        pixels: of the output.
        x: one of the tensors that go in.
        enlarging: whether one of the parts is `Enlarged`.
    """
    return (
        inputs >= LEAST_INPUTS
        and outputs >= LEAST_OUTPUTS
        and inputs * outputs * pixels * 9 >= LEAST_WORK
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not (torch.is_grad_enabled() and x.requires_grad)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and has_loops(enlarging=enlarging)
    )


def prepare(weight: Tensor, bias: Tensor | None) -> Kernel:
    """Bring the weights (outputs, inputs, 3, 3) of a convolution to the products' points."""
    outputs, inputs = weight.shape[:2]
    points = torch.tensor(POINTS, dtype=torch.float64)
    both = torch.kron(points, points).float()  # (36, 9)
    # Tap by tap, each (inputs, outputs): the order of the result.
    taps = weight.detach().permute(2, 3, 1, 0).reshape(9, -1)
    at = torch.mm(both, taps).view(36, inputs, outputs)
    return Kernel(at, weight.new_zeros(outputs) if bias is None else bias.detach())


def convolve(
    parts: Sequence[Part | Enlarged],
    kernel: Kernel,
    out: Tensor,
    window: Window | None = None,
    *,
    relu: bool = False,
    relu_before: bool = False,
    add: Tensor | None = None,
) -> Tensor:
    """Convolve with a 3×3 kernel, stride 1 and a margin of one zero.

    Args:
        parts: the input; their channels together are the kernel's inputs.
        kernel: of `prepare`.
        out: (h, w, outputs) float32, contiguous; may be none of the inputs.
        window: the part of `out` to compute, all of it if not given.
        relu: apply a ReLU to the result.
        relu_before: apply a ReLU to the input; of parts that are not enlarged only.
        add: (h, w, outputs), contiguous, added at last.

    Returns:
        `out`.

    Example:
        >>> x = torch.randn(1, 4, 9, 10)
        >>> weight = torch.randn(3, 4, 3, 3)
        >>> plane = x[0].permute(1, 2, 0).contiguous()
        >>> y = convolve([Part(plane)], prepare(weight, None), torch.empty(9, 10, 3))
        >>> torch.allclose(y, torch.conv2d(x, weight, padding=1)[0].permute(1, 2, 0), atol=1e-4)
        True
    """
    compiled = loops(enlarging=any(isinstance(part, Enlarged) for part in parts))
    assert compiled is not None
    window = window or Window(0, out.shape[0], 0, out.shape[1])
    inputs, outputs = kernel.weight.shape[1:]
    # Tiles of an enlargement begin at even places, so they may begin one before the window.
    up, over = next(((part.top % 2, part.left % 2) for part in parts if isinstance(part, Enlarged)), (0, 0))
    rows, columns = -(-(window.bottom - window.top + up) // 4), -(-(window.right - window.left + over) // 4)
    strip = min(rows * columns, FEW_TILES if kernel.weight.numel() <= SMALL_WEIGHT else TILES)
    before, after = out.new_empty(36 * strip * inputs), out.new_empty(36 * strip * outputs)
    threads = torch.get_num_threads()

    def gather(begin: int, end: int) -> None:
        place = 0
        for part in parts:
            top, left, where = part.top - up, part.left - over, (columns, first, begin, end, v, place)
            if isinstance(part, Enlarged):
                compiled.enlarge(part.plane, top, left, part.reach, *where)
            else:
                compiled.gather(part.plane, top, left, *where, relu=relu_before)
            place += part.plane.shape[2]

    def scatter(begin: int, end: int) -> None:
        compiled.scatter(m, columns, first, begin, end, kernel.bias, add, out, (*window, up, over), relu=relu)

    # Threads of Python, because those of numba clash with torch's and with forks.
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, rows * columns, strip):
            count = min(strip, rows * columns - first)
            v = before[: 36 * count * inputs].view(36, count, inputs)
            m = after[: 36 * count * outputs].view(36, count, outputs)
            _share(gather, count, threads, pool)
            torch.bmm(v, kernel.weight, out=m)
            _share(scatter, count, threads, pool)
    return out


def _share(job: Callable[[int, int], None], count: int, threads: int, pool: ThreadPoolExecutor) -> None:
    if threads == 1:
        job(0, count)
    else:
        edges = [count * i // threads for i in range(threads + 1)]
        list(pool.map(job, edges[:-1], edges[1:]))
