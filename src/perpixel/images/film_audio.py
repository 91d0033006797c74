"""Carry the sound of one film into another: copied as it is where the new file takes it, coded anew where not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from perpixel.errors import PerpixelWarning
from perpixel.images.video import open_container

__all__ = ["Sound"]

# What players understand in a file of this kind, by FFmpeg's names, and what everything else becomes.
_TAKEN = {
    ".mp4": ({"aac", "mp3", "ac3", "eac3", "alac"}, "aac"),
    ".m4v": ({"aac", "mp3", "ac3", "eac3", "alac"}, "aac"),
    ".mov": ({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"}, "aac"),
    ".webm": ({"opus", "vorbis"}, "libopus"),
    ".mkv": ({"aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le", "dts"}, "aac"),
    ".mka": ({"aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le", "dts"}, "aac"),
}
_OPUS_RATE = 48000


class Sound:
    """The audio tracks of a film on their way into a new file, in step with its pictures."""

    def __init__(self, source: Path, target: Any, suffix: str) -> None:
        """Add the tracks to a new file that nothing has been written to.

        Args:
            source: the film that has the sound.
            target: the open container.
            suffix: of the new file, in lower case.

        Warns:
            PerpixelWarning: a track that cannot be carried over, which is left out.
        """
        import av

        self._target = target
        self._source = open_container(source)
        self._streams: dict[int, tuple[Any, bool]] = {}  # by index: the new stream, and whether it is copied
        taken, other = _TAKEN[suffix]
        for stream in self._source.streams.audio:
            context = stream.codec_context
            name = context.name if context is not None else "unknown"
            try:
                if name in taken:
                    self._streams[stream.index] = target.add_stream_from_template(stream), True
                elif context is None:
                    raise ValueError("there is no decoder")
                else:
                    rate = _OPUS_RATE if other == "libopus" else context.sample_rate
                    new = target.add_stream(other, rate=rate, layout=context.layout)
                    self._streams[stream.index] = new, False
            except (av.error.FFmpegError, ValueError) as error:
                warnings.warn(
                    f"an audio track of {source} ({name}) is left out, it cannot be put into {suffix} ({error}): "
                    "write another kind of film, or add the sound in an editor",
                    PerpixelWarning,
                    stacklevel=3,
                )
        self._packets: Iterator[Any] = iter(())
        if self._streams:
            self._packets = self._source.demux([self._source.streams[index] for index in self._streams])
        self._waiting: Any = None

    def until(self, time: Fraction | None) -> None:
        """Write what starts before a time in seconds; None for all that is left."""
        import av

        while True:
            try:
                packet = self._waiting or next(self._packets)
            except (StopIteration, av.error.FFmpegError):  # sound that breaks off ends here
                break
            self._waiting = packet
            start = packet.pts if packet.pts is not None else packet.dts
            if time is not None and start is not None and start * packet.time_base >= time:
                return
            self._waiting = None
            self._write(packet)

    def close(self) -> None:
        """Write what encoders still hold, and close the source; the target stays open."""
        for new, copied in self._streams.values():
            if not copied and new.codec_context.is_open:
                for packet in new.encode(None):
                    self._target.mux(packet)
        self._source.close()

    def _write(self, packet: Any) -> None:
        import av

        new, copied = self._streams[packet.stream.index]
        if copied:
            if packet.dts is not None and packet.size:  # the last one of a stream is empty
                packet.stream = new
                self._target.mux(packet)
            return
        try:
            for frame in packet.decode():
                for coded in new.encode(frame):
                    self._target.mux(coded)
        except av.error.InvalidDataError:
            pass  # a damaged piece of sound is a short silence
