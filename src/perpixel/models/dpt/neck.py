"""DPT's neck: from the tokens of several layers to one map that grows from coarse to fine.

"Vision Transformers for Dense Prediction", Ranftl et al., 2021, arXiv 2103.13413, section 3: the tokens of a layer are
reassembled into a map (readout, projection, resampling), and a fusion joins the maps as RefineNet does. Depth Anything
has the same neck. Parameter names are those of the Hugging Face checkpoints.

Where that is exact the work is done in a cheaper order: the class token's share of the readout is computed once for all
tokens, the 1×1 projection runs before the enlargement instead of after it, and a transposed convolution whose stride is
its kernel is a product of matrices. Maps stay in the order of the tokens in memory (channels last).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.errors import ConfigError, InputError
from perpixel.layers.activation import ACTIVATIONS, activation

Readout = Literal["ignore", "add", "project"]


class Activation(nn.Module):
    """An activation by name, as a module without parameters."""

    def __init__(self, name: str) -> None:
        super().__init__()
        activation(name)  # checks the name
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to a tensor of any shape."""
        return ACTIVATIONS[self.name](x)


class Enlarge(nn.ConvTranspose2d):
    """A transposed convolution whose stride is its kernel: every input pixel becomes a square of its own."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(channels, channels, kernel_size=factor, stride=factor)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(b, c, h, w) → (b, c, factor · h, factor · w)."""
        b, _, rows, columns = x.shape
        channels, factor = self.out_channels, self.kernel_size[0]
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (factor · factor · c, c)
        bias = None if self.bias is None else self.bias.repeat(factor * factor)
        squares = functional.linear(x.permute(0, 2, 3, 1), weight, bias)  # (b, h, w, factor · factor · c)
        squares = squares.reshape(b, rows, columns, factor, factor, channels).transpose(2, 3)
        return squares.reshape(b, rows * factor, columns * factor, channels).permute(0, 3, 1, 2)


class DPTReassembleLayer(nn.Module):
    """Change the channels of a map, then its size."""

    def __init__(self, in_channels: int, channels: int, factor: float) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, channels, kernel_size=1)
        self.resize: nn.Module
        if factor <= 0:
            raise ConfigError(f"reassemble_factors holds {factor}: every factor has to be above 0")
        if factor > 1:
            self.resize = Enlarge(channels, int(factor))
        elif factor == 1:
            self.resize = nn.Identity()
        else:
            self.resize = nn.Conv2d(channels, channels, kernel_size=3, stride=int(1 / factor), padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, c', factor · h, factor · w), rounded up where the factor is below 1."""
        return cast(Tensor, self.resize(self.projection(x)))


class DPTReassembleStage(nn.Module):
    """Tokens, or maps of one size, → maps of growing size (section 3.1, "Reassemble").

    Args:
        in_channels: width of the tokens of each layer.
        sizes: channels of each map.
        factors: how many times each map becomes larger.
        readout: what becomes of the class token.
        act: the activation of the readout "project", by name.
        skipped: how many of the first maps pass through unchanged, as the hybrid's do.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        sizes: Sequence[int],
        factors: Sequence[float],
        readout: Readout = "ignore",
        act: str = "gelu",
        skipped: int = 0,
    ) -> None:
        super().__init__()
        if len(factors) != len(sizes):
            raise ConfigError(
                f"reassemble_factors has {len(factors)} values and neck_hidden_sizes has {len(sizes)}: give one factor "
                "for each map"
            )
        self.readout = readout
        self.skipped = skipped
        self.layers = nn.ModuleList()
        for i, (before, after, factor) in enumerate(zip(in_channels, sizes, factors, strict=True)):
            self.layers.append(nn.Identity() if i < skipped else DPTReassembleLayer(before, after, factor))
        if readout == "project":
            self.readout_projects = nn.ModuleList(
                nn.Sequential(nn.Identity())
                if i < skipped
                else nn.Sequential(nn.Linear(2 * width, width), Activation(act))
                for i, width in enumerate(in_channels)
            )

    def forward(self, features: Tensor, grid: tuple[int, int], index: int) -> Tensor:
        """Reassemble one map.

        Args:
            features: (b, 1 + n, c) tokens, the class token first and those of the patches last, or a map (b, c, h, w).
            grid: rows and columns of the patches.
            index: which of the maps it is.

        Returns:
            (b, c', h', w').
        """
        if index < self.skipped:
            return features
        if features.ndim == 3:
            tokens = self._read_out(features, grid, index)  # (b, h · w, c)
            features = tokens.reshape(len(tokens), *grid, -1).permute(0, 3, 1, 2)  # (b, c, h, w)
        elif self.readout != "ignore":
            raise InputError(
                f"the backbone gives maps without a class token, which readout_type={self.readout!r} needs: set "
                "readout_type='ignore', or reshape_hidden_states=False in the backbone's config if it has that"
            )
        return cast(Tensor, self.layers[index](features))

    def _read_out(self, tokens: Tensor, grid: tuple[int, int], index: int) -> Tensor:
        """(b, 1 + n, c) → (b, h · w, c)."""
        count = grid[0] * grid[1]
        if tokens.shape[1] <= count:
            raise InputError(
                f"the backbone gives {tokens.shape[1]} tokens for {grid[0]} rows and {grid[1]} columns of patches: it "
                "needs one for each and a class token"
            )
        # Register tokens, where there are any, stand between the class token and the patches.
        first, patches = tokens[:, :1], tokens[:, -count:]
        if self.readout == "ignore":
            return patches
        if self.readout == "add":
            return patches + first
        linear, act = cast(nn.Sequential, self.readout_projects[index])
        assert isinstance(linear, nn.Linear)
        width = patches.shape[2]
        shared = functional.linear(first, linear.weight[:, width:], linear.bias)  # (b, 1, c)
        return cast(Tensor, act(functional.linear(patches, linear.weight[:, :width]) + shared))


class DPTPreActResidualLayer(nn.Module):
    """Two 3×3 convolutions, each after a ReLU, added to the input (RefineNet's residual convolution unit)."""

    def __init__(self, channels: int, batch_norm: bool, bias: bool) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=bias)
        self.convolution2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=bias)
        self.batch_norm1 = nn.BatchNorm2d(channels) if batch_norm else None
        self.batch_norm2 = nn.BatchNorm2d(channels) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → the same shape."""
        added = self.convolution1(functional.relu(x))
        if self.batch_norm1 is not None:
            added = self.batch_norm1(added)
        added = self.convolution2(functional.relu(added, inplace=True))
        if self.batch_norm2 is not None:
            added = self.batch_norm2(added)
        return cast(Tensor, added + x)


class DPTFeatureFusionLayer(nn.Module):
    """Join the coarser result with the map of this size, and enlarge (section 3.1, "Fusion")."""

    def __init__(self, channels: int, batch_norm: bool, bias: bool) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, channels, kernel_size=1)
        self.residual_layer1 = DPTPreActResidualLayer(channels, batch_norm, bias)
        self.residual_layer2 = DPTPreActResidualLayer(channels, batch_norm, bias)

    def forward(self, x: Tensor, finer: Tensor | None = None, size: tuple[int, int] | None = None) -> Tensor:
        """Fuse.

        Args:
            x: (b, c, h, w), the coarser result, or the first map.
            finer: (b, c, h', w'), this level's map; resized to h × w where it has another size.
            size: of the result; twice that of `x` if not given.
        """
        if finer is not None:
            if finer.shape[2:] != x.shape[2:]:
                finer = functional.interpolate(finer, size=x.shape[2:], mode="bilinear", align_corners=False)
            x = x + self.residual_layer1(finer)
        # Both are linear and each weight of the interpolation belongs to all channels alike, so their order is free.
        x = self.projection(self.residual_layer2(x))
        size = size or (2 * x.shape[2], 2 * x.shape[3])
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class DPTFeatureFusionStage(nn.Module):
    """The fusion layers, from coarse to fine.

    Args:
        levels: how many maps there are.
        channels: of all maps.
        batch_norm: whether the residual units have batch norms.
        bias: whether their convolutions have biases.
    """

    def __init__(self, levels: int, channels: int, batch_norm: bool, bias: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DPTFeatureFusionLayer(channels, batch_norm, bias) for _ in range(levels))


class DPTNeck(nn.Module):
    """Reassemble and fuse.

    Args:
        sizes: channels of each reassembled map.
        channels: those of the fusion.
        reassemble: makes the maps; None where the backbone gives maps that already differ in size, as Swin's do.
        batch_norm: whether the fusion's residual units have batch norms.
        bias: whether their convolutions have biases.
        match_sizes: enlarge each result to the size of the next map, as Depth Anything does, rather than twice.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        channels: int,
        reassemble: DPTReassembleStage | None,
        batch_norm: bool = False,
        bias: bool = True,
        match_sizes: bool = False,
    ) -> None:
        super().__init__()
        self.reassemble_stage = reassemble
        self.convs = nn.ModuleList(nn.Conv2d(size, channels, kernel_size=3, padding=1, bias=False) for size in sizes)
        self.fusion_stage = DPTFeatureFusionStage(len(sizes), channels, batch_norm, bias)
        self.match_sizes = match_sizes

    def forward(self, features: Sequence[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """Fuse the backbone's maps.

        Args:
            features: from the first layer to the last, each (b, 1 + n, c) tokens or a map (b, c, h, w).
            grid: rows and columns of the patches.

        Returns:
            one (b, channels, h, w) for each map, from coarse to fine.
        """
        if len(features) != len(self.convs):
            raise InputError(
                f"the neck got {len(features)} maps but neck_hidden_sizes has {len(self.convs)}: choose as many stages "
                "in the backbone's out_features"
            )
        results: list[Tensor] = []
        # One map ahead and not all at once: the largest maps need most of the memory.
        own = self._map(features, grid, len(features) - 1)
        for i, layer in zip(reversed(range(len(features))), self.fusion_stage.layers, strict=True):
            finer = self._map(features, grid, i - 1) if i else None
            size = (finer.shape[2], finer.shape[3]) if self.match_sizes and finer is not None else None
            results.append(layer(results[-1], own, size) if results else layer(own, None, size))
            if finer is not None:
                own = finer
        return results

    def _map(self, features: Sequence[Tensor], grid: tuple[int, int], index: int) -> Tensor:
        x = features[index]
        if self.reassemble_stage is not None:
            x = self.reassemble_stage(x, grid, index)
        return cast(Tensor, self.convs[index](x.contiguous(memory_format=torch.channels_last)))
