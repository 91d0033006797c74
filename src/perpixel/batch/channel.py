"""A queue between threads with a bound, which ends when all who fill it have left, or at once when it is cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """What some threads put in, others take out.

    Args:
        size: how many items it holds before `put` waits.
        fillers: how many threads put into it; each calls `leave` when it has finished.
    """

    def __init__(self, size: int, fillers: int) -> None:
        self._size, self._fillers = size, fillers
        self._items: deque[Item] = deque()
        self._changed = Condition()
        self._is_cut = False

    def put(self, item: Item) -> bool:
        """Put an item in as soon as there is room; False where the channel was cut, and nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_cut or len(self._items) < self._size)
            if self._is_cut:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[Item]:
        """The items as they come, until there will be no more."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_cut or bool(self._items) or not self._fillers)
                if self._is_cut or not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

    def leave(self) -> None:
        """Tell that one of those who fill it has finished."""
        with self._changed:
            self._fillers -= 1
            self._changed.notify_all()

    def cut(self) -> None:
        """Let nobody put in or take out any more; what is in it is dropped."""
        with self._changed:
            self._is_cut = True
            self._items.clear()
            self._changed.notify_all()
