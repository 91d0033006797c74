"""A photograph and a trimap in, a matte out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.read import ImageLike, Photo, read_photo, read_trimap
from perpixel.ops.refine import refine_closed_form
from perpixel.ops.tiling import Tile, memory_bytes, plan_tiles, tile_weight
from perpixel.ops.trimap import UNKNOWN, check_trimap, snap_trimap
from perpixel.results import Matte
from perpixel.tasks.precision import Engine, Precision, Quantize, by_openvino, check_device, check_engine, ready

if TYPE_CHECKING:
    import torch

    from perpixel.backbones.vitdet import Region
    from perpixel.models.vitmatte.model import VitMatteForImageMatting

DEFAULT_MODEL = "vitmatte-nano"
# A tile sees this far beyond the pixels that it is trusted for.
TILE_OVERLAP = 128
# The areas that the decoder works on, the fastest first; the result is the same.
AREAS = (1024, 768, 512, 384, 256)
SMALLEST_TILE = 384


def matte(
    image: ImageLike | Photo,
    trimap: ImageLike,
    *,
    model: str | os.PathLike[str] | VitMatteForImageMatting | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    max_memory: int | str | None = None,
    refine: Literal["closed-form"] | None = None,
) -> Matte:
    """Estimate how much of each pixel belongs to the foreground.

    Args:
        image: a photograph: a path, bytes, a PIL image, an array or a tensor.
        trimap: of the image's size; 255 is foreground, 0 background, 128 unknown.
        model: an embedded name, a Hub id, a folder, or a loaded model (which saves loading it again); the embedded
            `vitmatte-nano` if not given.
        device: where to compute, such as "cuda"; the CPU if not given, or where a loaded model is.
        dtype: "bf16" computes in half precision, which is faster on processors and GPUs that have it, with somewhat
            other numbers; "fp16" is for GPUs. Full precision if not given, or a loaded model's own.
        engine: "openvino" computes with OpenVINO on the CPU (the `export` extra): faster, with numbers within 1e-3 of
            their deviation in float32. The first call with a model converts it, which takes a minute or more.
        quantize: "int8" computes with weights and activations of 8 bits by OpenVINO, with a small loss. What the model
            is shown first decides how its numbers are rounded: this image, or the `calibration` it was loaded with.
        max_memory: the most working memory, beside weights and image, that the model may take, such as "4GB". The
            decoder then goes over the unknown pixels in overlapping areas of a size that fits, which gives the same
            numbers. Only where the backbone itself has no room for the whole image, the image is cut into overlapping
            tiles; each sees only its surroundings, so soft pixels can come out a little different.
        refine: "closed-form" sharpens the edges after the model by solving closed-form matting (the `refine` extra);
            it takes one or two seconds for a photograph of 800 pixels.

    Returns:
        A `Matte` of the image's size. Its alpha is exactly 0 or 1 where the trimap is known.

    Raises:
        InputError: for an image or a trimap that cannot be used.
        CheckpointError: for a model that cannot be loaded.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> trimap = np.full((40, 60), 128, np.uint8)
        >>> trimap[:, :20], trimap[:, 40:] = 255, 0
        >>> matte(image, trimap).alpha.shape
        (40, 60)
    """
    photo = image if isinstance(image, Photo) else read_photo(image)
    size = (photo.height, photo.width)
    known = snap_trimap(read_trimap(trimap))
    check_trimap(known, size)
    limit = None if max_memory is None else memory_bytes(max_memory)
    alpha: NDArray[np.float32] = np.divide(known, 255, dtype=np.float32)
    unknown = known == UNKNOWN
    if unknown.any():
        network = load_matting_model(model, device, dtype, engine, quantize, [(photo, known)])
        estimate = estimate_alpha(network, photo.pixels, known, limit)
        alpha[unknown] = estimate[unknown]
        if refine is not None:
            alpha = refine_closed_form(photo.rgb_float, alpha, known)
    return Matte(alpha=alpha, image=photo.pixels, icc_profile=photo.icc_profile, trimap=known)


def load_matting_model(
    model: str | os.PathLike[str] | VitMatteForImageMatting | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    calibration: Sequence[tuple[ImageLike | Photo, ImageLike]] | None = None,
) -> VitMatteForImageMatting:
    """The model that a task is to use: loaded by its name, or as given.

    Args:
        model: as in `matte`.
        device: as in `matte`.
        dtype: as in `matte`.
        engine: as in `matte`.
        quantize: as in `matte`.
        calibration: photographs with their trimaps, such as 16, that the model is shown when it is first quantised;
            the result is kept, and they are not looked at again.

    Returns:
        The model in eval mode on its device.
    """
    from perpixel.export.runtime import is_exported, open_exported
    from perpixel.models.vitmatte.model import VitMatteForImageMatting

    check_device(device)
    if check_engine(engine, quantize):
        shown = None if calibration is None else [_shown(*pair) for pair in calibration]
        model = cast(Any, by_openvino(DEFAULT_MODEL if model is None else model, "matting", dtype, quantize, shown))
    if is_exported(model):
        # It has all that this task uses of the class.
        return cast("VitMatteForImageMatting", open_exported(cast(Any, model), "matting").to(device))
    if isinstance(model, VitMatteForImageMatting):
        return ready(model, device, dtype)
    network = VitMatteForImageMatting.from_pretrained(DEFAULT_MODEL if model is None else model)
    return ready(network, device, dtype, loaded=True)


def _shown(image: ImageLike | Photo, trimap: ImageLike) -> Callable[[Any], torch.Tensor]:
    """What makes the network's input of an image and its trimap, with its processor."""

    def pixels(processor: Any) -> torch.Tensor:
        photo = image if isinstance(image, Photo) else read_photo(image)
        known = snap_trimap(read_trimap(trimap))
        check_trimap(known, (photo.height, photo.width))
        inputs = processor(images=photo.pixels, trimaps=known, return_tensors="pt", input_data_format="channels_last")
        return cast("torch.Tensor", inputs["pixel_values"])

    return pixels


def estimate_alpha(
    network: VitMatteForImageMatting,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    trimap: NDArray[np.uint8],
    limit: int | None = None,
) -> NDArray[np.float32]:
    """Run the network on an image and its trimap, whole or in tiles.

    Args:
        network: in eval mode.
        pixels: (h, w, 3) uint8 or uint16.
        trimap: (h, w) of 0, 128 and 255.
        limit: the most bytes of working memory, or None for no limit.

    Returns:
        (h, w) float32 in [0, 1]; only unknown pixels are sure to be computed.
    """
    height, width = trimap.shape
    if limit is None:
        return _run(network, pixels, trimap)
    for area in AREAS:
        if network.working_memory(height, width, area) <= limit:
            return _run(network, pixels, trimap, area=area)
    multiple = network.tile_multiple
    side = _largest_tile(network, limit, TILE_OVERLAP + multiple)
    total = np.zeros((height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    for tile in plan_tiles(trimap == UNKNOWN, side, TILE_OVERLAP, multiple):
        weight = tile_weight(tile, height, width, TILE_OVERLAP)
        total[tile.window] += weight * _run(network, pixels, trimap, tile, AREAS[-1])
        weights[tile.window] += weight
    return np.divide(total, weights, out=total, where=weights > 0)


def _largest_tile(network: VitMatteForImageMatting, limit: int, least: int) -> int:
    side = max(SMALLEST_TILE, -(-least // 32) * 32)
    if network.working_memory(side, side, AREAS[-1]) > limit:
        needed = network.working_memory(side, side, AREAS[-1]) / 1e6
        raise InputError(f"max_memory is {limit / 1e6:.0f} MB: this model needs at least {needed:.0f} MB")
    while network.working_memory(side + 32, side + 32, AREAS[-1]) <= limit:
        side += 32
    return side


def _run(
    network: VitMatteForImageMatting,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    trimap: NDArray[np.uint8],
    tile: Tile | None = None,
    area: int | None = None,
) -> NDArray[np.float32]:
    """Alphas of an image, or of a tile of it."""
    place = None if tile is None else network.region(tile.top, tile.left, *trimap.shape)
    if tile is not None:
        pixels, trimap = pixels[tile.window], trimap[tile.window]
    height, width = trimap.shape
    alphas = run_matting(network, *matting_input(pixels, trimap), region=place, area=area)
    return alphas[0, 0, :height, :width].cpu().numpy()


def matting_input(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], trimap: NDArray[np.uint8]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prepare an image and its trimap for the network.

    Args:
        pixels: (h, w, 3) uint8 or uint16.
        trimap: (h, w) of 0, 128 and 255.

    Returns:
        the planes (1, 4, H, W), filled up to multiples of 32, and which pixels are needed, (1, 1, H, W) bool.
    """
    import torch

    from perpixel.models.vitmatte.processor import VitMatteImageProcessor

    processor = VitMatteImageProcessor()
    inputs = processor(images=pixels, trimaps=trimap, return_tensors="pt", input_data_format="channels_last")
    height, width = trimap.shape
    values: torch.Tensor = inputs["pixel_values"]
    needed = torch.zeros(1, 1, *values.shape[2:], dtype=torch.bool)
    needed[0, 0, :height, :width] = torch.from_numpy(trimap == UNKNOWN)
    return values, needed


def run_matting(
    network: VitMatteForImageMatting,
    values: torch.Tensor,
    needed: torch.Tensor,
    *,
    region: Region | None = None,
    area: int | None = None,
) -> torch.Tensor:
    """Run the network on what `matting_input` made, or on a batch of such; see `VitMatteForImageMatting.forward`.

    Returns:
        (b, 1, H, W) float32 in [0, 1], on the network's device; only needed pixels are sure to be computed.
    """
    import torch

    with torch.inference_mode():
        values = values.to(device=network.device, dtype=network.dtype)
        return cast("torch.Tensor", network(values, needed=needed, region=region, area=area).alphas.float())
