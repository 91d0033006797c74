"""What the workers of a cluster have finished of a chunk, kept where it outlives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from perpixel.batch.records import Record, Row
from perpixel.batch.shards import key_digest
from perpixel.errors import OutputError

_NAME = "trials-"


class Trials:
    """A small file for each chunk, with a line for each of its photographs that was finished or tried alone.

    Args:
        staging: the folder of the file.
        records: of the chunk.

    Attributes:
        path: of the file.
        rows: of the photographs that are finished, by key.
        has_begun: whether an earlier worker has begun with the chunk.
    """

    def __init__(self, staging: Path, records: Sequence[Record]) -> None:
        self.path = staging / f"{_NAME}{key_digest(records[0].key):016x}"
        self.has_begun = self.path.exists()
        self.rows, self._tried = _read(self.path) if self.has_begun else ({}, [])
        self._add(b"begun")

    def deaths(self, number: int) -> int:
        """How many workers died while they worked on this record alone; it has no row."""
        return self._tried.count(b"+%d" % number)

    def tries(self, number: int) -> None:
        """Note that this record is about to be worked on alone."""
        self._add(b"+%d" % number)

    def finish(self, row: Row) -> None:
        """Note a row."""
        self._add(row.to_json().encode("utf-8", "surrogatepass"))
        self.rows[row.key] = row

    def _add(self, line: bytes) -> None:
        try:
            with self.path.open("ab") as stream:
                stream.write(b"\n" + line + b"\n")  # begun anew, since a crash may have left half a line
        except OSError as error:
            raise OutputError(
                f"{self.path.parent} cannot be written ({error.strerror}): what is done is kept; make room and start "
                "again"
            ) from error


def finished_rows(staging: Path) -> Iterator[Row]:
    """The rows that workers have noted and nobody has taken out of the folder."""
    for path in sorted(staging.glob(f"{_NAME}*")):
        yield from _read(path)[0].values()


def _read(path: Path) -> tuple[dict[str, Row], list[bytes]]:
    """The rows of a file by key, and its other lines."""
    rows: dict[str, Row] = {}
    others: list[bytes] = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = Row.from_json(line)
            rows[row.key] = row
        except ValueError:
            others.append(line)
    return rows, others
