"""Long work off the page's event loop, which a click on Cancel really stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from perpixel.tasks.stopping import Stopped, stoppable

Result = TypeVar("Result")


class Stop:
    """Tells work in another thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Ask the work to stop."""
        self._asked.set()

    def check(self) -> None:
        """Go on, or raise `Stopped` if the work was cancelled. To be called between the steps of the work."""
        if self._asked.is_set():
            raise Stopped


async def in_thread(work: Callable[[Stop], Result]) -> Result:
    """Do long work in a thread; if the awaiting task is cancelled, so is the work.

    Every torch module checks before it runs, so that a network stops within one of its layers.

    Args:
        work: called with a `Stop`, whose `check` it calls between its own steps.

    Returns:
        what `work` returns.

    Raises:
        asyncio.CancelledError: the awaiting task was cancelled.

    >>> asyncio.run(in_thread(lambda stop: 6 * 7))
    42
    """
    stop = Stop()
    try:
        return await asyncio.to_thread(_watched, work, stop)
    except asyncio.CancelledError:
        stop.ask()
        raise


def _watched(work: Callable[[Stop], Result], stop: Stop) -> Result:
    stop.check()
    with stoppable(stop.check):
        return work(stop)
