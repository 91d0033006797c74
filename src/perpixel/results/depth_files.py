"""Depth in files: a picture or plane of numbers, and beside it a small JSON file that says what they mean."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.planes import PLANES, read_plane
from perpixel.ops.depth import KINDS, Kind, from_codes, to_codes
from perpixel.results.point_cloud import SUFFIXES as CLOUDS

if TYPE_CHECKING:
    from perpixel.results.depth import DepthMap, What

WHATS = ("depth", "colour", "relief")
FORMAT = "perpixel depth 1"  # the JSON's own version


def sidecar(path: str | os.PathLike[str]) -> Path:
    """Where the JSON of a file lies: `room.png.json` beside `room.png`."""
    path = Path(path)
    return path.with_name(f"{path.name}.json")


def save(
    depth: DepthMap,
    path: str | os.PathLike[str],
    what: What,
    *,
    bits: int | None,
    map: str,
    fov: float | None,
    focal_length: float | None,
) -> Path:
    """See `DepthMap.save`."""
    from perpixel.images.pfm import pfm_bytes
    from perpixel.images.write import check_output, write_bytes, write_image, write_plane

    path = Path(path)
    suffix = path.suffix.lower()
    if what not in WHATS:
        raise InputError(f"what={what!r} is not known: use one of {', '.join(WHATS)}")
    if bits is not None and (what != "depth" or suffix != ".png"):
        raise InputError(f"bits={bits} is for depth in a .png, and {what} in {path.name} has its own: leave it out")
    if (fov is not None or focal_length is not None) and (what != "depth" or suffix not in CLOUDS):
        raise InputError(f"fov and focal_length are for point clouds, and {path.name} is none: use .ply or .glb")
    if what != "depth":
        if check_output(path).name == "EXR":
            raise InputError(f"{path}: EXR is for light and numbers, {what} is a picture: use .png")
        own = depth.colour(map) if what == "colour" else depth.relief(map=map)
        return write_image(path, own)
    if suffix in CLOUDS:
        return depth.point_cloud(fov=fov, focal_length=focal_length).save(path)
    if suffix not in PLANES:
        raise InputError(
            f"{path} has the suffix {path.suffix!r}: numbers of depth are saved as {', '.join(PLANES)}, point clouds "
            f"as {', '.join(CLOUDS)}, and what='colour' as any picture"
        )
    if bits not in (None, 8, 16):
        raise InputError(f"{path}: depth in a PNG has 8 or 16 bits, not {bits}; .tiff, .npy, .pfm and .exr have floats")
    codes, scale, shift = to_codes(depth.values, depth.valid, bits or 16)
    whole = suffix == ".png"
    note = {
        "format": FORMAT,
        "kind": depth.kind,
        "unit": depth.unit,
        "scale": scale if whole else 1.0,
        "shift": shift if whole else 0.0,
        "unknown": (None if depth.valid.all() else 0) if whole else "nan or infinite",
        "precision": scale / 2 if whole else 0.0,
        "width": depth.width,
        "height": depth.height,
    }
    # The JSON first: numbers under an old JSON would be read wrongly, a JSON alone does no harm.
    write_bytes(sidecar(path), (json.dumps(note, indent=2) + "\n").encode())
    if whole:
        return write_image(path, codes)
    if suffix == ".npy":
        return write_bytes(path, _npy(_marked(depth, np.nan)))
    if suffix == ".pfm":
        return write_bytes(path, pfm_bytes(_marked(depth, np.inf)))
    return write_plane(path, _marked(depth, np.nan))


def load(
    path: str | os.PathLike[str], kind: Kind | None, scale: float | None, shift: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Kind]:
    """See `DepthMap.load`. Returns values and known pixels, (h, w) each, and the kind."""
    path = Path(path)
    if path.suffix.lower() not in PLANES:
        raise InputError(f"{path} has the suffix {path.suffix!r}: depth is loaded from {', '.join(PLANES)}")
    numbers = read_plane(path)
    beside = sidecar(path)
    note = _read_note(beside) if beside.is_file() else None
    if note is None and kind is None:
        raise InputError(f"{path} has no {beside.name} beside it: say what it holds by kind='inverse' or kind='metric'")
    whole = numbers.dtype.kind == "u"
    if note is None and whole and scale is None:
        raise InputError(f"{path} holds whole numbers and has no {beside.name} beside it: give scale, such as 0.001")
    if note is not None and (kind is not None or scale is not None or shift):
        raise InputError(f"{path} has {beside.name} beside it, which says kind, scale and shift: leave yours out")
    if note is not None:
        kind, scale, shift = note["kind"], note["scale"], note["shift"]
        if (note["height"], note["width"]) != numbers.shape:
            raise InputError(
                f"{path} is {numbers.shape[1]}×{numbers.shape[0]} but {beside.name} is for "
                f"{note['width']}×{note['height']} (width×height): they do not belong together"
            )
        valid = numbers != 0 if whole and note.get("unknown") == 0 else np.isfinite(numbers)
    else:
        valid = numbers != 0 if whole else np.isfinite(numbers)
    factor = 1.0 if scale is None else scale
    if not (math.isfinite(factor) and math.isfinite(shift)):
        raise InputError(f"scale is {factor} and shift {shift}: finite numbers are needed")
    assert kind is not None
    if whole or (factor, shift) != (1.0, 0.0):
        values = from_codes(numbers, factor, shift)
    else:
        values = numbers.astype(np.float32)
    return values, valid, kind


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text("utf-8"))
        right = (
            note["kind"] in KINDS
            and all(math.isfinite(float(note[name])) for name in ("scale", "shift"))
            and all(isinstance(note[name], int) for name in ("width", "height"))
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe a depth map ({error!r}): delete it and give kind") from error
    if not right:
        raise InputError(f"{path} does not describe a depth map: delete it and give kind")
    return dict(note)


def _npy(plane: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, plane, allow_pickle=False)
    return stream.getvalue()


def _marked(depth: DepthMap, mark: float) -> NDArray[np.float32]:
    """The values with `mark` at unknown pixels."""
    return np.where(depth.valid, depth.values, np.float32(mark))
