"""A button that writes a file when it is pressed, and gives it to the browser."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from perpixel.studio.messages import plain_errors

# Gradio's DownloadButton gives a file that was written before; large ones, of which most are never asked for, are
# better written at the press of the button.
GIVE = """
(file) => {
  if (!file || !file.url) return;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name || '';
  document.body.append(link);
  link.click();
  link.remove();
}
"""


def save_button(label: str, write: Callable[..., Path], inputs: Sequence[Any], *, elem_id: str) -> gr.Button:
    """Make the button.

    Args:
        label: what it says.
        write: is given a folder and the values of `inputs`; writes a file into the folder and returns its path.
        inputs: components.
        elem_id: its id in the page.

    Returns:
        the button, not pressable until the caller makes it so.
    """
    button = gr.Button(label, size="sm", interactive=False, elem_id=elem_id, min_width=80)
    holder = gr.File(visible=False)

    def written(*values: Any) -> str:
        with plain_errors():
            # In Gradio's own folder, where it is deleted when it is old.
            return str(write(Path(tempfile.mkdtemp(dir=_folder(holder))), *values))

    made = button.click(written, list(inputs), holder, api_visibility="private")
    made.success(None, holder, None, js=GIVE, api_visibility="private")
    return button


def _folder(component: Any) -> Path:
    folder = Path(component.GRADIO_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
