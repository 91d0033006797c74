"""A result as a PNG or as JSON, as the client accepts."""

from __future__ import annotations

import base64
import json
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.results import DepthMap, Matte, Segments
from perpixel.serve.problems import Refusal
from perpixel.serve.work import Route

Form = Literal["image/png", "application/json"]
FORMS: tuple[Form, ...] = ("image/png", "application/json")
# What a PNG may show, as `save(what=…)` of the results calls it, the one taken by itself first.
WHATS: Mapping[Route, tuple[str, ...]] = {
    "cutout": ("cutout", "alpha", "foreground", "preview"),
    "matte": ("alpha", "cutout", "foreground", "preview"),
    "segment": ("overlay", "map", "panoptic"),
    "depth": ("depth", "colour", "relief"),
}


@dataclass(frozen=True)
class Answer:
    """The body of an answer.

    Attributes:
        body: what is sent.
        form: its type.
        headers: further ones.
    """

    body: bytes
    form: Form
    headers: Mapping[str, str] = field(default_factory=dict)


def accepted_form(accept: str | None) -> Form:
    """The form that a client wants, a PNG where it takes both.

    Args:
        accept: the header (RFC 9110, 12.5.1).

    Raises:
        Refusal: 406 where it takes neither.

    >>> accepted_form(None), accepted_form("application/json, image/*;q=0.5")
    ('image/png', 'application/json')
    """
    if accept is None or not accept.strip():
        return FORMS[0]
    ranges = [_range(part) for part in accept.split(",")]
    qualities = [_quality(form, ranges) for form in FORMS]
    best = max(qualities)
    if best <= 0:
        raise Refusal(406, "not_acceptable", f"the answer is {' or '.join(FORMS)}: accept one of them")
    return FORMS[qualities.index(best)]


def checked_what(route: Route, what: str | None) -> str:
    """What the PNG is to show.

    Raises:
        Refusal: 422 for a word that is not known.
    """
    known = WHATS[route]
    if what is not None and what not in known:
        raise Refusal(422, "input", f"what={what[:40]!r} is not known: use one of {', '.join(known)}")
    return what or known[0]


def answer(result: Any, model: str, form: Form, what: str) -> Answer:
    """Encode a result.

    Args:
        result: a `Matte`, `Segments` or a `DepthMap`.
        model: the name of the model that made it.
        form: as the client accepts.
        what: what a PNG shows.
    """
    if form == "image/png":
        return _picture(result, what)
    values = {"width": result.width, "height": result.height, "model": model, **_values(result)}
    return Answer(json.dumps(values, ensure_ascii=False, allow_nan=False).encode(), form)


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """Numbers exactly as they are, as `schemas.Plane`."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    # Level 1 takes a third of the time of 6: alphas and maps are flat, and shrink well with either.
    data = base64.b64encode(zlib.compress(little.tobytes(), 1)).decode()
    return {"dtype": values.dtype.name, "shape": list(values.shape), "data": data}


def _picture(result: Any, what: str) -> Answer:
    """The very bytes that `save` writes; depth's numbers need those beside the file to be read, in a header."""
    with tempfile.TemporaryDirectory(prefix="perpixel-") as folder:
        path = Path(folder) / "answer.png"
        result.save(path, what)
        note = path.with_name("answer.png.json")
        headers = {"X-Depth": json.dumps(json.loads(note.read_text("utf-8")))} if note.exists() else {}
        return Answer(path.read_bytes(), "image/png", headers)


def _values(result: Any) -> dict[str, Any]:
    if isinstance(result, Matte):
        return {"alpha": packed(result.alpha), "trimap": None if result.trimap is None else packed(result.trimap)}
    if isinstance(result, DepthMap):
        valid = None if result.valid.all() else packed(result.valid.view(np.uint8))
        return {"kind": result.kind, "unit": result.unit, "values": packed(result.values), "valid": valid}
    assert isinstance(result, Segments)
    return {
        "kind": result.kind,
        "segments": [{**asdict(segment), "segmentation": result.rle(segment)} for segment in result],
        "map": packed(result.map),
    }


def _range(part: str) -> tuple[str, float]:
    """A media range and its quality; one that cannot be read counts as 0."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name.lower(), quality if 0 <= quality <= 1 else 0.0


def _quality(form: str, ranges: list[tuple[str, float]]) -> float:
    """That of the most exact range which holds the form."""
    for name in (form, f"{form.partition('/')[0]}/*", "*/*"):
        found = [quality for given, quality in ranges if given == name]
        if found:
            return found[0]
    return 0.0
