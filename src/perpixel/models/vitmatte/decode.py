"""The decoder of ViTMatte at inference: the same numbers in tiles, in little memory, where they are needed.

Batch norms are folded into the convolutions. A large image is decoded area by area, so that the memory does not grow
with it; inside an area each fusion block is computed tile by tile. Areas and tiles come with the neighbours that their
convolutions read, so they equal the same piece of the whole. Where only some pixels are needed, whatever they do not
depend on is skipped at every level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.layers.convolution import fold_norm
from perpixel.layers.precision import lowered
from perpixel.layers.winograd import Enlarged, Kernel, Part, Window, convolve, pays, prepare

if TYPE_CHECKING:
    from perpixel.models.vitmatte.model import VitMatteBasicConv3x3, VitMatteDetailCaptureModule, VitMatteFusionBlock

TILE = 128
# Multiplications of a level, in the plain way, that are worth loading the compiled loops of the faster one: that takes
# 0.03 s and 49 MB in each process, as much time as they save a small model on one photograph.
LEAST_WORK = 1 << 31
# Side of an area in pixels.
AREA = 1024
# How far beyond an area the decoder reads, in patches: one for the first enlargement, almost two for all that follows.
MARGIN = 3


class _Convolution(NamedTuple):
    """A 3×3 convolution with its batch norm folded in; `quick` where the tiles are worth the faster way."""

    weight: Tensor
    bias: Tensor
    quick: Kernel | None = None


class _Tile(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int


def features_read(needed: Tensor, patch: int, area: int | None = None) -> Tensor:
    """Which of the backbone's features `decode` reads for the needed pixels, with the same arguments.

    Args:
        needed: (b, 1, H, W) bool.
        patch: side of the square of pixels that a feature stands for, a power of two.
        area: see `decode`.

    Returns:
        (b, H / patch, W / patch) bool.
    """
    b, _, height, width = needed.shape
    read = torch.zeros(b, height // patch, width // patch, dtype=torch.bool)
    for i in range(b):
        for core, wide in _areas(height, width, patch, area):
            wanted = needed[i, 0, core.top : core.bottom, core.left : core.right]
            mask = _placed(wanted, core, wide)
            if bool(mask.any()):
                size = wide.bottom - wide.top, wide.right - wide.left
                sizes = [(size[0] >> level, size[1] >> level) for level in range(patch.bit_length() - 1)]
                place = read[i, wide.top // patch : wide.bottom // patch, wide.left // patch : wide.right // patch]
                place |= _read_by(_tiles(mask, sizes)[-1], *sizes[-1])
    return read


def decode(
    decoder: VitMatteDetailCaptureModule,
    features: Tensor,
    pixel_values: Tensor,
    needed: Tensor | None = None,
    area: int | None = None,
) -> Tensor:
    """Alphas from the backbone's features, as `decoder(features, pixel_values)` gives them in eval mode.

    Args:
        decoder: the detail capture module, in eval mode.
        features: (b, c, H / 16, W / 16).
        pixel_values: (b, 4, H, W).
        needed: (b, 1, H, W) bool; the result is 0 in tiles without a needed pixel. All are needed if not given.
        area: side of the areas that are decoded one after the other, divisible by the patch size; a smaller one takes
            less memory and more time. `AREA` if not given.

    Returns:
        (b, 1, H, W) in [0, 1], float32.
    """
    b, _, height, width = pixel_values.shape
    features, pixel_values = lowered(features), lowered(pixel_values)
    patch = 2 ** len(decoder.fusion_blocks)
    alphas = torch.zeros(b, 1, height, width, dtype=torch.float32, device=pixel_values.device)
    for i in range(b):
        for core, wide in _areas(height, width, patch, area):
            wanted = None if needed is None else needed[i, 0, core.top : core.bottom, core.left : core.right]
            if wanted is not None and not bool(wanted.any()):
                continue
            inside = wide == _Tile(0, height, 0, width) and wanted is None
            alphas[i, :, core.top : core.bottom, core.left : core.right] = decode_area(
                decoder,
                features[i, :, wide.top // patch : wide.bottom // patch, wide.left // patch : wide.right // patch],
                pixel_values[i, :, wide.top : wide.bottom, wide.left : wide.right],
                None if inside else _placed(wanted, core, wide),
            )[:, core.top - wide.top : core.bottom - wide.top, core.left - wide.left : core.right - wide.left]
    return alphas


def _areas(height: int, width: int, patch: int, area: int | None) -> Iterator[tuple[_Tile, _Tile]]:
    """The areas of an image, each alone and with its margin."""
    margin = MARGIN * patch
    for core in _grid(height, width, area or AREA):
        yield (
            core,
            _Tile(
                max(0, core.top - margin),
                min(height, core.bottom + margin),
                max(0, core.left - margin),
                min(width, core.right + margin),
            ),
        )


def _placed(wanted: Tensor | None, core: _Tile, wide: _Tile) -> Tensor:
    """The needed pixels of an area's core as a mask of the area with its margin."""
    mask = torch.zeros(wide.bottom - wide.top, wide.right - wide.left, dtype=torch.bool)
    part = mask[core.top - wide.top : core.bottom - wide.top, core.left - wide.left : core.right - wide.left]
    if wanted is None:
        part[:] = True
    else:
        part.copy_(wanted)
    return mask


def decode_area(
    decoder: VitMatteDetailCaptureModule, features: Tensor, pixels: Tensor, needed: Tensor | None
) -> Tensor:
    """Decode one area of one image: (c, h, w) features and (4, H, W) pixels → (1, H, W), 0 where nothing is needed."""
    details = _details(decoder, pixels)
    fusion = cast("Iterable[VitMatteFusionBlock]", decoder.fusion_blocks)
    tiles = _tiles(needed, [tuple(d.shape[-2:]) for d in details])
    blocks = [
        _with_quick(_fold(block.conv.conv, block.conv.batch_norm), level, features)
        for block, level in zip(fusion, reversed(tiles[: len(decoder.fusion_blocks)]), strict=True)
    ]
    x = features[None].contiguous(memory_format=torch.channels_last)  # (1, c, h, w)
    for level in range(len(blocks) - 1, 0, -1):
        block = blocks[len(blocks) - 1 - level]
        detail = details[level]
        out = _empty(x, block.weight.shape[0], detail.shape[-2:])
        for tile in tiles[level]:
            _fuse(x, detail, block, tile, out, tile)
        x = out
    head = decoder.matting_head.matting_convs
    first = _fold(head[0], head[1])
    last = head[3]
    _, height, width = pixels.shape
    alpha = torch.zeros(1, height, width, dtype=torch.float32, device=pixels.device)
    for tile in tiles[0]:
        wide = _grow(tile, height, width)
        size = torch.Size((wide.bottom - wide.top, wide.right - wide.left))
        fused = _empty(x, blocks[-1].weight.shape[0], size)  # (1, c, tile + 2, tile + 2)
        _fuse(x, details[0], blocks[-1], wide, fused, _Tile(0, size[0], 0, size[1]))
        middle = functional.conv2d(fused, first.weight, first.bias, padding=1).relu_()
        middle = middle[:, :, tile.top - wide.top :, tile.left - wide.left :]
        middle = middle[:, :, : tile.bottom - tile.top, : tile.right - tile.left]
        logits = last(middle)
        alpha[:, tile.top : tile.bottom, tile.left : tile.right] = torch.sigmoid(logits[0].float())
    return alpha


def _fold(convolution: nn.Module, norm: nn.Module) -> _Convolution:
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    weight, bias = fold_norm(convolution, norm)
    assert bias is not None
    return _Convolution(weight.contiguous(memory_format=torch.channels_last), bias)


def _with_quick(block: _Convolution, tiles: list[_Tile], like: Tensor) -> _Convolution:
    outputs, inputs = block.weight.shape[:2]
    pixels = sum((tile.bottom - tile.top) * (tile.right - tile.left) for tile in tiles)
    if inputs * outputs * pixels * 9 < LEAST_WORK or not pays(inputs, outputs, pixels, like, enlarging=True):
        return block
    return block._replace(quick=prepare(block.weight, block.bias))


def _details(decoder: VitMatteDetailCaptureModule, pixels: Tensor) -> list[Tensor]:
    maps = [pixels[None].contiguous(memory_format=torch.channels_last)]
    for part in cast("Iterable[VitMatteBasicConv3x3]", decoder.convstream.convs):
        folded = _fold(part.conv, part.batch_norm)
        maps.append(functional.conv2d(maps[-1], folded.weight, folded.bias, stride=2, padding=1).relu_())
    return maps


def _empty(like: Tensor, channels: int, size: torch.Size) -> Tensor:
    return torch.empty(1, channels, *size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _grow(tile: _Tile, height: int, width: int) -> _Tile:
    return _Tile(max(0, tile.top - 1), min(height, tile.bottom + 1), max(0, tile.left - 1), min(width, tile.right + 1))


def _fuse(x: Tensor, detail: Tensor, block: _Convolution, tile: _Tile, out: Tensor, place: _Tile) -> None:
    """Write one fusion block's output on one tile to a place in `out`, (1, c', …)."""
    height, width = detail.shape[-2:]
    wide = _grow(tile, height, width)
    if block.quick is not None:
        enlarged = Enlarged(_plane(x), tile.top, tile.left, _reach(x, wide))
        parts: list[Part | Enlarged] = [Part(_plane(detail), tile.top, tile.left), enlarged]
        convolve(parts, block.quick, _plane(out), Window(*place), relu=True)
        return
    larger, start = _double(x, wide)
    rows = slice(wide.top - start[0], wide.bottom - start[0])
    columns = slice(wide.left - start[1], wide.right - start[1])
    both = [detail[:, :, wide.top : wide.bottom, wide.left : wide.right], larger[:, :, rows, columns]]
    fused = functional.conv2d(torch.cat(both, dim=1), block.weight, block.bias, padding=1).relu_()
    top, left = tile.top - wide.top, tile.left - wide.left
    fused = fused[:, :, top : top + tile.bottom - tile.top, left : left + tile.right - tile.left]
    out[:, :, place.top : place.bottom, place.left : place.right] = fused


def _plane(x: Tensor) -> Tensor:
    """(1, c, h, w) → (h, w, c), no copy where the channels lie last in memory."""
    return x[0].permute(1, 2, 0).contiguous()


def _double(x: Tensor, tile: _Tile) -> tuple[Tensor, tuple[int, int]]:
    """A piece of the bilinear enlargement of x by two that holds a tile of it, and where the piece starts.

    The tile and the start count in the enlarged image. The piece ends beyond the tile, or where the image does.
    """
    top, bottom, left, right = _reach(x, tile)
    larger = functional.interpolate(
        x[:, :, top:bottom, left:right], scale_factor=2, mode="bilinear", align_corners=False
    )
    return larger, (2 * top, 2 * left)


def _reach(x: Tensor, tile: _Tile) -> tuple[int, int, int, int]:
    """The rows and columns of x that a tile of its enlargement by two is made of: begin and end of each."""
    height, width = x.shape[-2:]
    rows = max(0, tile.top // 2 - 1), min(height, (tile.bottom + 1) // 2 + 1)
    return *rows, max(0, tile.left // 2 - 1), min(width, (tile.right + 1) // 2 + 1)


def _tiles(needed: Tensor | None, sizes: Sequence[tuple[int, ...]]) -> list[list[_Tile]]:
    """The tiles to compute at every level, from full size down; a level's tiles hold all that the finer one reads."""
    levels = []
    for height, width in sizes:
        tiles = _grid(height, width, TILE)
        if needed is not None:
            tiles = [fitted for tile in tiles if (fitted := _fit(tile, needed)) is not None]
            needed = _read_by(tiles, height, width)
        levels.append(tiles)
    return levels


def _grid(height: int, width: int, side: int) -> list[_Tile]:
    return [
        _Tile(top, min(top + side, height), left, min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def _fit(tile: _Tile, needed: Tensor) -> _Tile | None:
    """The smallest rectangle of a tile that holds its needed pixels, or None if there are none."""
    part = needed[tile.top : tile.bottom, tile.left : tile.right]
    rows = part.any(dim=1).nonzero()
    if not len(rows):
        return None
    columns = part.any(dim=0).nonzero()
    return _Tile(
        tile.top + int(rows[0]),
        tile.top + int(rows[-1]) + 1,
        tile.left + int(columns[0]),
        tile.left + int(columns[-1]) + 1,
    )


def _read_by(tiles: list[_Tile], height: int, width: int) -> Tensor:
    """Which pixels of the next smaller level these tiles read; the last level's head reads one pixel further."""
    read = torch.zeros(-(-height // 2), -(-width // 2), dtype=torch.bool)
    for tile in tiles:
        top, left = max(0, tile.top - 2) // 2 - 1, max(0, tile.left - 2) // 2 - 1
        read[max(0, top) : (tile.bottom + 3) // 2 + 1, max(0, left) : (tile.right + 3) // 2 + 1] = True
    return read
