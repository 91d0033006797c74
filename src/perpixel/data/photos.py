"""Photographs and RGBA art on disk: found, split into training and validation, decoded once."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from perpixel.errors import InputError

Split = Literal["train", "validation"]
Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


def find_images(sources: Sources, include: Iterable[str] | None = None) -> list[Path]:
    """List the image files in folders (searched recursively) and single files, each picture once.

    Links to the same file count once. `include` keeps only paths that end in one of the given patterns, in
    the manner of fnmatch: `"mate/nature/*.jpg"` or `"Path/contents/images/1920x1080.jpg"`.

    Raises:
        InputError: if a source does not exist or nothing is left.
    """
    names = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    patterns = None if include is None else ["*/" + pattern.lstrip("/") for pattern in include]
    found: dict[Path, Path] = {}
    for name in names:
        source = Path(name)
        if not source.exists():
            raise InputError(f"{source} does not exist: give folders or image files that do")
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            # The patterns come first: a link may fit them where the file that it leads to does not.
            if patterns is None or any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in patterns):
                found.setdefault(path.resolve(), path)
    paths = list(found.values())
    if not paths:
        raise InputError(f"no image files in {', '.join(map(str, names))}: give other folders or a wider include list")
    return paths


def choose_split(paths: Sequence[Path], split: Split, share: float = 0.12) -> list[Path]:
    """Keep the files of one split; which one a file is in depends on its content only.

    About `share` of the files, and at least one, are for validation.

    Raises:
        InputError: if the split's name is unknown or there are fewer than two files to split.
    """
    if split not in ("train", "validation"):
        raise InputError(f"split is {split!r}: it must be 'train' or 'validation'")
    if len(paths) < 2:
        raise InputError("one image cannot be split into training and validation: give at least two")
    draw = {path: _content_number(path) for path in paths}
    first = min(draw.values())
    held_out = {path for path, number in draw.items() if number < share or number == first}
    return [path for path in paths if (path in held_out) == (split == "validation")]


def _content_number(path: Path) -> float:
    digest = hashlib.blake2b(path.read_bytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def load_photo(path: Path, longest: int) -> npt.NDArray[np.uint8]:
    """Decode a photograph to RGB, (h, w, 3) uint8, with no side over `longest` pixels."""
    with _open(path) as picture:
        picture.draft("RGB", (longest, longest))
        photo = picture.convert("RGB")
        photo.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        return np.asarray(photo)


def load_art(path: Path, longest: int) -> npt.NDArray[np.uint8]:
    """Decode art to straight RGBA, (h, w, 4) uint8, with no side over `longest` pixels."""
    with _open(path) as picture:
        art = picture.convert("RGBA")
        art.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        return np.asarray(art)


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no image that Pillow can read: remove it from the training data") from error
