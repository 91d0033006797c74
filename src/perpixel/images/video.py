"""Read films frame by frame: upright, in RGB, each with its exact time, in the memory of a few frames.

Colours follow ITU-T H.273: the matrix and the range are those that the file names. A file that names none is taken as
players take it, BT.709 from 720 rows on and BT.601 below, in the narrow range.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from perpixel.errors import InputError, MissingDependencyError, PerpixelWarning
from perpixel.images.film_frame import Turning, orientation, rgb, upright

__all__ = [
    "FILM_SUFFIXES",
    "MAX_FRAME_PIXELS",
    "Colour",
    "Film",
    "FilmFrame",
    "ahead",
    "is_film",
    "open_container",
    "open_film",
]

FILM_SUFFIXES = frozenset(
    {
        ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
        ".ts", ".webm", ".wmv",
    }
)  # fmt: skip
"""What counts as a film on the command line."""

MAX_FRAME_PIXELS = 36_000_000
"""The largest frame that is read by default: a little above 8K (7680×4320)."""

# The formats that are looked for, by FFmpeg's names. Lists that name other files, as HLS and concat do, are not among
# them: a file from a stranger must not make this program open others.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,m4v,h264,hevc,obu,ivf"
_ONLY_FILES = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# H.273 for a colour that the file does not name.
_UNNAMED = 2
# A film that ends this many frames before the length it claims has broken off.
_SLACK = Fraction(5, 2)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Colour:
    """What a film says of its colours, in the numbers of ITU-T H.273, so that a film made from it can say the same.

    Attributes:
        matrix: from RGB to luma and chroma; 0 for RGB itself, 2 for not said.
        primaries: 2 for not said.
        transfer: the curve between light and value, 2 for not said; 16 and 18 are HDR.
    """

    matrix: int = _UNNAMED
    primaries: int = _UNNAMED
    transfer: int = _UNNAMED


@dataclass(frozen=True, eq=False)
class FilmFrame:
    """One frame.

    Attributes:
        pixels: (h, w, 3) RGB, uint8, or uint16 where the film has more than 8 bits.
        time: when it is shown, in seconds, exact.
        duration: for how long, in seconds, exact; the film's usual one where the file does not say.
        number: from 0.
    """

    pixels: NDArray[Any]
    time: Fraction
    duration: Fraction
    number: int


@dataclass(frozen=True)
class Film:
    """A film that can be read; made by `open_film`.

    Attributes:
        path: its file.
        width: columns of the upright picture.
        height: rows of the upright picture.
        rate: frames a second on average.
        time_base: the unit in which the file counts time, in seconds.
        count: how many frames there are, where the file says it or its length tells; None where neither does.
        length: in seconds, where known.
        bits: 8, or 16 for films with more than 8 bits.
        aspect: width of a pixel by its height, 1 for square ones.
        colour: what it says of its colours.
        sounds: how many audio tracks it has.
        max_pixels: what a frame may have.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    count: int | None
    length: Fraction | None
    bits: int
    aspect: Fraction
    colour: Colour
    sounds: int
    max_pixels: int = MAX_FRAME_PIXELS

    def frames(self) -> Iterator[FilmFrame]:
        """The frames in the order they are shown, decoded as they are asked for.

        Raises:
            InputError: after the last good frame of a film that breaks off, or whose frames change their size.

        Warns:
            PerpixelWarning: damaged frames, which are left out.
        """
        decoding, turning = _Decoding(self), Turning()
        for number, (frame, time, duration) in enumerate(decoding.frames()):
            pixels = upright(rgb(frame, self.bits), turning.of(frame))
            if pixels.shape[:2] != (self.height, self.width):
                raise InputError(
                    f"{self.path} changes from {self.width}×{self.height} to {pixels.shape[1]}×{pixels.shape[0]} "
                    f"(width×height) after {number} frames ({float(time):.2f} s): cut it there into two films"
                )
            yield FilmFrame(pixels, time, duration, number)
        decoding.check_end()

    def samples(self, number: int) -> Iterator[FilmFrame]:
        """Frames from all over the film, at most so many, found by jumping; the first one always, and no error."""
        yield from _samples(self, number)


def is_film(path: str | os.PathLike[str]) -> bool:
    """Whether a name is a film's, by its suffix.

    >>> is_film("holiday.MP4"), is_film("holiday.jpg")
    (True, False)
    """
    return Path(path).suffix.lower() in FILM_SUFFIXES


def open_film(path: str | os.PathLike[str], *, max_pixels: int = MAX_FRAME_PIXELS) -> Film:
    """Look into a film, as far as its first frame.

    Args:
        path: a file that FFmpeg knows, such as .mp4, .mov, .mkv, .webm or .avi.
        max_pixels: films with larger frames are refused before one is decoded.

    Raises:
        InputError: missing, a folder, empty, no film, without pictures, with frames that are too large, or damaged from
            the first frame on.
        MissingDependencyError: without the extra `video`.
    """
    path = Path(path)
    with open_container(path) as container:
        if not container.streams.video:
            raise InputError(f"{path} has no pictures, only {_kinds(container)}: give a film")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise InputError(f"{path} is coded in a way that this FFmpeg does not know: convert it to H.264")
        _check_pixels(path, context.width, context.height, max_pixels)
        first = _first_frame(container, stream)
        if first is None:
            raise InputError(f"{path} has no frame that can be decoded: copy or download it again")
        matrix = orientation(first)
        width, height = (first.height, first.width) if matrix[0] else (first.width, first.height)
        _check_pixels(path, width, height, max_pixels)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        length = _length(container, stream)
        aspect = Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1) or Fraction(1)
        return Film(
            path=path,
            width=width,
            height=height,
            rate=rate,
            time_base=Fraction(stream.time_base),
            count=stream.frames or (None if length is None else max(1, round(length * rate))),
            length=length,
            bits=16 if max(part.bits for part in first.format.components) > 8 else 8,
            aspect=1 / aspect if matrix[0] else aspect,
            colour=Colour(int(first.colorspace), int(first.color_primaries), int(first.color_trc)),
            sounds=len(container.streams.audio),
            max_pixels=max_pixels,
        )


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one made in a thread while the last is worked on."""
    end = object()
    try:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, items, end)
            while (item := coming.result()) is not end:
                coming = pool.submit(next, items, end)
                yield item  # type: ignore[misc]  # `end` was told apart above
    finally:
        if isinstance(items, Generator):  # who stops early leaves no open file
            items.close()


class _Decoding:
    """One way through a film, and what went wrong on it."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self.shown = 0
        self.damaged = 0
        self.read = 0  # pictures in the file, whether they could be decoded or not
        self.reached = Fraction(0)  # as far as packets go, of sound too
        self.end = Fraction(0)  # as far as shown frames go
        self.broken = False

    def frames(self) -> Iterator[tuple[Any, Fraction, Fraction]]:
        """Decoded frames with their time and duration in seconds."""
        film = self.film
        usual = 1 / film.rate
        before: tuple[Any, Fraction] | None = None
        with open_container(film.path) as container:
            stream = _prepared(container)
            for frame in self._decoded(container, stream):
                ticks = frame.pts if frame.pts is not None else frame.dts
                last = before[1] if before else Fraction(0)
                time = ticks * film.time_base if ticks is not None else last + (usual if before else 0)
                if before and time <= last:  # a broken clock: no frame may be lost to it
                    time = last + film.time_base
                self.shown += 1
                if before:  # a frame lasts until the next one comes, whatever the file says
                    yield *before, time - last
                before = frame, time
        if before:
            duration = before[0].duration * film.time_base if before[0].duration else usual
            self.end = before[1] + duration
            yield *before, duration

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        import av

        packets = container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError:
                self.broken = True
                break
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                self.reached = max(self.reached, end)
            if packet.stream is not stream:
                continue
            self.read += packet.size > 0
            if packet.is_corrupt:
                self.damaged += 1
                continue
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
        # What the decoder still holds came with the last, empty packet; after an error nobody has asked for it.
        if self.broken:
            try:
                yield from stream.decode(None)
            except av.error.FFmpegError:
                self.damaged += 1

    def check_end(self) -> None:
        """Raise `InputError` if the film broke off, warn of damaged frames."""
        film = self.film
        missing = film.length is not None and film.length - self.reached > _SLACK / film.rate
        # A longer audio track, or an edit list, may make the file longer than its pictures: then all of them are read.
        counted = film.count is not None and self.read < film.count
        if self.broken or (missing and counted):
            of = f" of {float(film.length):.2f} s" if film.length is not None else " s"
            raise InputError(
                f"{film.path} breaks off after {self.shown} frames ({float(self.end):.2f}{of}): "
                "copy or download it again"
            )
        if self.damaged:
            warnings.warn(
                f"{self.damaged} frames of {film.path} are damaged and were left out: copy or download it again",
                PerpixelWarning,
                stacklevel=2,
            )


def _samples(film: Film, number: int) -> Iterator[FilmFrame]:
    import av

    with open_container(film.path) as container:
        stream = _prepared(container)
        start = Fraction(stream.start_time or 0) * film.time_base
        length = film.length or Fraction(0)
        seen, turning = set[int](), Turning()
        for index in range(number if length else 1):
            place = round((start + (length - start) * index / number) / film.time_base)
            try:
                if index:
                    container.seek(place, stream=stream)
                frame = next(frame for frame in container.decode(stream) if frame.pts is None or frame.pts >= place)
            except (av.error.FFmpegError, StopIteration):
                continue
            pixels = upright(rgb(frame, film.bits), turning.of(frame))
            if frame.pts in seen or pixels.shape[:2] != (film.height, film.width):
                continue
            seen.add(frame.pts)
            yield FilmFrame(pixels, Fraction(frame.pts or 0) * film.time_base, 1 / film.rate, len(seen) - 1)


def open_container(path: Path) -> Any:
    """Open a file with PyAV, and nothing that it may point to.

    Raises:
        InputError: missing, a folder, empty or no film.
        MissingDependencyError: without the extra `video`.
    """
    try:
        import av
    except ImportError:
        raise MissingDependencyError('films need PyAV: pip install "perpixel[video]"') from None
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a film's file")
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name, or look into {path.parent.resolve()}")
    if not path.is_file():
        raise InputError(f"{path} is no regular file: give a film's file")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty (0 bytes): copy or download it again")
    try:
        # "file:" keeps a name with a colon from being taken for a protocol.
        return av.open(f"file:{path}", options=dict(_ONLY_FILES), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} {_what_it_is(path, error)}") from None


def _what_it_is(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied, change its access rights"
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or head.startswith((b"\x1aE\xdf\xa3", b"RIFF")):
        return "is a film whose end or index is missing, so that nothing of it can be read: copy or download it again"
    if head and b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "holds text, not a film, whatever its name says: give a film such as .mp4, .mov, .mkv or .webm"
    return "is no film that is known here: give .mp4, .mov, .mkv, .webm or .avi"


def _prepared(container: Any) -> Any:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _first_frame(container: Any, stream: Any) -> Any:
    import av

    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                return frame
        except av.error.FFmpegError:
            continue
    return None


def _check_pixels(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InputError(
            f"{path} has frames of {width}×{height} (width×height), and at most {max_pixels / 1e6:g} megapixels are "
            "read: make it smaller, or raise max_pixels if you trust the file"
        )


def _length(container: Any, stream: Any) -> Fraction | None:
    """From time 0 to the end of the pictures, in seconds."""
    if stream.duration:
        return Fraction(stream.duration + (stream.start_time or 0)) * Fraction(stream.time_base)
    # Of a stream without a header, such as MPEG-TS, FFmpeg only guesses the length.
    if container.duration and "matroska" in container.format.name:
        return Fraction(container.duration + max(container.start_time or 0, 0), 1_000_000)
    return None


def _kinds(container: Any) -> str:
    return " and ".join(sorted({str(stream.type) for stream in container.streams})) or "nothing"
