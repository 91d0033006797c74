"""What a client is told when its request cannot be served: one shape, one line, never a stack trace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from perpixel.errors import ConfigError, InputError, MissingDependencyError


@dataclass
class Refusal(Exception):
    """An answer that is no result.

    Attributes:
        status: of HTTP.
        kind: one word for programs.
        message: one line for people: what was given, what is needed.
        headers: further ones of the answer.
    """

    status: int
    kind: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> bytes:
        """The JSON of the answer."""
        error = {"kind": self.kind, "message": self.message, "request_id": request_id}
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "backslashreplace")


class ClientGone(Exception):
    """The client closed the connection before it got its answer."""


def refusal_of(error: BaseException) -> Refusal | None:
    """What a client is told of an error of a task; None for one that is the server's own fault."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, (InputError, ConfigError)):
        return Refusal(422, "input", " ".join(str(error).split()))
    if isinstance(error, MissingDependencyError):
        return Refusal(422, "not_available", "an option needs a package that this server lacks: leave it out")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Refusal(413, "too_large", "the picture takes more memory than the server has: send a smaller one")
    return None
