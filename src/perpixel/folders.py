"""Where perpixel keeps what it made once for this machine and can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Where such files are kept: `$PERPIXEL_CACHE`, or `perpixel` in the system's folder for them.

    Returns:
        the folder, which need not be there.

    Raises:
        RuntimeError: the user has no home folder.
    """
    given = os.environ.get("PERPIXEL_CACHE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "perpixel"
