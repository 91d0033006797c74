"""Studio's page: a header and one tab for each task."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr

from perpixel import __version__
from perpixel.studio.cutout import cutout_tab
from perpixel.studio.depth import depth_tab
from perpixel.studio.door import Door, Refused, plain
from perpixel.studio.segment import segment_tab
from perpixel.studio.settings import StudioSettings
from perpixel.studio.shelf import Shelf
from perpixel.studio.theme import studio_css, studio_theme

# Pictures of people who have left are deleted after this many seconds, looked for at this interval.
OLD, LOOK = 3600, 600
# So many people's pictures are kept in memory at once.
SESSIONS = 64
# So many steps of all pages may wait for others; the next is told that the page is busy.
WAITING = 512


def create_studio(settings: StudioSettings | None = None) -> gr.Blocks:
    """Build the page.

    Nothing is loaded or fetched yet. What people upload lies in Gradio's temporary folder (`GRADIO_TEMP_DIR`), an
    hour at most; `perpixel studio` gives it a folder of its own, which is removed when the program ends.

    Args:
        settings: as by default if not given.

    Returns:
        the page, for `mount_studio`.
    """
    settings = settings or StudioSettings()
    shelf = Shelf(settings)
    with gr.Blocks(
        title="perpixel Studio", analytics_enabled=False, delete_cache=(LOOK, OLD), fill_width=True
    ) as studio:
        gr.HTML(_header(), elem_id="studio-header")
        with gr.Tabs(elem_id="studio-tabs") as tabs:
            with gr.Tab("Cut out", id="cutout"):
                cutout = cutout_tab(shelf, tabs)
            with gr.Tab("Segment", id="segment"):
                segment_tab(shelf, cutout)
            with gr.Tab("Depth", id="depth"):
                depth_tab(shelf)
    studio.state_session_capacity = SESSIONS
    # All that may wait elsewhere leaves Gradio's places to the page's small steps.
    studio.max_threads += settings.at_once
    studio.queue(max_size=WAITING)
    return studio


def mount_studio(
    app: Any,
    studio: gr.Blocks,
    path: str = "/",
    *,
    max_file_size: int | None = None,
    answer: Callable[[Refused], Any] = plain,
) -> Any:
    """Mount the page in a FastAPI application.

    Args:
        app: the `fastapi.FastAPI`; its other routes have to be there before.
        studio: from `create_studio`.
        path: where.
        max_file_size: the most bytes of an uploaded file.
        answer: as for `Door`, behind which the page is.

    Returns:
        the application.
    """
    gr.mount_gradio_app(
        app,
        studio,
        path=path,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=max_file_size,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=studio_theme(),
        css=studio_css(),
        js=resources.files("perpixel.studio").joinpath("keys.js").read_text("utf-8"),
    )
    mounted = app.routes[-1]
    mounted.app = Door(mounted.app, functions=studio.fns, answer=answer)
    return app


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder for what people upload, to be entered before `create_studio`; it is removed at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="perpixel-studio-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read by Gradio when components are made
        try:
            yield Path(folder)
        finally:
            del os.environ["GRADIO_TEMP_DIR"]
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def _header() -> str:
    return f"""
<header>
  <h1 title="version {__version__}">perpixel <span>Studio</span></h1>
  <p>Photographs are not sent anywhere else.</p>
</header>
"""
