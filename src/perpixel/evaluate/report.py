"""The result of an evaluation, and what is written of it: a JSON, a Markdown table, an HTML page with pictures."""

from __future__ import annotations

import base64
import html
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perpixel.data.samples import LabelKind
from perpixel.errors import InputError
from perpixel.evaluate.measures import described, summary_only
from perpixel.evaluate.worst import WorstCase

__all__ = ["Evaluation", "Failure", "Row"]

# The page's table of images ends here; the JSON has all of them.
SHOWN_ROWS = 200


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        name: of the image, as the data set or the file's stem says it.
        measures: by name, of this image alone.
    """

    name: str
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Failure:
    """Something that was not measured: an unreadable or a missing file, a wrong size.

    Attributes:
        name: of the image or the file.
        error: in one line, what is wrong and how to mend it.
    """

    name: str
    error: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a model, or somebody's files, are.

    Attributes:
        task: "matting", "semantic", "instance", "panoptic" or "depth".
        headline: the name of the measure that stands for all.
        measures: over all images, by name; NaN where nothing could say.
        rows: each image's own measures, a few numbers an image, in the order of the data set.
        failures: what was not measured. The measures are without it, so they are not to be published.
        settings: what was compared, and how.
        seconds: the time that it took.
        ranked_by: the measure by which `worst` is chosen.
        worst: the worst images with their pictures, the worst first.
        notes: what the reader has to know, such as labels that the model does not have.
    """

    task: LabelKind
    headline: str
    measures: Mapping[str, float]
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    ranked_by: str = ""
    worst: tuple[WorstCase, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The headline measure."""
        return self.measures.get(self.headline, math.nan)

    @property
    def images(self) -> int:
        """How many images were measured."""
        return len(self.rows)

    @property
    def complete(self) -> bool:
        """Whether every image was measured, and there was one."""
        return bool(self.rows) and not self.failures

    def to_dict(self, *, rows: bool = True) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None.

        Args:
            rows: whether to have the measures of each image too.
        """
        from perpixel import __version__

        found: dict[str, Any] = {
            "perpixel": __version__,
            "task": self.task,
            "headline": self.headline,
            "measures": _plain(self.measures),
            "images": self.images,
            "complete": self.complete,
            "failures": [{"name": failure.name, "error": failure.error} for failure in self.failures],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "settings": _plain(self.settings),
            "worst": [{"name": case.name, self.ranked_by: _number(case.value)} for case in self.worst],
        }
        if rows:
            found["rows"] = [{"name": row.name, **_plain(row.measures)} for row in self.rows]
        return found

    def markdown(self) -> str:
        """A table of the measures in the papers' units, and what they were measured with."""
        lines = [f"# {self.task.capitalize()}: {_inline(_of(self.settings))}", ""]
        lines += ["| measure | value | better |", "|---|---:|---|"]
        lines += [
            f"| {_cell(described(name).title)} | {described(name).printed(value)} | {described(name).better} |"
            for name, value in self.measures.items()
        ]
        lines += ["", self._sentence(), ""]
        lines += [f"Note: {_inline(note)}" for note in self.notes]
        lines += ["", "| setting | value |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in self.settings.items()]
        if self.failures:
            lines += ["", "## Not measured", "", "| name | why |", "|---|---|"]
            lines += [f"| {_cell(failure.name)} | {_cell(failure.error)} |" for failure in self.failures]
        if self.worst:
            shown = described(self.ranked_by)
            lines += ["", f"## Worst images by {shown.title}", "", "| name | value |", "|---|---:|"]
            lines += [f"| {_cell(case.name)} | {shown.printed(case.value)} |" for case in self.worst]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """A page that needs no other file: the measures, the worst images as pictures, the settings."""
        title = html.escape(f"{self.task.capitalize()}: {_of(self.settings)}")
        measures = [
            (described(name).title, described(name).printed(value), described(name).better)
            for name, value in self.measures.items()
        ]
        parts = [f"<h1>{title}</h1>", f"<p>{html.escape(self._sentence())}</p>"]
        parts += [f"<p>Note: {html.escape(note)}</p>" for note in self.notes]
        parts.append(_table(("measure", "value", "better"), measures))
        if self.failures:
            parts.append("<h2>Not measured</h2>")
            parts.append(_table(("name", "why"), [(failure.name, failure.error) for failure in self.failures]))
        shown = described(self.ranked_by)
        if self.worst:
            parts.append(f"<h2>Worst images by {html.escape(shown.title)}</h2>")
            parts += [_figures(case, shown.printed(case.value)) for case in self.worst]
        parts.append("<h2>Settings</h2>")
        parts.append(_table(("setting", "value"), [(name, _text(value)) for name, value in self.settings.items()]))
        parts.append(self._image_table())
        return _PAGE.format(title=title, body="\n".join(parts))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a report in the form of the path's suffix: .json, .md or .html.

        Returns:
            the path.

        Raises:
            InputError: another suffix.
            OutputError: the file cannot be written there.
        """
        from perpixel.images.write import write_bytes

        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".json":
            text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        elif suffix == ".md":
            text = self.markdown()
        elif suffix in (".html", ".htm"):
            text = self.html()
        else:
            raise InputError(f"{path} has the suffix {path.suffix!r}: a report is .json, .md or .html")
        return write_bytes(path, text.encode())

    def __repr__(self) -> str:
        shown = described(self.headline)
        failed = f", {len(self.failures)} not measured" if self.failures else ""
        return f"Evaluation({self.task}, {shown.title} {shown.printed(self.value)}, {self.images} images{failed})"

    def _sentence(self) -> str:
        failed = f"; {len(self.failures)} were not measured, so these figures are of a part only"
        return f"{self.images} images in {self.seconds:.1f} s{failed if self.failures else ''}."

    def _image_table(self) -> str:
        if not self.rows:
            return ""
        larger = described(self.ranked_by).larger_is_better
        ranked = sorted(
            (row for row in self.rows if not math.isnan(row.measures.get(self.ranked_by, math.nan))),
            key=lambda row: (row.measures[self.ranked_by] * (1 if larger else -1), row.name),
        )[:SHOWN_ROWS]
        if not ranked:
            return ""
        names = list(summary_only(dict(ranked[0].measures)))
        cells = [
            (row.name, *(described(name).printed(row.measures.get(name, math.nan)) for name in names)) for row in ranked
        ]
        heading = "Images, the worst first" + (
            "" if len(ranked) == len(self.rows) else f": {len(ranked)} of {self.images}"
        )
        return f"<h2>{heading}</h2>" + _table(("name", *(described(name).title for name in names)), cells)


def _of(settings: Mapping[str, Any]) -> str:
    first = settings.get("model", settings.get("predictions", "predictions"))
    second = settings.get("dataset", settings.get("truth", "truth"))
    return f"{first} on {second}"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    """What JSON can hold: no NaN, no infinity, no path."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, (list, tuple)):
        return [_number(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _text(value: Any) -> str:
    plain = _number(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _inline(text: str) -> str:
    """Markdown's own signs in a name stay what they are."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|" else sign for sign in " ".join(text.split()))


def _cell(value: Any) -> str:
    return _inline(_text(value))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _figures(case: WorstCase, value: str) -> str:
    name = html.escape(case.name)
    figures = []
    for panel in case.panels:
        source = f"data:image/{panel.form};base64,{base64.b64encode(panel.data).decode('ascii')}"
        caption = html.escape(panel.caption)
        figures.append(
            f'<figure><img src="{source}" alt="{caption} of {name}"><figcaption>{caption}</figcaption></figure>'
        )
    return f"<h3>{name} <small>{html.escape(value)}</small></h3><div class=row>{''.join(figures)}</div>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 1400px; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }}
h3 {{ margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }}
h3 small {{ font-weight: normal; opacity: .7; }}
.row {{ display: flex; flex-wrap: wrap; gap: .5rem; }}
.scroll {{ overflow-x: auto; }}
figure {{ margin: 0; max-width: 320px; }}
img {{ max-width: 100%; display: block; }}
figcaption {{ font-size: .8rem; opacity: .75; }}
</style>
<body>
{body}
</body>
</html>
"""
