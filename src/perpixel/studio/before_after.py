"""Two pictures with a handle between them, which also the arrow keys move."""

from __future__ import annotations

import base64
import io
import secrets
from importlib import resources
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def before_after(empty: str, *, elem_id: str) -> gr.HTML:
    """The component. Gradio's own ImageSlider cannot be reached with the keyboard.

    Args:
        empty: what is said while there are no pictures.
        elem_id: its id in the page.
    """
    files = resources.files("perpixel.studio")
    return gr.HTML(
        html_template=files.joinpath("before_after.html").read_text("utf-8"),
        js_on_load=files.joinpath("before_after.js").read_text("utf-8"),
        apply_default_css=False,
        elem_id=elem_id,
        before="",
        after="",
        empty=empty,
        round="",
    )


def compared(before: Pixels | None, after: Pixels | None, icc_profile: bytes | None = None) -> Any:
    """The update of the component for other pictures, both (h, w, 3) RGB under a profile, or for none.

    The page scrolls to them if they are out of sight.
    """
    turn = secrets.token_hex(8)
    return gr.update(before=_address(before, icc_profile), after=_address(after, icc_profile), round=turn)


def other_after(after: Pixels, icc_profile: bytes | None = None) -> Any:
    """The update of the component for another second picture."""
    return gr.update(after=_address(after, icc_profile))


def _address(pixels: Pixels | None, icc_profile: bytes | None) -> str:
    if pixels is None:
        return ""  # Gradio leaves a property that is updated to None as it was
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92, subsampling=0, icc_profile=icc_profile)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
