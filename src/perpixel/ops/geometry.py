"""From depth to points in space, and the two file formats that hold them.

The camera is a pinhole: a pixel (x, y) at depth z lies at ((x − cx) z / f, (y − cy) z / f, z). Points here are turned
as viewers and glTF have them: x to the right, y up, z towards the viewer, so what the camera sees has negative z.
`points * (1, -1, -1)` gives OpenCV's axes (x right, y down, z away).
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError
from perpixel.ops.light import srgb_to_linear

__all__ = ["depth_edges", "focal_from_fov", "glb_bytes", "ply_bytes", "unproject"]

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

# A step between surfaces shows over this share of the longer side, whatever the resolution: a network's depth is
# made at some 500 pixels and then enlarged.
EDGE_REACH = 1e-3

# The numbers of the glTF 2.0 specification, sections 3.6.2.2 and 3.7.2.1, and of its binary form, section 4.4.
_FLOAT, _ARRAY_BUFFER, _POINTS = 5126, 34962, 0
_GLTF_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


def focal_from_fov(fov: float, width: int, height: int) -> float:
    """The focal length in pixels of a field of view.

    Args:
        fov: the angle in degrees that the longer side of the image spans, between 0 and 180.
        width: columns.
        height: rows.

    Raises:
        InputError: no such angle.

    Example:
        >>> round(focal_from_fov(90, 640, 480))
        320
    """
    if not 0 < fov < 180:
        raise InputError(f"fov is {fov}, and degrees between 0 and 180 are needed: a phone's main camera has about 70")
    return max(width, height) / 2 / math.tan(math.radians(fov) / 2)


def unproject(
    depth: npt.NDArray[Any], focal_length: float, principal_point: tuple[float, float] | None = None
) -> Float:
    """The point in space that each pixel shows.

    Args:
        depth: (h, w), the distance along the view axis, in any unit.
        focal_length: in pixels.
        principal_point: (x, y) in pixels, where the view axis meets the image; by default its middle. The centre of
            the first pixel is (0, 0), as in OpenCV.

    Returns:
        (h, w, 3) float32 in the unit of depth: x right, y up, z towards the viewer.

    Raises:
        InputError: a focal length or principal point that is none.

    Example:
        >>> unproject(np.full((1, 3), 2.0), focal_length=1).tolist()
        [[[-2.0, 0.0, -2.0], [0.0, 0.0, -2.0], [2.0, 0.0, -2.0]]]
    """
    if not 0 < focal_length < math.inf:
        raise InputError(f"focal_length is {focal_length}, and pixels above 0 are needed")
    height, width = depth.shape
    middle = ((width - 1) / 2, (height - 1) / 2) if principal_point is None else principal_point
    if len(middle) != 2 or not all(math.isfinite(value) for value in middle):
        raise InputError(f"principal_point is {principal_point}: give x and y in pixels")
    z = depth.astype(np.float64)
    x = (np.arange(width) - middle[0]) / focal_length * z
    y = (middle[1] - np.arange(height))[:, None] / focal_length * z
    return np.stack([x, y, -z], axis=2).astype(np.float32)  # (h, w, 3)


def depth_edges(depth: npt.NDArray[Any], valid: Bool, step: float = 0.05) -> Bool:
    """Find the pixels between two surfaces, which would float in the air as points.

    A pixel is at an edge where the depths around it, over 1/1000 of the longer side but at least its 3×3 pixels,
    differ by more than `step`.

    Args:
        depth: (h, w), above 0 at known pixels.
        valid: (h, w) bool; unknown pixels make no edge.
        step: 0.05 for 5 % of the nearer depth. A floor seen flatly is steep too: from eye height and a field of view
            of 60°, the default keeps it up to some 25 m away.

    Returns:
        (h, w) bool.

    Raises:
        InputError: a step that is not above 0.

    Example:
        >>> depth_edges(np.array([[1, 1, 1, 2, 2, 2]]), np.ones((1, 6), bool)).astype(int).tolist()
        [[0, 0, 1, 1, 0, 0]]
    """
    if not step > 0:
        raise InputError(f"the step at an edge is {step}: give more than 0, such as 0.05 for 5 %")
    reach = max(1, round(EDGE_REACH * max(depth.shape)))
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    plane = depth.astype(np.float32)
    high = cv2.dilate(np.where(valid, plane, 0), window, borderType=cv2.BORDER_REPLICATE)
    low = cv2.erode(np.where(valid, plane, np.float32(np.inf)), window, borderType=cv2.BORDER_REPLICATE)
    high, low = high.reshape(plane.shape), low.reshape(plane.shape)
    return np.asarray(valid & (high > low * np.float32(1 + step)))


def ply_bytes(points: Float, colours: Bytes | None = None, comment: str | None = None) -> bytes:
    """Points as a binary little-endian PLY (Turk's "PLY polygon file format", 1.0).

    Args:
        points: (n, 3) float32.
        colours: (n, 3) uint8 RGB, or None.
        comment: one line for the header, ASCII.

    Returns:
        a whole file: x, y, z as float, then red, green, blue as uchar.
    """
    fields: list[tuple[str, str]] = [(axis, "<f4") for axis in "xyz"]
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {comment}"] if comment else []
    lines += [f"element vertex {len(points)}", *(f"property float {axis}" for axis in "xyz")]
    if colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
        lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    rows = np.empty(len(points), np.dtype(fields))
    for column, axis in enumerate("xyz"):
        rows[axis] = points[:, column]
    if colours is not None:
        for column, name in enumerate(("red", "green", "blue")):
            rows[name] = colours[:, column]
    return "\n".join([*lines, "end_header\n"]).encode("ascii") + rows.tobytes()


def glb_bytes(points: Float, colours: Bytes | None = None) -> bytes:
    """Points as binary glTF 2.0 (Khronos), one mesh of mode POINTS with a material that needs no light.

    glTF's vertex colours are in linear light, where 8 bits would lose the dark ones. They are stored as floats: 16 bits
    would do and are smaller, but some readers (trimesh 5.2) take those for 8 bits.

    Args:
        points: (n, 3) float32, x right, y up, z towards the viewer; at least one.
        colours: (n, 3) uint8 sRGB, or None.

    Returns:
        a whole file.

    Raises:
        InputError: no points, which glTF cannot hold.
    """
    if not len(points):
        raise InputError("there are no points, and glTF needs at least one: write .ply, or keep more pixels")
    blobs = [np.ascontiguousarray(points, "<f4").tobytes()]
    accessors: list[dict[str, Any]] = [
        {
            "bufferView": 0,
            "componentType": _FLOAT,
            "count": len(points),
            "type": "VEC3",
            "min": points.min(axis=0).tolist(),
            "max": points.max(axis=0).tolist(),
        }
    ]
    attributes = {"POSITION": 0}
    if colours is not None:
        table = srgb_to_linear(np.arange(256) / 255).astype("<f4")
        blobs.append(table[colours].tobytes())
        attributes["COLOR_0"] = 1
        accessors.append({"bufferView": 1, "componentType": _FLOAT, "count": len(points), "type": "VEC3"})
    starts = np.cumsum([0, *(len(blob) for blob in blobs)]).tolist()
    document = {
        "asset": {"version": "2.0", "generator": "perpixel"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "mode": _POINTS, "material": 0}]}],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(blob), "target": _ARRAY_BUFFER}
            for start, blob in zip(starts, blobs, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = b"".join(blobs)  # floats: a multiple of 4 bytes already
    length = 12 + 8 + len(text) + 8 + len(body)
    return b"".join(
        [
            struct.pack("<III", _GLTF_MAGIC, 2, length),
            struct.pack("<II", len(text), _JSON_CHUNK) + text,
            struct.pack("<II", len(body), _BINARY_CHUNK) + body,
        ]
    )
