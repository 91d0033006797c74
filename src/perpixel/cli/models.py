"""`perpixel models`: which models are here, and under which licence."""

import json as json_text
from pathlib import Path
from typing import TypedDict

import typer

from perpixel.cli import arguments as given


class _Row(TypedDict):
    model: str
    family: str | None
    licence: str | None
    where: str
    bytes: int | None
    summary: str | None


def models(json: given.Json = False) -> int:
    """List the models that --model knows: embedded, in the download cache, or waiting on the Hub.

    Any other Hub id or folder of a ViTMatte checkpoint works too.
    """
    from perpixel.hub.catalog import CATALOG, cached_models

    cached = {model.name: model for model in cached_models()}
    rows: list[_Row] = []
    for entry in CATALOG:
        here = cached.pop(entry.name, None)
        if entry.folder is not None:
            where = "embedded" if entry.embedded else "missing from this installation"
        else:
            where = "cached" if here else "on the Hub"
        rows.append(
            _Row(
                model=entry.name,
                family=entry.family,
                licence=entry.licence,
                where=where,
                bytes=here.size if here else _size(entry.path),
                summary=entry.summary,
            )
        )
    for model in cached.values():
        rows.append(
            _Row(
                model=model.name,
                family=model.family,
                licence=model.licence,
                where="cached",
                bytes=model.size,
                summary=None,
            )
        )

    if json:
        for row in rows:
            typer.echo(json_text.dumps(row, ensure_ascii=False))
        return 0
    table = [["model", "family", "licence", "where", "size", ""]]
    table += [
        [
            row["model"],
            row["family"] or "unknown",
            row["licence"] or "see its page",
            row["where"],
            f"{row['bytes'] / 1e6:.0f} MB" if row["bytes"] else "",
            row["summary"] or "",
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _size(folder: Path | None) -> int | None:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder else None
