"""From what a user names to the photographs of a batch: folders, patterns, lists, archives and tables."""

from __future__ import annotations

import glob
import itertools
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from perpixel.batch.archives import (
    TABLE_SUFFIXES,
    TAR_SUFFIXES,
    Columns,
    table_keys,
    table_records,
    tar_records,
)
from perpixel.batch.hints import PICTURE_SUFFIXES, HintFolders, stamp_of
from perpixel.batch.records import Record
from perpixel.batch.shards import Shard, key_digest
from perpixel.errors import InputError

# This many keys are checked for equal ones at once without a copy: 8 bytes each.
_EVERYTHING = Shard()


@dataclass(frozen=True)
class Inputs:
    """The photographs of a batch. They are listed anew each time, so that a million of them take no memory.

    Attributes:
        words: folders, files, patterns such as "in/**/*.jpg", archives (.tar, .tar.gz …), tables (.parquet), and
            lists as "@names.txt", one path a line.
        out: where the results go; nothing in it is an input.
        recursive: whether folders stand for all that is in them, folders inside them too.
        root: results keep the place that their photographs have below this folder. If not given, below the folder
            or the fixed part of the pattern that named them; paths of a list keep theirs if they are relative.
        hints: folders with a hint for each photograph.
        columns: of tables.
        shard: the part of the photographs that is meant.
    """

    words: tuple[str, ...]
    out: Path
    recursive: bool = False
    root: Path | None = None
    hints: HintFolders = field(default_factory=HintFolders)
    columns: Columns = field(default_factory=Columns)
    shard: Shard = _EVERYTHING

    def survey(self) -> int | None:
        """Count the photographs of the shard, and make sure before any work that no two results meet.

        Returns:
            how many there are; None with archives, which tell it only when they are read.

        Raises:
            InputError: nothing is there, a folder is empty, or two photographs would become one result.
        """
        digests, owned, counted = array("Q"), 0, True
        for word in self.words:
            before = len(digests)
            for path, key in self._files(word):
                if _is_table(path):
                    for name in table_keys(Path(path), key, self.columns):
                        digests.append(key_digest(name))
                        owned += self.shard.owns(name)
                    continue
                digests.append(key_digest(key))
                if _is_tar(path):
                    counted = False
                else:
                    owned += self.shard.owns(key)
            if len(digests) == before:
                raise InputError(_nothing(word, self.recursive))
        if not digests:
            raise InputError("there is nothing to work on: name folders, files or patterns")
        self._refuse_equal(digests)
        return owned if counted else None

    def __iter__(self) -> Iterator[Record]:
        """The records of the shard; those whose hint is missing, or that cannot be read, say why."""
        for word in self.words:
            for path, key in self._files(word):
                if _is_tar(path):
                    yield from tar_records(Path(path), key, self.shard.owns)
                elif _is_table(path):
                    yield from table_records(Path(path), key, self.columns, self.shard.owns)
                elif self.shard.owns(key):
                    yield self._record(path, key)

    def _record(self, path: str, key: str) -> Record:
        stamp, error, trimap, mask, hint = stamp_of(path), None, None, None, ""
        try:
            trimap, mask, hint = self.hints.find(key, path)
        except InputError as problem:
            error = str(problem)
        joined = f"{stamp}+{hint}" if stamp and hint else stamp or ""
        return Record(key, path, path, Path(path).suffix, trimap, mask, stamp=joined, error=error)

    def _files(self, word: str) -> Iterator[tuple[str, str]]:
        """Files and their keys."""
        if word.startswith("@"):
            for line in _lines(Path(word[1:])):
                if Path(line).is_dir():
                    yield from self._folder(line)
                else:
                    yield line, self._key(line, None, keep=True)
        elif Path(word).is_dir():
            yield from self._folder(word)
        elif glob.has_magic(word) and not Path(word).exists():
            base = _fixed_part(word)
            out = os.path.realpath(self.out)
            for match in glob.iglob(word, recursive=True):  # noqa: PTH207 (Path.glob makes lists)
                if not _is_wanted(match) or not Path(match).is_file():
                    continue
                if not os.path.realpath(match).startswith(out + os.sep):
                    yield match, self._key(match, base)
        else:
            yield word, self._key(word, None)

    def _folder(self, folder: str) -> Iterator[tuple[str, str]]:
        left_out = {os.path.realpath(each) for each in (self.out, *self.hints.folders)} - {os.path.realpath(folder)}
        waiting = [folder]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir():
                            # A linked folder may lead back to where it lies.
                            hidden = entry.name.startswith(".") or entry.is_symlink()
                            if self.recursive and not hidden and os.path.realpath(entry.path) not in left_out:
                                waiting.append(entry.path)
                        elif _is_wanted(entry.name) and not entry.name.startswith("."):
                            yield entry.path, self._key(entry.path, folder)
            except OSError as error:
                raise InputError(f"{error.filename} cannot be listed ({error.strerror}): change its rights") from error

    def _key(self, path: str, base: str | None, *, keep: bool = False) -> str:
        """Where the result of a path goes, without its suffix."""
        bare = path
        for suffix in (*TAR_SUFFIXES, *TABLE_SUFFIXES):
            bare = bare.removesuffix(suffix)
        bare = bare if bare != path else os.path.splitext(path)[0]  # noqa: PTH122 (as texts: a million of them)
        if self.root is not None:
            relative = os.path.relpath(os.path.abspath(bare), os.path.abspath(self.root))  # noqa: PTH100
            if relative.startswith(os.pardir):
                raise InputError(f"{path} does not lie below {self.root}: give a root that all inputs have")
        elif base is not None:
            relative = os.path.relpath(bare, base)
        else:
            relative = os.path.normpath(bare)
            if not keep or os.path.isabs(relative) or relative.startswith(os.pardir):  # noqa: PTH117
                relative = os.path.basename(relative)  # noqa: PTH119
        return relative.replace(os.sep, "/")

    def _refuse_equal(self, digests: array[int]) -> None:
        import numpy as np

        ordered = np.sort(np.frombuffer(digests, np.uint64))
        equal = set(ordered[1:][ordered[1:] == ordered[:-1]][:16].tolist())
        if not equal:
            return
        first: dict[str, str] = {}
        for word in self.words:
            for path, key in self._files(word):
                named = table_keys(Path(path), key, self.columns) if _is_table(path) else [key]
                for name in named:
                    if key_digest(name) not in equal:
                        continue
                    if name not in first:
                        first[name] = path
                        continue
                    other = first[name]
                    if _is_table(path) and other == path:
                        raise InputError(f"{path} has two rows with the key {name.rpartition('/')[2]}: take another")
                    if os.path.realpath(other) == os.path.realpath(path):
                        raise InputError(f"{path} is given twice: leave one of them out")
                    raise InputError(
                        f"{other} and {path} would both become {name} in {self.out}: rename one of them, do them "
                        "apart, or give the root folder below which their names differ"
                    )


def list_of(paths: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Words for `Inputs` from paths."""
    return tuple(os.fspath(path) for path in paths)


def _lines(path: Path) -> Iterator[str]:
    """The paths of a list, one a line, without empty lines and those that begin with #."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                text = line.rstrip("\r\n")
                if text.strip() and not text.startswith("#"):
                    yield text
    except OSError as error:
        raise InputError(f"the list {path} cannot be read ({error.strerror}): check its name") from error


def _is_tar(path: str) -> bool:
    return path.lower().endswith(TAR_SUFFIXES)


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLE_SUFFIXES)


def _is_wanted(name: str) -> bool:
    return name.lower().endswith((*PICTURE_SUFFIXES, *TAR_SUFFIXES, *TABLE_SUFFIXES))


def _fixed_part(pattern: str) -> str:
    """The folders of a pattern before its first wildcard.

    >>> _fixed_part("in/trip/**/*.jpg"), _fixed_part("*.jpg")
    ('in/trip', '.')
    """
    return str(Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts[:-1])))


def _nothing(word: str, recursive: bool) -> str:
    if word.startswith("@"):
        return f"the list {word[1:]} names no file: write one path a line"
    if Path(word).is_dir():
        inside = "" if recursive else ", or --recursive for the folders in it"
        return f"the folder {word} holds no picture: give one that does{inside}"
    return f"no file matches {word}: check the folder and the pattern"
