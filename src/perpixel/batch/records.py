"""One photograph of a batch before it is worked on, and the row of the manifest that tells how that went."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from perpixel.errors import InputError

Content = bytes | str
"""A file's bytes, or the path where it lies."""


def now() -> str:
    """The time as rows have it: UTC, ISO 8601, to the millisecond, so that later is greater."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Record:
    """A photograph to work on. It can be pickled.

    Attributes:
        key: where its results go in the output folder, with "/" and without a suffix: "trip/beach" becomes
            `OUT/trip/beach.png`. No two of a batch are equal.
        source: how the manifest names it: a path, `cats.tar#a.jpg`, or `cats.parquet#17`.
        image: the file; None where there is none because of `error`.
        suffix: of the file, such as ".jpg".
        trimap: its own trimap, if it has one.
        mask: its own mask.
        label: its own label.
        stamp: what changes when the file or its hint changes, without reading them: sizes and times. "" is not known.
        known: hashes of its content and of its hint that a manifest already has as done, with the outputs in place.
        error: why there is nothing to work on.
    """

    key: str
    source: str
    image: Content | None = None
    suffix: str = ""
    trimap: Content | None = None
    mask: Content | None = None
    label: str | None = None
    stamp: str = ""
    known: Row | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        parts = self.key.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in self.key or "\\" in self.key:
            raise InputError(f"{self.source} would be placed at {self.key!r}: rename it, no part may be empty or '..'")


@dataclass(frozen=True)
class Row:
    """A line of the manifest.

    Attributes:
        key: of the record.
        input: its source.
        status: "done" or "failed".
        blake2b: hash of the photograph's content (BLAKE2b, 16 bytes, hexadecimal); None where it could not be read.
        hint_blake2b: likewise of the trimap or mask, or of the label; None without a hint of its own.
        stamp: of the record.
        settings: fingerprint of what was done.
        time: when it was finished, UTC.
        seconds: of work, without waiting.
        width: of the photograph, in pixels; None where it could not be read.
        height: likewise.
        outputs: the size in bytes of each file, by its path in the output folder.
        error: why it failed, in a line.
    """

    key: str
    input: str
    status: Literal["done", "failed"]
    settings: str
    blake2b: str | None = None
    hint_blake2b: str | None = None
    stamp: str = ""
    time: str = field(default_factory=now)
    seconds: float = 0.0
    width: int | None = None
    height: int | None = None
    outputs: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> str:
        """One line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """The row of a line.

        Raises:
            ValueError: it is none, such as the half of one that a crash left.
        """
        values: Any = json.loads(line)
        names = {each.name for each in fields(cls)}
        if not isinstance(values, dict) or not {"key", "input", "status", "settings"} <= values.keys():
            raise ValueError("no row of a manifest")
        return cls(**{name: value for name, value in values.items() if name in names})

    def is_there(self, out: Path) -> bool:
        """Whether it is done and its outputs are in the folder, with the sizes that were written."""
        try:
            return self.status == "done" and all(
                (out / name).stat().st_size == size for name, size in self.outputs.items()
            )
        except OSError:
            return False


def content_hash(content: Content) -> str:
    """BLAKE2b of bytes or of a file, 16 bytes as hexadecimal digits.

    Raises:
        OSError: the file cannot be read.

    >>> content_hash(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    with Path(content).open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
