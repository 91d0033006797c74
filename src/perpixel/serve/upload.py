"""Reading what a client sends: limited in bytes and in time while it arrives, and never written to a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perpixel.serve.problems import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope

    from perpixel.serve.settings import Settings

MAX_OPTIONS = 64 * 1024


class LimitedBody:
    """The `receive` of an application, which lets a body neither grow nor take its time beyond the limits.

    What it refused while the body came is kept as `refused`.

    Args:
        scope: of the request.
        receive: that of the server.
        settings: the limits.
    """

    def __init__(self, scope: Scope, receive: Receive, settings: Settings) -> None:
        self._receive = receive
        self._most = settings.max_upload
        self._seconds = settings.upload_timeout
        self._deadline = asyncio.get_running_loop().time() + settings.upload_timeout
        headers = dict(scope["headers"])
        self.length = headers.get(b"content-length")
        self._in_chunks = b"transfer-encoding" in headers
        self.complete = self.length in (None, b"0") and not self._in_chunks
        self.received = 0
        self.refused: Refusal | None = None

    def check(self) -> None:
        """Refuse a body by what its head says, before any of it is read.

        Raises:
            Refusal: 413; 400 for a body with two lengths, which a proxy may have read otherwise (RFC 9112, 6.1).
        """
        if self.length is not None and self._in_chunks:
            raise Refusal(400, "form", "the request has a Content-Length and a Transfer-Encoding: send one of them")
        if self.length is not None and self.length.isdigit() and int(self.length) > self._most:
            raise self._too_large()

    async def __call__(self) -> Message:
        """The next part of the body, or, when it is complete, the end of the connection.

        Raises:
            Refusal: 413 for a body that is too large, 408 for one that takes too long.
        """
        if self.complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            words = f"the upload took longer than {self._seconds:g} seconds: send it faster"
            self.refused = Refusal(408, "timeout", words)
            raise self.refused from None
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self.received > self._most:
                self.refused = self._too_large()
                raise self.refused
        return message

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "too_large", f"the request is larger than the {self._most} bytes that are read: send a smaller picture"
        )


@dataclass
class Held:
    """How many bytes of bodies are in memory, of all requests together."""

    most: int
    bytes: int = 0

    def add(self, count: int) -> None:
        """Count bytes in.

        Raises:
            Refusal: 429 where there is no room.
        """
        if self.bytes + count > self.most:
            raise Refusal(429, "busy", "too many uploads are in memory: try again in a moment", {"Retry-After": "2"})
        self.bytes += count


@dataclass
class Form:
    """The fields of a request, by name; to be released when they are no longer needed."""

    held: Held
    fields: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def release(self) -> None:
        """Forget the fields."""
        self.held.bytes -= self.size
        self.size = 0
        self.fields.clear()


async def read_form(request: Request, allowed: Mapping[str, bool], held: Held) -> Form:
    """Read a multipart form. The names of files and their types are not looked at.

    Args:
        request: with a body of multipart/form-data.
        allowed: the names of the fields, and whether each is needed.
        held: where its bytes are counted until the form is released.

    Returns:
        the fields.

    Raises:
        Refusal: 415 for another type, 400 for a form that is none, 422 for other fields, 413 and 408 as `LimitedBody`,
            429 as `Held`.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise Refusal(415, "media_type", "a form of the type multipart/form-data with its boundary is needed")
    reader = _Reader(allowed)
    form = Form(held)
    try:
        parser = MultipartParser(parameters[b"boundary"], reader.callbacks())
        async for chunk in request.stream():
            held.add(len(chunk))
            form.size += len(chunk)
            parser.write(chunk)
        parser.finalize()
        form.fields = reader.finished()
    except FormParserError as error:
        form.release()
        raise Refusal(400, "form", "the body is no complete multipart/form-data with this boundary") from error
    except BaseException:
        form.release()
        raise
    return form


class _Reader:
    """Collects the fields while a parser walks through the body."""

    def __init__(self, allowed: Mapping[str, bool]) -> None:
        self._allowed = allowed
        self._fields: dict[str, bytearray] = {}
        self._name = ""
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._ended = False

    def callbacks(self) -> Any:
        """For `python_multipart.MultipartParser`."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_end": self._end,
        }

    def finished(self) -> dict[str, bytes]:
        """The fields, once the body is complete."""
        if not self._ended:
            raise Refusal(400, "form", "the body is no complete multipart/form-data with this boundary")
        for name, needed in self._allowed.items():
            if needed and name not in self._fields:
                raise Refusal(422, "input", f"the form has no field {name!r}: add it")
        return {name: bytes(value) for name, value in self._fields.items()}

    def _part_begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        name = parse_options_header(self._disposition)[1].get(b"name", b"").decode("utf-8", "replace")
        known = ", ".join(self._allowed)
        if name not in self._allowed:
            raise Refusal(422, "input", f"the form has a field {name[:40]!r}, and {known} are known: leave it out")
        if name in self._fields:
            raise Refusal(422, "input", f"the form has the field {name!r} twice: give it once")
        self._name = name
        self._fields[name] = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        field = self._fields[self._name]
        if self._name == "options" and len(field) + end - start > MAX_OPTIONS:
            raise Refusal(413, "too_large", f"the options are longer than {MAX_OPTIONS} bytes")
        field += data[start:end]

    def _end(self) -> None:
        self._ended = True
