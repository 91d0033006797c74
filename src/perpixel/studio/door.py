"""Before Studio: its requests may name files that were uploaded to it, and nothing else on this machine or elsewhere.

Gradio looks at the paths in a request only where it was started by its own `launch`, and it fetches pictures whose
path is an address. Neither `perpixel studio` nor a server has a use for that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Addresses of Gradio that fetch others: a file by its address, and the proxy for pages elsewhere.
_FETCHING = ("file=http:", "file=https:", "file/http:", "file/https:", "proxy=")
# The most bytes that a name of a file has here; Gradio fails at longer ones.
_NAME = 255
# Bytes of a body that is no upload: strokes and settings. A server's own limit may be lower.
_BODY = 32 << 20


class Refused(Exception):
    """A request that may not pass: the status of HTTP, one word for programs, one line for people."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def plain(refused: Refused) -> ASGIApp:
    """The answer to somebody with a browser: the line alone."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(refused.message, refused.status)


class Door:
    """An ASGI application around Studio.

    Args:
        app: Studio, and the interface for programs, which passes as it is.
        functions: the numbers of Studio's functions, `gradio.Blocks.fns`; Gradio fails at any other.
        answer: makes the answer to a request that is refused: 403 for a path or an address, 400 for a body that is
            no JSON, 404 for names that no file or function has, 413 for a body that is too large. It may raise instead.
    """

    def __init__(
        self, app: ASGIApp, *, functions: Container[int], answer: Callable[[Refused], ASGIApp] = plain
    ) -> None:
        self._app = app
        self._functions = functions
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        try:
            await self._pass(scope, receive, send)
        except Refused as refused:
            await self._answer(refused)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        words = scope["path"].lower().replace(" ", "")
        if any(word in words for word in _FETCHING):
            raise _no_fetching()
        if "\0" in scope["path"] or any(len(name.encode()) > _NAME for name in scope["path"].split("/")):
            raise Refused(404, "not_found", "there is nothing at this address")
        kind = dict(scope["headers"]).get(b"content-type", b"").lower()
        if scope["method"] != "POST" or kind.startswith(b"multipart/form-data"):
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        if body:
            _check(body, self._functions)
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _BODY:
            raise Refused(413, "too_large", f"the request has more than {_BODY >> 20} MiB: upload pictures as files")
        if not message.get("more_body", False):
            return b"".join(parts)


def _check(body: bytes, functions: Container[int]) -> None:
    from gradio.utils import get_upload_folder

    try:
        waiting: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        raise Refused(400, "form", "the body is no JSON") from None
    _check_function(waiting[0], functions)
    folder = Path(get_upload_folder()).resolve()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            _check_path(value.get("path"), folder)


def _check_function(request: Any, functions: Container[int]) -> None:
    index = request.get("fn_index") if isinstance(request, dict) else None
    try:
        known = index is None or int(index) in functions
    except (TypeError, ValueError, OverflowError):
        return  # Gradio says that this is no number
    if not known:
        raise Refused(404, "not_found", "the page has no such function: load it again")


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
        raise Refused(403, "forbidden", "the request names a file that was not uploaded: upload it first")


def _no_fetching() -> Refused:
    return Refused(403, "forbidden", "nothing is fetched from addresses: upload the file")
