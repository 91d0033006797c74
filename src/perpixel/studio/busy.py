"""While work is going on, the button that started it makes room for one that stops it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr


def start_and_cancel(
    run: gr.Button,
    cancel: gr.Button,
    work: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    show_progress_on: Any,
    *,
    at_once: int,
) -> None:
    """Let `run` start long work, and `cancel`, which is shown in its place meanwhile, stop it.

    Args:
        run: the button that starts.
        cancel: the button that stops; made with `visible=False`.
        work: an async function; it is cancelled by `asyncio.CancelledError`.
        inputs: the components whose values it takes.
        outputs: the components that it gives values for.
        show_progress_on: the component, or several, over which the progress is shown.
        at_once: how many people's work runs at a time.
    """
    both = [run, cancel]
    private: dict[str, Any] = {"api_visibility": "private"}
    # One after the other: a second function of the same click would only run when the first has ended.
    started = run.click(None, None, both, js=_shown(run=False), **private)
    running = started.then(
        work, list(inputs), list(outputs), show_progress_on=show_progress_on, concurrency_limit=at_once, **private
    )
    for ended in (running.success, running.failure):  # `then` is not called after an error
        ended(None, None, both, js=_shown(run=True), **private)
    cancel.click(None, None, both, js=_shown(run=True), cancels=[running], **private)


def _shown(*, run: bool) -> str:
    """The page shows one of the two buttons by itself, without asking the program."""
    updates = [{"__type__": "update", "visible": visible} for visible in (run, not run)]
    return f"() => {json.dumps(updates)}"
