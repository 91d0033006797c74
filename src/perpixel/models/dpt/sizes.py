"""The sizes of DPT's input: what an image is resized to, how it is filled up, and where it then lies in an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perpixel.errors import InputError

Size = tuple[int, int]


def resized_size(
    height: int, width: int, size: Size, *, keep_aspect_ratio: bool = False, multiple: int = 1
) -> tuple[int, int]:
    """Return the height and width that an image is resized to.

    With `keep_aspect_ratio` only one side becomes that of `size`: the one that needs the smaller change, and the other
    follows. Then both go to the nearest multiple, halves to the even one, but never below one multiple.

    Args:
        height: rows of the image.
        width: columns of the image.
        size: the wanted height and width.
        keep_aspect_ratio: whether both sides are scaled alike.
        multiple: what the sides become multiples of.

    >>> resized_size(480, 640, (384, 384), keep_aspect_ratio=True, multiple=32)
    (384, 512)
    >>> resized_size(480, 640, (518, 518), multiple=14)
    (518, 518)
    """
    scales = size[0] / height, size[1] / width
    if keep_aspect_ratio:
        scale = scales[1] if abs(1 - scales[1]) < abs(1 - scales[0]) else scales[0]
        scales = scale, scale
    rows, columns = (
        max(1, round(factor * side / multiple)) * multiple for factor, side in zip(scales, (height, width), strict=True)
    )
    return rows, columns


def margins(length: int, divisor: int) -> tuple[int, int]:
    """Return how many pixels are added before and after a side to reach a multiple; an odd one comes after.

    >>> margins(33, 14)
    (4, 5)
    """
    missing = -length % divisor
    return missing // 2, missing - missing // 2


def check_one_size(images: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """Raise `InputError` unless all images, each with the name for messages, have one height and width."""
    name, first = images[0]
    for other, size in images:
        if size != first:
            raise InputError(
                f"{name} comes to {first[1]}×{first[0]} and {other} to {size[1]}×{size[0]} (width×height), but a batch "
                "has one size: pass images of different aspects one by one, or keep_aspect_ratio=False, or "
                "return_tensors=None for a list"
            )


@dataclass(frozen=True)
class Span:
    """What part of an axis an image covers: from `start` on, `length` long, in pixels, not always whole ones."""

    start: float
    length: float


def covered_part(output: Size, content: Size, divisor: int) -> tuple[Span, Span]:
    """Return where an image lies in a model's output after it was filled up all round.

    Args:
        output: height and width of the output, of any scale.
        content: height and width of the image before it was filled up.
        divisor: what it was filled up to multiples of.

    Returns:
        The part of the rows and that of the columns, in pixels of the output.

    Raises:
        InputError: the output has another aspect than the filled-up image.

    >>> covered_part((28, 28), (14, 10), 14)[1]
    Span(start=4.0, length=20.0)
    """
    before = [margins(side, divisor)[0] for side in content]
    whole = [side + sum(margins(side, divisor)) for side in content]
    # Equal scales, up to the rounding of the output's size.
    if abs(output[0] * whole[1] - output[1] * whole[0]) > max(whole):
        raise InputError(
            f"the output is {output[1]}×{output[0]}, but an image of {content[1]}×{content[0]} is filled up to "
            f"{whole[1]}×{whole[0]} (width×height): pass source_sizes, the sizes of the images that the processor was "
            "given, and post-process with its settings"
        )
    rows, columns = (
        Span(start * of / total, side * of / total)
        for start, side, total, of in zip(before, content, whole, output, strict=True)
    )
    return rows, columns
