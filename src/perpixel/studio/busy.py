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
        run: the button that starts, with an `elem_id`.
        cancel: the button that stops, likewise; made with `visible=False`.
        work: an async function; it is cancelled by `asyncio.CancelledError`.
        inputs: the components whose values it takes.
        outputs: the components that it gives values for.
        show_progress_on: the component, or several, over which the progress is shown.
        at_once: how many people's work runs at a time.
    """
    both = [run, cancel]
    private: dict[str, Any] = {"api_visibility": "private"}
    # One after the other: a second function of the same click would only run when the first has ended.
    started = run.click(None, None, both, js=_instead(run, cancel, shown=1), **private)
    running = started.then(
        work, list(inputs), list(outputs), show_progress_on=show_progress_on, concurrency_limit=at_once, **private
    )
    for ended in (running.success, running.failure):  # `then` is not called after an error
        ended(None, None, both, js=_instead(run, cancel, shown=0), **private)
    cancel.click(None, None, both, js=_instead(run, cancel, shown=0), cancels=[running], **private)


def _instead(*buttons: gr.Button, shown: int) -> str:
    """JavaScript that shows one of two buttons, and hands it the focus where the other had it, or nothing has.

    The page does so by itself, without asking the program.
    """
    updates = [{"__type__": "update", "visible": number == shown} for number in range(len(buttons))]
    ids = [button.elem_id for button in buttons]
    return f"""() => {{
      const give = (turns) => {{
        const button = document.getElementById({json.dumps(ids[shown])});
        if (button) button.focus({{ preventScroll: true }});
        else if (turns) setTimeout(give, 50, turns - 1);
      }};
      const at = document.activeElement;
      if (!at || at === document.body || {json.dumps(ids)}.includes(at.id)) setTimeout(give, 50, 20);
      return {json.dumps(updates)};
    }}"""
