"""Images of every kind that a processor takes, as planes of numbers (c, h, w).

Files, bytes and PIL images are read as `perpixel.images.read` does it, so a path and the picture that it
holds give the same numbers. Arrays are taken as they are: their scale is the caller's, and where their
channels lie is found from their shape unless it is named.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from perpixel.errors import InputError

Array = np.ndarray[Any, Any]
Member = TypeVar("Member", bound=enum.Enum)

# How many channels an image can have, the likeliest first: colour, colour with alpha, grey.
CHANNEL_COUNTS = (3, 4, 1)


class ChannelDimension(enum.StrEnum):
    """Where an image's channels lie: (c, h, w), (h, w, c), or nowhere: (h, w)."""

    FIRST = "channels_first"
    LAST = "channels_last"
    NONE = "none"


def as_member(kind: type[Member], value: object, argument: str) -> Member:
    """Return the member of `kind` for its value or for another library's member of the same value.

    >>> as_member(ChannelDimension, "channels_last", "data_format")
    <ChannelDimension.LAST: 'channels_last'>
    """
    value = value.value if isinstance(value, enum.Enum) else value
    for member in kind:
        if member.value == value:
            return member
    raise InputError(f"{argument} is {value!r}: it has to be {' or '.join(repr(m.value) for m in kind)}")


@dataclass(frozen=True)
class RawImage:
    """One image as it was given.

    Attributes:
        name: what messages call it, for instance "images[2]".
        values: (h, w), (c, h, w) or (h, w, c), any real type.
        layouts: where the channels may lie, the likeliest first.
    """

    name: str
    values: Array
    layouts: tuple[ChannelDimension, ...]

    def size(self, layout: ChannelDimension) -> tuple[int, int]:
        """Return height and width."""
        height, width = self.planes(layout).shape[1:]
        return height, width

    def planes(self, layout: ChannelDimension) -> Array:
        """Return a view of the values as (c, h, w)."""
        if layout is ChannelDimension.NONE:
            return self.values[None]
        return np.moveaxis(self.values, -1, 0) if layout is ChannelDimension.LAST else self.values

    @property
    def unit(self) -> float:
        """What the values are multiplied by to lie in 0…255: 16-bit and boolean images span other ranges."""
        kind = self.values.dtype
        return 1 / 257 if kind == np.uint16 else 255.0 if kind == np.bool_ else 1.0

    @cached_property
    def in_unit_range(self) -> bool:
        """Whether these are floating values that look like 0…1 rather than 0…255."""
        if self.values.dtype.kind != "f":
            return False
        return bool(self.values.min() >= 0 and 0 < self.values.max() <= 1)


def split_images(images: Any, argument: str, *, depth: int | None = None) -> tuple[list[Any], bool]:
    """Return the single images of whatever was given, and whether it was a batch.

    Args:
        images: one image, a list of images, or an array with a batch axis.
        argument: what messages call it.
        depth: the number of axes of one image's array; None takes the first of four axes for the batch.

    Raises:
        InputError: nothing was given, or an empty list.
    """
    if images is None:
        raise InputError(f"{argument} is None: pass an image, a list of images or an array with a batch axis")
    if isinstance(images, list | tuple):
        single = [part for item in images for part in split_images(item, argument, depth=depth)[0]]
        batched = True
    else:
        axes = getattr(images, "ndim", 0)
        batched = axes == 4 or (depth is not None and axes == depth + 1)
        single = list(images) if batched else [images]
    if not single:
        raise InputError(f"{argument} is empty: pass at least one image")
    return single, batched


def read_images(
    single: Sequence[Any],
    argument: str,
    read_file: Callable[[Any], Array],
    *,
    layout: ChannelDimension | None = None,
) -> list[RawImage]:
    """Return each image's values, with where their channels may lie.

    Args:
        single: paths, bytes, PIL images, arrays or tensors.
        argument: what messages call them.
        read_file: returns (h, w) or (h, w, c) for a path, bytes or a PIL image.
        layout: where the channels of arrays lie; None finds it from the shape.
    """
    many = len(single) > 1
    return [
        _read_image(item, f"{argument}[{index}]" if many else argument.removesuffix("s"), read_file, layout)
        for index, item in enumerate(single)
    ]


def _read_image(source: Any, name: str, read_file: Callable[[Any], Array], layout: ChannelDimension | None) -> RawImage:
    if isinstance(source, str | os.PathLike | bytes | Image.Image):
        values = read_file(source)
        return RawImage(name, values, (ChannelDimension.LAST if values.ndim == 3 else ChannelDimension.NONE,))
    values = plain_array(source)
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"{name} is {_described(source, values)}: pass a path, bytes, a PIL image or an array of numbers"
        )
    if not values.size:
        raise InputError(f"{name} is empty, its shape is {values.shape}: an image has at least one pixel")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinite values: replace them, for instance by np.nan_to_num")
    layouts = possible_layouts(values.shape)
    if layout is not None:
        layouts = (layout,) if layout in layouts else ()
    if not layouts:
        wanted = "(h, w), (h, w, c) or (c, h, w) with 1, 3 or 4 channels" if layout is None else layout.value
        raise InputError(f"{name} has the shape {values.shape}, which is not {wanted}: transpose it or cut it")
    return RawImage(name, values, layouts)


def _described(source: Any, values: Array) -> str:
    return (
        f"an array of {values.dtype}" if values.ndim and values.dtype != object else f"of type {type(source).__name__}"
    )


def plain_array(source: Any) -> Array:
    """Return an array, or a tensor on any device, as a NumPy array, with shared memory where possible."""
    torch = sys.modules.get("torch")  # nothing can be a tensor before torch has been imported
    if torch is not None and isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        # NumPy has no bfloat16.
        return np.asarray((source.float() if source.dtype == torch.bfloat16 else source).numpy())
    try:
        return np.asarray(source)
    except ValueError:  # nested lists of uneven lengths
        return np.asarray(None)


def possible_layouts(shape: tuple[int, ...]) -> tuple[ChannelDimension, ...]:
    """Return where the channels of an array may lie, the likeliest first.

    A colour layout comes before a grey one; of two that are as likely, channels first, as in transformers.

    >>> [layout.value for layout in possible_layouts((1, 5, 3))]
    ['channels_last', 'channels_first']
    """
    if len(shape) == 2:
        return (ChannelDimension.NONE,)
    if len(shape) != 3:
        return ()
    found = [
        (CHANNEL_COUNTS.index(shape[axis]), layout)
        for axis, layout in ((0, ChannelDimension.FIRST), (2, ChannelDimension.LAST))
        if shape[axis] in CHANNEL_COUNTS
    ]
    return tuple(layout for _, layout in sorted(found, key=lambda pair: pair[0]))


def colour_planes(planes: Array) -> Array:
    """Return (3, h, w) for grey, colour, or colour with alpha, whose fourth plane is left out."""
    return np.broadcast_to(planes, (3, *planes.shape[1:])) if len(planes) == 1 else planes[:3]


def grey_plane(planes: Array, name: str) -> Array:
    """Return (h, w) for planes that all show the same grey; raise `InputError` where they differ."""
    for plane in planes[1:3]:
        if not np.array_equal(plane, planes[0]):
            raise InputError(
                f"{name} has different colour channels: pass a grey one, with 0 background, 128 unknown and "
                "255 foreground"
            )
    return planes[0]  # type: ignore[no-any-return]


def write_planes(
    planes: Array,
    out: Array,
    *,
    factor: float,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
) -> None:
    """Write `(planes · factor − mean) / std` into `out`, both (c, h, w); a mean of None leaves that step out.

    The product is rounded from double precision, then the rest is done in `out`'s own, as transformers does.
    """
    np.multiply(planes, factor, out=out, dtype=np.float64, casting="same_kind")
    if mean is not None and std is not None:
        out -= np.asarray(mean, dtype=out.dtype).reshape(-1, 1, 1)
        out /= np.asarray(std, dtype=out.dtype).reshape(-1, 1, 1)


def padded_size(height: int, width: int, divisor: int) -> tuple[int, int]:
    """Return the size rounded up to multiples of `divisor`.

    >>> padded_size(33, 64, 32)
    (64, 64)
    """
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor
