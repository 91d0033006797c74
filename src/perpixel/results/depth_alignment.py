"""Inverse depth brought to metres: scale and shift are fitted to known distances or to a measured depth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.ops.depth import fit_scale_shift, reciprocal

if TYPE_CHECKING:
    from perpixel.results.depth import DepthMap


def aligned_to_points(depth: DepthMap, known: Mapping[tuple[float, float], float]) -> NDArray[np.float64]:
    """Scale and shift the inverse depth by known distances, see `DepthMap.align`.

    Returns:
        (h, w), in 1 / metres; at or below 0 behind infinity.
    """
    if not isinstance(known, Mapping):
        raise InputError(
            f"known is a {type(known).__name__}: give a dictionary such as {{(120, 80): 1.5, (400, 60): 4}}"
        )
    inverse = depth.inverse
    pixels = [_known_pixel(depth, point, distance) for point, distance in known.items()]
    if len(pixels) < 2:
        raise InputError(f"{len(pixels)} known distance is given, and scale and shift need at least 2: add another")
    found = np.array([inverse[y, x] for x, y in pixels])
    given = np.array([float(distance) for distance in known.values()])
    # The spread that counts is that of the points, beside which float32 rounds by 1e-7 of the largest.
    if np.ptp(found) <= 1e-6 * np.abs(found).max():
        raise InputError(
            f"all {len(pixels)} known distances are at the same depth of this map, which leaves its scale open: "
            "add a point that is nearer or farther"
        )
    scale, shift = fit_scale_shift(found, 1 / given)
    if scale <= 1e-9 * np.ptp(1 / given) / np.ptp(found) or np.ptp(given) == 0:
        near, far = pixels[int(found.argmax())], pixels[int(found.argmin())]
        raise InputError(
            f"the known distances run against the depth: {near} is nearer than {far} in the map, but by the "
            "distances (in metres) it is not: check both"
        )
    return scale * inverse + shift


def aligned_to_reference(
    depth: DepthMap, reference: DepthMap, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], float]:
    """Scale and shift the inverse depth by a measured depth, see `DepthMap.align_to`.

    Returns:
        (h, w), in 1 / metres; at or below 0 behind infinity. And the largest distance of the reference, in metres.
    """
    if reference.kind != "metric":
        raise InputError("the reference is inverse depth, and metres are needed: align it first")
    if reference.size != depth.size:
        raise InputError(
            f"the reference is {reference.width}×{reference.height} but the depth is {depth.width}×{depth.height} "
            "(width×height): resize one of them"
        )
    both = depth.valid & reference.valid
    if mask is not None:
        if np.shape(mask) != both.shape or np.asarray(mask).dtype != np.bool_:
            raise InputError(
                f"the mask is {np.asarray(mask).dtype} of shape {np.shape(mask)}, and bool {both.shape} is needed"
            )
        both &= mask
    if not both.any():
        raise InputError("no pixel is known in the depth and in the reference (and in the mask): nothing to fit")
    inverse = depth.inverse
    scale, shift = fit_scale_shift(inverse[both], reciprocal(reference.values, reference.valid)[both])
    return scale * inverse + shift, float(reference.values[both].max())


def _known_pixel(depth: DepthMap, point: Any, distance: Any) -> tuple[int, int]:
    try:
        x, y = (float(place) for place in point)
        far = float(distance)
    except (TypeError, ValueError):
        raise InputError(
            f"{point!r}: {distance!r} is no known distance: give (x, y) in pixels and metres, as in "
            "{(120, 80): 1.5, (400, 60): 4.0}"
        ) from None
    if not (0 <= x < depth.width and 0 <= y < depth.height):  # NaN fails too
        raise InputError(
            f"the point ({x:g}, {y:g}) is outside the image, which is {depth.width}×{depth.height} (width×height)"
        )
    if not 0 < far < math.inf:
        raise InputError(f"the distance at ({x:g}, {y:g}) is {far:g}: metres above 0 are needed")
    column, row = int(x), int(y)
    if not depth.valid[row, column]:
        raise InputError(f"the depth at ({column}, {row}) is unknown: choose a point beside it")
    return column, row
