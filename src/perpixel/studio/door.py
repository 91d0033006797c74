"""Before Studio: the page's own requests pass, if they can be what the page sends, and nothing else does.

Gradio also answers programs, at addresses that no page asks for. There it fails at wrong input with a status of 500,
and some of them fetch other addresses, or never end. Programs have the server's own interface. Gradio also looks at the
paths in a request only where it was started by its own `launch`, and it fetches pictures whose path is an address.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What the page asks for: itself and its parts, its files, its events, and whether it may go on.
_READ = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(assets|static)/.+"
    r"|gradio_api/(file=.+|heartbeat/[^/]+|queue/data|upload_progress|startup-events|theme\.css))?"
)
# And what it sends.
_UPLOAD = "/gradio_api/upload"
_WRITTEN = (_UPLOAD, "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset")
# The most bytes that a name of a file has here; Gradio fails at longer ones.
_NAME = 255
# Bytes of a body that is no upload: settings, and strokes, of which an hour has a megabyte or two.
_BODY = 8 << 20
# Characters of the name that a page gives itself.
_SESSION = 64


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
        app: Studio.
        functions: Studio's functions by their numbers, `gradio.Blocks.fns`; Gradio fails at any other.
        answer: makes the answer to a request that is refused: 403 for a path or an address, 400 for a body that
            cannot be used, 404 for what no page asks for, 413 for a body that is too large. It may raise instead.
    """

    def __init__(
        self, app: ASGIApp, *, functions: Mapping[int, Any], answer: Callable[[Refused], ASGIApp] = plain
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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _path(scope)
        if scope["method"] != "POST" or path == _UPLOAD:
            await _shielded(self._app, scope, receive, send)
            return
        body = await _whole(receive)
        _check(body, self._functions, joining=path.endswith("/join"))
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await _shielded(self._app, scope, again, send)


def _path(scope: Scope) -> str:
    """The address within Studio, of those that the page asks for."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path.lower().replace(" ", "").startswith(("/gradio_api/file=http:", "/gradio_api/file=https:")):
        raise _no_fetching()
    known = path in _WRITTEN or _READ.fullmatch(path)
    if not known or "\0" in path or any(len(name.encode()) > _NAME for name in path.split("/")):
        raise Refused(404, "not_found", "there is nothing at this address")
    return path


async def _shielded(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Tell a client whose input Gradio fails at that it is to blame. None of these addresses does any work itself."""
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    started = False
    held: list[Message] = []

    async def passed(message: Message) -> None:
        nonlocal started
        if held or (message["type"] == "http.response.start" and message["status"] == 500):
            held.append(message)
            return
        started = True
        await send(message)

    try:
        await app(scope, receive, passed)
    except Exception as error:
        if started and isinstance(error.__cause__, HTTPException):
            # So Gradio ends the events of a page that it does not know, after it has said so.
            await send({"type": "http.response.body", "body": b""})
            return
        if started or isinstance(error, (OSError, ClientDisconnect)):
            raise
        raise Refused(400, "form", "the request cannot be used: load the page again") from error
    for message in held:
        await send(message)


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


def _check(body: bytes, functions: Mapping[int, Any], *, joining: bool) -> None:
    from gradio.utils import get_upload_folder

    try:
        request = json.loads(body, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise Refused(400, "form", "the body is no JSON") from None
    if joining:
        _check_call(request, functions)
    folder = Path(get_upload_folder()).resolve()
    waiting: list[Any] = [request]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            waiting.extend(value)
            _check_path(value.get("path"), folder)
        elif isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refused(400, "form", "the body has half of a character") from None


def _finite(number: str) -> float:
    """A number that JSON can say, and so also the answer about it."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _check_call(request: Any, functions: Mapping[int, Any]) -> None:
    """What is to be called, by which page, and with what."""
    values = request if isinstance(request, dict) else {}
    index, session = values.get("fn_index"), values.get("session_hash")
    if type(index) is not int or not isinstance(values.get("data"), list):
        raise Refused(400, "form", "the body names no function of the page with its data")
    if not isinstance(session, str) or not 0 < len(session) <= _SESSION:
        raise Refused(400, "form", "the body does not say which page it comes from")
    if index not in functions:
        raise Refused(404, "not_found", "the page has no such function: load it again")
    if len(values["data"]) != len(functions[index].inputs):
        raise Refused(400, "form", "the function of the page takes another number of values: load it again")


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
