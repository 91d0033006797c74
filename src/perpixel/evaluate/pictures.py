"""What a report shows of one image: the photograph, the truth, the prediction and where the two differ.

Each is a small picture with a caption, drawn as soon as the image is measured, so that no photograph is kept.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from perpixel.ops.overlay import draw_overlay

__all__ = ["Panel", "alpha_panels", "depth_panels", "segment_panels", "strip"]

Picture = npt.NDArray[np.uint8]
AnyArray = npt.NDArray[Any]

# The longer side of a panel. Four of them fit beside each other on a page.
SIDE = 320
# Differences: white is equal; red is too much, blue too little, a mistake of this share of the full scale is full.
RED, BLUE = (200, 16, 32), (16, 64, 200)
GREY = 128
FULL_ALPHA = 0.5
# A window of this side shows hair, which a panel of the whole photograph is too small for.
WINDOW = 156
FULL_DEPTH = 0.5  # of the logarithm: a factor of 1.65


@dataclass(frozen=True)
class Panel:
    """One small picture.

    Attributes:
        caption: what it shows, in words.
        data: the encoded file.
        form: "jpeg" or "png".
    """

    caption: str
    data: bytes
    form: Literal["jpeg", "png"]

    @property
    def pixels(self) -> Picture:
        """(h, w, 3) uint8, decoded."""
        return np.array(Image.open(io.BytesIO(self.data)).convert("RGB"))


def alpha_panels(
    photo: Picture | None, true: AnyArray, pred: AnyArray, trimap: npt.NDArray[np.uint8] | None = None
) -> tuple[Panel, ...]:
    """Show a matte: grey from 0 to 1, the difference in red (too much) and blue (too little), and the worst place.

    Where the image is larger than that, the last panel shows the window with the largest sum of differences, pixel for
    pixel: the truth on the left, the prediction on the right.

    Args:
        photo: (h, w, 3), or None to leave it out.
        true: (h, w) alpha in [0, 1].
        pred: (h, w) the same.
        trimap: (h, w); what it knows is greyed out in the difference, since it is not counted.
    """
    apart = pred.astype(np.float32) - true.astype(np.float32)
    difference = _signed(apart / FULL_ALPHA)
    if trimap is not None:
        difference[trimap != GREY] = 225
        apart[trimap != GREY] = 0
    grey = [_panel(name, _grey(values)) for name, values in (("truth", true), ("prediction", pred))]
    place = _worst_window(np.abs(apart))
    pair = np.concatenate([_grey(true[place]), _light_line(place), _grey(pred[place])], axis=1)
    near = () if true[place].shape == true.shape else (_panel("worst place: truth, prediction", pair),)
    return (*_photo(photo), *grey, _panel("red too much, blue too little", difference), *near)


def segment_panels(
    photo: Picture | None,
    true: tuple[npt.NDArray[np.int32], Sequence[int]],
    pred: tuple[npt.NDArray[np.int32], Sequence[int]],
    names: Mapping[int, str],
    *,
    void_counts: bool = False,
) -> tuple[Panel, ...]:
    """Show classes or segments: one colour a class on the photograph, and where the classes differ in red.

    Args:
        photo: (h, w, 3), or None to leave it out.
        true: (h, w), the place of each pixel's segment in the list of the classes beside it, below 0 for none.
        pred: the same.
        names: of the classes.
        void_counts: whether pixels without a true segment have to be without a predicted one.
    """
    drawn = [
        _panel(caption, _overlay(photo, segments, classes, names))
        for caption, (segments, classes) in (("truth", true), ("prediction", pred))
    ]
    truth, guess = (_by_class(segments, classes) for segments, classes in (true, pred))
    difference = np.full((*truth.shape, 3), 255, np.uint8)
    difference[guess != truth] = RED
    if not void_counts:
        difference[truth < 0] = 225
    return (*_photo(photo), *drawn, _panel("red wrong, grey not counted", difference))


def depth_panels(photo: Picture | None, true: AnyArray, pred: AnyArray, counted: AnyArray) -> tuple[Panel, ...]:
    """Show depth on one scale of colours for both, and the ratio in red (too far) and blue (too near).

    Args:
        photo: (h, w, 3), or None to leave it out.
        true: (h, w) metres.
        pred: (h, w) metres, after the alignment.
        counted: (h, w) bool, the pixels that were compared.
    """
    import cv2

    safe = [np.where(counted, np.maximum(plane, 1e-6), 1).astype(np.float32) for plane in (true, pred)]
    known = safe[0][counted]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 2.0)
    near, far = 1 / low, 1 / high
    panels = []
    for caption, metres, shown in (("truth", safe[0], counted), ("prediction", safe[1], counted)):
        share = np.clip((1 / metres - far) / max(near - far, 1e-9), 0, 1)
        colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].copy()
        colours[~shown] = GREY
        panels.append(_panel(f"{caption}, {low:.3g} to {high:.3g} m", colours))
    ratio = _signed(np.log(safe[1] / safe[0]) / FULL_DEPTH)
    ratio[~counted] = 225
    return (*_photo(photo), *panels, _panel("red too far, blue too near", ratio))


def strip(panels: Sequence[Panel]) -> Picture:
    """All panels beside each other, (h, w, 3) uint8: the page's row as one picture."""
    pictures = [panel.pixels for panel in panels]
    high = max(picture.shape[0] for picture in pictures)
    wide = sum(picture.shape[1] for picture in pictures) + 8 * (len(pictures) - 1)
    result = np.full((high, wide, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        height, width = picture.shape[:2]
        result[:height, left : left + width] = picture
        left += width + 8
    return result


def _photo(photo: Picture | None) -> tuple[Panel, ...]:
    return () if photo is None else (_panel("photograph", photo),)


def _grey(values: AnyArray) -> Picture:
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)  # (h, w, 3)


def _worst_window(apart: npt.NDArray[np.float32]) -> tuple[slice, slice]:
    """The window of at most WINDOW pixels a side with the largest sum."""
    import cv2

    height, width = (min(WINDOW, side) for side in apart.shape)
    sums = cv2.integral(apart, sdepth=cv2.CV_64F)  # (h + 1, w + 1)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _light_line(place: tuple[slice, slice]) -> Picture:
    """What keeps the two sides of the last panel apart."""
    return np.full((place[0].stop - place[0].start, SIDE - 2 * WINDOW, 3), (120, 160, 220), np.uint8)


def _signed(values: npt.NDArray[np.floating[Any]]) -> Picture:
    """White for 0, towards red for 1, towards blue for -1."""
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    colour = np.where(values[..., None] > 0, np.array(RED), np.array(BLUE))
    return np.asarray(np.rint(255 + (colour - 255) * strength), np.uint8)  # (h, w, 3)


def _overlay(
    photo: Picture | None, segments: npt.NDArray[np.int32], classes: Sequence[int], names: Mapping[int, str]
) -> Picture:
    ids = (segments + 1).astype(np.int32)  # 0 is drawn as nothing
    labels = {place + 1: int(label) for place, label in enumerate(classes)}
    words = {place: names.get(label, str(label)) for place, label in labels.items()}
    ground = None if photo is None else _shrunk(photo)
    height, width = _small_size(ids.shape[0], ids.shape[1]) if ground is None else ground.shape[:2]
    small = np.array(Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST), np.int32)
    return draw_overlay(ground, small, labels, words, opacity=0.6)


def _by_class(segments: npt.NDArray[np.int32], classes: Sequence[int]) -> npt.NDArray[np.int64]:
    table = np.append(np.asarray(classes, np.int64), -1)  # place -1 is the last one
    return table[np.where(segments < 0, -1, segments)]


def _panel(caption: str, picture: Picture) -> Panel:
    stream = io.BytesIO()
    image = Image.fromarray(_shrunk(picture))
    image.save(stream, "JPEG", quality=85)
    return Panel(caption, stream.getvalue(), "jpeg")


def _shrunk(picture: Picture) -> Picture:
    height, width = _small_size(*picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def _small_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
