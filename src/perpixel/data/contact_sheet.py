"""A picture of many samples, each photograph beside its labels, to see at a glance whether they belong together."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from perpixel.data.findings import Problem
from perpixel.data.samples import VOID, Categories, DepthSample, MattingSample, Sample, SegmentationSample
from perpixel.ops.depth import coloured, normalised, reciprocal
from perpixel.ops.label_map import painted
from perpixel.ops.overlay import draw_overlay
from perpixel.ops.rle import decode_rle, encode_rle, rle_area

__all__ = ["ContactSheet", "draw_labels"]

Picture = npt.NDArray[np.uint8]

CELL = 240  # pixels, of the larger side of a photograph on the sheet
GAP, CAPTION = 8, 18
COLUMNS = 3
_GROUND, _INK, _ALARM = (24, 24, 24), (225, 225, 225), (255, 110, 90)
_SQUARE = 8  # pixels, of the chequers behind a cut-out
_VOID_LIGHT = 0.25
_PLAIN = str.maketrans({"×": "x", "…": "...", "→": "->"})  # Pillow's own font lacks them


class ContactSheet:
    """Collects samples as they come by, and draws them on one picture.

    Args:
        categories: the classes of the data set, whose names are written into their segments.
        wanted: places of the samples to show, among those that come.
        worst: how many samples with problems are shown besides; the first ones.
    """

    def __init__(self, categories: Categories | None, wanted: list[int], worst: int = 9) -> None:
        self._categories = categories
        self._wanted = frozenset(wanted)
        self._worst = worst
        self._wrong: list[Image.Image] = []
        self._right: list[Image.Image] = []

    def see(self, place: int, name: str, sample: Sample | None, problems: list[Problem]) -> None:
        """Take a sample in, if it is to be shown.

        Args:
            place: its place among those that come.
            name: of the sample.
            sample: None if it could not be read.
            problems: what is wrong with it.
        """
        if problems and len(self._wrong) < self._worst:
            self._wrong.append(self._cell(name, sample, problems))
        elif place in self._wanted:
            self._right.append(self._cell(name, sample, problems))

    def __len__(self) -> int:
        return len(self._wrong) + len(self._right)

    def draw(self) -> Picture:
        """The sheet, samples with problems first: (h, w, 3) uint8."""
        cells = self._wrong + self._right
        columns = max(1, min(COLUMNS, len(cells)))
        rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
        heights = [max(cell.height for cell in row) for row in rows]
        wide = 2 * CELL + GAP
        size = (columns * (wide + GAP) + GAP, sum(heights) + GAP * (len(rows) + 1))
        sheet = Image.new("RGB", size, _GROUND)
        top = GAP
        for row, height in zip(rows, heights, strict=True):
            for column, cell in enumerate(row):
                sheet.paste(cell, (GAP + column * (wide + GAP), top))
            top += height + GAP
        return np.asarray(sheet)

    def _cell(self, name: str, sample: Sample | None, problems: list[Problem]) -> Image.Image:
        """One sample: the photograph, its labels, its name, and what is wrong with it."""
        font = ImageFont.load_default(12)
        wide = 2 * CELL + GAP
        lines = [name if len(name) < 60 else "…" + name[-58:]]
        for problem in problems[:2]:
            lines += textwrap.wrap(problem.message, 76, max_lines=3, placeholder=" …")
        parts = []
        if sample is not None:
            photo = _small(sample.image)
            parts = [photo, draw_labels(sample, self._categories, (photo.shape[0], photo.shape[1]))]
            lines[0] += f"  {sample.image.shape[1]}×{sample.image.shape[0]}"
        high = max([part.shape[0] for part in parts], default=0)
        cell = Image.new("RGB", (wide, high + CAPTION * len(lines)), _GROUND)
        for column, part in enumerate(parts):
            cell.paste(Image.fromarray(part), (column * (CELL + GAP), 0))
        pen = ImageDraw.Draw(cell)
        for number, line in enumerate(lines):
            pen.text(
                (2, high + CAPTION * number + 2), line.translate(_PLAIN), fill=_ALARM if problems else _INK, font=font
            )
        return cell


def draw_labels(sample: Sample, categories: Categories | None, size: tuple[int, int]) -> Picture:
    """A sample's labels as people can judge them.

    Classes and segments are coloured over the photograph, void is dark. A matte is shown by the cut-out on chequers,
    the unknown part of its trimap yellow. Depth is bright where it is near, grey where nothing was measured.

    Args:
        sample: of any kind.
        categories: the classes of its data set, for their names.
        size: height and width of the drawing.

    Returns:
        (h, w, 3) uint8; the photograph itself where its labels do not fit it.
    """
    photo = np.asarray(Image.fromarray(sample.image).resize((size[1], size[0]), Image.Resampling.BOX))
    if isinstance(sample, MattingSample) and sample.alpha.shape == sample.image.shape[:2]:
        return _drawn_matte(sample, photo)
    if isinstance(sample, DepthSample) and sample.depth.shape == sample.image.shape[:2]:
        depth = _picked(sample.depth, size)
        valid = np.isfinite(depth) & (depth > 0)
        if not valid.any():
            return np.full((*size, 3), 128, np.uint8)
        return coloured(normalised(reciprocal(depth, valid).astype(np.float32), valid), valid)
    if isinstance(sample, SegmentationSample):
        return _drawn_segments(sample, categories, photo)
    return photo


def _drawn_matte(sample: MattingSample, photo: Picture) -> Picture:
    height, width = photo.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    chequers = np.where((rows // _SQUARE + columns // _SQUARE) % 2, 230, 170)[..., None]  # (h, w, 1)
    whole = np.nan_to_num(sample.alpha).clip(0, 1).astype(np.float32)
    alpha = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BOX))[..., None]
    result = alpha * photo + (1 - alpha) * chequers
    if sample.trimap is not None and sample.trimap.shape == sample.alpha.shape:
        unknown = (_picked(sample.trimap, (height, width)) == 128)[..., None]
        result = np.where(unknown, 0.7 * result + 0.3 * np.array([255, 220, 0]), result)
    return np.asarray(np.rint(result), np.uint8)


def _drawn_segments(sample: SegmentationSample, categories: Categories | None, photo: Picture) -> Picture:
    full, size = sample.image.shape[:2], (photo.shape[0], photo.shape[1])
    if sample.kind == "instance":
        fitting = [
            item
            for item in sample.objects
            if item.rle is not None and tuple(item.rle["size"]) == full and item.category >= 0
        ]
        # Small objects last, so that they lie on top.
        fitting.sort(key=lambda item: -rle_area(item.rle or {}))
        small = [encode_rle(_picked(decode_rle(item.rle or {}), size)) for item in fitting]
        drawn = painted(enumerate(small, 1), size)
        classes = {number: item.category for number, item in enumerate(fitting, 1)}
        void = np.zeros(size, np.bool_)
    elif sample.labels is not None and sample.labels.shape == full:
        labels = _picked(sample.labels, size)
        void = labels == VOID
        drawn = np.where(labels > VOID, labels + 1, 0).astype(np.int32)
        numbers = [int(number) for number in np.unique(drawn) if number]
        segments = [item.category for item in sample.objects]
        classes = {
            number: segments[number - 1] if sample.kind == "panoptic" else number - 1
            for number in numbers
            if sample.kind == "semantic" or number <= len(segments)
        }
    else:
        return photo
    known = () if categories is None else categories.names
    names = {number: known[category] for number, category in classes.items() if 0 <= category < len(known)}
    picture = draw_overlay(photo, drawn, classes, names, opacity=0.5)
    picture[void] = np.rint(picture[void] * _VOID_LIGHT).astype(np.uint8)
    return picture


def _small(image: Picture) -> Picture:
    height, width = image.shape[:2]
    factor = min(1.0, CELL / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _picked(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """The nearest pixels of a plane of numbers."""
    rows, columns = (
        ((np.arange(side) + 0.5) * whole / side).astype(np.intp) for side, whole in zip(size, plane.shape, strict=True)
    )
    return np.asarray(plane[rows][:, columns])
