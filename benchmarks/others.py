"""What is no model: the colours of the foreground against PyMatting, and the import of a model's class."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.measure import Work


def works(smoke: bool) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Names and makers of the works."""
    side = 48 if smoke else 1024
    yield f"foreground colours {side}×{side} (PyMatting)", lambda: _foreground(side)
    yield "import of a model's class", _import


def _foreground(side: int) -> Work:
    """The methods differ: tests/ops/test_foreground.py compares how exact they are."""
    from pymatting import estimate_foreground_ml

    from perpixel.ops.foreground import estimate_foreground

    draw = np.random.default_rng(0)
    image = draw.random((side, side, 3), np.float32)
    y, x = np.ogrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]  # type: ignore[misc]
    alpha = np.clip((0.7 - np.hypot(y, x)) * 5 + 0.5, 0, 1).astype(np.float32)
    double = image.astype(np.float64), alpha.astype(np.float64)
    return Work(lambda: estimate_foreground_ml(*double), lambda: estimate_foreground(image, alpha))


def _import() -> Work:
    """Processes of their own, so the memory of this one tells nothing."""

    def of(package: str) -> Callable[[], object]:
        code = f"from {package} import VitMatteForImageMatting"
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    return Work(of("transformers"), of("perpixel"), memory=False)
