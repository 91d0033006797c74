"""What was found, as a table in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.measure import Found

HEADER = (
    "| work | time, theirs / perpixel (lowest to highest) | memory, perpixel / theirs | largest difference "
    "| share of the floor |",
    "|---|---|---|---|---|",
)


def row(found: Found) -> str:
    """One line."""
    low, high = min(found.ratios), max(found.ratios)
    time = f"{statistics.median(found.ratios):.2f} ({low:.2f} to {high:.2f})"
    memory = difference = share = "–"
    if found.memory is not None:
        theirs, ours = found.memory
        memory = f"{ours / 1e6:.0f} / {theirs / 1e6:.0f} MB" + (f" ({ours / theirs:.2f})" if theirs > 0 else "")
    if found.difference is not None:
        difference = f"{found.difference:.1e}"
    if found.share is not None:
        share = f"{found.share:.0%}"
    return f"| {found.name} | {time} | {memory} | {difference} | {share} |"


def table(found: Sequence[Found]) -> str:
    """All lines."""
    return "\n".join([*HEADER, *map(row, found)]) + "\n"
