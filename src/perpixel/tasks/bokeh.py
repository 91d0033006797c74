"""A photograph in, the same with a blurred background out, as behind a wide lens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from perpixel.errors import InputError
from perpixel.images.read import ImageLike, Photo, read_photo
from perpixel.results.depth import DepthMap
from perpixel.results.matte import Matte
from perpixel.results.picture import Picture
from perpixel.tasks.depth import Detail
from perpixel.tasks.depth import depth as estimate

if TYPE_CHECKING:
    import torch

    from perpixel.tasks.depth import DepthEstimator, Network

# From this alpha on a pixel is the subject's.
SUBJECT = 0.5


def bokeh(
    image: ImageLike | Photo,
    *,
    depth: DepthMap | None = None,
    model: str | os.PathLike[str] | Network | DepthEstimator | None = None,
    focus: tuple[float, float] | float | None = None,
    aperture: float = 2.0,
    matte: Matte | None = None,
    device: str | torch.device | None = None,
    max_memory: int | str | None = None,
    detail: Detail = "whole",
) -> Picture:
    """Blur what is out of focus.

    Args:
        image: a photograph: a path, bytes, a PIL image, an array or a tensor.
        depth: its depth, of its size; if not given, `perpixel.depth` estimates it.
        model: what estimates it, as `model` in `perpixel.depth`.
        focus: the pixel (x, y) from the top left that is to be sharp; or a number from 0, the farthest depth, to 1,
            the nearest. With a matte it may be left out: the focus is on the subject.
        aperture: the radius of the disc, in percent of the longer side, into which a point spreads that is as far out
            of focus as the nearest pixel is from the farthest. 1 is gentle, 2 a portrait lens, 5 extreme; 0 to 20.
        matte: the subject's matte, from `perpixel.cutout` or `perpixel.matte`. With the focus on the subject all of it
            stays sharp, hair too, whatever the depth says.
        device: as in `perpixel.depth`.
        max_memory: of the depth estimation, as in `perpixel.depth`.
        detail: as in `perpixel.depth`.

    Returns:
        A `Picture` of the image's size and bits; `.save("out.png")` writes it. Where the depth is constant it is the
        image itself.

    Raises:
        InputError: for an image that cannot be used, a depth or a matte of another size, a focus outside the image, or
            an aperture out of range.
        CheckpointError: for a model that cannot be loaded.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((5, 9, 3), np.uint8)
        >>> image[2, [2, 7]] = 255
        >>> known = DepthMap(np.repeat(np.float32([[1, 1, 1, 1, 1, 0, 0, 0, 0]]), 5, axis=0))
        >>> bokeh(image, depth=known, focus=(2, 2), aperture=12).pixels[2, :6, 0].tolist()
        [0, 0, 255, 0, 0, 0]
    """
    from perpixel.ops.bokeh import LARGEST_APERTURE
    from perpixel.ops.bokeh import bokeh as blur

    photo = image if isinstance(image, Photo) else read_photo(image)
    if not 0 <= aperture <= LARGEST_APERTURE:
        raise InputError(
            f"the aperture is {aperture}, and a percentage from 0 to {LARGEST_APERTURE:g} of the longer side is "
            "needed: 2 is a portrait lens"
        )
    _check_focus(photo, focus, matte)
    for name, part in (("depth", depth), ("matte", matte)):
        if part is not None and part.size != (photo.width, photo.height):
            raise InputError(
                f"the {name} is {part.width}×{part.height} but the image is {photo.width}×{photo.height} "
                f"(width×height): make it from this image, or resize it"
            )
    if depth is None:
        depth = estimate(photo, model=model, device=device, max_memory=max_memory, detail=detail)
    near = depth.normalized()
    if not near.any():  # constant: nothing is out of focus, also for a focus that is a number
        return Picture(photo.pixels.copy(), icc_profile=photo.icc_profile)
    if focus is None:
        assert matte is not None
        focus = float(np.median(near[matte.alpha >= SUBJECT]))
    alpha, foreground = (None, None) if matte is None else (matte.alpha, matte.foreground)
    pixels: Any = blur(photo.pixels, near, focus, aperture, alpha=alpha, foreground=foreground)
    return Picture(pixels, icc_profile=photo.icc_profile)


def _check_focus(photo: Photo, focus: object, matte: Matte | None) -> None:
    """Refuse a focus that is none before depth is estimated for it."""
    words = "give a pixel (x, y), or a number from 0 (farthest) to 1 (nearest)"
    if focus is None:
        if matte is None:
            raise InputError(f"there is no focus: {words}, or the subject's matte")
        if not (matte.alpha >= SUBJECT).any():
            raise InputError(f"the matte has no subject, and there is no focus: {words}")
        return
    try:
        place = np.asarray(focus, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the focus is {focus!r}: {words}") from None
    if place.shape == () and 0 <= float(place) <= 1:
        return
    if place.shape != (2,):
        raise InputError(f"the focus is {focus!r}: {words}")
    x, y = (float(number) for number in place)
    if not (0 <= x < photo.width and 0 <= y < photo.height):  # NaN fails too
        raise InputError(
            f"the focus ({x:g}, {y:g}) is outside the image, which is {photo.width}×{photo.height} (width×height)"
        )
