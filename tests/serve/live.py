"""An application behind real HTTP, in a thread of the test, and plain sockets to be rude to it with."""

import socket
import threading
import time
from contextlib import contextmanager

import httpx
import uvicorn

from perpixel.serve.protocol import timed_protocol
from perpixel.serve.settings import Settings


@contextmanager
def live(app, settings=None):
    """The address of an application that is ready, served as `process.run_server` serves it."""
    settings = settings or Settings()
    protocol = timed_protocol(settings.header_timeout, settings.upload_timeout)
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = uvicorn.Server(uvicorn.Config(app, http=protocol, ws="none", log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        try:
            for _ in range(600):
                if httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
                    break
                time.sleep(0.05)
            yield url
        finally:
            server.should_exit = True
            thread.join(60)


def spoken(url, sent, seconds=20.0):
    """What a server answers to these bytes, until it closes the connection or is silent for so many seconds."""
    host, port = url.removeprefix("http://").split(":")
    found = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        try:
            connection.sendall(sent)
            while data := connection.recv(65536):
                found += data
        except ConnectionError:
            pass
    return found
