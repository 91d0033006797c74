"""The drawing area of Cut out: what was drawn in the browser, and the trimap that it stands for.

The browser keeps strokes and not pixels: they are few numbers, can be undone one by one, and are drawn here in the
photograph's whole size, whatever the screen's.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, TypeAlias

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import InputError
from perpixel.images.read import Photo
from perpixel.ops.subject import mask_from_box, mask_from_points
from perpixel.ops.trimap import BACKGROUND, FOREGROUND, UNKNOWN, trimap_from_mask

Trimap: TypeAlias = NDArray[np.uint8]
Tool: TypeAlias = Literal["foreground", "background", "unknown"]
Step: TypeAlias = Literal["mark", "repair"]

VALUES: dict[Tool, int] = {"foreground": FOREGROUND, "background": BACKGROUND, "unknown": UNKNOWN}
# The longer side of the pictures that the browser gets.
SHOWN = 2048
# More strokes, points or pixels of radius than this no hand draws.
MOST_STROKES, MOST_POINTS, LARGEST = 10_000, 1_000_000, 1e6
# So many points of the strokes are given to GrabCut, which takes a disc around each.
SAMPLES = 300


@dataclass(frozen=True)
class Stroke:
    """A line of a round brush, or a click if it is one point.

    Attributes:
        tool: what it paints.
        radius: of the brush, in pixels of the photograph.
        points: (n, 2) float64, x and y in pixels, at least one.
    """

    tool: Tool
    radius: float
    points: NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """All that was drawn.

    Attributes:
        step: what is being worked on: "mark", the hints; or "repair", the trimap.
        box: (x0, y0, x1, y1) around the subject, or None.
        marks: strokes on the subject and beside it.
        repairs: strokes on the trimap, the last on top.
    """

    step: Step = "mark"
    box: tuple[int, int, int, int] | None = None
    marks: tuple[Stroke, ...] = ()
    repairs: tuple[Stroke, ...] = field(default=())


def parse_drawing(text: str | None) -> Drawing:
    """Read what the browser sent.

    Args:
        text: JSON of {"step", "marks": […], "repairs": […]}; an entry is {"tool": "box", "box": [x0, y0, x1, y1]} or
            {"tool": "foreground", "radius": 4, "points": [[x, y], …]}. None or "" is an empty drawing.

    Raises:
        InputError: it is none.

    >>> parse_drawing('{"marks": [{"tool": "box", "box": [1, 2, 30, 40]}]}').box
    (1, 2, 30, 40)
    """
    try:
        given = json.loads(text or "{}")
        step = given.get("step", "mark")
        marks = [action for action in given.get("marks", []) if action["tool"] != "box"]
        boxes = [action["box"] for action in given.get("marks", []) if action["tool"] == "box"]
        strokes = [_stroke(action) for action in marks]
        repairs = [_stroke(action) for action in given.get("repairs", [])]
        points = sum(len(stroke.points) for stroke in strokes + repairs)
        box = None
        if boxes:
            x0, y0, x1, y1 = (round(_finite(value)) for value in boxes[-1])
            box = (x0, y0, x1, y1)
        if step not in ("mark", "repair") or len(strokes) + len(repairs) > MOST_STROKES or points > MOST_POINTS:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError("the marks on the photograph came in a form that is not known: reload the page") from None
    return Drawing(step, box, tuple(strokes), tuple(repairs))


def _stroke(action: Any) -> Stroke:
    tool = action["tool"]
    points = np.array([[_finite(x), _finite(y)] for x, y in action["points"]], np.float64)
    radius = _finite(action["radius"])
    if tool not in VALUES or not len(points) or radius <= 0:
        raise ValueError
    return Stroke(tool, radius, points)


def _finite(value: Any) -> float:
    number = float(value)
    if not abs(number) <= LARGEST:  # NaN too
        raise ValueError
    return number


def paint(trimap: Trimap, strokes: tuple[Stroke, ...] | list[Stroke]) -> Trimap:
    """Paint strokes on a trimap.

    Args:
        trimap: (h, w) of 0, 128 and 255; it stays as it is.
        strokes: in the order in which they were drawn.

    Returns:
        (h, w) uint8, a new array; the strokes' rims are right to a pixel.

    >>> stroke = Stroke("unknown", 2, np.array([[4.5, 4.5]]))
    >>> paint(np.zeros((9, 9), np.uint8), [stroke])[4, [0, 3, 4, 5, 8]].tolist()
    [0, 128, 128, 128, 0]
    """
    result = np.ascontiguousarray(trimap).copy()
    for stroke in strokes:
        value = VALUES[stroke.tool]
        # OpenCV's coordinates are those of the pixels' centres, in steps of 1/16 here; the browser's of their corners.
        fixed = np.rint((stroke.points - 0.5) * 16).astype(np.int32)
        for x, y in fixed.tolist():
            cv2.circle(result, (x, y), max(1, round(stroke.radius * 16)), value, -1, cv2.LINE_8, 4)
        for start, end in itertools.pairwise(stroke.points):
            along = end - start
            length = math.hypot(*along)
            if length:
                side = np.array([-along[1], along[0]]) * (stroke.radius / length)
                corners = np.array([start + side, end + side, end - side, start - side]) - 0.5
                cv2.fillConvexPoly(result, np.rint(corners * 16).astype(np.int32), value, cv2.LINE_8, 4)
    return result


def sampled(strokes: tuple[Stroke, ...], tool: Tool, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Points along the strokes of one tool, spread evenly and at most `SAMPLES`, inside an image of (h, w).

    >>> sampled((Stroke("foreground", 1, np.array([[0.0, 5.0], [99.0, 5.0]])),), "foreground", (10, 100))[:2]
    [(0, 5), (1, 5)]
    """
    height, width = size
    lines = [stroke.points for stroke in strokes if stroke.tool == tool]
    step = max(math.hypot(height, width) * 0.01, 1.0)
    total = sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)
    step = max(step, total / max(1, SAMPLES - len(lines)))
    found: dict[tuple[int, int], None] = {}
    for line in lines:
        lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        for at in np.append(np.arange(0, lengths[-1], step), lengths[-1]):
            x, y = (np.interp(at, lengths, line[:, axis]) for axis in (0, 1))
            found[min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)] = None
    return list(found)


def trimap_from_marks(photo: Photo, drawing: Drawing) -> Trimap:
    """The trimap that a box, clicks and strokes stand for.

    GrabCut finds the subject; what strokes cover is then taken at their word.

    Args:
        photo: the photograph.
        drawing: its box and marks.

    Returns:
        (h, w) uint8 of 0, 128 and 255.

    Raises:
        InputError: nothing is marked, or no subject is found.
    """
    size = (photo.height, photo.width)
    subject, beside = (sampled(drawing.marks, tool, size) for tool in ("foreground", "background"))
    if subject or beside:
        if not subject and drawing.box is None:
            raise InputError("only background is marked: draw a box around the subject too, or click on it")
        mask = mask_from_points(photo.rgb8, subject, beside, drawing.box)
    elif drawing.box is not None:
        mask = mask_from_box(photo.rgb8, drawing.box)
    else:
        raise InputError("it is not said what the subject is: draw a box around it, or click on it")
    return paint(trimap_from_mask(mask), [stroke for stroke in drawing.marks if len(stroke.points) > 1])


def shown_photo(photo: Photo) -> dict[str, Any]:
    """The photograph for the browser: {"url", "width", "height"}, of a size for screens, with its colour profile."""
    picture = Image.fromarray(photo.rgb8)
    if max(picture.size) > SHOWN:
        picture.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90, icc_profile=photo.icc_profile)
    return {"url": _address("jpeg", stream.getvalue()), "width": photo.width, "height": photo.height}


def shown_trimap(trimap: Trimap) -> str:
    """The trimap for the browser: the address of a grey picture of a size for screens."""
    picture = Image.fromarray(trimap)
    if max(picture.size) > SHOWN:
        scale = SHOWN / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.NEAREST)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=4)
    return _address("png", stream.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def trimap_editor() -> gr.HTML:
    """The component; its value is what `parse_drawing` reads, and `new_photo` and `new_trimap` update it."""
    files = resources.files("perpixel.studio")
    return gr.HTML(
        value="{}",
        html_template=files.joinpath("trimap_editor.html").read_text("utf-8"),
        js_on_load=files.joinpath("trimap_editor.js").read_text("utf-8"),
        apply_default_css=False,
        elem_id="cutout-editor",
        photo=None,
        trimap=None,
        round="",
    )


def new_photo(photo: Photo | None, trimap: Trimap | None = None, marks: Sequence[Mapping[str, Any]] = ()) -> Any:
    """The update of the component for another photograph, or for none.

    Args:
        photo: the photograph.
        trimap: (h, w) of 0, 128 and 255, if there is one already.
        marks: what is drawn on it already, as `parse_drawing` reads it.
    """
    shown = None if photo is None else shown_photo(photo)
    address = None if trimap is None else shown_trimap(trimap)
    drawn = {"step": "mark" if trimap is None else "repair", "marks": list(marks)}
    return gr.update(value=json.dumps(drawn), photo=shown, trimap=address, round=secrets.token_hex(8))


def new_trimap(trimap: Trimap) -> Any:
    """The update of the component for another trimap, (h, w) of 0, 128 and 255, of the same photograph."""
    return gr.update(trimap=shown_trimap(trimap), round=secrets.token_hex(8))
