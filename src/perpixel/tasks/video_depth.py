"""A film in, steady depth out: one range for all of it, filtered in time along the optical flow.

Models of inverse depth give every frame a scale and a shift of its own. Each frame is therefore first brought to the
one before by a scale and a shift, fitted where the flow is trusted; a small part of what the frame says by itself is
kept, so that a long film cannot drift away. Then the two are mixed along the flow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.video import Film
from perpixel.ops.depth import coloured
from perpixel.ops.flow import warp
from perpixel.ops.steady import mixed
from perpixel.ops.tiling import memory_bytes
from perpixel.results.depth import DepthMap
from perpixel.tasks.depth import DepthEstimator, estimate_depth, load_depth_model
from perpixel.tasks.precision import Engine, Precision, Quantize
from perpixel.tasks.video import FilmResults, FrameResult, Watch, as_film, followed, write_results

if TYPE_CHECKING:
    import torch

    from perpixel.ops.depth import Kind
    from perpixel.tasks.depth import Network

__all__ = ["DepthFilm", "depth_film"]

Float = NDArray[np.float32]

# How much of the depth comes from the frame before.
SHARE = 0.7
# A pixel whose depth differs from what was carried there by this part of the range is half taken for a real change.
TOLERANCE = 0.1
# So much of its own scale and shift a frame keeps, and farther than this its scale is not corrected.
OWN, LARGEST_SCALE = 0.05, 1.3
# Frames from all over the film that the range is found from, and the part of their pixels that may lie outside it.
SAMPLES, OUTSIDE = 8, 0.5
# Where fewer pixels are trusted, a frame is not fitted to the one before.
FEWEST = 100


def depth_film(
    film: str | os.PathLike[str] | Film,
    *,
    model: str | os.PathLike[str] | Network | DepthEstimator | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    max_memory: int | str | None = None,
    size: int | None = None,
    kind: Kind | None = None,
    steady: bool = True,
) -> DepthFilm:
    """Estimate the depth of every frame of a film.

    Args:
        film: a path, or what `perpixel.images.video.open_film` returned.
        model: as in `perpixel.depth`.
        device: as in `perpixel.depth`.
        dtype: as in `perpixel.depth`.
        engine: as in `perpixel.depth`.
        quantize: as in `perpixel.depth`.
        max_memory: as in `perpixel.depth`, for one frame.
        size: as in `perpixel.depth`.
        kind: as in `perpixel.depth`.
        steady: fit and mix the frames; False takes each as the model finds it.

    Returns:
        the film's depth maps, made when they are asked for; `.save("out.mp4")` writes them.

    Raises:
        InputError: a film that cannot be read.
        CheckpointError: a model that cannot be loaded.
        MissingDependencyError: without the extra `video`.

    Example:
        >>> depth_film("film.mp4").save("depth.mp4")  # doctest: +SKIP
    """
    opened = as_film(film)
    limit = None if max_memory is None else memory_bytes(max_memory)
    estimator = load_depth_model(model, device, dtype, engine, quantize, kind=kind)
    return DepthFilm(opened, estimator, size, limit, steady)


class DepthFilm(FilmResults[DepthMap]):
    """The depth maps of a film; made by `depth_film`."""

    def __init__(
        self, film: Film, estimator: DepthEstimator, size: int | None, limit: int | None, steady: bool
    ) -> None:
        """See `depth_film`."""
        self.film = film
        self._estimator = estimator
        self._size = size
        self._limit = limit
        self._steady = steady

    @property
    def kind(self) -> Kind:
        """ "inverse" or "metric", see `DepthMap`."""
        return self._estimator.output_kind

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the most depth, from frames all over the film, found once: the range of pictures and codes."""
        low, high = np.inf, -np.inf
        for frame in self.film.samples(SAMPLES):
            values = self._values(frame.pixels)
            known = values[np.isfinite(values)]
            if known.size:
                least, most = np.percentile(known, (OUTSIDE, 100 - OUTSIDE))
                low, high = min(low, float(least)), max(high, float(most))
        if not low <= high:
            raise InputError(f"{self.film.path}: the model gives no finite depth; give another model")
        return low, high

    def __iter__(self) -> Iterator[FrameResult[DepthMap]]:
        """Frame by frame.

        Raises:
            InputError: after the last good frame of a film that breaks off.
        """
        low, high = self.range
        tolerance = max(TOLERANCE * (high - low), 1e-12)
        before: Float | None = None
        for frame, moves in followed(self.film):
            values = self._values(frame.pixels)
            move = None if moves is None else moves.back
            cut = before is None or move is None or move.cut
            if self._steady and not cut and before is not None and move is not None:
                carried = warp(before, move.shift)
                trust = np.where(np.isfinite(values) & np.isfinite(carried), move.trust, 0).astype(np.float32)
                if self.kind == "inverse":
                    values = fitted(values, carried, trust)
                # Depth has few fine edges of its own: a large difference is a thing that moves in or away.
                likely = 1 / (1 + np.square(np.square((carried - values) / np.float32(tolerance))))
                values = mixed(values, carried, trust * likely, SHARE)
            before = values
            yield FrameResult(frame, DepthMap(values, kind=self.kind, image=frame.pixels), cut)

    def picture(self, depth: DepthMap, map: str = "inferno") -> NDArray[np.uint8]:
        """A picture of one frame's depth in the film's range: (h, w, 3) uint8, near is at the bright end."""
        return coloured(self._near(depth), depth.valid, map)

    def codes(self, depth: DepthMap) -> NDArray[np.uint16]:
        """One frame's depth as (h, w) uint16: value = low + code · (high − low) / 65535, clipped to the range."""
        low, high = self.range
        step = (high - low) / 65535
        codes = np.rint((depth.values.astype(np.float64) - low) / step) if step else np.zeros(depth.values.shape)
        return np.asarray(np.clip(codes, 0, 65535), np.uint16)

    def save(
        self,
        path: str | os.PathLike[str],
        what: Literal["colour", "depth"] | None = None,
        *,
        map: str = "inferno",
        sound: bool = True,
        watch: Watch | None = None,
    ) -> Path:
        """Write the depth as a film.

        Args:
            path: .mp4, .mov and .webm hold pictures; .mkv and a folder of PNGs also numbers of 16 bits, without loss.
            what: "colour" for pictures to look at; "depth" for numbers, `codes`, whose scale and shift go to a JSON
                beside the film. If not given, numbers for .mkv and folders and pictures for all else.
            map: the colours of pictures, see `DepthMap.colour`.
            sound: whether to carry the film's sound over.
            watch: called with the number of frames done.

        Returns:
            the path.

        Raises:
            InputError: a suffix that does not hold it, or what was wrong with the film; what was finished is kept.
            OutputError: the film cannot be written there.
        """
        goal = Path(path)
        if what is None:
            what = "colour" if goal.suffix and goal.suffix.lower() != ".mkv" and not goal.is_dir() else "depth"
        if what == "colour":
            return write_results(
                self, path, "picture", lambda depth: self.picture(depth, map), sound=sound, watch=watch
            )
        from perpixel.images.write import write_bytes

        done = write_results(self, path, "grey", self.codes, sound=sound, watch=watch)
        low, high = self.range
        meaning: dict[str, Any] = {"kind": self.kind, "unit": "m" if self.kind == "metric" else None}
        meaning |= {"scale": (high - low) / 65535, "shift": low}
        beside = done / "depth.json" if done.is_dir() else done.with_name(f"{done.name}.json")
        write_bytes(beside, json.dumps(meaning, indent=1).encode())
        return done

    def _values(self, pixels: NDArray[Any]) -> Float:
        return estimate_depth(self._estimator, pixels, size=self._size, limit=self._limit)

    def _near(self, depth: DepthMap) -> Float:
        """(h, w) in [0, 1], linear in inverse depth."""
        low, high = self.range
        values: NDArray[Any] = depth.values
        if self.kind == "metric":
            least = max(low, 1e-3)
            low, high = 1 / max(high, least), 1 / least
            values = 1 / np.maximum(values, least)
        if high <= low:
            return np.zeros(depth.values.shape, np.float32)
        return np.where(depth.valid, np.clip((values - low) / (high - low), 0, 1), 0).astype(np.float32)


def fitted(values: Float, carried: Float, trust: Float) -> Float:
    """Bring a frame's inverse depth to that of the frame before by a scale and a shift.

    The fit matches means and deviations. Least squares would make every frame a little flatter than the last, since
    noise in one of two variables lowers the slope.

    Args:
        values: (h, w), the frame's own depth.
        carried: (h, w), that of the frame before, warped.
        trust: (h, w) in [0, 1].

    Returns:
        (h, w) float32; `values` themselves where too little is trusted, or they do not run together.

    >>> before = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    >>> again = fitted(1.1 * before + 0.5, before, np.ones((20, 20), np.float32))
    >>> bool(np.abs(again - before).max() < 0.05)
    True
    """
    sure = trust > 0.5
    if np.count_nonzero(sure) < FEWEST:
        return values
    here, there = values[sure].astype(np.float64), carried[sure].astype(np.float64)
    spread, other = float(here.std()), float(there.std())
    if not (spread > 0 and other > 0) or float(((here - here.mean()) * (there - there.mean())).mean()) <= 0:
        return values
    scale = float(np.clip(other / spread, 1 / LARGEST_SCALE, LARGEST_SCALE))
    shift = float(there.mean()) - scale * float(here.mean())
    return np.asarray((1 - OWN) * (scale * values + shift) + OWN * values, np.float32)
