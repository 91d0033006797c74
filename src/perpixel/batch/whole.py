"""Results that are whole but not noted yet, so that no kill loses them, in whichever instant it comes.

The files of a photograph are written in a hidden folder of its own. When all are there its row is written beside them,
and only then are they moved to their places; the folder goes when the row has been noted elsewhere. So of a folder
with a row in it all files are either still there or in their places, and whoever finds it can end the work.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from perpixel.batch.records import Row

# Results have a suffix, so none is named like it.
_ROW = "row"


def put_in_place(own: Path, row: Row, out: Path) -> None:
    """Promise the files of a folder, then move them to their places.

    Args:
        own: the folder, with nothing in it but `row.outputs`.
        row: of the photograph.
        out: the folder of the results.

    Raises:
        OSError: that cannot be done, as on a full disk.
    """
    (own / _ROW).write_bytes(row.to_json().encode("utf-8", "surrogatepass"))
    for folder in {(out / name).parent for name in row.outputs}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in row.outputs:
        place = out / name
        (own / place.name).replace(place)


def forget(own: Path) -> None:
    """Remove the folder of a photograph whose row has been noted."""
    try:
        (own / _ROW).unlink()
        own.rmdir()
    except OSError:
        shutil.rmtree(own, ignore_errors=True)


def left_whole(staging: Path) -> Iterator[tuple[Path, Row]]:
    """The folders in `staging` whose files are whole, with their rows."""
    for path in sorted(staging.glob(f"*/{_ROW}")):
        try:
            row = Row.from_json(path.read_bytes())
        except (OSError, ValueError):
            continue  # half a row: nothing was moved
        places = [Path(name) for name in row.outputs]
        if not any(place.is_absolute() or ".." in place.parts for place in places):  # no row of ours leaves the folder
            yield path.parent, row


def is_put_in_place(own: Path, row: Row, out: Path) -> bool:
    """Move what a killed process has left in a folder, and tell whether all outputs are in their places then."""
    for name in row.outputs:
        place = out / name
        try:
            (own / place.name).replace(place)
        except FileNotFoundError:
            continue  # it was moved before
        except OSError:
            return False
    return row.is_there(out)
