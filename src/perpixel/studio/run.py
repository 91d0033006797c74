"""Studio as a program of its own: one address, one browser window, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

from perpixel.errors import InputError
from perpixel.studio.app import create_studio, mount_studio, private_folder
from perpixel.studio.settings import StudioSettings

# Uploads beyond this are refused while they are read; the largest photograph that is opened needs less.
MAX_FILE = 1 << 30


def run_studio(
    settings: StudioSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    browser: bool = True,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        settings: how Studio behaves.
        host: the address to listen at.
        port: the port; 0 takes any free one.
        browser: open the page when it is ready.
        say: is given the lines for the terminal.

    Raises:
        InputError: nothing can listen at that address.
    """
    import uvicorn
    from fastapi import FastAPI

    with private_folder(), _listening(host, port) as listener:
        studio = create_studio(settings)
        app = mount_studio(FastAPI(openapi_url=None), studio, max_file_size=MAX_FILE)
        shown = host if ":" not in host else f"[{host}]"
        shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(shown, shown)
        address = f"http://{shown}:{listener.getsockname()[1]}/"
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
        # uvicorn passes a signal on when it has shut down: this lets the `with` above remove the folder.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        say(f"Studio is at {address} (Ctrl-C ends it)")
        if browser:
            threading.Timer(1.0, webbrowser.open, [address]).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken: end the other program, or give another such as --port 0") from None
        raise InputError(f"Studio cannot listen at {host}:{port} ({error.strerror}): give another --host") from None
    return listener
