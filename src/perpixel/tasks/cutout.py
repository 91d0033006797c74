"""A photograph and a hint in, the subject with a clean edge out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.read import ImageLike, Photo, read_mask, read_photo
from perpixel.ops.subject import mask_from_box, mask_from_points
from perpixel.ops.trimap import trimap_from_mask
from perpixel.results import Matte, Segments
from perpixel.tasks.matting import matte
from perpixel.tasks.precision import Engine, Precision, Quantize

if TYPE_CHECKING:
    import torch

    from perpixel.models.vitmatte.model import VitMatteForImageMatting
    from perpixel.tasks.segmentation import Network, Segmenter


def cutout(
    image: ImageLike | Photo,
    *,
    trimap: ImageLike | None = None,
    mask: ImageLike | None = None,
    box: Sequence[int] | None = None,
    points: Sequence[Sequence[int]] | None = None,
    background_points: Sequence[Sequence[int]] | None = None,
    label: str | None = None,
    index: int | None = None,
    subject: Literal["largest"] | None = None,
    segmentation_model: str | os.PathLike[str] | Network | Segmenter | None = None,
    model: str | os.PathLike[str] | VitMatteForImageMatting | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    max_memory: int | str | None = None,
    refine: Literal["closed-form"] | None = None,
) -> Matte:
    """Cut the subject out of a photograph.

    One hint tells what the subject is: a trimap, a mask, a box, points, or a label; a box and points may be combined.
    From a box or points GrabCut (Rother et al., 2004) finds a mask, from a label a segmentation model does. A mask
    becomes a trimap whose band fits the subject's size, and the matting model finds the alpha inside the band.

    Args:
        image: a photograph: a path, bytes, a PIL image, an array or a tensor.
        trimap: 255 foreground, 0 background, 128 unknown.
        mask: a rough picture of the subject, white on black, or an image whose alpha channel shows the subject.
        box: (x0, y0, x1, y1) in pixels from the top left; x1 and y1 are just outside.
        points: [(x, y), …] on the subject.
        background_points: [(x, y), …] beside the subject.
        label: the name of what the subject is, such as "person", in any case.
        index: which of the segments with this label, from 1, the largest first; all of them if not given. Others that
            touch it stay background.
        subject: "largest" for the largest thing, whatever its label.
        segmentation_model: what finds the label, as `model` in `perpixel.segment`.
        model: as in `perpixel.matte`.
        device: as in `perpixel.matte`.
        dtype: as in `perpixel.matte`, for both models.
        engine: as in `perpixel.matte`, for both models.
        quantize: as in `perpixel.matte`, for the matting model.
        max_memory: as in `perpixel.matte`.
        refine: as in `perpixel.matte`.

    Returns:
        A `Matte` of the image's size; `.save("out.png")` writes the cut-out.

    Raises:
        InputError: without a hint, with hints that exclude each other, or for one that does not fit the image.
        CheckpointError: for a model that cannot be loaded.

    Example:
        >>> import numpy as np
        >>> image = np.full((64, 64, 3), 30, np.uint8)
        >>> image[16:48, 16:48] = (200, 60, 20)
        >>> result = cutout(image, box=(12, 12, 52, 52))
        >>> float(result.alpha[32, 32]), float(result.alpha[2, 2])
        (1.0, 0.0)
    """
    photo = image if isinstance(image, Photo) else read_photo(image)
    hint = Hint(trimap, mask, box, points, background_points, label, index, subject)
    if hint.by_segments:
        from perpixel.tasks.segmentation import load_segmenter, segment

        segmenter = load_segmenter(segmentation_model, device, dtype, engine)
        check_labels(hint, segmenter)  # before the work
        trimap = trimap_of_segments(segment(photo, model=segmenter, kind=segmenter.kinds[0]), hint, segmenter)
    else:
        trimap = trimap_of_hint(photo, hint)
    return matte(
        photo,
        trimap,
        model=model,
        device=device,
        dtype=dtype,
        engine=engine,
        quantize=quantize,
        max_memory=max_memory,
        refine=refine,
    )


@dataclass(frozen=True, eq=False)
class Hint:
    """What tells the subject of one photograph: exactly one kind, where a box and points are one; see `cutout`.

    Raises:
        InputError: there is no hint, hints exclude each other, or a word is not known.
    """

    trimap: ImageLike | None = None
    mask: ImageLike | None = None
    box: Sequence[int] | None = None
    points: Sequence[Sequence[int]] | None = None
    background_points: Sequence[Sequence[int]] | None = None
    label: str | None = None
    index: int | None = None
    subject: Literal["largest"] | None = None

    def __post_init__(self) -> None:
        clicks = bool(self.points) or bool(self.background_points)
        given = [
            name
            for name, there in (
                ("trimap", self.trimap is not None),
                ("mask", self.mask is not None),
                ("box and points", self.box is not None or clicks),
                ("label", self.label is not None),
                ("subject", self.subject is not None),
            )
            if there
        ]
        if not given:
            raise InputError(
                "cutting out needs a hint that tells the subject: a trimap, a mask, box=(x0, y0, x1, y1) or "
                'points=[(x, y)], or label="person" or subject="largest" with a segmentation model'
            )
        if len(given) > 1:
            raise InputError(f"cutting out got {' and '.join(given)}: give one of them")
        if self.index is not None and self.label is None:
            raise InputError(f"index={self.index} is given without a label: add label=, such as label='person'")
        if self.subject not in (None, "largest"):
            raise InputError(
                f"subject={self.subject!r} is not known: use 'largest', or label= for the name of the subject"
            )

    @property
    def by_segments(self) -> bool:
        """Whether a segmentation model has to find the subject."""
        return self.label is not None or self.subject is not None


def trimap_of_hint(photo: Photo, hint: Hint) -> ImageLike:
    """The trimap that a hint which needs no segmentation model gives; a given trimap is not looked at yet.

    Raises:
        InputError: the hint does not fit the photograph.
    """
    if hint.trimap is not None:
        return hint.trimap
    return trimap_from_mask(_subject(photo, hint.mask, hint.box, hint.points, hint.background_points))


def check_labels(hint: Hint, segmenter: Segmenter) -> None:
    """Refuse a label that the segmentation model does not have.

    Raises:
        InputError: it has none of this name.
    """
    from perpixel.tasks.segmentation import labels_meant

    if hint.label is not None:
        labels_meant(hint.label, segmenter.labels)


def trimap_of_segments(found: Segments, hint: Hint, segmenter: Segmenter) -> NDArray[np.uint8]:
    """The trimap of the segments that a label or "largest" means.

    Raises:
        InputError: nothing of the kind was found.
    """
    from perpixel.tasks.segmentation import labels_meant
    from perpixel.tasks.subject import choose, trimap_of

    names = None if hint.label is None else labels_meant(hint.label, segmenter.labels)
    return trimap_of(found, choose(found, names, hint.index, hint.label))


def _subject(
    photo: Photo,
    mask: ImageLike | None,
    box: Sequence[int] | None,
    points: Sequence[Sequence[int]] | None,
    background_points: Sequence[Sequence[int]] | None,
) -> NDArray[np.float32] | NDArray[np.bool_]:
    if mask is not None:
        read = read_mask(mask)
        if read.shape != (photo.height, photo.width):
            raise InputError(
                f"mask is {read.shape[1]}×{read.shape[0]} but the image is {photo.width}×{photo.height} "
                f"(width×height): resize the mask to {photo.width}×{photo.height} or pass its own image"
            )
        return read
    if points or background_points:
        return mask_from_points(photo.rgb8, points or [], background_points or [], box)
    assert box is not None
    return mask_from_box(photo.rgb8, box)
