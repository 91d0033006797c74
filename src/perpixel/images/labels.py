"""Read label maps: pictures whose pixels are numbers of classes or objects, not colours."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from PIL import Image

from perpixel.errors import InputError, PerpixelWarning
from perpixel.images.files import MAX_PIXELS, check_size, damaged, identify, open_source, unrecognised

Array = np.ndarray[Any, Any]


def read_labels(source: str | os.PathLike[str] | bytes | Image.Image, *, max_pixels: int = MAX_PIXELS) -> Array:
    """Read the stored numbers of a label map: no profile, no scale, no colour of a palette.

    Args:
        source: a path, the bytes of a file, or a Pillow image. PNG and TIFF of 1 to 32 bits and palettes keep
            every number; an alpha channel has to be opaque.
        max_pixels: larger files are refused before they are decoded.

    Returns:
        (h, w): the grey values or palette indices. (h, w, 3) for colour, see `panoptic_ids`.

    Raises:
        InputError: it cannot be read, has been compressed with losses, or has a mode without numbers.

    >>> read_labels(Image.fromarray(np.array([[0, 300]], np.uint16))).tolist()
    [[0, 300]]
    """
    if isinstance(source, Image.Image):
        label = str(getattr(source, "filename", "") or "the Pillow label map")
        check_size(*source.size, max_pixels, label)
        return _stored(source, label)
    opened = open_source(source)
    with opened.stream:
        image = identify(opened)
        if image is None:
            raise unrecognised(opened)
        check_size(*image.size, max_pixels, opened.label)
        try:
            image.load()
        except Exception as error:  # forty decoders raise nearly anything on hostile bytes
            raise damaged(opened, error) from error
        return _stored(image, opened.label)


def _stored(image: Image.Image, label: str) -> Array:
    if image.format in ("JPEG", "MPO"):
        raise InputError(f"{label} is a JPEG, whose compression changes labels: save the label map as PNG")
    values = np.asarray(image)
    if image.mode in ("RGBA", "LA", "PA"):
        if values[..., -1].min() < 255:
            raise InputError(f"{label} is partly transparent, which no label map is: save it without alpha")
        values = values[..., :3] if image.mode == "RGBA" else values[..., 0]
    elif image.mode not in ("1", "L", "P", "F", "RGB") and not image.mode.startswith("I"):
        raise InputError(f"{label} has Pillow mode {image.mode}: save the label map as grey, palette or RGB PNG")
    return values


def panoptic_ids(colours: Array, name: str = "the label map") -> Array:
    """Return the segment ids of a COCO panoptic picture: red + 256 · green + 65536 · blue.

    Args:
        colours: (3, h, w), whole numbers from 0 to 255. Where the three are equal in every pixel, this is a
            grey map that was saved in colour: its grey values are returned, with a warning.
        name: what messages call it.

    Returns:
        (h, w), int32.

    Raises:
        InputError: other numbers. The source is https://cocodataset.org/#format-data, panoptic segmentation.

    >>> panoptic_ids(np.array([[[1]], [[2]], [[3]]]))
    array([[197121]], dtype=int32)
    """
    if colours.min() < 0 or colours.max() > 255 or (colours % 1).any():
        raise InputError(
            f"{name} has three channels with values outside of 0…255: pass ids as (h, w), or a COCO panoptic "
            "picture with the bytes of each id as red, green and blue"
        )
    red: Array
    red, green, blue = colours.astype(np.int32)
    if red.any() and np.array_equal(red, green) and np.array_equal(red, blue):
        warnings.warn(
            f"{name} has three equal channels and is taken as a grey map, not as COCO's panoptic colours: pass "
            "one channel",
            PerpixelWarning,
            stacklevel=2,
        )
        return red
    ids: Array = red + 256 * green + 65536 * blue
    return ids
