"""Weights and activations of 8 bits, for OpenVINO: a converted model is shown a few images and rounded by what it saw.

NNCF's post-training quantisation (Apache-2.0) with smoothed activations, Xiao et al., "SmoothQuant", 2022, arXiv
2211.10438. Sums, norms and softmax keep their precision.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from perpixel.errors import ConfigError, InputError, MissingDependencyError, OutputError
from perpixel.export.about import PREFIX, About
from perpixel.export.openvino import import_openvino

# Architectures whose quality 8 bits do not hold, each with what was measured (docs/performance.md).
REFUSED: dict[str, str] = {}
# The longest side of what the model is shown: its numbers are as large in a part of an image.
LONGEST = 512


def check_int8(architecture: str) -> None:
    """Refuse a family that loses too much, or a missing library, before any work.

    Raises:
        ConfigError: this architecture does not hold its quality in 8 bits.
        MissingDependencyError: NNCF is not installed.
    """
    if architecture in REFUSED:
        raise ConfigError(
            f"quantize='int8' is not offered for a {architecture}: {REFUSED[architecture]}; use dtype='bf16' with "
            "engine='openvino'"
        )
    _nncf()


def quantized(path: Path, about: About, pixels: Iterable[Tensor]) -> Path:
    """The 8-bit file of a converted model, beside it in the cache; made if it is not there yet.

    Args:
        path: the converted model's `.xml`.
        about: what it says of itself.
        pixels: inputs to measure by, (1, c, H, W) each; not looked at where the file is there.

    Returns:
        the `.xml` of the 8-bit model.

    Raises:
        InputError: the file is not there, and there are no inputs to make it with.
        OutputError: it cannot be written.
    """
    target = path.with_name(f"{path.stem}-int8.xml")
    if target.is_file() and target.with_suffix(".bin").is_file():
        return target
    images = [image.numpy() for image in pixels]
    if not images:
        raise InputError(
            "quantize='int8' has to see photographs once: give some, such as 16, as calibration= where the model is "
            "loaded, or do them by the task's own function or command; they are not needed again"
        )
    nncf, openvino = _nncf(), import_openvino()
    data = nncf.Dataset(images)
    with _quiet():
        model = nncf.quantize(
            openvino.Core().read_model(str(path)),
            data,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
        )
    for key, text in about.to_texts().items():
        model.set_rt_info(text, ["perpixel", key.removeprefix(PREFIX)])
    _save(model, target, openvino)
    return target


def _save(model: Any, target: Path, openvino: Any) -> None:
    try:
        folder = Path(tempfile.mkdtemp(prefix=".perpixel-int8-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"cannot write into {target.parent} ({error.strerror}): set PERPIXEL_CACHE") from error
    try:
        openvino.save_model(model, str(folder / target.name), compress_to_fp16=False)
        for suffix in (".bin", ".xml"):  # a reader never finds the graph without its weights
            (folder / target.name).with_suffix(suffix).replace(target.with_suffix(suffix))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nncf() -> Any:
    if "nncf" in sys.modules and sys.modules["nncf"] is not None:
        return sys.modules["nncf"]
    with _untold(), _quiet():
        try:
            import nncf
        except ImportError:
            raise MissingDependencyError("quantize='int8' needs NNCF: pip install \"perpixel[int8]\"") from None
    return nncf


@contextmanager
def _untold() -> Iterator[None]:
    """NNCF tells its makers about each use where it finds the library for that; here it finds none."""
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def window_of(pixels: Tensor, multiple: int) -> Tensor:
    """The middle of an input, at most `LONGEST` on a side: (1, c, H, W) → (1, c, h, w).

    >>> import torch
    >>> window_of(torch.zeros(1, 3, 96, 1024), 32).shape
    torch.Size([1, 3, 96, 512])
    """
    height, width = (max(multiple, min(side, LONGEST) // multiple * multiple) for side in pixels.shape[2:])
    top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
    return pixels[:, :, top : top + height, left : left + width].contiguous()
