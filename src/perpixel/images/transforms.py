"""The geometry of a model's input: to which size, resampled as Pillow does it, and filled up.

Checkpoints learned from pictures that Pillow had made smaller, whose filters widen with the scale. Another
library's "bilinear" is another picture, so Pillow itself resamples here.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from perpixel.errors import ConfigError, InputError

Array = np.ndarray[Any, Any]
Size = tuple[int, int]

# The ways to name a size, each a set of keys.
_SIZE_KEYS = (
    ("height", "width"),
    ("shortest_edge", "longest_edge"),
    ("shortest_edge",),
    ("longest_edge",),
    ("max_height", "max_width"),
)


def size_rule(value: Any, *, name: str = "size", longest: int | None = None, square: bool = False) -> dict[str, int]:
    """Return a size as the mapping that `output_size` follows.

    Args:
        value: a mapping with the keys `height` and `width`, `shortest_edge`, `longest_edge` or both, or
            `max_height` and `max_width`; a pair (height, width); or one whole number.
        name: what messages call it.
        longest: the limit of the long side where `value` is one number, in pixels.
        square: whether one number means both sides rather than the short one.

    Raises:
        ConfigError: other keys, or something that is no whole number above 0.

    >>> size_rule((384, 512))
    {'height': 384, 'width': 512}
    >>> size_rule(800, longest=1333)
    {'shortest_edge': 800, 'longest_edge': 1333}
    """
    if isinstance(value, Mapping):
        rule = {str(key): number for key, number in value.items() if number is not None}
    elif isinstance(value, list | tuple) and len(value) == 2:
        rule = {"height": value[0], "width": value[1]}
    elif _is_length(value):
        rule = {"height": value, "width": value} if square else {"shortest_edge": value}
        if longest is not None and not square:
            rule["longest_edge"] = longest
    else:
        raise ConfigError(f"{name} is {value!r}: pass a mapping such as {{'height': 384, 'width': 384}}")
    if not any(set(rule) == set(keys) for keys in _SIZE_KEYS):
        ways = "; ".join(" and ".join(keys) for keys in _SIZE_KEYS)
        raise ConfigError(f"{name} has the keys {', '.join(map(repr, rule)) or 'none'}: it takes {ways}")
    for key, number in rule.items():
        if not _is_length(number):
            raise ConfigError(f"{name}[{key!r}] is {number!r}: it has to be a whole number above 0")
    return {key: int(number) for key, number in rule.items()}


def _is_length(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) > 0


def output_size(height: int, width: int, rule: Mapping[str, int], *, divisor: int = 0) -> Size:
    """Return the height and width that an image is resized to.

    - `height` and `width`: just these.
    - `shortest_edge`: the short side becomes this; with `longest_edge` it becomes shorter where the long side
      would be above that limit.
    - `longest_edge` alone, or `max_height` and `max_width`: as large as fits.

    Fractions are cut off as transformers cuts them, but a side has at least one pixel.

    Args:
        height: rows of the image.
        width: columns of the image.
        rule: see `size_rule`.
        divisor: both sides are then raised to multiples of it, which changes the aspect a little; 0 for none.

    >>> output_size(480, 640, {"shortest_edge": 800, "longest_edge": 1333})
    (800, 1066)
    >>> output_size(480, 640, {"shortest_edge": 800, "longest_edge": 1333}, divisor=32)
    (800, 1088)
    """
    if "height" in rule:
        rows, columns = rule["height"], rule["width"]
    elif "shortest_edge" in rule:
        rows, columns = _by_short_side(height, width, rule["shortest_edge"], rule.get("longest_edge"))
    else:
        limits = (rule["longest_edge"],) * 2 if "longest_edge" in rule else (rule["max_height"], rule["max_width"])
        scale = min(limits[0] / height, limits[1] / width)
        rows, columns = int(height * scale), int(width * scale)
    return multiple(max(rows, 1), max(columns, 1), divisor)


def _by_short_side(height: int, width: int, short: int, longest: int | None) -> Size:
    low, high = min(height, width), max(height, width)
    side, exact = short, float(short)
    if longest is not None and high / low * short > longest:
        exact = longest * low / high
        side = round(exact)
    if side == low:
        return height, width
    long = int(exact * high / low)
    return (side, long) if height <= width else (long, side)


def multiple(height: int, width: int, divisor: int) -> Size:
    """Return both sides raised to multiples of `divisor`; 0 leaves them.

    >>> multiple(33, 64, 32)
    (64, 64)
    """
    if not divisor:
        return height, width
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def resample_filter(value: Any) -> int:
    """Return the number of a filter of Pillow, from its number or its member of `PIL.Image.Resampling`.

    Raises:
        ConfigError: there is no such filter.
    """
    try:
        return int(Image.Resampling(value))
    except ValueError:
        ways = ", ".join(f"{int(item)} {item.name.lower()}" for item in sorted(Image.Resampling))
        raise ConfigError(f"resample is {value!r}: it has to be one of {ways}") from None


def resize(planes: Array, size: Size, resample: int = Image.Resampling.BILINEAR) -> Array:
    """Resample an image with Pillow.

    Args:
        planes: (c, h, w). uint8 gives what Pillow gives for a picture; any other type is resampled as float32.
        size: the new height and width.
        resample: a `PIL.Image.Resampling`, or its number.

    Returns:
        (c, *size), uint8 or float32.

    >>> resize(np.array([[[0, 100]]], np.uint8), (1, 4))
    array([[[  0,  25,  75, 100]]], dtype=uint8)
    """
    width_height = (size[1], size[0])
    filter_ = Image.Resampling(resample)
    if planes.dtype == np.uint8 and len(planes) == 3:
        picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(planes, 0, -1)))
        return np.moveaxis(np.asarray(picture.resize(width_height, filter_)), -1, 0)  # (3, H, W)
    dtype = np.uint8 if planes.dtype == np.uint8 else np.float32
    resized = np.empty((len(planes), *size), dtype)
    for plane, out in zip(planes, resized, strict=True):
        out[...] = Image.fromarray(np.ascontiguousarray(plane, dtype)).resize(width_height, filter_)
    return resized


def resize_labels(labels: Array, size: Size) -> Array:
    """Resize a label map by nearest neighbour, choosing the pixels that Pillow chooses.

    Args:
        labels: (h, w) of any type: ids above 255, which Pillow's own modes would cut, stay as they are.
        size: the new height and width.

    Returns:
        (*size), the same type.

    >>> resize_labels(np.array([[70000, -1]]), (1, 4))
    array([[70000, 70000,    -1,    -1]])
    """
    rows, columns = (_nearest(count, wanted) for count, wanted in zip(labels.shape, size, strict=True))
    return labels[rows[:, None], columns]  # (H, W)


def _nearest(count: int, wanted: int) -> Array:
    """Return which of `count` places Pillow takes for each of `wanted`."""
    line = Image.fromarray(np.arange(count, dtype=np.int32)[None])
    chosen: Array = np.asarray(line.resize((wanted, 1), Image.Resampling.NEAREST))
    return chosen[0]  # type: ignore[no-any-return]


def common_size(sizes: Sequence[Size], *, divisor: int = 0) -> Size:
    """Return the smallest height and width that hold all of `sizes`, raised to multiples of `divisor`."""
    return multiple(max(height for height, _ in sizes), max(width for _, width in sizes), divisor)


def stack_padded(images: Sequence[Array], size: Size, fill: float = 0) -> Array:
    """Make one array of images, filled up at the bottom and on the right.

    Args:
        images: each (c, h, w), of one type and number of channels.
        size: the common height and width.
        fill: the value of the new pixels.

    Returns:
        (b, c, *size), the same type.

    Raises:
        InputError: an image is larger than `size`.

    >>> stack_padded([np.ones((1, 1, 1)), np.ones((1, 1, 2))], (1, 2)).tolist()
    [[[[1.0, 0.0]]], [[[1.0, 1.0]]]]
    """
    stack = np.full((len(images), len(images[0]), *size), fill, images[0].dtype)
    for image, out in zip(images, stack, strict=True):
        height, width = image.shape[1:]
        if height > size[0] or width > size[1]:
            raise InputError(
                f"an image is {width}×{height} and cannot be filled up to {size[1]}×{size[0]} (width×height): "
                "name a larger size to pad to, or a smaller one to resize to"
            )
        out[:, :height, :width] = image
    return stack


def pixel_mask(sizes: Sequence[Size], size: Size) -> Array:
    """Return (b, *size), int64: 1 where the images of `sizes` are, 0 where they were filled up.

    >>> pixel_mask([(1, 2)], (2, 3)).tolist()
    [[[1, 1, 0], [0, 0, 0]]]
    """
    mask = np.zeros((len(sizes), *size), np.int64)
    for plane, (height, width) in zip(mask, sizes, strict=True):
        plane[:height, :width] = 1
    return mask
