"""Draw a label map over its photograph: a colour per label, thin edges, names that can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from perpixel.errors import InputError
from perpixel.ops.label_map import extents, relabelled

__all__ = ["draw_overlay", "label_colour"]

Picture = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Rectangle = tuple[int, int, int, int]
Point = tuple[int, int]

# Turning the hue by the golden section keeps any few labels apart, whichever they are.
GOLDEN = 0.6180339887498949
# Three lightnesses and two strengths of colour (OKLCH), so that labels of a near hue differ in something else.
TONES = ((0.70, 0.17), (0.80, 0.13), (0.60, 0.19))
FIRST_HUE = 0.69  # label 0, often a person, is blue: skin and clothes are rarely that

# In plates of its name: smaller segments get no name, those below the second number get it above them.
LEAST_ROOM, ROOM_INSIDE = 0.4, 4.0
LARGEST_SEARCH = 256


def label_colour(label_id: int) -> tuple[int, int, int]:
    """The colour of a label, the same in every picture.

    Args:
        label_id: any whole number.

    Returns:
        sRGB, each from 0 to 255: bright enough for black text, strong enough to be told from a photograph.

    >>> label_colour(0) == label_colour(0) != label_colour(1)
    True
    """
    lightness, chroma = TONES[label_id % len(TONES)]
    hue = (FIRST_HUE + label_id * GOLDEN) % 1
    # Some hues have no colour as strong as asked for on a screen: take what there is of them.
    while True:
        linear = _linear_rgb(lightness, chroma, hue)
        if (linear.min() >= 0 and linear.max() <= 1) or chroma < 0.01:
            break
        chroma *= 0.95
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, 1) ** (1 / 2.4) - 0.055)
    red, green, blue = np.rint(np.clip(encoded, 0, 1) * 255).astype(int).tolist()
    return red, green, blue


def draw_overlay(
    image: Picture | None,
    label_map: Labels,
    label_ids: Mapping[int, int],
    names: Mapping[int, str] | None = None,
    *,
    opacity: float = 0.45,
) -> Picture:
    """Colour the segments of a label map, outline them, and write their names into them.

    Args:
        image: (h, w, 3) uint8, the photograph; None for a dark grey ground.
        label_map: (h, w) int32, the id of the segment at each pixel; ids that `label_ids` lacks, such as 0, are
            not drawn.
        label_ids: the label of each segment, which decides its colour.
        names: what to write for each segment; without an entry nothing is written. A name is left out where it
            would hide a small segment or lie over another name.
        opacity: from 0, only edges and names, to 1, nothing of the photograph.

    Returns:
        (h, w, 3) uint8.

    Raises:
        InputError: an opacity outside 0 to 1, or an image that does not fit the map.

    >>> label_map = np.array([[0, 1]], np.int32)
    >>> draw_overlay(np.zeros((1, 2, 3), np.uint8), label_map, {1: 7}, opacity=1).tolist()[0][0]
    [0, 0, 0]
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity is {opacity}, and a number from 0 to 1 is needed: give one such as 0.5")
    height, width = label_map.shape
    if image is None:
        image = np.full((height, width, 3), 40, np.uint8)
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise InputError(
            f"the image is {image.dtype} {image.shape}, but uint8 {(height, width, 3)} is needed: "
            "give the photograph that was segmented"
        )
    drawn, colours = _index(label_map, label_ids)  # (h, w), (n + 1, 3)
    result = _filled(image, drawn, colours, opacity)
    scale = min(height, width)
    _outline(result, drawn, colours, thickness=max(1, round(scale / 500)))
    if names:
        _write(result, label_map, label_ids, names, size=int(np.clip(scale * 0.03, 11, 64)))
    return result


def _linear_rgb(lightness: float, chroma: float, hue: float) -> npt.NDArray[np.float64]:
    """Linear sRGB of a colour in OKLCH (Ottosson, "A perceptual color space for image processing", 2020)."""
    a, b = chroma * np.cos(2 * np.pi * hue), chroma * np.sin(2 * np.pi * hue)
    roots = np.array(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return np.asarray(to_rgb @ roots**3)


def _index(label_map: Labels, label_ids: Mapping[int, int]) -> tuple[npt.NDArray[np.int32], Picture]:
    """The map in the numbers 0…n of the colours, 0 for what is not drawn."""
    colours = np.zeros((len(label_ids) + 1, 3), np.uint8)
    for row, label_id in enumerate(label_ids.values(), 1):
        colours[row] = label_colour(label_id)
    return relabelled(label_map, {segment_id: row for row, segment_id in enumerate(label_ids, 1)}), colours


def _filled(image: Picture, drawn: npt.NDArray[np.int32], colours: Picture, opacity: float) -> Picture:
    result = np.asarray(cv2.addWeighted(colours[drawn], opacity, image, 1 - opacity, 0), np.uint8)
    result = result.reshape(image.shape)  # OpenCV drops the axes of a single pixel
    np.copyto(result, image, where=(drawn == 0)[..., None])
    return result


def _outline(result: Picture, drawn: npt.NDArray[np.int32], colours: Picture, thickness: int) -> None:
    """Edges in a light tint of each segment's own colour, inside it, so that neighbours give a double line."""
    edge = np.zeros(drawn.shape, np.uint8)
    across, down = drawn[:, 1:] != drawn[:, :-1], drawn[1:] != drawn[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    if thickness > 1:
        edge = np.asarray(cv2.dilate(edge, np.ones((thickness, thickness), np.uint8)), np.uint8)
    rows, columns = np.nonzero(edge & (drawn > 0))
    tint = (colours.astype(np.uint16) * 2 + 3 * 255) // 5
    result[rows, columns] = tint[drawn[rows, columns]]


def _write(
    result: Picture, label_map: Labels, label_ids: Mapping[int, int], names: Mapping[int, str], size: int
) -> None:
    """Names on plates of the segments' colours, largest segments first, none over another."""
    height, width = label_map.shape
    font = ImageFont.load_default(size)
    picture = Image.fromarray(result)
    pen = ImageDraw.Draw(picture)
    margin = max(2, size // 4)
    taken: list[Rectangle] = []
    for segment_id, (box, area) in sorted(_extents(label_map, names).items(), key=lambda item: -item[1][1]):
        name = names[segment_id]
        wide, high = round(font.getlength(name)) + 2 * margin, round(size * 1.05) + margin
        if area < LEAST_ROOM * wide * high:
            continue
        inside = area >= ROOM_INSIDE * wide * high
        for x, y in _places(label_map, segment_id, box, (wide, high)) if inside else _beside(box, high):
            x0 = int(np.clip(x - wide // 2, 0, max(0, width - wide)))
            y0 = int(np.clip(y - high // 2, 0, max(0, height - high)))
            plate = (x0, y0, x0 + wide, y0 + high)
            if not any(_touch(plate, other) for other in taken):
                break
        else:
            continue
        taken.append(plate)
        colour = label_colour(label_ids[segment_id])
        pen.rounded_rectangle(
            (plate[0], plate[1], plate[2] - 1, plate[3] - 1), radius=margin, fill=colour, outline=(20, 20, 20)
        )
        middle = plate[0] + wide / 2, plate[1] + high / 2
        pen.text(middle, name, fill=_ink(colour), font=font, anchor="mm")
    result[:] = np.asarray(picture)


def _extents(label_map: Labels, wanted: Mapping[int, str]) -> dict[int, tuple[Rectangle, int]]:
    """Box (x0, y0, x1, y1) and visible area of each wanted segment that is seen at all."""
    ranks = {segment_id: rank for rank, segment_id in enumerate(wanted, 1)}
    found = extents(relabelled(label_map, ranks), len(ranks))
    return {segment_id: (found[rank][1], found[rank][0]) for segment_id, rank in ranks.items() if rank in found}


def _places(label_map: Labels, segment_id: int, box: Rectangle, plate: tuple[int, int]) -> Sequence[Point]:
    """Where the middle of a name may be, the best first: deep inside the segment, then elsewhere in it."""
    x0, y0, x1, y1 = box
    part = (label_map[y0:y1, x0:x1] == segment_id).astype(np.uint8)
    scale = min(1.0, LARGEST_SEARCH / max(part.shape))
    small_size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    small = cv2.resize(part, small_size, interpolation=cv2.INTER_NEAREST).reshape(small_size[1], small_size[0])
    # A name is wider than high, so depth is measured with rows counting for more.
    squeezed = max(1.0, plate[0] / plate[1] / 2)
    stretched = cv2.resize(small, (small_size[0], max(1, round(small_size[1] * squeezed))))
    padded = cv2.copyMakeBorder(stretched, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 3))[1:-1, 1:-1]
    places = []
    for _ in range(4):
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[row, column] <= 0:
            break
        x = (float(column) + 0.5) / depth.shape[1] * (x1 - x0) + x0
        y = (float(row) + 0.5) / depth.shape[0] * (y1 - y0) + y0
        places.append((int(x), int(y)))
        reach_x = max(1, round(plate[0] * depth.shape[1] / (x1 - x0)))
        reach_y = max(1, round(plate[1] * depth.shape[0] / (y1 - y0)))
        depth[max(0, row - reach_y) : row + reach_y + 1, max(0, column - reach_x) : column + reach_x + 1] = 0
    return places


def _beside(box: Rectangle, high: int) -> Sequence[Point]:
    """Above and below a segment that a name would hide."""
    x0, y0, x1, y1 = box
    middle, away = (x0 + x1) // 2, high // 2 + 2
    return [(middle, y) for y in ((y0 - away, y1 + away) if y0 >= high else (y1 + away,))]


def _touch(first: Rectangle, second: Rectangle) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _ink(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out more (relative luminance as in WCAG 2)."""
    parts = [value / 255 for value in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (15, 15, 15) if luminance > 0.179 else (255, 255, 255)
