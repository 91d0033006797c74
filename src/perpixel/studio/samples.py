"""The example pictures that come with Studio, each with what marks its subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

# As `trimap_editor.parse_drawing` reads them: a box, strokes on the subject, strokes beside it.
_PORTRAIT: tuple[Mapping[str, Any], ...] = (
    {"tool": "box", "box": [35, 3, 339, 345]},
    {"tool": "foreground", "radius": 6, "points": [[200, 100]]},
    {"tool": "foreground", "radius": 6, "points": [[180, 260], [290, 300]]},
    {"tool": "foreground", "radius": 6, "points": [[325, 330]]},
    {"tool": "background", "radius": 6, "points": [[20, 150]]},
    {"tool": "background", "radius": 6, "points": [[320, 120]]},
    {"tool": "background", "radius": 6, "points": [[110, 60]]},
)


@dataclass(frozen=True)
class Sample:
    """An example picture.

    Attributes:
        title: its name on the page.
        path: the file.
        marks: what is drawn on it.
        trimap: the file of its trimap, or None.
    """

    title: str
    path: Path
    marks: tuple[Mapping[str, Any], ...] = ()
    trimap: Path | None = None


def samples() -> list[Sample]:
    """All of them; the first are people.

    >>> [sample.title for sample in samples()]
    ['Portrait', 'Cat']
    """
    folder = Path(str(resources.files("perpixel.studio"))) / "examples"
    return [
        Sample("Portrait", folder / "portrait.jpg", _PORTRAIT),
        Sample("Cat", folder / "cat.jpg", trimap=folder / "cat-trimap.png"),
    ]
