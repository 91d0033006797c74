"""What the tab Cut out does, as functions over arrays and files that need no page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.depth import to_float, to_uint8, to_uint16
from perpixel.images.read import Photo, read_mask, read_trimap
from perpixel.images.write import write_image
from perpixel.ops.trimap import check_trimap, has_unknown, snap_trimap, trimap_from_mask
from perpixel.results import Matte
from perpixel.studio.trimap_editor import Drawing, Trimap, paint, trimap_from_marks

Form: TypeAlias = Literal["png", "webp", "png16", "alpha", "trimap"]

FORMS: list[tuple[str, Form]] = [
    ("PNG", "png"),
    ("WebP", "webp"),
    ("PNG, 16 bits a channel", "png16"),
    ("Only the mask (PNG, 16 bits)", "alpha"),
    ("Only the trimap (PNG)", "trimap"),
]
# The longer side of the pictures that the page compares.
SHOWN = 2048


@dataclass(frozen=True)
class Look:
    """What the cut-out is put on.

    Attributes:
        background: None for nothing, a colour such as "#ffffff", or the path of a picture.
        clean: take the subject's own colours, with no old background shining through its edges.
    """

    background: str | None = None
    clean: bool = True


def colour_of(text: str) -> str:
    """The colour of a colour picker, which may be "rgba(12.5, 0, 255, 1)", in the form "#rrggbb".

    Raises:
        InputError: it is no colour.

    >>> colour_of("rgba(12.5, 0, 255, 1)"), colour_of("#fff")
    ('#0c00ff', '#ffffff')
    """
    from PIL import ImageColor

    numbers = re.fullmatch(r"rgba?\(([\d.]+),\s*([\d.]+),\s*([\d.]+)(?:,\s*[\d.]+)?\)", text.strip())
    try:
        found = [round(float(number)) for number in numbers.groups()] if numbers else ImageColor.getrgb(text)[:3]
    except ValueError:
        raise InputError(f"{text!r} is no colour: give one such as white or #2080ff") from None
    return "#" + "".join(f"{min(255, value):02x}" for value in found)


def current_trimap(photo: Photo, base: Trimap | None, drawing: Drawing) -> tuple[Trimap, Trimap]:
    """The trimap of what is marked, or of the repairs where those are being drawn.

    Args:
        photo: the photograph.
        base: the trimap that the repairs are on, or None.
        drawing: all that was drawn.

    Returns:
        the base, made anew from the marks where these are being drawn; and the trimap with the repairs.

    Raises:
        InputError: nothing is marked.
    """
    if drawing.step == "repair" and base is not None:
        return base, paint(base, drawing.repairs)
    made = trimap_from_marks(photo, drawing)
    return made, made


def trimap_of_file(path: str | Path, photo: Photo) -> tuple[Trimap, str]:
    """Read a trimap, or a mask, of which a trimap is made.

    A file of three greys is a trimap; any other, or one with transparency, a mask.

    Args:
        path: the file.
        photo: the photograph that it belongs to.

    Returns:
        (h, w) uint8 of 0, 128 and 255, and what it was taken for: "trimap" or "mask".

    Raises:
        InputError: it is no image, is empty, or has not the photograph's size.
    """
    size = (photo.height, photo.width)
    trimap = _as_trimap(path)
    if trimap is not None:
        check_trimap(trimap, size)
        return trimap, "trimap"
    mask = read_mask(path)
    if mask.shape != size:
        raise InputError(
            f"the mask is {mask.shape[1]}×{mask.shape[0]} but the photograph is {photo.width}×{photo.height} "
            f"(width×height): resize the mask to {photo.width}×{photo.height}, or give that of this photograph"
        )
    return trimap_from_mask(mask), "mask"


def _as_trimap(path: str | Path) -> Trimap | None:
    """The file as a trimap, or None where it is rather a mask."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            if "A" in opened.getbands():
                return None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        pass  # the readers below say what is wrong with it
    grey = read_trimap(path)
    if len(np.unique(grey)) > 8:  # a soft mask, or a trimap that was saved as JPEG or resized
        middle = np.abs(grey.astype(np.int16) - 128) <= 32
        between = ~middle & (np.minimum(grey, 255 - grey) > 32)
        # In soft edges all greys are about as many; a trimap has 7 times as many in the middle, and more.
        if between.mean() > 0.02 or middle.sum() < 3 * between.sum() or middle.mean() <= 0.002:
            return None
    try:
        trimap = snap_trimap(grey)
    except InputError:
        return None
    return trimap if has_unknown(trimap) else None


def trimap_of_label(photo: Photo, label: str, segmenter: Any) -> Trimap:
    """Find the subject by its name with a segmentation model.

    Args:
        photo: the photograph.
        label: the name of what the subject is; "" is the largest thing, whatever it is.
        segmenter: a loaded model for segmentation.

    Returns:
        (h, w) uint8 of 0, 128 and 255.

    Raises:
        InputError: the model does not know the name, or found nothing of it.
    """
    from perpixel.tasks.segmentation import labels_meant, segment
    from perpixel.tasks.subject import choose, trimap_of

    words = label.strip()
    names = labels_meant(words, segmenter.labels) if words else None
    found = segment(photo, model=segmenter, kind=segmenter.kinds[0])
    return trimap_of(found, choose(found, names, None, words or None))


def smaller(matte: Matte, longest: int = SHOWN) -> Matte:
    """The matte in a size for the page, of 8 bits; with it backgrounds are tried quickly."""
    scale = min(1.0, longest / max(matte.size))
    size = max(1, round(matte.width * scale)), max(1, round(matte.height * scale))
    alpha, image = matte.alpha, to_uint8(matte.image)
    if scale < 1:
        alpha = np.clip(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), 0, 1).astype(np.float32)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Matte(alpha, image, icc_profile=matte.icc_profile)


def in_look(matte: Matte, look: Look) -> NDArray[Any]:
    """The subject on its background: (h, w, 3) RGB of the image's dtype; on nothing, (h, w, 4) RGBA."""
    chosen = matte if look.clean else _unclean(matte)
    return chosen.composite(look.background)


def on_page(small: Matte, look: Look) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The two pictures to compare: (h, w, 3) uint8 before and after, on a checkerboard where there is no background."""
    chosen = small if look.clean else _unclean(small)
    square = max(6, round(max(small.size) / 60))
    after = chosen.preview(square) if look.background is None else chosen.composite(look.background)
    return small.image, after


def _unclean(matte: Matte) -> Matte:
    return Matte(matte.alpha, matte.image, foreground=to_float(matte.image), icc_profile=matte.icc_profile)


def write_cutout(folder: Path, matte: Matte, look: Look, form: Form, name: str) -> Path:
    """Write the file that is downloaded.

    Args:
        folder: where.
        matte: the cut-out.
        look: what it is put on.
        form: one of `FORMS`.
        name: what the file is named after.

    Returns:
        the file.
    """
    if form == "alpha":
        return matte.save(folder / f"{name}-mask.png", "alpha", bits=16)
    if form == "trimap":
        if matte.trimap is None:
            raise InputError("this cut-out was made without a trimap: cut it out again")
        return write_image(folder / f"{name}-trimap.png", matte.trimap)
    path = folder / f"{name}-cutout.{'webp' if form == 'webp' else 'png'}"
    bits = 16 if form == "png16" else 8
    # A copy: the colours of the whole photograph take much memory, and are not kept.
    pixels = to_uint16(matte.image) if bits == 16 else to_uint8(matte.image)
    whole = Matte(matte.alpha, pixels, icc_profile=matte.icc_profile)
    return write_image(path, in_look(whole, look), icc_profile=matte.icc_profile, bits=bits)
