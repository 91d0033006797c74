"""What the page says when something goes wrong: one plain line, never a stack trace."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from gradio.utils import get_upload_folder

from perpixel.errors import PerpixelError

LOG = logging.getLogger(__name__)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn every error inside into a message on the page.

    Raises:
        gradio.Error: with the words of a `PerpixelError`; of any other error the page learns only that it happened,
            and the log has its trace.
    """
    try:
        yield
    except gr.Error:
        raise
    except PerpixelError as error:
        raise gr.Error(_sentence(str(error)), print_exception=False) from None
    except MemoryError:
        words = "There is not enough memory for this picture: make it smaller, or choose a smaller model."
        raise gr.Error(words, print_exception=False) from None
    except Exception:  # what the page does not know is in the log, with its trace
        LOG.exception("Studio met an error that it does not know")
        words = "Something unexpected went wrong. The program's log has the details; another picture may work."
        raise gr.Error(words, print_exception=False) from None


def _sentence(words: str) -> str:
    """The words with a capital, unless a name begins them, and without the folder that an upload lies in.

    >>> _sentence("the box is empty"), _sentence("cat.jpg is empty")
    ('The box is empty.', 'cat.jpg is empty.')
    """
    folder = re.escape(get_upload_folder())
    words = re.sub(rf"{folder}[\\/][0-9a-f]{{64}}[\\/]", "", words)
    words = re.sub(r", or call \S+\(\) first \(.*\)", "", words)  # what only programs can do
    first = words.partition(" ")[0]
    return (words[:1].upper() + words[1:] if first.isalpha() else words).rstrip(".") + "."
