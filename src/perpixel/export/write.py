"""Writing an exported model: recorded, written beside its place, checked, and only then given its name."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from perpixel.errors import ConfigError, OutputError
from perpixel.export.about import About
from perpixel.export.check import HALF_TOLERANCE, TOLERANCE, Difference, check
from perpixel.export.model import record, tensors_only
from perpixel.export.onnx import EMBEDDED_BYTES, write_onnx
from perpixel.export.openvino import import_openvino, write_openvino
from perpixel.export.runtime import open_exported
from perpixel.export.torch_export import write_torch_export
from perpixel.models.base import Model

Format = Literal["onnx", "openvino", "torch-export"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIX: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


@dataclass(frozen=True)
class Export:
    """What came of an export.

    Attributes:
        path: the file to give to a task or a runtime.
        files: all files that belong together, `path` first.
        about: what the file says of itself.
        differences: how far it was from the model at the sizes that were checked.
        seconds: how long recording, writing and checking took.
    """

    path: Path
    files: tuple[Path, ...]
    about: About
    differences: tuple[Difference, ...]
    seconds: float

    @property
    def largest_difference(self) -> float:
        """The largest difference from the model, as a share of its output's standard deviation."""
        return max(difference.largest for difference in self.differences)

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.files)


def write_model(
    model: Model,
    path: Path,
    about: About,
    form: Format,
    *,
    tolerance: float | None = None,
    embedded_bytes: int = EMBEDDED_BYTES,
) -> Export:
    """Export a model and check the file; nothing is left under its name unless it passes.

    Args:
        model: of a class that `perpixel.export.about.OUTPUTS` names.
        path: where the file goes; one that is there is replaced. ONNX may have its weights in `<name>.onnx.data` beside
            it, OpenVINO always has them in `<stem>.bin`.
        about: what goes into the file.
        form: the format.
        tolerance: the largest difference from the model that is accepted, as a share of its output's standard
            deviation; 1e-3 if not given, 5e-2 with half precision.
        embedded_bytes: ONNX: with more bytes of weights than this they get a file of their own.

    Raises:
        ConfigError: the model cannot be recorded.
        OutputError: the file differs from the model, or cannot be written.
        MissingDependencyError: what the format needs is not installed.
    """
    start = time.perf_counter()
    if path.suffix.lower() != SUFFIX[form]:
        raise ConfigError(f"{path} is to be {form}: let its name end in {SUFFIX[form]}")
    if form == "openvino":
        import_openvino()  # before the work
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}: make it first")
    half_inside = about.half and form == "torch-export"
    program = record(tensors_only(model, half_inside), about.sizes)
    plain = tensors_only(model)
    allowed = tolerance if tolerance is not None else HALF_TOLERANCE if about.half else TOLERANCE
    # The files refer to each other by name, so they get their names at once, in a folder beside their place.
    try:
        folder = Path(tempfile.mkdtemp(prefix=".perpixel-export-", dir=path.parent))
    except OSError as error:
        raise OutputError(f"cannot write into {path.parent} ({error.strerror}): choose another folder") from error
    try:
        target = folder / path.name
        if form == "torch-export":
            about = write_torch_export(program, target, about)
        elif form == "onnx":
            about = write_onnx(program, target, about, embedded_bytes=embedded_bytes)
        else:
            between = folder / "between.onnx"
            write_onnx(program, between, replace(about, half=False))
            about = write_openvino(between, target, about)
            for part in folder.glob("between.onnx*"):
                part.unlink()
        del program
        differences = check(plain, open_exported(target), tolerance=allowed)
        # What the main file refers to goes first: a reader never finds the one without the other.
        written = sorted(folder.iterdir(), key=lambda part: part == target)
        files = [path.parent / part.name for part in written]
        for part, place in zip(written, files, strict=True):
            part.replace(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Export(path, tuple(reversed(files)), about, tuple(differences), time.perf_counter() - start)
