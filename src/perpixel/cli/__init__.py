"""The command line: one thin file a command over `perpixel.tasks`."""

from perpixel.cli.app import main

__all__ = ["main"]
