"""What the measures are called for people, which way is better, and in which unit papers print them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Measure", "described", "summary_only"]


@dataclass(frozen=True)
class Measure:
    """How a measure is shown.

    Attributes:
        title: for people.
        larger_is_better: None where neither is.
        factor: papers print the value times this.
        digits: after the point, in the papers' unit.
    """

    title: str
    larger_is_better: bool | None
    factor: float = 1.0
    digits: int = 4

    def printed(self, value: float) -> str:
        """The value as papers print it; a dash where nothing could be measured."""
        return "–" if value != value else f"{value * self.factor:.{self.digits}f}"

    @property
    def better(self) -> str:
        """Which way is better, in a word."""
        return {None: "", True: "higher", False: "lower"}[self.larger_is_better]


def _percent(title: str) -> Measure:
    return Measure(f"{title}, %", True, 100, 2)


_KNOWN = {
    "sad": Measure("SAD / 1000", False, 1, 2),
    "mse": Measure("MSE × 1000", False, 1000, 2),
    "grad": Measure("gradient error / 1000", False, 1, 2),
    "conn": Measure("connectivity error / 1000", False, 1, 2),
    "mean_iou": _percent("mean IoU"),
    "pixel_accuracy": _percent("pixel accuracy"),
    "mean_accuracy": _percent("mean class accuracy"),
    "boundary_iou": _percent("boundary IoU"),
    "mean_boundary_iou": _percent("mean boundary IoU"),
    "ar1": _percent("AR, 1 detection"),
    "ar10": _percent("AR, 10 detections"),
    "ar100": _percent("AR, 100 detections"),
    "ar": _percent("AR"),
    "ap": _percent("AP"),
    "ap50": _percent("AP at IoU 0.50"),
    "ap75": _percent("AP at IoU 0.75"),
    "pq": _percent("panoptic quality"),
    "sq": _percent("segmentation quality"),
    "rq": _percent("recognition quality"),
    "abs_rel": Measure("AbsRel", False, 1, 4),
    "sq_rel": Measure("SqRel, m", False, 1, 4),
    "rmse": Measure("RMSE, m", False, 1, 4),
    "rmse_log": Measure("RMSE of logarithms", False, 1, 4),
    "log10": Measure("log10 error", False, 1, 4),
    "silog": Measure("SILog × 100", False, 1, 3),
    "delta1": _percent("δ < 1.25"),
    "delta2": _percent("δ < 1.25²"),
    "delta3": _percent("δ < 1.25³"),
}
_ENDINGS = {
    "_whole": "whole image",
    "_things": "things",
    "_stuff": "stuff",
    "_small": "small",
    "_medium": "medium",
    "_large": "large",
}


def described(name: str) -> Measure:
    """How to show a measure; one without an entry is shown by its name.

    >>> described("pq_things").title, described("pq_things").printed(0.5321)
    ('panoptic quality, %, things', '53.21')
    >>> described("iou/cat").title
    'IoU, %: cat'
    >>> described("images").title
    'images'
    """
    if name in _KNOWN:
        return _KNOWN[name]
    family, slash, member = name.partition("/")
    if slash:
        known = {"iou": _percent("IoU")}.get(family) or described(family)
        return Measure(f"{known.title}: {member}", known.larger_is_better, known.factor, known.digits)
    for ending, words in _ENDINGS.items():
        if name.endswith(ending):
            known = described(name.removesuffix(ending))
            return Measure(f"{known.title}, {words}", known.larger_is_better, known.factor, known.digits)
    if name.startswith("boundary_"):
        known = described(name.removeprefix("boundary_"))
        return Measure(f"boundary {known.title}", known.larger_is_better, known.factor, known.digits)
    return Measure(name, None)


def summary_only(measures: dict[str, float]) -> dict[str, float]:
    """The measures without those of single classes, such as "iou/cat"."""
    return {name: value for name, value in measures.items() if "/" not in name}
