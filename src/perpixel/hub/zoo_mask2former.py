"""The Mask2Former models on the Hub: what their authors measured, and how.

The weights are the authors' own (github.com/facebookresearch/Mask2Former), converted by Hugging Face. Figures are
those of the authors' MODEL_ZOO.md for one scale without flipping, on the validation set; none was measured here.
Sizes are those of the authors' configurations for testing. The Hub's own preprocessor files say 384×384 instead,
which is what the conversion was checked with.

The licence: MODEL_ZOO.md puts all models under CC BY-NC 4.0. The cards on the Hub say no more than "other", and
the code has been under the MIT licence since May 2022, which does not speak of the models.
"""

from __future__ import annotations

from dataclasses import dataclass

_TITLES = {"coco": "COCO", "cityscapes": "Cityscapes", "ade": "ADE20K", "mapillary-vistas": "Mapillary Vistas"}
# The short side and the limit of the long one.
_SIDES = {"coco": (800, 1333), "cityscapes": (1024, 2048), "ade": (640, 2560), "mapillary-vistas": (2048, 2048)}
# These two were trained and tested on smaller images.
_SMALLER = {"facebook/mask2former-swin-tiny-ade-semantic", "facebook/mask2former-swin-small-ade-semantic"}
_BACKBONES = {
    "tiny": "Swin-T",
    "small": "Swin-S",
    "base": "Swin-B",
    "base-IN21k": "Swin-B pretrained on ImageNet-21k",
    "large": "Swin-L",
}


@dataclass(frozen=True)
class ZooModel:
    """One model of the authors' zoo that is on the Hub.

    Attributes:
        size: the size of its Swin as the id has it, for instance "base-IN21k".
        dataset: what it was trained on, as the id has it.
        kind: "panoptic", "instance" or "semantic".
        published: the authors' figures: PQ, AP and mIoU in percent, as far as they gave them.
    """

    size: str
    dataset: str
    kind: str
    published: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str:
        """The Hub id."""
        return f"facebook/mask2former-swin-{self.size}-{self.dataset}-{self.kind}"

    @property
    def summary(self) -> str:
        """One line for people."""
        figures = ", ".join(f"{name} {value}" for name, value in self.published)
        return f"{self.kind} on {_TITLES[self.dataset]}, {_BACKBONES[self.size]}; its authors' {figures}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings of `Mask2FormerImageProcessor` that the figures were measured with."""
        shortest, longest = (512, 2048) if self.name in _SMALLER else _SIDES[self.dataset]
        return {
            "do_resize": True,
            "size": {"shortest_edge": shortest, "longest_edge": longest},
            "resample": 2,  # bilinear
            # detectron2 keeps the shape of the image and fills it up with zeros.
            "size_divisor": 0,
            "pad_divisor": 32,
        }


def _models(
    dataset: str, kind: str, names: tuple[str, ...], rows: dict[str, tuple[float, ...]]
) -> tuple[ZooModel, ...]:
    return tuple(
        ZooModel(size, dataset, kind, tuple(zip(names, figures, strict=True))) for size, figures in rows.items()
    )


_ALL = ("PQ", "AP", "mIoU")

MASK2FORMER: tuple[ZooModel, ...] = (
    *_models("coco", "panoptic", _ALL, {
        "tiny": (53.2, 43.3, 63.2), "small": (54.6, 44.7, 64.2),
        "base": (55.1, 45.2, 65.1), "large": (57.8, 48.6, 67.4),
    }),
    *_models("coco", "instance", ("AP",), {
        "tiny": (45.0,), "small": (46.3,), "base": (46.7,), "base-IN21k": (48.1,), "large": (50.1,),
    }),
    *_models("ade", "panoptic", _ALL, {"large": (48.1, 34.2, 54.5)}),
    *_models("ade", "semantic", ("mIoU",), {
        "tiny": (47.7,), "small": (51.3,), "base": (52.4,), "base-IN21k": (53.9,), "large": (56.1,),
    }),
    *_models("cityscapes", "panoptic", _ALL, {
        "tiny": (63.9, 39.1, 80.5), "small": (64.8, 40.7, 81.8), "large": (66.6, 43.6, 82.9),
    }),
    *_models("cityscapes", "instance", ("AP",), {
        "tiny": (39.7,), "small": (41.8,), "base-IN21k": (42.0,), "large": (43.7,),
    }),
    *_models("cityscapes", "semantic", ("mIoU",), {
        "tiny": (82.1,), "small": (82.6,), "base-IN21k": (83.3,), "large": (83.3,),
    }),
    *_models("mapillary-vistas", "panoptic", ("PQ", "mIoU"), {"large": (45.5, 60.8)}),
    *_models("mapillary-vistas", "semantic", ("mIoU",), {"large": (63.2,)}),
)  # fmt: skip
