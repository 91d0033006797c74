"""What every request passes first and every answer last, the Studio's too: id, token, limits of bodies, log."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from perpixel.serve.journal import LOGGER
from perpixel.serve.metrics import Metrics
from perpixel.serve.problems import ClientGone, Refusal, refusal_of
from perpixel.serve.settings import Settings
from perpixel.serve.upload import LimitedBody

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Probes of a container's keeper have no token, and learn nothing.
OPEN = ("/healthz", "/readyz")
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GONE = 499  # nginx's word in logs for a client that did not wait; nobody gets it


class Pages:
    """The requests of browsers that are being answered. A page that is open keeps one of them open for ever."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[object]] = set()
        self.ended = False

    def end(self) -> None:
        """Break off those that are open."""
        self.ended = True
        for task in self.tasks:
            task.cancel()


class Guard:
    """An ASGI application around another.

    Args:
        app: the other.
        settings: token and limits.
        metrics: where requests are counted.
        route: the name of a path in the metrics, the same for all that are not known.
        pages: where requests of browsers are kept while they run.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, route: Callable[[str], str], pages: Pages
    ) -> None:
        self._app = app
        self._pages = pages
        self._settings = settings
        self._metrics = metrics
        self._route = route
        self._token = None if settings.token is None else settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket" and not self._may(scope):
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        body = LimitedBody(scope, receive, self._settings)
        status, sent, ended = 0, 0, False

        async def answer(message: Message) -> None:
            nonlocal status, sent, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"]
                headers += [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if not body.complete:  # the rest of the body is not read: the connection cannot go on
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            else:
                sent += len(message.get("body", b""))
                ended = not message.get("more_body", False)
            await send(message)

        async def within(message: Message) -> None:
            if body.refused is None or status:  # Gradio makes a 500 of a body that is broken off
                await answer(message)

        failure: BaseException | None = None
        task = asyncio.current_task()
        if task is not None and not _for_programs(scope["path"]):
            self._pages.tasks.add(task)
        try:
            try:
                if not self._may(scope):
                    raise self._stranger(scope["path"])
                body.check()
                await self._app(scope, body, within)
                if body.refused is not None and not status:
                    raise body.refused
            except ClientGone:
                status = GONE
            except asyncio.CancelledError:
                if not self._pages.ended or not status:
                    raise
                if not ended:
                    await answer({"type": "http.response.body", "body": b""})
            except Exception as error:
                refusal = body.refused or refusal_of(error)
                if refusal is None:
                    failure = error
                    refusal = Refusal(500, "internal", "the server failed: its log tells more under the request's id")
                if status:  # too late to say it: breaking off tells the client that it has not got all
                    raise
                await _refuse(refusal, request_id, answer)
        finally:
            if task is not None:
                self._pages.tasks.discard(task)
            seconds = time.perf_counter() - start
            route = self._route(scope["path"])
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            self._metrics.uploaded.inc(body.received)
            LOGGER.log(
                40 if failure else 20,
                "request",
                exc_info=failure,
                extra={
                    "request_id": request_id,
                    "method": method,
                    "path": scope["path"][:200],
                    "status": status,
                    "ms": round(seconds * 1000),
                    "bytes_in": body.received,
                    "bytes_out": sent,
                },
            )

    def _may(self, scope: Scope) -> bool:
        """Whether a request brings the token, or needs none."""
        if self._token is None or scope["path"] in OPEN:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, value = given.partition(b" ")
        if scheme.lower() == b"bearer":
            return hmac.compare_digest(value.strip(), self._token)
        # Browsers ask people for a password and cannot send a bearer token. They also send it along with what other
        # sites make them do, so it opens the page and not the interface for programs.
        if scheme.lower() == b"basic" and not _for_programs(scope["path"]):
            try:
                password = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
            except binascii.Error:
                return False
            return hmac.compare_digest(password, self._token)
        return False

    def _stranger(self, path: str) -> Refusal:
        how = 'Bearer realm="perpixel"' if _for_programs(path) else 'Basic realm="perpixel", charset="UTF-8"'
        words = "the server's token is needed: send it as the header Authorization: Bearer TOKEN"
        return Refusal(401, "unauthorized", words, {"WWW-Authenticate": how})


def _for_programs(path: str) -> bool:
    return path.startswith("/v1/") or path in ("/v1", "/metrics", "/openapi.json")


def _request_id(scope: Scope) -> str:
    """The client's, if it can do no harm in a log, else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if SANE_ID.fullmatch(given) else secrets.token_hex(8)


async def _refuse(refusal: Refusal, request_id: str, send: Send) -> None:
    body = refusal.body(request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
