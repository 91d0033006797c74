"""The application as a process: one address, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import uvicorn

from perpixel.errors import InputError
from perpixel.serve.app import create_app, has_studio
from perpixel.serve.guard import Pages
from perpixel.serve.protocol import timed_protocol
from perpixel.serve.settings import Settings

# Connections beyond this get 503; each may be one that says nothing.
CONNECTIONS = 1024
# At its end the server gives browsers so long to finish what they ask for.
PAGE_SECONDS = 3.0


def run_server(
    settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, say: Callable[[str], object] = print
) -> bool:
    """Serve until SIGTERM or Ctrl-C, then finish what was accepted.

    Args:
        settings: models and limits.
        host: the address to listen at; "127.0.0.1" is only reached from this machine.
        port: the port; 0 takes any free one.
        say: is given the line with the address.

    Returns:
        False where the models could not be loaded.

    Raises:
        InputError: nothing can listen at that address, or two models have one name.
        CheckpointError: a model is not there.
    """
    with ExitStack() as stack:
        door = stack.enter_context(listening(host, port))
        if settings.studio and has_studio():
            from perpixel.studio.app import private_folder

            stack.enter_context(private_folder())
        app = create_app(settings)
        config = uvicorn.Config(
            app,
            http=timed_protocol(settings.header_timeout, settings.upload_timeout),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(settings.upload_timeout + settings.timeout) + 1,
        )
        server = _Server(config, app.state.pages)
        app.state.service.failed = server.leave
        name = f"[{host}]" if ":" in host else host
        say(f"perpixel serves at http://{name}:{door.getsockname()[1]} (Ctrl-C ends it)")
        server.run(sockets=[door])
    return app.state.service.failure is None


class _Server(uvicorn.Server):
    """uvicorn's server, which does not kill its process once more after a graceful end, nor wait for open pages."""

    def __init__(self, config: uvicorn.Config, pages: Pages) -> None:
        super().__init__(config)
        self._pages = pages

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGTERM and SIGINT; a second Ctrl-C does not wait for requests."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.leave()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what was accepted."""
        asyncio.get_running_loop().call_later(PAGE_SECONDS, self._pages.end)
        await super().shutdown(sockets)

    def leave(self) -> None:
        """End when the requests that were accepted are answered."""
        self.should_exit = True


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        InputError: nothing can.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen at {host}, port {port} ({reason}): choose another --port or --host") from error
