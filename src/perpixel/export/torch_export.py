"""A recorded program as a `.pt2` file, which `torch.export.load` reads."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
from torch.export import ExportedProgram

from perpixel.errors import CheckpointError
from perpixel.export.about import About
from perpixel.export.model import quiet

ABOUT_NAME = "perpixel.json"


def write_torch_export(program: ExportedProgram, path: Path, about: About) -> About:
    """Write the file, with what it says of itself as the extra file `perpixel.json`; returns `about`."""
    # Recorded at some size, which would be stored with its pixels, and whose traits would be asked of all others.
    program.example_inputs = None
    with quiet():
        torch.export.save(program, path, extra_files={ABOUT_NAME: json.dumps(about.to_texts(), sort_keys=True)})
    return about


def read_torch_export(path: Path) -> tuple[ExportedProgram, About]:
    """Read such a file.

    Raises:
        CheckpointError: it is broken, or was not written by perpixel.
    """
    extra = {ABOUT_NAME: ""}
    try:
        with quiet():
            program = torch.export.load(path, extra_files=extra)
        texts = json.loads(extra[ABOUT_NAME] or "{}")
    except (RuntimeError, ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{path} is no program of torch.export ({reason}): export the model again") from error
    return program, About.from_texts(texts, str(path))
