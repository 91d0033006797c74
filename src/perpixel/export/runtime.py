"""An exported file as a model: what the tasks ask of one, computed by the file's own runtime.

ONNX Runtime runs `.onnx`, OpenVINO `.xml` and torch `.pt2`, all on the CPU. A file is a program: run only those whose
origin you trust.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from perpixel.errors import CheckpointError, InputError, MissingDependencyError
from perpixel.export.about import INPUT, About
from perpixel.export.openvino import import_openvino
from perpixel.models.config import Config
from perpixel.models.outputs import (
    DepthEstimatorOutput,
    ImageMattingOutput,
    Mask2FormerForUniversalSegmentationOutput,
    SemanticSegmenterOutput,
)

if TYPE_CHECKING:
    from perpixel.models.processing import ImageProcessor

Array = NDArray[np.float32]
Run = Callable[[Array], Sequence[Array]]
SUFFIXES = (".onnx", ".xml", ".pt2")
# architecture: (module, class of its configuration, what it does)
FAMILIES: dict[str, tuple[str, str, str]] = {
    "VitMatteForImageMatting": ("perpixel.models.vitmatte.config", "VitMatteConfig", "matting"),
    "Mask2FormerForUniversalSegmentation": (
        "perpixel.models.mask2former.config",
        "Mask2FormerConfig",
        "segmentation",
    ),
    "DPTForSemanticSegmentation": ("perpixel.models.dpt.config", "DPTConfig", "segmentation"),
    "DPTForDepthEstimation": ("perpixel.models.dpt.config", "DPTConfig", "depth"),
    "DepthAnythingForDepthEstimation": ("perpixel.models.depth_anything.config", "DepthAnythingConfig", "depth"),
}


class ExportedModel:
    """An exported file as a model for the tasks.

    It takes batches of any size, image by image, and gives the output class of the model that it was made from. It is
    always in eval mode, on the CPU and in 32 bits.

    Attributes:
        about: what the file says of itself.
        config: the model's configuration.
        processor: the preparation of its images.
        task: "matting", "segmentation" or "depth".
    """

    device = torch.device("cpu")
    dtype = torch.float32
    # What models say that compute in half precision.
    compute_dtype = None
    training = False

    def __init__(self, run: Run, about: About, where: str) -> None:
        self._run, self.about, self._where = run, about, where
        if about.architecture not in FAMILIES:
            raise CheckpointError(
                f"{where} holds a {about.architecture}, which this perpixel does not know: export it with this version"
            )
        module, name, self.task = FAMILIES[about.architecture]
        config_class: type[Config] = getattr(importlib.import_module(module), name)
        self.config: Any = config_class.from_dict(about.config)
        self.processor: ImageProcessor = _processor(about)

    def __repr__(self) -> str:
        return f"ExportedModel({self._where!r}, {self.about.architecture})"

    def eval(self) -> Self:
        """Nothing to do: it knows no other mode."""
        return self

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Itself for the CPU and float32.

        Raises:
            InputError: for any other device or type.
        """
        if device is not None and torch.device(device).type != "cpu":
            raise InputError(f"{self._where} runs on the CPU and device={str(device)!r} is asked for: leave it out")
        if dtype not in (None, torch.float32):
            raise InputError(f"{self._where} computes in float32 and dtype={dtype} is asked for: leave it out")
        return self

    def optimize(self) -> Self:
        """Nothing to do: the file's runtime has done it."""
        return self

    def tensors(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Run one image.

        Args:
            pixel_values: (1, c, H, W) float32.

        Returns:
            the outputs by name.

        Raises:
            InputError: the file does not take this size.
        """
        self.about.sizes.check(*pixel_values.shape[2:])
        found = self._run(np.ascontiguousarray(pixel_values.numpy(), np.float32))
        # A runtime's memory may not be written to, so it is copied.
        return {name: torch.from_numpy(np.array(part)) for name, part in zip(self.about.outputs, found, strict=True)}

    def __call__(self, pixel_values: Tensor, **_asked: Any) -> Any:
        """Run a batch (b, c, H, W) as the model's `forward` does at inference.

        Of the other arguments only `pixel_mask` counts; what a task asks beside it saves work in the model itself and
        changes nothing in what it gets.
        """
        with torch.inference_mode():
            if self.about.architecture == "VitMatteForImageMatting":
                return ImageMattingOutput(alphas=torch.cat([self._matte(image) for image in _images(pixel_values)]))
            if self.about.architecture == "Mask2FormerForUniversalSegmentation":
                return self._segments(pixel_values, _asked.get("pixel_mask"))
            parts = [self.tensors(image) for image in _images(pixel_values)]
            (name,) = self.about.outputs
            joined = torch.cat([part[name] for part in parts])
            if name == "logits":
                return SemanticSegmenterOutput(logits=joined)
            return DepthEstimatorOutput(predicted_depth=joined)

    # What matting asks of its model

    tile_multiple = 32

    def region(self, top: int, left: int, height: int, width: int) -> None:
        """None: a file knows nothing of the image that a tile is a part of."""

    def working_memory(self, height: int, width: int, area: int | None = None) -> int:
        """Estimate the bytes that a runtime takes for a matte; it holds whole matrices of attention weights."""
        backbone: Any = self.config.backbone_config
        patch = 2 ** len(self.config.fusion_hidden_sizes)
        tokens = (height / patch) * (width / patch)
        scores = 3 * int(getattr(backbone, "num_attention_heads", 12)) * tokens**2
        maps = height * width * (4 + 3 * max(self.config.fusion_hidden_sizes[-1], 16))
        return int(4 * (scores + maps)) + 100_000_000

    def _matte(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[2:]
        fixed = self.about.sizes.fixed
        if fixed is None:
            return self.tensors(pixels)["alphas"]
        if height > fixed[0] or width > fixed[1]:
            raise InputError(
                f"the image comes to {width}×{height} (width×height) but {self._where} takes at most "
                f"{fixed[1]}×{fixed[0]}: make the image smaller, or export the model with open sizes (--dynamic)"
            )
        filled = functional.pad(pixels, (0, fixed[1] - width, 0, fixed[0] - height))
        return self.tensors(filled)["alphas"][:, :, :height, :width]

    def _segments(self, pixels: Tensor, mask: Tensor | None) -> Mask2FormerForUniversalSegmentationOutput:
        from perpixel.models.mask2former.padding import image_sizes

        b, _, height, width = pixels.shape
        multiple = self.about.sizes.multiple
        sizes = [(height, width)] * b if mask is None else image_sizes(pixels, mask)
        classes, masks, covered = [], [], []
        for image, (h, w) in zip(_images(pixels), sizes, strict=True):
            # Alone, filled up with zeros to whole multiples, as in the paper.
            rows, columns = self.about.sizes.fixed or (-(-h // multiple) * multiple, -(-w // multiple) * multiple)
            cut = image[:, :, :rows, :columns]
            cut = functional.pad(cut, (0, columns - cut.shape[3], 0, rows - cut.shape[2]))
            found = self.tensors(cut)
            classes.append(found["class_queries_logits"])
            masks.append(found["masks_queries_logits"])
            extent = masks[-1].shape[2:]
            covered.append([h * extent[0] / rows, w * extent[1] / columns])
        tall, wide = (max((part.shape[side] for part in masks), default=0) for side in (2, 3))
        filled = [functional.pad(part, (0, wide - part.shape[3], 0, tall - part.shape[2])) for part in masks]
        return Mask2FormerForUniversalSegmentationOutput(
            class_queries_logits=torch.cat(classes),
            masks_queries_logits=torch.cat(filled),
            mask_sizes=torch.tensor(covered),
        )


def _images(batch: Tensor) -> list[Tensor]:
    return [batch[i : i + 1] for i in range(len(batch))]


def _processor(about: About) -> ImageProcessor:
    from perpixel.models.auto import IMAGE_PROCESSORS

    values = dict(about.processor)
    module, name = IMAGE_PROCESSORS[str(values.get("image_processor_type"))]
    processor_class: type[ImageProcessor] = getattr(importlib.import_module(module), name)
    return processor_class.from_dict(values)


def is_exported(model: Any) -> bool:
    """Whether this is an exported file, by its name, or an opened one.

    >>> is_exported("nano.onnx"), is_exported("vitmatte-nano")
    (True, False)
    """
    if isinstance(model, (str, os.PathLike)):
        return Path(model).suffix.lower() in SUFFIXES
    return isinstance(model, ExportedModel)


def open_exported(
    model: str | os.PathLike[str] | ExportedModel, task: str | None = None, *, precision: str = "f32"
) -> ExportedModel:
    """Open an exported file.

    Args:
        model: the `.onnx`, `.xml` or `.pt2` that `perpixel export` wrote, or one that is open already.
        task: "matting", "segmentation" or "depth", if it is needed for that.
        precision: what OpenVINO computes in, "f32" or "bf16"; other files are not asked.

    Raises:
        CheckpointError: there is no such file, it cannot be read, or it is for another task.
        MissingDependencyError: the file's runtime is not installed.
    """
    opened = model if isinstance(model, ExportedModel) else _open(Path(model), precision)
    if task is not None and opened.task != task:
        raise CheckpointError(
            f"{opened!r} is a model for {opened.task}, and one for {task} is needed: give another file"
        )
    return opened


def _open(path: Path, precision: str) -> ExportedModel:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}: give one that `perpixel export` wrote")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CheckpointError(f"{path} is no exported model: its name has to end in {', '.join(SUFFIXES)}")
    if suffix == ".xml":
        run, about = _open_openvino(path, precision)
    else:
        run, about = _open_onnx(path) if suffix == ".onnx" else _open_torch_export(path)
    return ExportedModel(run, about, str(path))


def _open_onnx(path: Path) -> tuple[Run, About]:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError("ONNX Runtime is not installed: run `pip install 'perpixel[export]'`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds of errors derive from Exception itself
        raise _unreadable(path, error) from error
    about = About.from_texts(session.get_modelmeta().custom_metadata_map, str(path))
    return lambda pixels: cast(Sequence[Array], session.run(list(about.outputs), {INPUT: pixels})), about


def _open_openvino(path: Path, precision: str) -> tuple[Run, About]:
    openvino = import_openvino()
    core = openvino.Core()
    try:
        model = core.read_model(str(path))
        given = model.get_rt_info()
        held: Any = given["perpixel"] if "perpixel" in given else {}  # noqa: SIM401 (it is no dict)
        values = held if isinstance(held, dict) else held.astype(dict)  # by the version
        about = About.from_texts({f"perpixel.{key}": str(text.astype(str)) for key, text in values.items()}, str(path))
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    request = compiled.create_infer_request()

    def run(pixels: Array) -> Sequence[Array]:
        found = request.infer({0: pixels})
        return [found[i] for i in range(len(about.outputs))]

    return run, about


def _open_torch_export(path: Path) -> tuple[Run, About]:
    from perpixel.export.torch_export import read_torch_export

    program, about = read_torch_export(path)
    # Its guards would keep out sizes that only lie otherwise in memory than the recorded one.
    module = program.module(check_guards=False)

    def run(pixels: Array) -> Sequence[Array]:
        with torch.no_grad():
            return [part.numpy() for part in module(torch.from_numpy(pixels))]

    return run, about


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return CheckpointError(f"{path} cannot be loaded ({reason}): export the model again")
