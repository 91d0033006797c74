"""A photograph in, its depth out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import CheckpointError, InputError
from perpixel.images.read import ImageLike, Photo, read_photo
from perpixel.ops.tiling import memory_bytes, plan_tiles, tile_weight
from perpixel.results.depth import DepthMap
from perpixel.tasks.dense import dense_processor, family_of
from perpixel.tasks.depth_memory import result_memory, working_memory
from perpixel.tasks.precision import Engine, Precision, Quantize, by_openvino, check_device, check_engine, ready

if TYPE_CHECKING:
    import torch

    from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
    from perpixel.models.dpt.model import DPTForDepthEstimation
    from perpixel.models.dpt.processor import DPTImageProcessor
    from perpixel.ops.depth import Kind

    Network = DPTForDepthEstimation | DepthAnythingForDepthEstimation

Detail = Literal["whole", "tiled"]

DEFAULT_MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
DETAILS = ("whole", "tiled")
FAMILIES = ("depth_anything", "dpt")
# These predict metres, and their configurations do not say so.
_METRIC_NAMES = re.compile(r"dpt-dinov2-\w+-(nyu|kitti)")
# Neighbouring tiles share this part of their side.
OVERLAP = 0.25
# Rows that are enlarged to the image's size at once.
STRIP = 256


@dataclass(frozen=True)
class DepthEstimator:
    """A loaded model with the settings that its images are prepared with; `depth` takes it as `model`.

    Attributes:
        network: a `DPTForDepthEstimation` or a `DepthAnythingForDepthEstimation`.
        processor: makes its input.
        kind: what its numbers are; None for what its configuration says.
    """

    network: Network
    processor: DPTImageProcessor
    kind: Kind | None = None

    @property
    def output_kind(self) -> Kind:
        """ "metric" for metres, "inverse" for inverse depth without unit."""
        if self.kind is not None:
            return self.kind
        config = self.network.config
        said = getattr(config, "depth_estimation_type", None) or config.depth_loss
        return "metric" if said == "metric" else "inverse"


def depth(
    image: ImageLike | Photo,
    *,
    model: str | os.PathLike[str] | Network | DepthEstimator | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    max_memory: int | str | None = None,
    detail: Detail = "whole",
    size: int | None = None,
    kind: Kind | None = None,
) -> DepthMap:
    """Estimate how far away each pixel is.

    Args:
        image: a photograph: a path, bytes, a PIL image, an array or a tensor.
        model: a Hub id or a folder of a DPT or a Depth Anything, or a loaded one; `load_depth_model` loads a model
            once for many images. If not given, Depth Anything V2 of the smallest size, from the Hub.
        device: where to compute, such as "cuda"; the CPU if not given, or where a loaded model is.
        dtype: "bf16" computes in half precision, which is faster on processors and GPUs that have it, with somewhat
            other numbers; "fp16" is for GPUs. Full precision if not given, or a loaded model's own.
        engine: "openvino" computes with OpenVINO on the CPU (the `export` extra): faster, with numbers within 1e-3 of
            their deviation in float32. The first call with a model converts it, which takes a minute or more.
        quantize: "int8" computes with weights and activations of 8 bits by OpenVINO, with a small loss. What the model
            is shown first decides how its numbers are rounded: this image, or the `calibration` it was loaded with.
        max_memory: the most working memory, beside weights and image, that it may take, such as "4GB". It is checked
            before the work; a smaller input would change the result, so it is never taken by itself.
        detail: "whole" gives the image to the model at once, at the size that it was trained for. "tiled" then goes
            over an image larger than that in overlapping tiles of its own pixels, brings each to the whole image's
            depth by least squares of scale and shift, and blends them: finer edges, for a time that grows with the
            pixels.
        size: the side in pixels of what the model sees, the other follows the image's aspect; if not given, as its
            files say. Larger shows finer detail, and far from the trained size worse depth.
        kind: what the model's numbers are, "inverse" or "metric", where its configuration does not say it.

    Returns:
        A `DepthMap` of the image's size: of kind "metric" for models of metres, else "inverse".

    Raises:
        InputError: for an image that cannot be used, or a `max_memory` that is too small; the message has the needed
            number.
        CheckpointError: for a model that cannot be loaded, such as one from the Hub without a network.

    Example:
        >>> room = depth("room.jpg")  # doctest: +SKIP
        >>> room.align({(120, 80): 1.5, (400, 60): 4.0}).save("room.png")  # doctest: +SKIP
    """
    check_depth_options(detail, size)
    limit = None if max_memory is None else memory_bytes(max_memory)
    photo = image if isinstance(image, Photo) else read_photo(image)
    estimator = load_depth_model(model, device, dtype, engine, quantize, [photo], kind=kind)
    values = estimate_depth(estimator, photo.pixels, detail=detail, size=size, limit=limit)
    return DepthMap(values, kind=estimator.output_kind, image=photo.pixels, icc_profile=photo.icc_profile)


def check_depth_options(detail: Detail, size: int | None) -> None:
    """Refuse a detail or a size that `depth` does not know.

    Raises:
        InputError: one of them is none.
    """
    if detail not in DETAILS:
        raise InputError(f"detail={detail!r} is not known: use one of {', '.join(DETAILS)}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1):
        raise InputError(f"size is {size!r}: give the side that the model sees, in whole pixels, such as 518")


def load_depth_model(
    model: str | os.PathLike[str] | Network | DepthEstimator | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    calibration: Sequence[ImageLike | Photo] | None = None,
    *,
    kind: Kind | None = None,
) -> DepthEstimator:
    """Load a model and the way its images are prepared, once for many images.

    The preparation is the checkpoint's own, but images keep their aspect: many files of transformers say to distort
    them to a square, which the models were not trained with.

    Args:
        model: as in `depth`.
        device: as in `depth`.
        dtype: as in `depth`.
        engine: as in `depth`.
        quantize: as in `depth`.
        calibration: photographs, such as 16, that the model is shown when it is first quantised; the result is
            kept, and they are not looked at again.
        kind: as in `depth`.

    Returns:
        The model in eval mode on its device, and its processor.

    Raises:
        InputError: there is no such device or kind.
        CheckpointError: the model cannot be loaded, or is none of depth.
    """
    from perpixel.export.runtime import ExportedModel, is_exported, open_exported
    from perpixel.ops.depth import KINDS

    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r} is no kind of depth: use one of {', '.join(KINDS)}")
    check_device(device)
    if check_engine(engine, quantize):
        shown = None if calibration is None else [_shown(each) for each in calibration]
        model = cast(Any, by_openvino(DEFAULT_MODEL if model is None else model, "depth", dtype, quantize, shown))
    if is_exported(model):
        opened: Any = open_exported(cast(Any, model), "depth").to(device)
        return DepthEstimator(opened, opened.processor, kind or opened.about.depth_kind or None)
    if isinstance(model, DepthEstimator) and isinstance(model.network, ExportedModel):
        return model if kind is None else replace(model, kind=kind)
    loaded = model is None or isinstance(model, (str, os.PathLike))
    if isinstance(model, DepthEstimator):
        network, processor, kind = model.network, model.processor, kind or model.kind
    elif model is None or isinstance(model, (str, os.PathLike)):
        source = DEFAULT_MODEL if model is None else model
        network = _load(source)
        processor = dense_processor(source, network.config)
        kind = kind or ("metric" if _METRIC_NAMES.fullmatch(Path(source).name) else None)
    else:
        network, processor = model, dense_processor(None, model.config)
    return DepthEstimator(ready(network, device, dtype, loaded=loaded), processor, kind)


def _shown(image: ImageLike | Photo) -> Callable[[Any], torch.Tensor]:
    """What makes the network's input of an image, with its processor."""

    def pixels(processor: Any) -> torch.Tensor:
        photo = image if isinstance(image, Photo) else read_photo(image)
        inputs = processor(photo.pixels, return_tensors="pt", input_data_format="channels_last")
        return cast("torch.Tensor", inputs["pixel_values"])

    return pixels


def _load(source: str | os.PathLike[str]) -> Network:
    from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
    from perpixel.models.dpt.model import DPTForDepthEstimation

    family = family_of(source, FAMILIES)
    if family == "depth_anything":
        return DepthAnythingForDepthEstimation.from_pretrained(source)
    if family == "dpt":
        return DPTForDepthEstimation.from_pretrained(source)
    raise CheckpointError(
        f"{source} is {'a ' + family if family else 'of no known family'}, and depth needs a model of the type "
        f"{' or '.join(FAMILIES)}: name one such as {DEFAULT_MODEL}"
    )


def estimate_depth(
    estimator: DepthEstimator,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    detail: Detail = "whole",
    size: int | None = None,
    limit: int | None = None,
) -> NDArray[np.float32]:
    """Run the network on an image, whole or in tiles.

    Args:
        estimator: a loaded model.
        pixels: (h, w, 3) uint8 or uint16.
        detail: as in `depth`.
        size: as in `depth`.
        limit: the most bytes of working memory, or None for no limit.

    Returns:
        (h, w) float32, in the model's own numbers.

    Raises:
        InputError: the limit is too small.
    """
    height, width = pixels.shape[:2]
    side = _tile_side(estimator, size)
    seen = input_size(estimator, (height, width), size)
    tiled = detail == "tiled" and (height > seen[0] or width > seen[1]) and max(height, width) > side
    if limit is not None:
        tile = input_size(estimator, (min(side, height), min(side, width)), size) if tiled else (0, 0)
        largest = max(seen, tile, key=np.prod)
        needed = working_memory(estimator.network, *largest) + result_memory(height, width, pixels.itemsize, tiled)
        if needed > limit:
            raise InputError(
                f"max_memory is {limit / 1e6:.0f} MB: this model needs {needed / 1e6:.0f} MB for {width}×{height} "
                f"pixels, which it sees as {largest[1]}×{largest[0]} (width×height): give that, or a smaller size="
            )
    whole = _predict(estimator, pixels, size)
    if not tiled:
        return enlarged(estimator.processor, whole, (height, width))
    return _tiled(estimator, pixels, whole, side, size)


def input_size(estimator: DepthEstimator, shape: tuple[int, int], size: int | None = None) -> tuple[int, int]:
    """The height and width at which the model sees an image of `shape` = (h, w)."""
    from perpixel.models.dpt.sizes import resized_size

    processor = estimator.processor
    if not processor.do_resize and size is None:
        return shape
    wanted = (processor.size["height"], processor.size["width"]) if size is None else (size, size)
    return resized_size(
        *shape, wanted, keep_aspect_ratio=processor.keep_aspect_ratio, multiple=processor.ensure_multiple_of
    )


def _predict(
    estimator: DepthEstimator, pixels: NDArray[np.uint8] | NDArray[np.uint16], size: int | None
) -> torch.Tensor:
    """The network's depth of an image, (h', w') float32 on the CPU, not yet of the image's size."""
    return run_estimator(estimator, depth_input(estimator, pixels, size))[0].cpu()


def depth_input(
    estimator: DepthEstimator, pixels: NDArray[np.uint8] | NDArray[np.uint16], size: int | None = None
) -> torch.Tensor:
    """Prepare an image for the network: (h, w, 3) uint8 or uint16 → (1, 3, H, W); `size` as in `depth`."""
    options: dict[str, Any] = {} if size is None else {"size": size, "do_resize": True}
    inputs = estimator.processor(pixels, return_tensors="pt", input_data_format="channels_last", **options)
    return cast("torch.Tensor", inputs["pixel_values"])


def run_estimator(estimator: DepthEstimator, values: torch.Tensor) -> torch.Tensor:
    """Run the network: (b, 3, H, W) → (b, h', w') float32 on the network's device, not yet of the images' sizes."""
    import torch

    network = estimator.network
    with torch.inference_mode():
        found = network(values.to(device=network.device, dtype=network.dtype), return_dict=True)
        return cast("torch.Tensor", found.predicted_depth.float())


def enlarged(processor: DPTImageProcessor, depth: torch.Tensor, shape: tuple[int, int]) -> NDArray[np.float32]:
    """(h', w') → (h, w), bilinearly, strip by strip: the temporary memory is that of one strip."""
    from perpixel.models.dpt.postprocess import Axis, axis, interpolated
    from perpixel.models.outputs import DepthEstimatorOutput

    if processor.do_pad:  # only where the caller made the processor: the margins have to go
        output = DepthEstimatorOutput(predicted_depth=depth[None])
        found = processor.post_process_depth_estimation(output, [shape])[0]["predicted_depth"]
        return cast(NDArray[np.float32], found.numpy())
    rows, columns = (axis(length, wanted, None) for length, wanted in zip(depth.shape, shape, strict=True))
    result = np.empty(shape, np.float32)
    for top in range(0, shape[0], STRIP):
        part = Axis(*(values[top : top + STRIP] for values in rows))
        result[top : top + STRIP] = interpolated(depth, part, columns).numpy()
    return result


def _tile_side(estimator: DepthEstimator, size: int | None) -> int:
    """A tile's side in pixels of the image: what the model sees at once, neither enlarged nor made smaller."""
    processor = estimator.processor
    wanted = min(processor.size["height"], processor.size["width"]) if size is None else size
    multiple = processor.ensure_multiple_of
    return max(1, round(wanted / multiple)) * multiple


def _tiled(
    estimator: DepthEstimator,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    whole: torch.Tensor,
    side: int,
    size: int | None,
) -> NDArray[np.float32]:
    from perpixel.ops.depth import align_tile

    height, width = pixels.shape[:2]
    coarse = enlarged(estimator.processor, whole, (height, width))
    finite = coarse[np.isfinite(coarse)]
    if not finite.size or np.ptp(finite) <= 1e-6 * np.abs(finite).max():
        return coarse  # there is no depth to bring the tiles to, and blending would add rounding's traces
    # Metres of 0 or less would be unknown pixels; inverse depth of the known models has none below 0 either.
    least = float(finite.min())
    floor = least / 2 if least > 0 else least
    # What the whole image's depth resolves: finer detail must not take part in the fit.
    cell = max(1, round(height / whole.shape[0]), round(width / whole.shape[1]))
    overlap = int(side * OVERLAP)
    total, weights = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for tile in plan_tiles(np.ones((height, width), bool), side, overlap):
        shape = tile.bottom - tile.top, tile.right - tile.left
        fine = enlarged(estimator.processor, _predict(estimator, pixels[tile.window], size), shape)
        fitted = align_tile(fine, coarse[tile.window], cell)
        weight = tile_weight(tile, height, width, overlap)
        total[tile.window] += weight * np.maximum(fitted, floor)
        weights[tile.window] += weight
    return np.divide(total, weights, out=total)
