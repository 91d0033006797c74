"""A film and a hint in, the subject with clean and steady edges out.

The trimap of each frame comes from the frames before: the subject's body is followed along the optical flow, slowly
corrected by the alphas that are found, and the unknown band is grown anew around it in every frame. The model finds the
alpha inside the band, which is then filtered in time along the flow, wherever the flow is trusted.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError, PerpixelWarning
from perpixel.images.read import ImageLike, Photo, read_trimap
from perpixel.images.video import Film, FilmFrame
from perpixel.ops.flow import Motion, Motions, inside, warp
from perpixel.ops.steady import agreed_trimap, body_trimap, mixed, reach_of, steadied, subject_motion
from perpixel.ops.tiling import memory_bytes
from perpixel.ops.trimap import UNKNOWN, check_trimap, snap_trimap
from perpixel.results import Matte, Segment, Segments
from perpixel.results.matte import Background
from perpixel.tasks.cutout import Hint, trimap_of_hint
from perpixel.tasks.matting import estimate_alpha, load_matting_model
from perpixel.tasks.precision import Engine, Precision
from perpixel.tasks.subject import choose, trimap_of
from perpixel.tasks.video import FilmResults, FrameResult, Watch, as_film, followed, write_results

if TYPE_CHECKING:
    import torch

    from perpixel.models.vitmatte.model import VitMatteForImageMatting
    from perpixel.tasks.segmentation import Network, Segmenter

__all__ = ["CutoutFilm", "cutout_film"]

Grey = NDArray[np.uint8]
Float = NDArray[np.float32]

# How much of the body that the next trimap is made from is carried from the frame before: a model's mistake of a few
# frames does not move it.
BODY_SHARE = 0.9
# What was unknown stays so for a while, since whoever drew a wide band saw hair there: this part of it a frame, until
# less than half is left, and all of it where the alpha is within these bounds, neither background nor subject.
UNKNOWN_KEPT, SOFT = 0.995, (0.03, 0.97)
# With a label, the segmentation model looks at every so manieth frame.
EVERY = 5
# A segment that shares less than this of its area with the subject is another one.
SAME = 0.2


def cutout_film(
    film: str | os.PathLike[str] | Film,
    *,
    trimap_first: ImageLike | None = None,
    mask_first: ImageLike | None = None,
    box: Sequence[int] | None = None,
    points: Sequence[Sequence[int]] | None = None,
    background_points: Sequence[Sequence[int]] | None = None,
    label: str | None = None,
    index: int | None = None,
    subject: Literal["largest"] | None = None,
    segmentation_model: str | os.PathLike[str] | Network | Segmenter | None = None,
    every: int = EVERY,
    model: str | os.PathLike[str] | VitMatteForImageMatting | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    max_memory: int | str | None = None,
    steady: bool = True,
) -> CutoutFilm:
    """Cut the subject out of a film.

    Args:
        film: a path, or what `perpixel.images.video.open_film` returned.
        trimap_first: of the first frame, 255 foreground, 0 background, 128 unknown.
        mask_first: of the first frame, a rough picture of the subject, white on black.
        box: (x0, y0, x1, y1) around the subject in the first frame.
        points: [(x, y), …] on the subject in the first frame.
        background_points: [(x, y), …] beside it.
        label: the name of the subject, such as "person": found anew every few frames and after every cut. All other
            hints say nothing of what follows a cut: from there on the film is transparent, and a warning says so.
        index: which of the segments with this label in the first frame, from 1, the largest first; it is followed.
        subject: "largest" for the largest thing of the first frame.
        segmentation_model: what finds the label, as `model` in `perpixel.segment`.
        every: with a label or "largest", after how many frames the segmentation is asked again.
        model: as in `perpixel.matte`.
        device: as in `perpixel.matte`.
        dtype: as in `perpixel.matte`.
        engine: as in `perpixel.matte`.
        max_memory: as in `perpixel.matte`.
        steady: filter the alphas in time along the flow, four frames late; False takes each as the model finds it.

    Returns:
        the film's mattes, made when they are asked for; `.save("out.mov")` writes them.

    Raises:
        InputError: no hint, several, or one that does not fit the first frame.
        CheckpointError: a model that cannot be loaded.
        MissingDependencyError: without the extra `video`.

    Example:
        >>> cutout_film("film.mp4", trimap_first="trimap.png").save("out.mov")  # doctest: +SKIP
    """
    opened = as_film(film)
    hint = Hint(trimap_first, mask_first, box, points, background_points, label, index, subject)
    if every < 1:
        raise InputError(f"every is {every}: give a whole number of frames from 1")
    limit = None if max_memory is None else memory_bytes(max_memory)
    finder = None
    first: Grey | None = None
    if hint.by_segments:
        from perpixel.tasks.segmentation import labels_meant, load_segmenter

        segmenter = load_segmenter(segmentation_model, device, dtype, engine)
        names = None if label is None else labels_meant(label, segmenter.labels)
        finder = _Finder(segmenter, names, index, label)
    else:
        photo = Photo(next(opened.frames()).pixels)
        first = snap_trimap(read_trimap(trimap_of_hint(photo, hint)))
        check_trimap(first, (photo.height, photo.width))
    network = load_matting_model(model, device, dtype, engine)
    return CutoutFilm(opened, network, first, finder, every, limit, steady)


class CutoutFilm(FilmResults[Matte]):
    """The mattes of a film; made by `cutout_film`."""

    def __init__(
        self,
        film: Film,
        network: VitMatteForImageMatting,
        first: Grey | None,
        finder: _Finder | None,
        every: int,
        limit: int | None,
        steady: bool,
    ) -> None:
        """See `cutout_film`."""
        self.film = film
        self._network = network
        self._first = first
        self._finder = finder
        self._every = every
        self._limit = limit
        self._steady = steady

    def __iter__(self) -> Iterator[FrameResult[Matte]]:
        """Frame by frame.

        Raises:
            InputError: after the last good frame of a film that breaks off.

        Warns:
            PerpixelWarning: a cut that the hint does not reach over, or a label that was nowhere.
        """
        waiting: deque[_Found] = deque()  # not itertools.tee, which holds some fifty items
        failure: Exception | None = None
        lost, seen = False, False

        def alphas() -> Iterator[tuple[Float, Motions | None]]:
            # An error has to wait until the frames before it, which are still being filtered, are out.
            nonlocal failure
            try:
                for each in self._found():
                    waiting.append(each)
                    yield each.alpha, each.moves
            except Exception as error:
                failure = error

        for alpha in steadied(alphas()) if self._steady else (alpha for alpha, _ in alphas()):
            each = waiting.popleft()
            if each.cut and each.frame.number and self._finder is None and not lost:
                self._warn_of_cut(each.frame)
                lost = True
            seen = seen or bool(each.trimap.any())
            matte = Matte(_settled(alpha), each.frame.pixels, trimap=each.trimap)
            yield FrameResult(each.frame, matte, each.cut)
        if failure is not None:
            raise failure
        if self._finder is not None and not seen:
            what = self._finder.words or "a thing"
            warnings.warn(
                f"{self.film.path}: {what} was found in no frame, so that all is transparent: try another label, "
                "another segmentation model, or a hint for the first frame",
                PerpixelWarning,
                stacklevel=2,
            )

    def _found(self) -> Iterator[_Found]:
        """What the model finds, frame by frame."""
        body: Float | None = None
        band: Float | None = None
        reach = 0.0
        for frame, moves in followed(self.film):
            own: Motions | None = None
            if moves is None or moves.cut or body is None or band is None:
                trimap = self._begin(frame)
                if trimap is None:
                    trimap = np.zeros(frame.pixels.shape[:2], np.uint8)
                found = body = self._alpha(frame.pixels, trimap)
                band = (trimap == UNKNOWN).astype(np.float32)
                reach = reach_of(trimap, found)
            else:
                back = subject_motion(body, moves.back, reach)
                body = warp(body, back.shift)
                # What comes in over the picture's border is unknown only where the body is neither 0 nor 1 there.
                band = np.where(inside(back.shift), np.float32(UNKNOWN_KEPT) * warp(band, back.shift), 0)
                trimap = self._next(frame, body, band, moves.back, reach)
                found = self._alpha(frame.pixels, trimap)
                body = mixed(found, body, back.trust, BODY_SHARE)
                own = Motions(back, subject_motion(body, moves.ahead, reach))
            soft = (trimap == UNKNOWN) & (found > SOFT[0]) & (found < SOFT[1])
            band = np.where(soft, 1, band).astype(np.float32)
            yield _Found(frame, trimap, found, own)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        background: Background = None,
        sound: bool = True,
        watch: Watch | None = None,
    ) -> Path:
        """Write the subject as a film.

        Args:
            path: .mov (ProRes 4444), .webm (VP9) and .mkv (FFV1, without loss) hold transparency, straight, not
                premultiplied; so does a folder of PNGs. With a background .mp4 too.
            background: put the subject on this, as in `Matte.composite`.
            sound: whether to carry the film's sound over.
            watch: called with the number of frames done.

        Returns:
            the path.

        Raises:
            InputError: a suffix that does not hold it, or what was wrong with the film; what was finished is kept.
            OutputError: the film cannot be written there.
        """
        if background is None:
            return write_results(self, path, "alpha", Matte.cutout, sound=sound, watch=watch)
        return write_results(self, path, "picture", lambda matte: matte.composite(background), sound=sound, watch=watch)

    def _warn_of_cut(self, frame: FilmFrame) -> None:
        warnings.warn(
            f"{self.film.path} has a cut at frame {frame.number} ({float(frame.time):.2f} s), and the hint is for the "
            "first frame: from there on all is transparent; cut the film there, or give a label",
            PerpixelWarning,
            stacklevel=3,
        )

    def _begin(self, frame: FilmFrame) -> Grey | None:
        """The trimap where a scene begins; None if nothing says it."""
        if self._finder is not None:
            return self._finder.trimap(frame, None)
        return self._first if frame.number == 0 else None

    def _next(self, frame: FilmFrame, body: Float, band: Float, move: Motion, reach: float) -> Grey:
        carried = body_trimap(body, band > 0.5, move, reach)
        gone = not carried.any()
        if self._finder is None or (frame.number % self._every and not gone):
            return carried
        found = self._finder.trimap(frame, None if gone else body)
        if found is None or gone:
            return carried if found is None else found
        return agreed_trimap(carried, found)

    def _alpha(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], trimap: Grey) -> Float:
        alpha: Float = np.divide(trimap, 255, dtype=np.float32)
        unknown = trimap == UNKNOWN
        if unknown.any():
            alpha[unknown] = estimate_alpha(self._network, pixels, trimap, self._limit)[unknown]
        return alpha


@dataclass(frozen=True, eq=False)
class _Found:
    """What the model found in a frame, and the subject's motions between it and the one before; None after a cut."""

    frame: FilmFrame
    trimap: Grey
    alpha: Float
    moves: Motions | None

    @property
    def cut(self) -> bool:
        return self.moves is None


@dataclass(frozen=True)
class _Finder:
    """What finds the subject by its label."""

    segmenter: Segmenter
    names: list[str] | None
    index: int | None
    words: str | None

    def trimap(self, frame: FilmFrame, body: Float | None) -> Grey | None:
        """The subject's trimap in a frame, None where it is not found.

        Args:
            frame: where to look.
            body: (h, w) where it is believed to be; None where that is not known.
        """
        from perpixel.tasks.segmentation import segment

        found = segment(Photo(frame.pixels), model=self.segmenter, kind=self.segmenter.kinds[0])
        one = self.names is None or self.index is not None
        try:
            chosen = choose(found, self.names, None if body is not None else self.index, self.words)
            if body is not None and one:
                chosen = _same(found, body, self.names)
            return trimap_of(found, chosen) if chosen else None
        except InputError:  # not there, not so many of them, or all over the picture
            return None


def _same(found: Segments, body: Float, names: list[str] | None) -> Sequence[Segment]:
    """The one segment that lies where the subject is."""
    there = body > 0.5
    best, most = None, SAME
    for segment in found:
        if names is not None and segment.label not in names:
            continue
        mask = found.mask(segment)
        share = int(np.count_nonzero(mask & there)) / max(int(np.count_nonzero(mask | there)), 1)
        if share > most:
            best, most = segment, share
    return [best] if best is not None else []


def _settled(alpha: Float) -> Float:
    """Exactly 0 and 1 where it hardly differs, so that mixing leaves no veil: half a step of 8 bits."""
    return np.where(alpha < 1 / 510, 0, np.where(alpha > 1 - 1 / 510, 1, alpha)).astype(np.float32)
