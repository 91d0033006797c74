"""Small films for tests, made with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    """Smooth colour pictures that differ from frame to frame: (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack(
            [
                128 + 100 * np.sin(x / 9 + number / 2),
                128 + 100 * np.cos(y / 7 - number / 3),
                128 + 90 * np.sin((x + y) / 11 + number),
            ],
            axis=2,
        ).astype(np.uint8)
        for number in range(count)
    ]


def write_film(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 10,
    ticks: Sequence[int] | None = None,
    rotation: int | None = None,
    sound: str | None = None,
    matrix: int | None = None,
    full: bool = False,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Write RGB frames; `ticks` are their times in milliseconds, `sound` the codec of a tone."""
    with av.open(str(path), "w", options=container or {}) as film:
        stream = film.add_stream(codec, rate=rate, options=options or {"crf": "2"} if codec == "libx264" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if ticks:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        tone = film.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if matrix is not None:
                frame = frame.reformat(
                    format=pixels,
                    src_colorspace=matrix,
                    dst_colorspace=matrix,
                    src_color_range=2,
                    dst_color_range=2 if full else 1,
                )
            if ticks:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 1000)
            film.mux(stream.encode(frame))
            if tone:
                samples = (8000 * np.sin(np.arange(48000 // rate) * 0.06)).astype(np.int16)[None]
                heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                heard.sample_rate = 48000
                film.mux(tone.encode(heard))
        film.mux(stream.encode(None))
        if tone:
            film.mux(tone.encode(None))
    return path


def broken_film(folder: Path, share: float = 0.6, count: int = 20) -> Path:
    """An MP4 with its index in front, of which the end is missing."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(count)]
    whole = write_film(
        folder / "whole.mp4", noise, options={"crf": "2", "bf": "0", "g": "1"}, container={"movflags": "faststart"}
    )
    broken = folder / "broken.mp4"
    data = whole.read_bytes()
    broken.write_bytes(data[: int(len(data) * share)])
    return broken


def lossless(path: Path, frames: Sequence[np.ndarray], **options) -> Path:
    """Write RGB frames to .mkv so that every pixel comes back as it was."""
    return write_film(path, frames, codec="ffv1", pixels="bgr0", **options)
