"""What a labelled data set holds, whatever its layout on disk: one kind of sample for each kind of label.

A reader is a sequence of samples (`LabelledImages`); augmentation turns a sample into one of the same kind, and a
training task turns it into tensors. Arrays are NumPy's, sizes are (height, width), and no model is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

LabelKind = Literal["matting", "semantic", "instance", "panoptic", "depth"]
LABEL_KINDS: tuple[LabelKind, ...] = ("matting", "semantic", "instance", "panoptic", "depth")

# A pixel that no class or segment is given for. Readers turn each layout's own value (255, 0, -1) into this one.
VOID = -1


@dataclass(frozen=True)
class Categories:
    """The classes of a data set; their place here is the class number that models and metrics use.

    Attributes:
        names: for people, one for each class.
        ids: the number that the data set's files give each class; 0, 1, 2 … by default.
        things: whether a class is countable (a person, a car) rather than stuff (sky); all by default.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...] = ()
    things: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.ids:
            object.__setattr__(self, "ids", tuple(range(len(self.names))))
        if not self.things:
            object.__setattr__(self, "things", (True,) * len(self.names))
        if not len(self.names) == len(self.ids) == len(self.things):
            raise ValueError("names, ids and things must be equally many")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def numbers(self) -> dict[int, int]:
        """The class number for each id of the files."""
        return {identifier: number for number, identifier in enumerate(self.ids)}

    @property
    def id2label(self) -> dict[int, str]:
        """The names by class number, as a model's config holds them."""
        return dict(enumerate(self.names))


@dataclass(frozen=True, eq=False)
class Sample:
    """One photograph of a data set.

    Attributes:
        name: unique in the data set, a relative path without a suffix, for instance "frankfurt/000000_000294".
        image: (h, w, 3) uint8, RGB.
    """

    name: str
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MattingSample(Sample):
    """A photograph with its alpha.

    Attributes:
        alpha: (h, w) float32 in [0, 1].
        trimap: (h, w) uint8, 0 background, 128 unknown, 255 foreground; None where the data set has none.
        foreground: (h, w, 3) uint8, the subject's own colours, for compositing anew; None where unknown.
    """

    alpha: npt.NDArray[np.float32]
    trimap: npt.NDArray[np.uint8] | None = None
    foreground: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class LabelledObject:
    """One segment: an instance, or a region of stuff.

    Attributes:
        category: class number, a place in the data set's `Categories`.
        crowd: a group that was not separated: it is not trained on, and predictions inside it are not counted.
        rle: COCO run lengths `{"size": [h, w], "counts": …}` where objects may overlap; None where `labels` says it.
        area: in pixels, as the data set's files give it, by which COCO sorts small, medium and large objects; None
            where they do not, then it is that of the mask.
    """

    category: int
    crowd: bool = False
    rle: Mapping[str, Any] | None = None
    area: float | None = None


@dataclass(frozen=True, eq=False)
class SegmentationSample(Sample):
    """A photograph with its classes or segments.

    Attributes:
        kind: "semantic", "instance" or "panoptic".
        labels: (h, w) int32, VOID where nothing is said. Semantic: the class number of each pixel. Panoptic: the
            place in `objects` of each pixel's segment. Instance: None, the objects carry their own masks.
        objects: the segments of a panoptic sample, the instances of an instance sample; empty for semantic.
    """

    kind: Literal["semantic", "instance", "panoptic"]
    labels: npt.NDArray[np.int32] | None = None
    objects: tuple[LabelledObject, ...] = ()


@dataclass(frozen=True, eq=False)
class DepthSample(Sample):
    """A photograph with its depth.

    Attributes:
        depth: (h, w) float32, metres along the optical axis; 0 where nothing was measured.
    """

    depth: npt.NDArray[np.float32]


SampleType = TypeVar("SampleType", bound=Sample, covariant=True)


class LabelledImages(Protocol[SampleType]):
    """A data set on disk: opened quickly (only names are listed), read sample by sample, safe to fork and pickle."""

    @property
    def kind(self) -> LabelKind:
        """What its samples are labelled with."""

    @property
    def categories(self) -> Categories | None:
        """The classes of a segmentation data set; None for mattes and depth."""

    @property
    def names(self) -> tuple[str, ...]:
        """The samples' names, in order; nothing but names is read for them."""

    def __len__(self) -> int:
        """How many samples there are."""

    def __getitem__(self, index: int) -> SampleType:
        """Read one sample; an unreadable file is an InputError that names it."""
