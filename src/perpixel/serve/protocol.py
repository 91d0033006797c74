"""uvicorn's HTTP, with an end to its patience: it waits for ever for a head, and for a client to read its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_protocol(header_timeout: float, read_timeout: float) -> type[H11Protocol]:
    """Make a protocol for `uvicorn.Config(http=…)`.

    Args:
        header_timeout: seconds from the first byte, or the opening of the connection, to the end of a request's head.
        read_timeout: seconds that a client may leave an answer unread.
    """

    class TimedProtocol(H11Protocol):
        """One connection."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._head: asyncio.TimerHandle | None = None
            self._reading: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_head()
            self._stop_reading()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stop_reading()
            self._reading = self.loop.call_later(read_timeout, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_reading()

        def _await_head(self) -> None:
            """Let the time run while a head is incomplete; more bytes of the same head do not begin it anew."""
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._stop_head()
            elif self._head is None:
                self._head = self.loop.call_later(header_timeout, self._too_slow)

        def _too_slow(self) -> None:
            self._head = None
            # Between two requests uvicorn's own time for idle connections runs.
            if self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
                self.transport.abort()

        def _stop_head(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _stop_reading(self) -> None:
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None

    return TimedProtocol
