"""Films through the tasks, frame by frame, in the memory of a few frames whatever the film's length.

Decoding and the search for motion run in threads beside the model, and so does encoding.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from perpixel.errors import OutputError, PerpixelError, PerpixelWarning
from perpixel.images.film_write import Content, FilmWriter, check_film_output
from perpixel.images.video import Film, FilmFrame, ahead, open_film
from perpixel.ops.flow import Motions, motions

__all__ = ["FilmResults", "FrameResult", "as_film", "followed", "write_results"]

Result = TypeVar("Result")
Watch = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class FrameResult(Generic[Result]):
    """What was found in one frame.

    Attributes:
        frame: the frame, with its time.
        result: a `Matte`, a `DepthMap` or `Segments`.
        cut: whether a new scene begins here; true of the first frame.
    """

    frame: FilmFrame
    result: Result
    cut: bool


class FilmResults(ABC, Generic[Result]):
    """The results of a film: iterate over them, which does the work, or `save` them as a film.

    Nothing is kept: iterating again does the work again.

    Attributes:
        film: where the frames come from.
    """

    film: Film

    @abstractmethod
    def __iter__(self) -> Iterator[FrameResult[Result]]:
        """Frame by frame."""

    def __len__(self) -> int:
        raise TypeError("how many frames a film has is only known when it has been read: see film.count")


def as_film(film: str | os.PathLike[str] | Film) -> Film:
    """A film that is open, or opened by its path; errors as in `open_film`."""
    return film if isinstance(film, Film) else open_film(film)


def followed(film: Film) -> Iterator[tuple[FilmFrame, Motions | None]]:
    """The frames of a film, each with the motions between it and the one before; None for the first."""

    def pairs() -> Iterator[tuple[FilmFrame, Motions | None]]:
        before: FilmFrame | None = None
        for frame in ahead(film.frames()):
            yield frame, None if before is None else motions(before.pixels, frame.pixels)
            before = frame

    return ahead(pairs())


def write_results(
    results: FilmResults[Result],
    path: str | os.PathLike[str],
    content: Content,
    draw: Callable[[Result], NDArray[Any]],
    *,
    sound: bool = True,
    watch: Watch | None = None,
) -> Path:
    """Write a film of results.

    Args:
        results: what to write.
        path: as for `check_film_output`.
        content: what `draw` gives.
        draw: pixels of a result, as `FilmWriter.add` takes them.
        sound: whether to carry the film's sound over.
        watch: called with the number of frames done.

    Returns:
        the path.

    Raises:
        PerpixelError: what went wrong, with a word on what is kept: the frames up to there are a valid film, if there
            are any.
    """
    check_film_output(path, content)
    writer: FilmWriter | None = None
    try:
        for each in results:
            pixels = draw(each.result)
            if writer is None:
                size = pixels.shape[1], pixels.shape[0]
                writer = FilmWriter(path, results.film, content, sound=sound, size=size)
            writer.add(pixels, each.frame.time, each.frame.duration)
            if watch is not None:
                watch(writer.frames)
        assert writer is not None  # a film that opens has a frame
        return writer.finish()
    except BaseException as error:
        kept = writer is not None and _kept(writer, error)
        if kept and writer is not None:
            words = f"the {writer.frames} frames before, {float(writer.end):.2f} s, are kept in {path}"
            if isinstance(error, PerpixelError):
                raise type(error)(f"{error}; {words}") from error
            warnings.warn(words, PerpixelWarning, stacklevel=2)
        raise


def _kept(writer: FilmWriter, error: BaseException) -> bool:
    """Complete a film that broke off; whether it could be."""
    if isinstance(error, OutputError):
        writer.discard()
        return False
    try:
        writer.finish(complete=False)
    except PerpixelError:
        writer.discard()
        return False
    return True
