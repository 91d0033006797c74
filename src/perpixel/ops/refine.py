"""Sharpen an alpha by the photograph's own edges: closed-form matting with the alpha as a prior.

"A Closed-Form Solution to Natural Image Matting" (Levin, Lischinski, Weiss, 2008, IEEE TPAMI) finds the alpha that is
closest to a linear function of the colour in every 3×3 window. Here known pixels are held, and each unknown pixel is
drawn to its estimate, the more the surer the estimate is: the network tells what belongs to the subject, the
photograph tells where the edge runs. PyMatting builds and solves the equations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perpixel.errors import InputError, MissingDependencyError
from perpixel.ops.trimap import UNKNOWN

__all__ = ["refine_closed_form"]

# How firmly known pixels are held, and the least and the largest part of it that an estimate has.
HOLD = 100.0
LEAST_TRUST = 0.05
TRUST = 0.003
# Windows reach one pixel beyond the unknown ones; more lets the known colours around count.
MARGIN = 8


def refine_closed_form(
    image: npt.NDArray[Any], alpha: npt.NDArray[Any], trimap: npt.NDArray[np.uint8], trust: float = TRUST
) -> npt.NDArray[np.float32]:
    """Sharpen an alpha where the trimap is unknown.

    Args:
        image: (h, w, 3) float in [0, 1].
        alpha: (h, w) float in [0, 1], the estimate.
        trimap: (h, w) of 0, 128 and 255.
        trust: how much the estimate counts, compared with a known pixel; 0.001 follows the photograph, 0.03 the
            estimate.

    Returns:
        (h, w) float32 in [0, 1]; known pixels are exactly 0 or 1.

    Raises:
        InputError: for shapes that do not fit together, or a trust that is not above 0.
        MissingDependencyError: if PyMatting is not installed.
    """
    if image.shape[:2] != alpha.shape or trimap.shape != alpha.shape:
        raise InputError(
            f"the image is {image.shape[:2]}, alpha {alpha.shape} and the trimap {trimap.shape} (height, width): "
            "give all three in one size"
        )
    if not trust > 0:
        raise InputError(f"trust is {trust}: give a number above 0, such as {TRUST}")
    result = np.where(trimap == UNKNOWN, alpha, trimap / 255).astype(np.float32)
    rows, columns = np.nonzero((trimap == UNKNOWN).any(axis=1))[0], np.nonzero((trimap == UNKNOWN).any(axis=0))[0]
    if not len(rows):
        return result
    window = (
        slice(max(0, rows[0] - MARGIN), rows[-1] + 1 + MARGIN),
        slice(max(0, columns[0] - MARGIN), columns[-1] + 1 + MARGIN),
    )
    part = result[window]
    if min(part.shape) < 3:
        return result
    solved = _solve(image[window], part, trimap[window] == UNKNOWN, trust)
    part[...] = np.where(trimap[window] == UNKNOWN, solved, part)
    return result


def _solve(
    image: npt.NDArray[Any], prior: npt.NDArray[np.float32], unknown: npt.NDArray[np.bool_], trust: float
) -> npt.NDArray[np.float64]:
    try:
        import pymatting
        from scipy.sparse import diags
    except ImportError as error:
        raise MissingDependencyError('refine needs PyMatting: pip install "perpixel[refine]"') from error
    guess = prior.astype(np.float64).ravel()
    held = HOLD * np.where(unknown.ravel(), trust * (LEAST_TRUST + (2 * guess - 1) ** 2), 1.0)
    system = pymatting.cf_laplacian(image.astype(np.float64), is_known=~unknown.ravel()) + diags(held)
    # The incomplete factor makes the conjugate gradients converge in tens of steps instead of thousands.
    preconditioner = pymatting.ichol(system.tocsc(), discard_threshold=1e-4)
    solved = pymatting.cg(system, held * guess, x0=guess, M=preconditioner, rtol=1e-6)
    return np.asarray(np.clip(solved, 0, 1)).reshape(prior.shape)
