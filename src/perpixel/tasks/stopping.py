"""Stop a network that runs in one thread because another has learned that nobody waits for it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):
    """Raised inside work that was given up; nobody waits for its result any more."""


@contextmanager
def stoppable(check: Callable[[], None]) -> Iterator[None]:
    """Have `check` called before every torch module that this thread runs inside the block.

    What it raises, such as `Stopped`, ends a network within one of its layers. Exported models are one call, and end
    only by themselves.

    Args:
        check: is quick, since a network has hundreds of modules.
    """
    from torch.nn.modules.module import register_module_forward_pre_hook

    own = threading.get_ident()

    def look(module: Any, inputs: Any) -> None:
        if threading.get_ident() == own:  # other threads run the same layers for somebody else
            check()

    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
