"""Which segments are the subject of a cut-out, and the trimap that keeps its neighbours out."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.ops.trimap import BACKGROUND, RELATIVE_BAND, SMALLEST_BAND, UNKNOWN, trimap_from_mask
from perpixel.results import Segment, Segments

__all__ = ["choose", "trimap_of"]

# How far the unknown reaches into a touching instance, as a share of the band elsewhere: hair on the shoulder of a
# neighbour is still found, but the model, which knows no instances, cannot take the neighbour for the subject.
NEIGHBOUR_BAND = 0.25


def choose(
    segments: Segments, names: Collection[str] | None, index: int | None, words: str | None
) -> Sequence[Segment]:
    """Find the segments that are meant.

    Args:
        segments: what was found in the image.
        names: labels; None means the largest thing, whatever it is.
        index: which of the segments with these labels, from 1, the largest first; None means all of them.
        words: what the caller called the labels, for messages.

    Returns:
        at least one.

    Raises:
        InputError: nothing of the kind was found, or fewer than `index`.
    """
    found = f"found: {segments.summary()}" if len(segments) else "nothing was found"
    if names is None:
        # Where it is not known which labels are things, stuff such as the sky cannot be told from them.
        things = [segment for segment in segments if segment.is_thing is not False]
        if not things:
            raise InputError(f"there is no thing in the image ({found}): give label= or another hint")
        return things[:1]
    meant = [segment for segment in segments if segment.label in names]
    if not meant:
        raise InputError(f"there is no {words} in the image ({found}): give a label that was found, or another hint")
    if index is None:
        return meant
    if not 1 <= index <= len(meant):
        raise InputError(f"index is {index}, but {len(meant)} {words} were found: give 1 to {len(meant)}, 1 is largest")
    return [meant[index - 1]]


def trimap_of(segments: Segments, chosen: Sequence[Segment]) -> NDArray[np.uint8]:
    """Make the trimap of some segments: unknown along their outline, but hardly into the things that touch them.

    Args:
        segments: all that was found in the image.
        chosen: the subject.

    Returns:
        (h, w) uint8: 0, 128 and 255.

    Raises:
        InputError: the subject covers the whole image.
    """
    mask = np.zeros(segments.map.shape, np.bool_)
    for segment in chosen:
        mask |= segments.mask(segment)
    trimap = trimap_from_mask(mask)
    ids, labels = {segment.id for segment in chosen}, {segment.label_id for segment in chosen}
    others = np.zeros_like(mask)
    for segment in segments:
        # Of labels that may be stuff only those of the subject count: hair against the sky needs its whole band.
        if segment.id not in ids and (segment.is_thing or segment.label_id in labels):
            others |= segments.map == segment.id
    others &= ~mask
    if others.any():
        reach = max(RELATIVE_BAND * math.sqrt(float(np.count_nonzero(mask))), SMALLEST_BAND) * NEIGHBOUR_BAND
        # Depth below the line to the subject, not to the others' whole outline: thin neighbours are kept out too.
        away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        trimap[others & (np.asarray(away) > reach) & (trimap == UNKNOWN)] = BACKGROUND
    return trimap
