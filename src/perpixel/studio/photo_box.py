"""Where a photograph is dropped: the file itself goes to the program; and what is shown of it."""

from __future__ import annotations

from abc import ABCMeta
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.files import MAX_PIXELS, identify, open_source
from perpixel.images.read import Photo, read_photo
from perpixel.studio.messages import plain_errors
from perpixel.studio.samples import samples

# Enough for the page, and quickly sent; the photograph itself stays as it is.
LONGEST = 1280
# What was made of photographs of people who have left is forgotten after so many seconds.
KEPT = 3600


class _WithoutStub(type(gr.Image)):  # type: ignore[misc]
    """Gradio's metaclass, but it writes no .pyi file beside this one when the class is made."""

    def __new__(mcs, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> Any:
        return ABCMeta.__new__(mcs, name, bases, members)


class PhotoBox(gr.Image, metaclass=_WithoutStub):  # type: ignore[misc]
    """A `gr.Image` whose functions get the path of the uploaded file as it came.

    Gradio's own opens the file with Pillow first: a damaged one ends there with no word to the user, and one of 16 bits
    or turned by its EXIF comes out changed. `read_photo` handles all of these.
    """

    is_template = True  # the page shows it as a gr.Image

    def preprocess(self, payload: Any) -> str | None:
        """The path of the uploaded file; Gradio has checked that it is one of its uploads."""
        return None if payload is None else payload.path


def photo_box(elem_id: str, most: int) -> tuple[PhotoBox, gr.State, list[Any]]:
    """A place to drop, choose or paste a photograph, and below it the examples.

    Args:
        elem_id: its id in the page.
        most: pixels of a photograph.

    Returns:
        the box; the state that holds the `Photo`, or None; and the events that bring another photograph.
    """
    box = PhotoBox(
        label="Photograph",
        sources=["upload", "clipboard"],
        image_mode=None,
        type="filepath",
        buttons=["fullscreen"],
        elem_id=elem_id,
        height=320,
    )
    photo = gr.State(None, time_to_live=KEPT)
    with gr.Row(elem_classes=["photo-examples"]):
        buttons = [gr.Button(each.title, icon=str(each.path), size="sm", min_width=80) for each in samples()]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    for button, each in zip(buttons, samples(), strict=True):
        button.click(partial(opened, str(each.path), most=most), None, [photo, box], **private)
    # One that cannot be read leaves no other behind, which the page would work on unseen.
    box.upload(partial(opened, most=most), box, [photo, box], **private).failure(
        lambda: (None, None), None, [photo, box], **private
    )
    box.clear(lambda: None, None, photo, **private)
    return box, photo, [box.upload, box.clear, *(button.click for button in buttons)]


def result_picture(label: str, elem_id: str, alt_text: str) -> gr.Image:
    """A picture that the page shows and nobody can change."""
    return gr.Image(
        label=label, interactive=False, buttons=["fullscreen"], height="auto", elem_id=elem_id, alt_text=alt_text
    )


def opened(path: str | None, most: int = MAX_PIXELS) -> tuple[Photo | None, NDArray[np.uint8] | None]:
    """Read an uploaded file.

    Args:
        path: the file.
        most: pixels that it may have.

    Returns:
        the photograph, and what the page shows of it: upright and of 8 bits, in a size for it.

    Raises:
        gradio.Error: it is no photograph that can be read; the words say why.
    """
    if path is None:
        return None, None
    with plain_errors():
        check_pixels(path, most)
        photo = read_photo(Path(path), max_pixels=most)
    return photo, for_page(photo.rgb8)


def check_pixels(path: str, most: int) -> None:
    """Refuse a picture that is too large, by what its file says, before it is decoded.

    Raises:
        InputError: it has more pixels.
    """
    image = identify(open_source(Path(path)))
    if image is not None and image.width * image.height > most:
        raise InputError(
            f"{Path(path).name} is {image.width}×{image.height} (width×height), and pictures of up to "
            f"{most / 1e6:g} megapixels can be opened here: make it smaller"
        )


def for_page(pixels: NDArray[np.uint8], longest: int = LONGEST) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 at most so long, made smaller where it is larger."""
    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8).reshape(size[1], size[0], 3)


def stem(photo: Photo) -> str:
    """What files made of a photograph are named after.

    >>> stem(Photo(np.zeros((1, 1, 3), np.uint8)))
    'photo'
    """
    return photo.path.stem if photo.path else "photo"
