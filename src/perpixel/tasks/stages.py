"""The three stages of a task, for programs that put many photographs through one loaded model.

`prepare` makes the network's input of a photograph, `run` is the network, and `finish` makes the result of its output.
A program with many threads, such as a batch or a server, calls them itself: the first and the last may be called from
any thread, `run` from one at a time.

On an accelerator images of one size are stacked into one forward, which keeps it busy. On a CPU they go one by one:
that is as fast, and sums over a stack are rounded otherwise, so that only one by one is every result the same to the
last bit whatever it was computed beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError, PerpixelError
from perpixel.images.read import ImageLike, Photo, read_trimap
from perpixel.ops.refine import refine_closed_form
from perpixel.ops.tiling import memory_bytes
from perpixel.ops.trimap import UNKNOWN, check_trimap, snap_trimap
from perpixel.results import DepthMap, Matte, Segments
from perpixel.tasks import cutout as cutting
from perpixel.tasks import depth as depths
from perpixel.tasks import matting, segmentation
from perpixel.tasks.cutout import Hint

if TYPE_CHECKING:
    import torch

    from perpixel.models.vitmatte.model import VitMatteForImageMatting
    from perpixel.results.segments import Kind
    from perpixel.tasks.depth import DepthEstimator, Detail
    from perpixel.tasks.segmentation import Segmenter

    Inputs = tuple["torch.Tensor | None", ...]

# So many images of one size are one forward on an accelerator.
STACK = 8

Output = TypeVar("Output")


@dataclass(frozen=True, eq=False)
class Ready:
    """A photograph before the network.

    Attributes:
        photo: the photograph.
        hint: what tells its subject, for cut-outs.
        trimap: (h, w) of 0, 128 and 255, once it is known.
        inputs: what the network gets; None where it has nothing to do, or sees the photograph in parts.
    """

    photo: Photo
    hint: Hint | None = None
    trimap: NDArray[np.uint8] | None = None
    inputs: Inputs | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the network's input: what has the same can be stacked."""
        return () if self.inputs is None or self.inputs[0] is None else tuple(self.inputs[0].shape)


@dataclass(frozen=True, eq=False)
class Alpha:
    """What the network found of a photograph's alpha.

    Attributes:
        trimap: (h, w) of 0, 128 and 255; None where there is none because of `error`.
        values: (h, w) float32, computed at the unknown pixels; None where there are none.
        error: why there is no trimap.
    """

    trimap: NDArray[np.uint8] | None = None
    values: NDArray[np.float32] | None = None
    error: PerpixelError | None = None


class Matting:
    """The stages of `cutout` and, with trimaps for hints, of `matte`; the arguments are those of `cutout_together`.

    Raises:
        InputError: an amount of memory that is none.
    """

    def __init__(
        self,
        model: VitMatteForImageMatting,
        *,
        segmenter: Segmenter | None = None,
        max_memory: int | str | None = None,
        refine: Literal["closed-form"] | None = None,
        stack: int | None = None,
    ) -> None:
        self.network = model
        self.segmentation = None if segmenter is None else Segmentation(segmenter, stack=stack)
        self.limit = None if max_memory is None else memory_bytes(max_memory)
        self.refine = refine
        self.stack = _stack(model, stack)

    def prepare(self, photo: Photo, hint: Hint) -> Ready:
        """Read the hint and make the network's input.

        Raises:
            InputError: a hint that does not fit the photograph, or a label without a segmentation model.
        """
        if not hint.by_segments:
            return self._ready(photo, hint, cutting.trimap_of_hint(photo, hint))
        if self.segmentation is None:
            raise InputError(f"a segmentation model has to find {hint.label or 'the largest thing'}: give one")
        cutting.check_labels(hint, self.segmentation.segmenter)
        return Ready(photo, hint, inputs=self.segmentation.prepare(photo).inputs)

    def run(self, ready: Sequence[Ready]) -> list[Alpha]:
        """Run the network, and before it the segmentation model for hints that are labels."""
        found: list[Alpha | None] = [None] * len(ready)
        known = list(ready)
        for i, trimap in self._trimaps(ready):
            if isinstance(trimap, PerpixelError):
                found[i] = Alpha(error=trimap)
            else:
                hint = ready[i].hint
                assert hint is not None
                known[i] = self._ready(ready[i].photo, hint, trimap)
        waiting = []
        for i, each in enumerate(known):
            if found[i] is None and each.inputs is not None:
                waiting.append(i)
            elif found[i] is None:
                assert each.trimap is not None
                values = None
                if (each.trimap == UNKNOWN).any():
                    values = matting.estimate_alpha(self.network, each.photo.pixels, each.trimap, self.limit)
                found[i] = Alpha(each.trimap, values)

        def call(values: torch.Tensor, needed: torch.Tensor) -> list[torch.Tensor]:
            return list(matting.run_matting(self.network, values, needed)[:, 0].cpu())  # (h', w') each

        for i, alpha in zip(waiting, stacked(call, [_inputs(known[i]) for i in waiting], self.stack), strict=True):
            photo = known[i].photo
            found[i] = Alpha(known[i].trimap, alpha[: photo.height, : photo.width].numpy())
        return [each for each in found if each is not None]

    def finish(self, ready: Ready, found: Alpha) -> Matte:
        """Make the matte.

        Raises:
            InputError: there is no trimap, since the segmentation model did not find the subject.
        """
        if found.error is not None:
            raise found.error
        photo, known = ready.photo, found.trimap
        assert known is not None
        alpha: NDArray[np.float32] = np.divide(known, 255, dtype=np.float32)
        if found.values is not None:
            unknown = known == UNKNOWN
            alpha[unknown] = found.values[unknown]
            if self.refine is not None:
                alpha = refine_closed_form(photo.rgb_float, alpha, known)
        return Matte(alpha=alpha, image=photo.pixels, icc_profile=photo.icc_profile, trimap=known)

    def _ready(self, photo: Photo, hint: Hint, trimap: ImageLike) -> Ready:
        known = snap_trimap(read_trimap(trimap))
        check_trimap(known, (photo.height, photo.width))
        whole = self.limit is None and bool((known == UNKNOWN).any())
        return Ready(photo, hint, known, matting.matting_input(photo.pixels, known) if whole else None)

    def _trimaps(self, ready: Sequence[Ready]) -> list[tuple[int, NDArray[np.uint8] | PerpixelError]]:
        """The trimaps of hints that are labels, or why there is none."""
        work = self.segmentation
        asked = [(i, each, each.hint) for i, each in enumerate(ready) if each.hint and each.hint.by_segments]
        if work is None or not asked:
            return []
        trimaps: list[tuple[int, NDArray[np.uint8] | PerpixelError]] = []
        for (i, each, hint), output in zip(asked, work.run([each for _, each, _ in asked]), strict=True):
            try:
                trimap = cutting.trimap_of_segments(work.finish(each, output), hint, work.segmenter)
                trimaps.append((i, trimap))
            except PerpixelError as error:
                trimaps.append((i, error))
        return trimaps


class Segmentation:
    """The stages of `segment`; the arguments are those of `segment_together`.

    Raises:
        InputError: as in `perpixel.segment`.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        kind: Kind | None = None,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_threshold: float = 0.8,
        labels: str | Iterable[str] | None = None,
        things: Iterable[int] | None = None,
        size: int | Mapping[str, int] | None = None,
        stack: int | None = None,
    ) -> None:
        segmentation.check_thresholds(threshold, mask_threshold, overlap_threshold)
        self.segmenter = model
        self.kind = model.kind(kind)
        self.thresholds = (threshold, mask_threshold, overlap_threshold)
        self.labels = None if labels is None else segmentation.labels_meant(labels, model.labels)
        self.things = None if things is None else frozenset(things)
        self.size = size
        self.stack = _stack(model.network, stack)

    def prepare(self, photo: Photo) -> Ready:
        """Make the network's input."""
        return Ready(photo, inputs=segmentation.segmenter_input(self.segmenter, photo, self.size))

    def run(self, ready: Sequence[Ready]) -> list[Any]:
        """Run the network."""
        return stacked(self._call, [_inputs(each) for each in ready], self.stack)

    def finish(self, ready: Ready, found: Any) -> Segments:
        """Make the segments."""
        return segmentation.segments_from(
            found,
            ready.photo,
            self.segmenter,
            self.kind,
            thresholds=self.thresholds,
            labels=self.labels,
            things=self.things,
        )

    def _call(self, pixels: torch.Tensor, mask: torch.Tensor | None) -> list[Any]:
        output = segmentation.run_segmenter(self.segmenter, pixels, mask)
        if len(pixels) == 1:
            return [output]
        names = ("logits",) if mask is None else ("class_queries_logits", "masks_queries_logits", "mask_sizes")
        parts = {name: getattr(output, name) for name in names}
        return [
            type(output)(**{name: None if part is None else part[i : i + 1] for name, part in parts.items()})
            for i in range(len(pixels))
        ]


class Depth:
    """The stages of `depth`; the arguments are those of `depth_together`.

    Raises:
        InputError: as in `perpixel.depth`.
    """

    def __init__(
        self,
        model: DepthEstimator,
        *,
        detail: Detail = "whole",
        size: int | None = None,
        max_memory: int | str | None = None,
        stack: int | None = None,
    ) -> None:
        depths.check_depth_options(detail, size)
        self.estimator = model
        self.detail: Detail = detail
        self.size = size
        self.limit = None if max_memory is None else memory_bytes(max_memory)
        self.stack = _stack(model.network, stack)

    def prepare(self, photo: Photo) -> Ready:
        """Make the network's input."""
        if self.limit is not None or self.detail != "whole":
            return Ready(photo)
        return Ready(photo, inputs=(depths.depth_input(self.estimator, photo.pixels, self.size),))

    def run(self, ready: Sequence[Ready]) -> list[torch.Tensor | NDArray[np.float32] | PerpixelError]:
        """Run the network: (h', w') float32 for each, of the image's size where it was seen in parts."""
        found: list[Any] = [None if each.inputs else self._alone(each.photo) for each in ready]
        waiting = [i for i, each in enumerate(ready) if each.inputs]
        maps = stacked(self._call, [_inputs(ready[i]) for i in waiting], self.stack)
        for i, depth in zip(waiting, maps, strict=True):
            found[i] = depth
        return found

    def finish(self, ready: Ready, found: torch.Tensor | NDArray[np.float32] | PerpixelError) -> DepthMap:
        """Make the depth.

        Raises:
            InputError: the memory was too little for the photograph, or the network gave no number.
        """
        if isinstance(found, PerpixelError):
            raise found
        photo = ready.photo
        if not isinstance(found, np.ndarray):
            found = depths.enlarged(self.estimator.processor, found, (photo.height, photo.width))
        return DepthMap(found, kind=self.estimator.output_kind, image=photo.pixels, icc_profile=photo.icc_profile)

    def _call(self, values: torch.Tensor) -> list[torch.Tensor]:
        return list(depths.run_estimator(self.estimator, values).cpu())

    def _alone(self, photo: Photo) -> NDArray[np.float32] | PerpixelError:
        try:
            return depths.estimate_depth(
                self.estimator, photo.pixels, detail=self.detail, size=self.size, limit=self.limit
            )
        except PerpixelError as error:
            return error


def stacked(call: Callable[..., list[Output]], inputs: Sequence[Inputs], most: int) -> list[Output]:
    """Call a network on inputs of a batch of one each, those of one shape together.

    Args:
        call: takes the tensors of a batch and gives a list with one output for each image of it.
        inputs: the tensors of each image, with a first axis of 1; None stays None.
        most: images in one call; where they have no room in the accelerator's memory, halves of them.

    Returns:
        the outputs in the order of the inputs.
    """
    import torch

    groups: dict[Any, list[int]] = {}
    for i, each in enumerate(inputs):
        groups.setdefault(tuple(None if part is None else tuple(part.shape) for part in each), []).append(i)
    found: dict[int, Output] = {}
    chunks = [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]
    while chunks:
        chunk = chunks.pop(0)
        parts = zip(*(inputs[i] for i in chunk), strict=True)
        try:
            output = call(*(_joined(part) for part in parts))
        except torch.OutOfMemoryError:
            if len(chunk) == 1:
                raise
            half = len(chunk) // 2
            chunks[:0] = [chunk[:half], chunk[half:]]
            continue
        found.update(zip(chunk, output, strict=True))
    return [found[i] for i in range(len(inputs))]


def _joined(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    import torch

    there = [part for part in parts if part is not None]
    return torch.cat(there) if len(there) > 1 else parts[0]  # alone it is not even copied


def _stack(network: Any, wanted: int | None) -> int:
    if wanted is not None and wanted < 1:
        raise InputError(f"stack is {wanted}: give how many images go into one forward, at least 1")
    return wanted or (1 if network.device.type == "cpu" else STACK)


def _inputs(ready: Ready) -> Inputs:
    assert ready.inputs is not None
    return ready.inputs
