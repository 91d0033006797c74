"""Which trimap or mask in a parallel folder belongs to a photograph."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from perpixel.errors import InputError

PICTURE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""What counts as a picture in a folder, an archive or a list."""

# Hints are nearly always PNGs, and on a slow disk each name that is tried costs.
_TRIED = (".png", *(suffix for suffix in PICTURE_SUFFIXES if suffix != ".png"))


@dataclass(frozen=True)
class HintFolders:
    """Folders with a trimap or a mask for each photograph.

    A hint lies where the photograph's result will lie: for `trip/beach.jpg` of the inputs it is `trip/beach`,
    `trip/beach-trimap` or `trip/beach_trimap` (or `-mask`, `_mask`) with the suffix of any picture.

    Attributes:
        trimaps: the folder of trimaps.
        masks: the folder of masks.

    Raises:
        InputError: both, or one that is no folder.
    """

    trimaps: Path | None = None
    masks: Path | None = None

    def __post_init__(self) -> None:
        if self.trimaps is not None and self.masks is not None:
            raise InputError("trimaps and masks are both given: give one of them")
        for folder in self.folders:
            if not folder.is_dir():
                raise InputError(f"{folder} is no folder: give one that has a hint for each picture")

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that are given."""
        return tuple(folder for folder in (self.trimaps, self.masks) if folder is not None)

    def find(self, key: str, image: str) -> tuple[str | None, str | None, str]:
        """The hint of a photograph.

        Only the names that it may have are tried: a list of the folder would be as long as the batch.

        Args:
            key: of its record.
            image: its path, which is no hint of itself.

        Returns:
            the path of its trimap, that of its mask, one of them None, and the hint's stamp ("" without folders).

        Raises:
            InputError: there is none.
        """
        if not self.folders:
            return None, None, ""
        folder, kind = self.folders[0], "trimap" if self.masks is None else "mask"
        base = str(folder / key)
        for ending in ("", f"-{kind}", f"_{kind}"):
            for suffix in _TRIED:
                for name in (f"{base}{ending}{suffix}", f"{base}{ending}{suffix.upper()}"):
                    stamp = stamp_of(name)
                    if stamp is not None and name != image:
                        return (name, None, stamp) if kind == "trimap" else (None, name, stamp)
        stem = key.rpartition("/")[2]
        raise InputError(f"there is no {kind} for {image} in {folder}: put {key}.png or {stem}-{kind}.png beside it")


def stamp_of(path: str | os.PathLike[str]) -> str | None:
    """Size and time of change of a file, what tells without reading it that it is another; None without a file."""
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path for each name tried costs more than the call)
    except OSError:
        return None
    return f"{found.st_size}:{found.st_mtime_ns}"
