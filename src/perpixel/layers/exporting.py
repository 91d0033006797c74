"""Whether the running code is being recorded for an exported file, and which sizes are left open in it.

An exported program runs without Python: whatever a branch decides while it is recorded stays decided. Where a branch
asks for a size that the file is to leave open, the code therefore takes the way that is right for every size.
"""

from __future__ import annotations

from typing import Any

import torch


def is_recorded() -> bool:
    """Whether `torch.export` records the running code. Compiled code, which is recompiled if need be, does not count.

    >>> is_recorded()
    False
    """
    # torch before 2.7 cannot tell the two apart.
    asked = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(asked())


def is_open(*sizes: Any) -> bool:
    """Whether any of the sizes is left open in what is being recorded.

    >>> is_open(3, 4)
    False
    """
    return any(isinstance(size, torch.SymInt) for size in sizes)
