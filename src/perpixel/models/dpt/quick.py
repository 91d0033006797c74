"""Parts of DPT's neck and its depth heads at inference: the same numbers in fewer passes over the maps.

Each class has the parameters of the one that it stands for, see `perpixel.models.optimize`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.layers.convolution import convolve_3x3, fold_norm
from perpixel.layers.winograd import Part, Window, convolve, pays, prepare
from perpixel.models.depth_anything.model import DepthAnythingDepthEstimationHead
from perpixel.models.dpt.heads import DPTDepthEstimationHead
from perpixel.models.dpt.neck import DPTPreActResidualLayer, DPTReassembleLayer

# Rows of the enlarged map that exist at once.
STRIP = 48
# Up to so many pixels a convolution's time is that of laying out its weights.
FEW_PIXELS = 256


class QuickReassemble(DPTReassembleLayer):
    """A reassembling layer whose halving is one product of matrices, which leaves the order of the weights alone."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, c', factor · h, factor · w), rounded up where the factor is below 1."""
        resize = self.resize
        if type(resize) is not nn.Conv2d or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        assert resize.bias is not None
        stride = resize.stride[0]
        rows, columns = (x.shape[2] - 1) // stride + 1, (x.shape[3] - 1) // stride + 1
        if rows * columns > FEW_PIXELS:
            return super().forward(x)
        x = self.projection(x)
        squares = functional.unfold(x, 3, padding=1, stride=stride)  # (b, 9 c, rows · columns)
        weight = resize.weight.flatten(1).expand(len(x), -1, -1)
        return torch.baddbmm(resize.bias[:, None], weight, squares).view(len(x), -1, rows, columns)


class QuickResidual(DPTPreActResidualLayer):
    """A residual unit whose ReLUs, batch norms and addition cost no pass of their own."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → the same shape."""
        inner = convolve_3x3(x, *fold_norm(self.convolution1, self.batch_norm1), relu_before=True, relu=True)
        return convolve_3x3(inner, *fold_norm(self.convolution2, self.batch_norm2), add=x)


class QuickDepthHead(DPTDepthEstimationHead):
    """The depth head, which never holds the whole enlarged map."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, 2 h, 2 w)."""
        first, _, second, _, last, bound = self.head
        if self.projection is not None:
            x = convolve_3x3(x, self.projection.weight, self.projection.bias, relu=True)
        assert isinstance(first, nn.Conv2d)
        x = convolve_3x3(x, first.weight, first.bias)
        depth: Tensor = bound(enlarge_and_map(x, (2 * x.shape[2], 2 * x.shape[3]), second, last))
        return depth


class QuickDepthAnythingHead(DepthAnythingDepthEstimationHead):
    """The same for Depth Anything."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(b, c, h, w) → (b, *size), above 0 and, if metric, up to `max_depth`."""
        x = convolve_3x3(x, self.conv1.weight, self.conv1.bias)
        depth = enlarge_and_map(x, size, self.conv2, self.conv3)
        return (depth.sigmoid() if self.metric else self.bound(depth)) * self.max_depth


def enlarge_and_map(x: Tensor, size: tuple[int, int], second: nn.Module, last: nn.Module) -> Tensor:
    """Enlarge, then a 3×3 convolution, a ReLU and a 1×1 convolution to one channel, strip by strip.

    Args:
        x: (b, c, h, w).
        size: height and width of the result.
        second: the 3×3 convolution.
        last: the 1×1 convolution.

    Returns:
        (b, *size).
    """
    assert isinstance(second, nn.Conv2d) and isinstance(last, nn.Conv2d)
    height, width = size
    if not pays(second.in_channels, second.out_channels, min(STRIP, height) * width, x):
        larger = functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
        y: Tensor = last(functional.relu(second(larger), inplace=True))
        return y.squeeze(1)
    kernel = prepare(second.weight, second.bias)
    out = x.new_empty(len(x), height, width)
    for i in range(len(x)):
        plane = x[i].detach().permute(1, 2, 0).contiguous()  # (h, w, c)
        for top in range(0, height, STRIP):
            bottom = min(height, top + STRIP)
            above, below = max(0, top - 1), min(height, bottom + 1)
            larger = _enlarged_rows(plane, above, below, size)  # (below - above, W, c)
            inner = out.new_empty(bottom - top, width, second.out_channels)
            window = Window(0, bottom - top, 0, width)
            convolve([Part(larger, top - above)], kernel, inner, window, relu=True)
            mapped = functional.linear(inner, last.weight.flatten(1), last.bias)  # (rows, W, 1)
            out[i, top:bottom] = mapped.squeeze(2)
    return out


def _enlarged_rows(plane: Tensor, above: int, below: int, size: tuple[int, int]) -> Tensor:
    """Some rows of the bilinear enlargement of (h, w, c) to `size`, with aligned corners: (rows, W, c)."""
    before, after, share = _between(plane.shape[1], size[1], 0, size[1])
    over, under, weight = _between(plane.shape[0], size[0], above, below)
    first = int(over[0])
    needed = plane[first : int(under[-1]) + 1]
    # Rows and columns are picked and mixed in place: `interpolate` would turn the order of the memory twice.
    wide = needed.index_select(1, before).lerp_(needed.index_select(1, after), share[:, None])
    return wide.index_select(0, over - first).lerp_(wide.index_select(0, under - first), weight[:, None, None])


def _between(count: int, larger: int, begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where `count` points lie among `larger`, both ends aligned: of each in the range the two beside, and how far."""
    places = torch.arange(begin, end, dtype=torch.float32) * ((count - 1) / max(1, larger - 1))
    before = places.long().clamp(max=count - 1)
    return before, (before + 1).clamp(max=count - 1), places - before
