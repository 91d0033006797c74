"""Before Studio: its requests may name files that were uploaded to it, and nothing else on this machine or elsewhere.

Gradio looks at the paths in a request only where it was started by its own `launch`, and it fetches pictures whose
path is an address. A server has no use for either.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perpixel.serve.problems import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Addresses of Gradio that fetch others: a file by its address, and the proxy for pages elsewhere.
_FETCHING = ("file=http:", "file=https:", "file/http:", "file/https:", "proxy=")
# The most bytes that a name of a file has here; Gradio fails at longer ones.
_NAME = 255


class Door:
    """An ASGI application around Studio.

    Args:
        app: Studio, and the interface for programs, which passes as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass.

        Raises:
            Refusal: 403 for a path or an address, 400 for a body that is no JSON.
        """
        if scope["type"] != "http" or scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        words = scope["path"].lower().replace(" ", "")
        if any(word in words for word in _FETCHING):
            raise _no_fetching()
        if "\0" in scope["path"] or any(len(name.encode()) > _NAME for name in scope["path"].split("/")):
            raise Refusal(404, "not_found", "there is nothing at this address")
        kind = dict(scope["headers"]).get(b"content-type", b"").lower()
        if scope["method"] != "POST" or kind.startswith(b"multipart/form-data"):
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        if body:
            _check(body)
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


async def _whole(receive: Receive) -> bytes:
    """The body; the limits of its size and its time are the guard's."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _check(body: bytes) -> None:
    from gradio.utils import get_upload_folder

    try:
        waiting: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        raise Refusal(400, "form", "the body is no JSON") from None
    folder = Path(get_upload_folder()).resolve()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            _check_path(value.get("path"), folder)


def _check_path(path: Any, folder: Path) -> None:
    if path is None:
        return
    if not isinstance(path, str) or path.strip().lower().startswith(("http:", "https:")):
        raise _no_fetching()
    try:
        inside = Path(path).resolve().is_relative_to(folder)
    except (OSError, ValueError):
        inside = False
    if not inside:
        raise Refusal(403, "forbidden", "the request names a file that was not uploaded: upload it first")


def _no_fetching() -> Refusal:
    return Refusal(403, "forbidden", "nothing is fetched from addresses: upload the file")
