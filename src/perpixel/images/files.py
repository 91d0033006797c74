"""From a path or bytes to an opened image: found, recognised and small enough, before anything is decoded."""

from __future__ import annotations

import difflib
import io
import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile

from perpixel.errors import InputError

MAX_PIXELS = 178_000_000
"""The largest image that is read by default, in pixels. Pillow's own hard stop lies just above."""

# Pillow hands EPS to Ghostscript, an interpreter: too much to start for a file whose name may say .png.
_NEVER_OPENED = frozenset({"EPS"})
_NOT_THIS_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)
_READABLE = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, TGA, PPM and others"
_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WebP", b"GIF8": "GIF"}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Source:
    """Where encoded image bytes come from.

    Attributes:
        stream: the bytes, seekable.
        label: how messages call it.
        path: the file, or None for bytes.
    """

    stream: IO[bytes]
    label: str
    path: Path | None

    def read(self) -> bytes:
        """All bytes, from the beginning."""
        self.stream.seek(0)
        return self.stream.read()

    @property
    def is_tiff(self) -> bool:
        """Whether the bytes begin as a TIFF does."""
        self.stream.seek(0)
        return self.stream.read(4) in _TIFF_MAGIC


def open_source(source: str | os.PathLike[str] | bytes) -> Source:
    """Open a path, or wrap bytes.

    Raises:
        InputError: no such file (close names in its folder are suggested), a folder, unreadable, or empty.
    """
    if isinstance(source, bytes):
        if not source:
            raise InputError("the image given as bytes is empty (0 bytes): pass the content of an image file")
        return Source(io.BytesIO(source), f"the image given as {len(source)} bytes", None)
    path = Path(source)
    if not str(source):
        raise InputError("the image's path is empty: pass the path of an image file")
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder{_example_in(path)}: pass an image file")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file: pass an image file, or its content as bytes")
        stream = path.open("rb")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(_missing(path)) from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied, change its access rights") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{str(path)!r} cannot be read: {reason}") from error
    if not stream.read(1):
        stream.close()
        raise InputError(f"{path} is empty (0 bytes): copy or download it again")
    return Source(stream, str(path), path)


def identify(source: Source) -> ImageFile.ImageFile | None:
    """Read the header with the one Pillow plugin that knows the format; None if there is no such plugin.

    This does what `PIL.Image.open` does, except its check of the size: that check can only be changed for the
    whole process at once, and it warns for photographs of 90 megapixels, which cameras make.
    """
    source.stream.seek(0)
    prefix = source.stream.read(16)
    Image.init()
    for name in Image.ID:
        if name in _NEVER_OPENED:
            continue
        factory, accept = Image.OPEN[name]
        try:
            accepted = accept(prefix) if accept else True
            if not accepted or isinstance(accepted, str):  # a str says which library this build of Pillow lacks
                continue
            source.stream.seek(0)
            return factory(source.stream, "")
        except _NOT_THIS_FORMAT:
            continue
        except Exception as error:  # forty readers of headers raise nearly anything on hostile bytes
            raise damaged(source, error) from error
    return None


def check_size(width: int, height: int, max_pixels: int, label: str) -> None:
    """Refuse an image of more than `max_pixels`.

    Raises:
        InputError: it is larger, or has no pixel.
    """
    if width < 1 or height < 1:
        raise InputError(f"{label} is {width}×{height} (width×height): an image needs at least one pixel")
    if width * height > max_pixels:
        raise InputError(
            f"{label} is {width}×{height}, {_mega(width * height)} megapixels, and at most "
            f"{_mega(max_pixels)} are read: make it smaller, or raise max_pixels if you trust the file"
        )


def damaged(source: Source, error: BaseException) -> InputError:
    """The error for a file that is an image but does not decode, told apart as truncated or damaged."""
    reason = " ".join(str(error).split())[:160]
    words = reason.lower()
    if _is_cut(source) or any(word in words for word in ("truncat", "incomplete", "end of file")):
        return InputError(f"{source.label} is truncated, its end is missing: copy or download it again")
    return InputError(
        f"{source.label} is damaged and cannot be decoded ({reason or type(error).__name__}): "
        "copy or download it again, or save it anew as PNG"
    )


def unrecognised(source: Source) -> InputError:
    """The error for bytes that no reader knows; says what they look like."""
    source.stream.seek(0)
    head = source.stream.read(1024)
    label = source.label
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return InputError(f"{label} begins as a {name} file but is truncated or damaged: copy it again")
    if head.startswith(b"%PDF"):
        return InputError(f"{label} is a PDF: export the page as PNG and pass that")
    if head.startswith(b"%!PS"):
        return InputError(f"{label} is PostScript, which is not run here: export it as PNG and pass that")
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"hevc"):
        return InputError(
            f"{label} is HEIC, which Pillow reads only with a plugin: save it as JPEG or PNG, or call "
            "pillow_heif.register_heif_opener() first (pip install pillow-heif)"
        )
    if b"<svg" in head:
        return InputError(f"{label} is an SVG drawing, which has no pixels: export it as PNG and pass that")
    if _is_text(head):
        return InputError(f"{label} holds text, not an image, whatever its name says: pass an image file")
    return InputError(f"{label} is in no image format known here: pass {_READABLE}")


def _is_text(head: bytes) -> bool:
    # The last bytes may be half of a UTF-8 character: drop up to three.
    for cut in range(4):
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return bool(text) and all(char.isprintable() or char.isspace() for char in text)
    return False


def _is_cut(source: Source) -> bool:
    """Whether the file lacks the mark or the length that ends its format."""
    stream = source.stream
    if stream.closed:
        return False
    stream.seek(0)
    head = stream.read(12)
    size = stream.seek(0, io.SEEK_END)
    # Some cameras append data after the end mark, so it is looked for in a long tail.
    stream.seek(max(0, size - (1 << 16)))
    tail = stream.read()
    if head.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"RIFF"):
        return len(head) < 12 or int.from_bytes(head[4:8], "little") + 8 > size
    return False


def _missing(path: Path) -> str:
    if "://" in str(path) or str(path).startswith(("http:/", "https:/")):
        return f"{path} is a web address: download the image and pass the file"
    folder = path.parent
    if not folder.is_dir():
        return f"{path} does not exist, nor does its folder {folder}: check the path"
    close = difflib.get_close_matches(path.name, _names_in(folder), n=3, cutoff=0.6)
    if close:
        return f"{path} does not exist: did you mean {' or '.join(str(folder / name) for name in close)}?"
    return f"{path} does not exist: check the name, or look into {folder.resolve()}"


def _example_in(folder: Path) -> str:
    suffixes = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
    inside = sorted(name for name in _names_in(folder) if Path(name).suffix.lower() in suffixes)
    return f" (it holds {inside[0]})" if inside else ""


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in itertools.islice(entries, 5000)]
    except OSError:
        return []


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:,.0f}" if pixels >= 10_000_000 else f"{pixels / 1e6:g}"
