"""While work is going on, the button that started it makes room for one that stops it."""

from __future__ import annotations

from typing import Any

import gradio as gr


def busy(run: gr.Button, cancel: gr.Button, running: Any) -> None:
    """Show `cancel` instead of `run` while an event runs, and let it stop that event.

    Args:
        run: what starts the work.
        cancel: what stops it; made with `visible=False`.
        running: the event of the work, as `run.click` returned it.
    """
    both = [run, cancel]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    run.click(lambda: _visible(False, True), None, both, **quiet)
    running.then(lambda: _visible(True, False), None, both, **quiet)
    cancel.click(lambda: _visible(True, False), None, both, cancels=[running], **quiet)


def _visible(run: bool, cancel: bool) -> list[gr.Button]:
    return [gr.Button(visible=run), gr.Button(visible=cancel)]
