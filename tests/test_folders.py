"""The folder of what can be made again: the one that was asked for, or the system's own."""

import sys
from pathlib import Path

from perpixel.folders import cache_folder


def test_the_folder(monkeypatch):
    monkeypatch.setenv("PERPIXEL_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("PERPIXEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("LOCALAPPDATA", "/l")
    found = {}
    for system in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        found[system] = cache_folder()
    mac = Path.home() / "Library" / "Caches" / "perpixel"
    assert found == {"linux": Path("/x/perpixel"), "darwin": mac, "win32": Path("/l/perpixel")}
