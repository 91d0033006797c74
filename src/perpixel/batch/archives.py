"""Photographs in tar archives, as WebDataset lays them out, and in Parquet tables with the bytes of images."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any, Self

from perpixel.batch.hints import PICTURE_SUFFIXES, stamp_of
from perpixel.batch.records import Record
from perpixel.errors import InputError, MissingDependencyError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TABLE_SUFFIXES = (".parquet", ".pq")
# Rows that are read at once; each holds the bytes of an image.
ROWS = 16
IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")


@dataclass(frozen=True)
class Columns:
    """Which columns of Parquet tables are what; None for what there is not.

    Attributes:
        image: the bytes of the photographs, or structs with a field `bytes`; the one column with such a name as
            "image" or "jpg" if not given.
        key: text or whole numbers that name the results; the row's number if not given.
        trimap: bytes of trimaps.
        mask: bytes of masks.
        label: text.
    """

    image: str | None = None
    key: str | None = None
    trimap: str | None = None
    mask: str | None = None
    label: str | None = None

    def picture(self, names: Sequence[str], table: str) -> str:
        """The column of photographs in a table with columns of these names.

        Args:
            names: what columns there are.
            table: what it is called in errors.

        Raises:
            InputError: one of the columns is not there, or which one has the photographs cannot be told.
        """
        for wanted in (self.image, self.key, self.trimap, self.mask, self.label):
            if wanted is not None and wanted not in names:
                raise InputError(f"{table} has no column {wanted!r}: it has {', '.join(names)}")
        if self.image is not None:
            return self.image
        usual = [name for name in names if name.lower() in IMAGE_COLUMNS]
        if len(usual) != 1:
            raise InputError(f"which column of {table} holds the pictures? Name it; it has {', '.join(names)}")
        return usual[0]


def tar_records(path: Path, key: str, owns: Callable[[str], bool]) -> Iterator[Record]:
    """The samples of an archive, read as a stream.

    A sample is the run of members whose names are equal up to the first dot of the file's name. Its picture has one
    suffix (`a.jpg`), its hint two (`a.trimap.png`, `a.mask.png`); other members (`a.json`, `a.cls`) are passed over.

    Args:
        path: of the archive.
        key: its own, under which the samples are placed.
        owns: whether the sample of a key is wanted; others are not read.
    """
    stamp = stamp_of(path) or ""
    seen: set[str] = set()
    sample: dict[str, tuple[str, bytes]] = {}
    current: str | None = None
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
            members: list[tarfile.TarInfo] = vars(archive)["members"]
            while (member := archive.next()) is not None:
                members.clear()  # else it grows with the archive
                if not member.isfile():
                    continue
                folder, _, file = member.name.removeprefix("./").rpartition("/")
                stem, _, ending = file.partition(".")
                name = f"{folder}/{stem}" if folder else stem
                if name != current:
                    if current is not None and sample:
                        yield _sample(path, key, current, sample, stamp, seen)
                    current, sample = name, {}
                role = _role(ending.lower())
                if role is None or not owns(f"{key}/{name}"):
                    continue
                stream = archive.extractfile(member)
                assert stream is not None
                if role in sample:
                    sample["twice"] = (ending, b"")
                sample[role] = (ending, stream.read())
            if current is not None and sample:
                yield _sample(path, key, current, sample, stamp, seen)
            if not getattr(archive, "has_ended", False):
                raise tarfile.ReadError("it breaks off")
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as error:
        if owns(key):
            reason = " ".join(str(error).split()) or type(error).__name__
            words = f"{path} cannot be read to its end ({reason}): copy or download it again"
            yield Record(key, str(path), error=words)


class _Member(tarfile.TarInfo):
    """A member that tells the end of an archive from a place where it was cut, which tarfile takes for an end too."""

    @classmethod
    def fromtarfile(cls, archive: Any) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the stubs lack it
            archive.has_ended = True
            raise


def _role(ending: str) -> str | None:
    kind, dot, suffix = ending.rpartition(".")
    if f".{suffix}" not in PICTURE_SUFFIXES:
        return None
    if not dot:
        return "image"
    return kind if kind in ("trimap", "mask") else None


def _sample(
    path: Path, key: str, name: str, sample: dict[str, tuple[str, bytes]], stamp: str, seen: set[str]
) -> Record:
    full, error = f"{key}/{name}", None
    ending, image = sample.get("image", ("", None))
    if image is None:
        error = f"{path} holds a hint for {name} but no picture: name it {name}.jpg"
    elif "twice" in sample:
        error = f"{path} holds two pictures or hints called {name}: give them different names"
    if full in seen:
        error = f"{path} holds {name} twice, apart from each other: give them different names"
        full = f"{full}~{len(seen)}"
    seen.add(full)
    try:
        return Record(
            full,
            f"{path}#{name}.{ending}",
            image,
            f".{ending}",
            trimap=sample.get("trimap", (None, None))[1],
            mask=sample.get("mask", (None, None))[1],
            stamp=stamp,
            error=error,
        )
    except InputError as problem:
        return Record(f"{key}/~{len(seen)}", f"{path}#{name}.{ending}", error=str(problem))


def table_keys(path: Path, key: str, columns: Columns) -> Iterator[str]:
    """The keys of a table's rows, without the images.

    Raises:
        InputError: the table cannot be read, or has no such columns.
    """
    table = _open(path)
    columns.picture(table.schema_arrow.names, str(path))
    if columns.key is None:
        yield from (f"{key}/{number}" for number in range(int(table.metadata.num_rows)))
        return
    for part in table.iter_batches(columns=[columns.key]):
        yield from (f"{key}/{value}" for value in part.column(0).to_pylist())


def table_records(path: Path, key: str, columns: Columns, owns: Callable[[str], bool]) -> Iterator[Record]:
    """The rows of a table, read in small pieces.

    Args:
        path: of the table.
        key: its own, under which the rows are placed.
        columns: which are what.
        owns: whether the row of a key is wanted.
    """
    stamp = stamp_of(path) or ""
    try:
        table = _open(path)
        image = columns.picture(table.schema_arrow.names, str(path))
        roles = {"image": image, "key": columns.key, "trimap": columns.trimap, "mask": columns.mask}
        roles["label"] = columns.label
        names = {role: name for role, name in roles.items() if name is not None}
        number = -1
        for part in table.iter_batches(batch_size=ROWS, columns=list(dict.fromkeys(names.values()))):
            for values in part.to_pylist():
                number += 1
                full = f"{key}/{number if columns.key is None else values[columns.key]}"
                if owns(full):
                    row = {role: values[name] for role, name in names.items()}
                    yield _row(path, full, number, row, stamp)
    except (InputError, MissingDependencyError):
        raise
    except Exception as error:  # pyarrow raises its own kinds
        if owns(key):
            yield Record(key, str(path), error=f"{path} cannot be read to its end ({' '.join(str(error).split())})")


def _row(path: Path, key: str, number: int, row: dict[str, Any], stamp: str) -> Record:
    source = f"{path}#{number}"
    try:
        image, trimap, mask = (_bytes(row.get(role)) for role in ("image", "trimap", "mask"))
        label = None if row.get("label") is None else str(row["label"])
        error = "there is no picture in this row" if image is None else None
        return Record(key, source, image, "", trimap, mask, label, stamp, error=error)
    except InputError as problem:
        return Record(f"{key.split('/')[0]}/~{number}", source, error=str(problem))


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, dict):
        value = value.get("bytes")
    if value is not None and not isinstance(value, bytes):
        raise InputError(f"a picture's column holds {type(value).__name__}: the bytes of a file are needed")
    return value or None


def _open(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingDependencyError(f'{path} is Parquet, which needs pip install "perpixel[scale]"') from None
    try:
        return ParquetFile(path)
    except Exception as error:  # pyarrow raises its own kinds
        raise InputError(
            f"{path} cannot be read ({' '.join(str(error).split())}): is it Parquet, and whole?"
        ) from error
