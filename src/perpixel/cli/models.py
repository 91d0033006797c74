"""`perpixel models`: which models are here, and under which licence."""

import json as json_text
from itertools import groupby
from pathlib import Path
from typing import TypedDict

import typer

from perpixel.cli import arguments as given

_TITLES = {
    "vitmatte": "vitmatte: matting, `perpixel matte` and `perpixel cutout`",
    "mask2former": "mask2former: segmentation, `perpixel segment`",
    "depth_anything": "depth_anything: depth, `perpixel depth` and `perpixel bokeh`",
    "dpt": "dpt: depth, `perpixel depth` and `perpixel bokeh`, or segmentation, `perpixel segment`",
}


class _Row(TypedDict):
    model: str
    family: str | None
    licence: str | None
    where: str
    bytes: int | None
    summary: str | None
    published: dict[str, float]


def models(json: given.Json = False) -> int:
    """List the models that --model knows: embedded, in the download cache, or waiting on the Hub.

    Any other Hub id or folder of a checkpoint of these families works too.
    """
    rows = _rows()
    if json:
        for row in rows:
            typer.echo(json_text.dumps(row, ensure_ascii=False))
        return 0
    from perpixel.hub.catalog import LICENCE_NOTES

    table = [
        [
            f"  {row['model']}",
            row["licence"] or "see its page",
            row["where"],
            f"{row['bytes'] / 1e6:.0f} MB" if row["bytes"] else "",
            row["summary"] or "",
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    blocks = []
    for family, members in groupby(zip(rows, lines, strict=True), key=lambda member: member[0]["family"]):
        title = _TITLES.get(family or "", family or "unknown family")
        blocks.append("\n".join([title, *(line for _, line in members)]))
    notes = [f"{name}: {note}" for name, note in LICENCE_NOTES.items() if any(row["licence"] == name for row in rows)]
    typer.echo("\n\n".join([*blocks, *notes]))
    return 0


def _rows() -> list[_Row]:
    """Return a row for every known and every cached model, those of one family together."""
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
                published=dict(entry.published),
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
                published={},
            )
        )
    order = {family: i for i, family in reversed(list(enumerate(row["family"] for row in rows)))}
    return sorted(rows, key=lambda row: (row["family"] is None, order[row["family"]]))


def _size(folder: Path | None) -> int | None:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder else None
