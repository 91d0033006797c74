"""The manifest: what became of every photograph, written line by line as it happens, and read when a run goes on."""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from perpixel.batch.job import Job, fingerprint_of
from perpixel.batch.records import Row
from perpixel.batch.shards import Shard, key_digest
from perpixel.errors import ConfigError, MissingDependencyError, OutputError

NAME = "manifest"
# The disk has everything at most so many seconds old, whatever happens to the machine's power.
SYNC_SECONDS = 2.0
# Rows of a Parquet file that are in memory at once.
GROUP = 20_000


class Journal:
    """The growing manifest of a shard. One process at a time has it open.

    Args:
        out: the folder of the results; it exists.
        shard: which part of the batch this is.

    Raises:
        ConfigError: another process is at work on this part.
        OutputError: it cannot be written.
    """

    def __init__(self, out: Path, shard: Shard) -> None:
        self.path = out / f"{NAME}{shard.ending}.jsonl"
        try:
            # Without a buffer: what could not be written is not tried once more when the file is closed.
            self._stream: IO[bytes] = self.path.open("ab+", buffering=0)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error.strerror}): give another folder") from error
        if not _locked(self._stream):
            self._stream.close()
            part = f"part {shard.number} of {shard.count}" if shard.count > 1 else "this batch"
            raise ConfigError(f"another process is at work on {part} in {out}: wait for it, or give parts as --shard")
        self._synced = time.monotonic()
        self._is_torn = False
        self._stream.seek(0, os.SEEK_END)
        if self._stream.tell():
            self._stream.seek(-1, os.SEEK_END)
            self._is_torn = self._stream.read(1) != b"\n"  # a crash left half a line

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            OutputError: there is no room.
        """
        try:
            line = b"\n" * self._is_torn + row.to_json().encode("utf-8", "surrogatepass") + b"\n"
            self._is_torn = self._stream.write(line) < len(line)
            if self._is_torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}): what is done is kept; make room and start again"
            ) from error

    def sync(self) -> None:
        """Wait until the disk has all of it."""
        os.fsync(self._stream.fileno())
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.sync()
        except OSError:
            if kind is None:
                raise
        finally:
            self._stream.close()


class Finished:
    """What the manifests of a folder already have, by key.

    It holds two numbers a row, 16 bytes, and reads the row itself when it is asked for.

    Args:
        out: the folder; the manifests of all parts in it count.
    """

    def __init__(self, out: Path) -> None:
        digests, places = array("Q"), array("Q")
        # The one that was written to last counts last.
        files = sorted(out.glob(f"{NAME}*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        self._streams = [path.open("rb") for path in files]
        for number, stream in enumerate(self._streams):
            place = 0
            for line in stream:
                try:
                    digests.append(key_digest(Row.from_json(line).key))
                    places.append(number << 48 | place)
                except ValueError:
                    pass  # half a line, left by a crash: the whole row still lies where `perpixel.batch.whole` keeps it
                place += len(line)
        order = np.argsort(np.frombuffer(digests, np.uint64), kind="stable")  # a later row of a key stays later
        self._digests = np.frombuffer(digests, np.uint64)[order]
        self._places = np.frombuffer(places, np.uint64)[order]

    def __len__(self) -> int:
        """Rows, with those that later ones replace."""
        return len(self._digests)

    def find(self, key: str) -> Row | None:
        """The last row of a key in the last manifest that has it."""
        digest = np.uint64(key_digest(key))
        last = int(np.searchsorted(self._digests, digest, side="right")) - 1
        if last < 0 or self._digests[last] != digest:
            return None
        row = self._row(last)
        return row if row.key == key else None

    def rows(self) -> Iterator[Row]:
        """The last row of each key, in the order in which they were written."""
        if not len(self):
            return
        final = np.append(self._digests[1:] != self._digests[:-1], True)
        for i in np.flatnonzero(final)[np.argsort(self._places[final], kind="stable")]:
            yield self._row(int(i))

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()

    def _row(self, i: int) -> Row:
        place = int(self._places[i])
        stream = self._streams[place >> 48]
        stream.seek(place & (1 << 48) - 1)
        return Row.from_json(stream.readline())


def note_settings(out: Path, job: Job) -> str:
    """Write down what a job's fingerprint stands for, in `manifest.settings.json`, and return the fingerprint.

    Raises:
        OutputError: it cannot be written.
    """
    from perpixel.images.write import write_bytes

    told = job.settings()
    name = fingerprint_of(told)
    path = out / f"{NAME}.settings.json"
    try:
        known: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict) or name not in known:
        known = {**(known if isinstance(known, dict) else {}), name: told}
        write_bytes(path, (json.dumps(known, indent=2, ensure_ascii=False) + "\n").encode())
    return name


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """Write a manifest as a table: the fields of `Row`, where outputs and their sizes are two lists.

    Raises:
        MissingDependencyError: without pyarrow.
        OutputError: it cannot be written.
    """
    arrow, parquet = import_pyarrow(path)
    text, whole = arrow.string(), arrow.int64()
    types = {
        **dict.fromkeys(("key", "input", "status", "settings", "blake2b", "hint_blake2b", "stamp"), text),
        "time": arrow.timestamp("ms", tz="UTC"),
        "seconds": arrow.float64(),
        **dict.fromkeys(("width", "height"), whole),
        "outputs": arrow.list_(text),
        "output_bytes": arrow.list_(whole),
        "error": text,
    }
    schema = arrow.schema(list(types.items()))
    temporary = path.with_name(f".perpixel-{secrets.token_hex(6)}.parquet")
    try:
        with parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
            group: list[dict[str, Any]] = []
            for row in rows:
                group.append(_values(row))
                if len(group) == GROUP:
                    writer.write_table(arrow.Table.from_pylist(group, schema))
                    group = []
            if group:
                writer.write_table(arrow.Table.from_pylist(group, schema))
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): make room for it") from error
    finally:
        temporary.unlink(missing_ok=True)


def import_pyarrow(path: Path) -> tuple[Any, Any]:
    """pyarrow and its module for Parquet.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(f'{path} is Parquet, which needs pip install "perpixel[scale]"') from None
    return pyarrow, pyarrow.parquet


def _values(row: Row) -> dict[str, Any]:
    from datetime import datetime

    values: dict[str, Any] = json.loads(row.to_json())
    outputs: dict[str, int] = values.pop("outputs")
    # Names that are no UTF-8 cannot be in a table's text.
    texts = {name: text.encode("utf-8", "replace").decode() for name, text in values.items() if isinstance(text, str)}
    return {
        **values,
        **texts,
        "time": datetime.fromisoformat(row.time),
        "outputs": list(outputs),
        "output_bytes": list(outputs.values()),
    }


def _locked(stream: IO[bytes]) -> bool:
    """Take the file for this process alone; true too where the system knows no such thing."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # some network disks
    return True
