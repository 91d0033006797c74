"""The server's log: a line for each request, with its id, as text or as JSON."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Literal

LOGGER = logging.getLogger("perpixel.serve")

# What a record of `logging` always has; whatever else it has was given as `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def start_log(form: Literal["text", "json"]) -> None:
    """Send the log of this process to stderr.

    Args:
        form: "text" for people, "json" for one object a line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)
    # They tell of every form that is none, and every damaged TIFF; the request's own line tells that.
    for name in ("python_multipart", "tifffile"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO request id=6f1c2a status=200 …`; a stack trace comes on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        extra = "".join(f" {name}={_word(value)}" for name, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname} {_one_line(record.getMessage())}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a record; a stack trace is its field `trace`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        line |= _extra(record)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _word(value: object) -> str:
    """A value that cannot be taken for two, whatever a client put into it."""
    text = str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "=')
    return text if plain and text else json.dumps(text, ensure_ascii=True)
