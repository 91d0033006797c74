"""Write films frame by frame, each with its own time: as a file with pictures and sound, or as a folder of PNGs.

A film is written to a temporary name beside the goal and renamed when it is complete. What has been written when
something fails can be kept: `FilmWriter.finish` always leaves a valid film.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError, OutputError, PerpixelWarning
from perpixel.images.film_audio import Sound
from perpixel.images.video import Colour, Film

__all__ = ["Content", "FilmWriter", "check_film_output"]

Content: TypeAlias = Literal["alpha", "picture", "grey"]

# Frames that may wait for the encoder.
_QUEUE = 2
_BT709, _UNNAMED, _NARROW, _FULL = 1, 2, 1, 2
_CRF_PICTURE, _CRF_VP9 = "16", "18"


@dataclass(frozen=True)
class _Coding:
    """How pictures are coded: encoders in order of choice, the pixels they take, and whether sides must be even."""

    encoders: tuple[str, ...]
    format: str
    options: tuple[tuple[str, str], ...] = ()
    even: bool = False


# Without B-frames: with them MP4 loses the length of a film whose last frames last unequally long.
_H264 = _Coding(("libx264", "libopenh264", "mpeg4"), "yuv420p", (("crf", _CRF_PICTURE), ("bf", "0")), even=True)
_VP9 = (("crf", _CRF_VP9), ("b", "0"), ("deadline", "good"), ("cpu-used", "4"), ("row-mt", "1"))
_CODINGS: dict[Content, dict[str, _Coding]] = {
    "alpha": {
        ".mov": _Coding(("prores_ks",), "yuva444p10le", (("profile", "4444"), ("alpha_bits", "16"))),
        # Hidden reference frames of VP9 would have no alpha.
        ".webm": _Coding(("libvpx-vp9",), "yuva420p", (*_VP9, ("auto-alt-ref", "0"))),
        ".mkv": _Coding(("ffv1",), "bgra"),
    },
    "picture": {
        ".mp4": _H264,
        ".m4v": _H264,
        ".mov": _H264,
        ".mkv": _H264,
        ".webm": _Coding(("libvpx-vp9",), "yuv420p", _VP9),
    },
    "grey": {".mkv": _Coding(("ffv1",), "gray16le")},
}
_WORDS = {"alpha": "with transparency", "picture": "of pictures", "grey": "of 16-bit numbers"}


def check_film_output(path: str | os.PathLike[str], content: Content) -> None:
    """Check that a film can be written there, before the work.

    Args:
        path: a file whose suffix holds the content, or a folder: a name without suffix, or one that ends in "/".
        content: "alpha" for RGBA, "picture" for RGB, "grey" for 16-bit grey.

    Raises:
        InputError: a suffix that does not hold it.
        OutputError: no folder to write in, one that may not be written, or a folder for frames that is not empty.
    """
    goal = Path(path)
    if _is_folder(path):
        if goal.is_dir() and any(goal.iterdir()):
            raise OutputError(f"the folder {goal} is not empty, and frames of two films would mix: give a new one")
        if goal.exists() and not goal.is_dir():
            raise OutputError(f"{goal} is a file, and a folder for frames is needed: give another name")
    elif goal.suffix.lower() not in _CODINGS[content]:
        known = ", ".join(_CODINGS[content])
        raise InputError(f"{goal} cannot hold a film {_WORDS[content]}: use {known}, or a folder such as frames/")
    parent = goal.parent if str(goal.parent) else Path()
    if not parent.is_dir():
        raise OutputError(f"{goal} cannot be written: the folder {parent} does not exist, make it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{goal} cannot be written: the folder {parent} may not be written, choose another")


class FilmWriter:
    """A film that is being written, frame by frame; a context manager.

    Left without an error it finishes the film. After an error, `finish` by hand keeps what was written; leaving the
    context without it leaves no file.
    """

    def __init__(
        self, path: str | os.PathLike[str], film: Film, content: Content, *, sound: bool = True, size: Any = None
    ) -> None:
        """Begin.

        Args:
            path: as for `check_film_output`. A folder gets 000001.png and so on, `frames.ffconcat` with their times,
                and the sound as `sound.mka`.
            film: where the frames come from: its clock, shape of pixels, colours and sound are taken over.
            content: as for `check_film_output`.
            sound: whether to carry the sound over.
            size: width and height of the frames, where they are not the film's.

        Raises:
            InputError: as for `check_film_output`.
            OutputError: as for `check_film_output`.

        Warns:
            PerpixelWarning: an odd size, which H.264 cannot hold: the last row or column is repeated once.
        """
        check_film_output(path, content)
        self.path = Path(path)
        self.frames = 0
        self.end = Fraction(0)
        size = size or (film.width, film.height)
        sink = _Folder if _is_folder(path) else _File
        self._sink: _Folder | _File = sink(self.path, film, content, sound and film.sounds > 0, size)
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()
        self._finished = False

    def add(self, pixels: NDArray[Any], time: Fraction, duration: Fraction) -> None:
        """Add a frame.

        Args:
            pixels: (h, w, 4) RGBA with straight alpha, (h, w, 3) RGB or (h, w) grey, uint8 or uint16; it must not be
                changed afterwards.
            time: when it is shown, in seconds, later than the one before.
            duration: for how long.

        Raises:
            OutputError: the disk is full, or the encoder fails.
        """
        while len(self._pending) >= _QUEUE:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._sink.add, pixels, time, duration))
        self.frames += 1
        self.end = time + duration

    def finish(self, *, complete: bool = True) -> Path:
        """Complete the film and give it its name.

        Args:
            complete: whether all frames came; if not, the sound ends with the last one that did.

        Raises:
            OutputError: it cannot be written.
        """
        while self._pending:
            self._pending.popleft().result()
        self._sink.finish(None if complete else self.end)
        self._finished = True
        self._pool.shutdown()
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._finished:
                self.finish()
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind, unless the film is finished."""
        if not self._finished:
            self._pool.shutdown(cancel_futures=True)
            self._sink.discard()
            self._finished = True


class _File:
    """A film's file, written under a temporary name."""

    def __init__(self, path: Path, film: Film, content: Content, sound: bool, size: tuple[int, int]) -> None:
        import av

        self.path = Path(os.path.realpath(path))
        self.suffix = path.suffix.lower()
        self.temporary = self.path.with_name(f".perpixel-{secrets.token_hex(6)}{self.suffix}")
        self.coding = _CODINGS[content][self.suffix]
        self.content = content
        width, height = size
        self.padding = (height % 2, width % 2) if self.coding.even else (0, 0)
        if any(self.padding):
            warnings.warn(
                f"{path.name} is made {width + self.padding[1]}×{height + self.padding[0]} instead of {width}×{height} "
                "(width×height), since H.264 needs even sides: the last column or row is there twice; .webm and "
                "folders keep the size",
                PerpixelWarning,
                stacklevel=3,
            )
        encoder = next((name for name in self.coding.encoders if name in av.codecs_available), None)
        if encoder is None:
            raise OutputError(
                f"this PyAV has no encoder for {self.suffix} ({', '.join(self.coding.encoders)}): give a folder"
            )
        try:
            self.container = av.open(f"file:{self.temporary}", "w")
        except (av.error.FFmpegError, OSError) as error:
            raise self._error(error) from error
        try:
            self._set_up(encoder, film, (width + self.padding[1], height + self.padding[0]))
            self.sound = Sound(film.path, self.container, self.suffix) if sound else None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.discard()
            raise self._error(error) from error
        self.last: int | None = None
        self.durations: dict[int, int] = {}

    def _set_up(self, encoder: str, film: Film, size: tuple[int, int]) -> None:
        options = dict(self.coding.options) if encoder in ("libx264", "libvpx-vp9", "prores_ks") else {}
        stream: Any = self.container.add_stream(encoder, rate=film.rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = self.coding.format
        # MPEG-4's clock has 16 bits; no other encoder here minds.
        self.tick = film.time_base if encoder != "mpeg4" else Fraction(1, 60000)
        stream.time_base = stream.codec_context.time_base = self.tick
        stream.codec_context.sample_aspect_ratio = film.aspect
        stream.codec_context.thread_type = "AUTO"
        context = stream.codec_context
        # RGB films, and those that do not say, become BT.709: what players take for what does not say, from HD on.
        said = film.colour.matrix not in (0, _UNNAMED)
        colour = film.colour if said else Colour(_BT709, film.colour.primaries, film.colour.transfer)
        self.matrix = {6: 5, 10: 9}.get(colour.matrix, colour.matrix)
        if self.coding.format.startswith("yuv"):
            context.colorspace, context.color_range = colour.matrix, _NARROW
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if self.coding.format == "yuva420p":
            stream.metadata["alpha_mode"] = "1"
        self.stream = stream

    def add(self, pixels: NDArray[Any], time: Fraction, duration: Fraction) -> None:
        """Encode a frame, and write the sound up to it."""
        import av

        bits = pixels.dtype.itemsize * 8
        formats = {2: ("gray", "gray16le"), 3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}
        name = formats[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]][bits == 16]
        if any(self.padding):
            widths = [(0, self.padding[0]), (0, self.padding[1]), *[(0, 0)] * (pixels.ndim - 2)]
            pixels = np.pad(pixels, widths, mode="edge")
        try:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=name)
            frame = self._converted(frame, bits)
            pts = round(time / self.tick)
            if self.last is not None:
                pts = max(pts, self.last + 1)
            self.last = frame.pts = pts
            frame.time_base = self.tick
            self.durations[pts] = max(1, round(duration / self.tick))
            self._mux(self.stream.encode(frame))
            if self.sound is not None:
                self.sound.until(time)
        except (av.error.FFmpegError, OSError) as error:
            raise self._error(error) from error

    def _converted(self, frame: Any, bits: int) -> Any:
        from av.video.reformatter import Interpolation

        goal = self.coding.format
        if goal == "bgra" and bits == 16:
            goal = "gbrap16le"
            if self.last is None:
                self.stream.pix_fmt = goal
        return frame.reformat(
            format=goal,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=_FULL,
            dst_color_range=_NARROW if goal.startswith("yuv") else _FULL,
            interpolation=Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND,
        )

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            # Encoders forget how long a frame is shown, which only matters for the last one, and there it does.
            packet.duration = self.durations.pop(packet.pts, packet.duration)
            self.container.mux(packet)

    def finish(self, end: Fraction | None) -> None:
        """Write what the encoder holds and the sound, up to `end` if there is one, and rename."""
        import av

        try:
            if self.last is not None:
                self._mux(self.stream.encode(None))
            if self.sound is not None:
                self.sound.until(end)
                self.sound.close()
            self.container.close()
            self.temporary.replace(self.path)
        except (av.error.FFmpegError, OSError) as error:
            self.temporary.unlink(missing_ok=True)
            raise self._error(error) from error

    def discard(self) -> None:
        """Leave nothing behind."""
        import contextlib

        import av

        with contextlib.suppress(av.error.FFmpegError, OSError):
            self.container.close()
        self.temporary.unlink(missing_ok=True)

    def _error(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(f"{self.path} cannot be written ({reason}): choose another place or make room")


class _Folder:
    """A folder of numbered PNGs, with the times of the frames and the sound beside them."""

    def __init__(self, path: Path, film: Film, content: Content, sound: bool, size: tuple[int, int]) -> None:
        self.path = path
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {path} ({error.strerror}): give another") from error
        self.film = film
        self.sound = sound
        self.times: list[Fraction] = []
        self.end = Fraction(0)
        self.written = 0

    def add(self, pixels: NDArray[Any], time: Fraction, duration: Fraction) -> None:
        """Write the next PNG."""
        from perpixel.images.write import write_image

        name = f"{self.written + 1:06}.png"
        write_image(self.path / name, pixels, bits=8 * pixels.dtype.itemsize)
        self.written += 1
        self.times.append(time)
        self.end = time + duration

    def finish(self, end: Fraction | None) -> None:
        """Write the list of times, and the sound."""
        from perpixel.images.write import write_bytes

        lines = ["ffconcat version 1.0"]
        for number, (time, next_time) in enumerate(pairwise([*self.times, self.end]), 1):
            # A picture's clock has 25 ticks a second where nothing else is said.
            lines += [f"file {number:06}.png", "option framerate 1000", f"duration {float(next_time - time):.6f}"]
        if self.written:  # FFmpeg takes the last duration only if a file follows it
            lines += [f"file {self.written:06}.png", "option framerate 1000"]
        write_bytes(self.path / "frames.ffconcat", ("\n".join(lines) + "\n").encode())
        if self.sound:
            self._write_sound(end)

    def _write_sound(self, end: Fraction | None) -> None:
        import av

        goal = self.path / "sound.mka"
        temporary = self.path / f".perpixel-{secrets.token_hex(6)}.mka"
        try:
            with av.open(f"file:{temporary}", "w", format="matroska") as container:
                sound = Sound(self.film.path, container, ".mka")
                sound.until(end)
                sound.close()
            temporary.replace(goal)
        except (av.error.FFmpegError, OSError) as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"{goal} cannot be written ({error}): make room, or take the film's own sound") from error

    def discard(self) -> None:
        """Leave nothing behind that this film wrote."""
        import contextlib

        for number in range(1, self.written + 1):
            (self.path / f"{number:06}.png").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def _is_folder(path: str | os.PathLike[str]) -> bool:
    return str(path).endswith(("/", os.sep)) or Path(path).is_dir() or not Path(path).suffix
