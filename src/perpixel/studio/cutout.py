"""The tab Cut out: a photograph and a hint in, the subject on another background out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from perpixel.images.read import Photo, read_photo
from perpixel.ops.trimap import trimap_from_mask
from perpixel.studio.messages import plain_errors
from perpixel.studio.shelf import Shelf, model_picker
from perpixel.studio.work import Stop, in_thread
from perpixel.tasks.cutout import cutout
from perpixel.tasks.matting import matte


@dataclass(frozen=True)
class CutoutTab:
    """What other tabs need to hand this one a photograph and its subject.

    Attributes:
        tabs: all tabs of the page.
        photo: the photograph, a `Photo` or None.
        trimap: the trimap, (h, w) uint8 of 0, 128 and 255, or None.
        picture: shows the photograph.
    """

    tabs: gr.Tabs
    photo: gr.State
    trimap: gr.State
    picture: gr.Image

    @property
    def takes(self) -> list[Any]:
        """The components that `take` gives values for: the outputs of an event."""
        return [self.tabs, self.photo, self.trimap, self.picture]

    def take(
        self, photo: Photo, *, mask: NDArray[Any] | None = None, trimap: NDArray[np.uint8] | None = None
    ) -> tuple[Any, ...]:
        """Open this tab with a photograph and its subject.

        Args:
            photo: the photograph.
            mask: (h, w) of the photograph's size, true or 1 on the subject; or
            trimap: (h, w) uint8 of 0, 128 and 255.

        Returns:
            the values for `takes`.
        """
        if mask is not None:
            trimap = trimap_from_mask(mask)
        return gr.Tabs(selected="cutout"), photo, trimap, photo.rgb8


def cutout_tab(shelf: Shelf, tabs: gr.Tabs) -> CutoutTab:
    """Build the tab.

    Args:
        shelf: the models.
        tabs: all tabs of the page.

    Returns:
        what other tabs need to hand over a photograph.
    """
    photo, trimap = gr.State(None), gr.State(None)
    with gr.Row():
        with gr.Column():
            file = gr.File(label="Photograph", file_types=["image"], height=120)
            picture = gr.Image(label="Photograph", interactive=False)
            box = gr.Textbox(label="Box: x0, y0, x1, y1", placeholder="60, 20, 440, 512")
            model = model_picker(shelf, "matting")
            with gr.Row():
                run = gr.Button("Cut out", variant="primary")
                cancel = gr.Button("Cancel")
        with gr.Column():
            result = gr.ImageSlider(label="Before and after", interactive=False)

    def opened(path: str | None) -> tuple[Any, ...]:
        with plain_errors():
            if path is None:
                return None, None, None
            found = read_photo(path)
            return found, None, found.rgb8

    async def cut(found: Photo, known: NDArray[np.uint8] | None, corners: str, name: str) -> Any:
        def work(stop: Stop) -> Any:
            network = shelf.load(name, "matting")
            stop.check()
            if known is not None:
                made = matte(found, known, model=network)
            else:
                made = cutout(found, box=[int(part) for part in corners.split(",")], model=network)
            return found.rgb8, made.preview()

        with plain_errors():
            return await in_thread(work)

    file.change(opened, file, [photo, trimap, picture], api_visibility="private")
    running = run.click(cut, [photo, trimap, box, model], result, api_visibility="private")
    cancel.click(None, cancels=[running], api_visibility="private")
    return CutoutTab(tabs, photo, trimap, picture)
