"""How predictions are made and measured: what papers call their protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, cast, get_args

from perpixel.data.samples import LabelKind
from perpixel.errors import ConfigError, InputError

__all__ = ["Rules"]

_SEGMENTS: tuple[LabelKind, ...] = ("instance", "panoptic")
# What each rule is for; the others are told so.
_FOR: dict[str, tuple[LabelKind, ...]] = {
    "align": ("depth",),
    "nearest": ("depth",),
    "farthest": ("depth",),
    "crop": ("depth",),
    "inverse_scale": ("depth",),
    "inverse_shift": ("depth",),
    "boundary": ("semantic", "instance"),
    "threshold": _SEGMENTS,
    "overlap_threshold": ("panoptic",),
    "size": ("semantic", "instance", "panoptic", "depth"),
    "max_memory": ("matting", "depth"),
    "band": ("matting",),
}


@dataclass(frozen=True)
class Rules:
    """A protocol. What is None is left to what the task's papers do.

    Attributes:
        align: how depth of no scale is brought to metres, see `perpixel.metrics.depth`; by default "scale_shift"
            (least squares in inverse depth, as MiDaS, DPT and Depth Anything are measured) for inverse depth, and
            "none" for metres.
        nearest: in metres; nearer truth is not counted.
        farthest: in metres; farther truth is not counted, and farther predictions are cut there: 10 for NYU Depth v2,
            80 for KITTI.
        crop: only the part of the image that papers measure: "eigen_nyu" for NYU Depth v2, "garg" or "eigen" for
            KITTI.
        inverse_scale: for models whose inverse depth has a scale of its own that their files do not say, such as the
            authors' dpt_hybrid_nyu (0.000305) and dpt_hybrid_kitti (0.00006016): 1 / metres is this times the model's
            number plus `inverse_shift`, and nothing is aligned.
        inverse_shift: see `inverse_scale`; 0.1378 and 0.00579 for these two.
        boundary: boundary IoU (Cheng et al., 2021) or boundary AP too.
        threshold: the score from which a segment counts. By default 0 for instances, since AP weighs the scores
            itself, and 0.8 for panoptic, as Mask2Former's authors evaluate; `perpixel.segment` has 0.5 for both.
        overlap_threshold: as in `perpixel.segment`.
        size: how large the model sees the image, as in `perpixel.segment` and `perpixel.depth`.
        max_memory: as in `perpixel.matte` and `perpixel.depth`.
        band: for matting sets without trimaps: they are made of the true alphas, unknown this many pixels beyond
            what is fractional, see `perpixel.ops.trimap.trimap_from_alpha`.
    """

    align: str | None = None
    nearest: float | None = None
    farthest: float | None = None
    crop: str | None = None
    inverse_scale: float | None = None
    inverse_shift: float | None = None
    boundary: bool = False
    threshold: float | None = None
    overlap_threshold: float | None = None
    size: int | Mapping[str, int] | None = None
    max_memory: int | str | None = None
    band: float | None = None

    @classmethod
    def of(cls, given: Rules | Mapping[str, Any] | None) -> Rules:
        """Rules as they are, or from their names and values.

        Raises:
            ConfigError: a name that is no rule; the message suggests the right one.

        >>> Rules.of({"crop": "garg", "farthest": 80}).farthest
        80
        """
        if isinstance(given, Rules):
            return given
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                raise ConfigError(f"there is no rule {name!r}: {hint}")
        return cls(**(given or {}))

    def given(self) -> dict[str, Any]:
        """The rules that are not left to the task."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None and value is not False}

    def check(self, task: LabelKind) -> None:
        """Refuse rules of other tasks.

        Raises:
            InputError: one of them would have no effect, or is no value of its kind.
        """
        for name in self.given():
            if task not in _FOR[name]:
                tasks = " and ".join(_FOR[name])
                raise InputError(f"{name} is for {tasks}, and {task} is measured: leave it out")
        if task == "depth":
            self.depth_meter(inverse=True)
            if self.inverse_shift is not None and self.inverse_scale is None:
                raise InputError("inverse_shift is given without inverse_scale: give both, or neither")
            if self.inverse_scale is not None and not 0 < self.inverse_scale < float("inf"):
                raise InputError(f"inverse_scale is {self.inverse_scale}: give a number above 0")

    def score(self, task: LabelKind) -> float:
        """The threshold to predict with."""
        return self.threshold if self.threshold is not None else {"panoptic": 0.8}.get(task, 0.0)

    def depth_align(self, inverse: bool) -> str:
        """The alignment of such depth."""
        known = self.inverse_scale is not None or not inverse
        return self.align or ("none" if known else "scale_shift")

    def depth_meter(self, inverse: bool) -> Any:
        """A new `DepthMeter` by these rules."""
        from perpixel.metrics.depth import Align, DepthMeter

        align = self.depth_align(inverse)
        if align not in get_args(Align):
            raise InputError(f"align={align!r} is not known: use one of {', '.join(get_args(Align))}")
        return DepthMeter(align=cast(Align, align), inverse=inverse, **self.caps())

    def caps(self) -> dict[str, Any]:
        """What part of a depth is measured, as `perpixel.metrics.depth` takes it."""
        return {"nearest": self.nearest, "farthest": self.farthest, "crop": self.crop}
