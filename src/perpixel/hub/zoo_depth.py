"""The DPT and Depth Anything models on the Hub: their licences, and what their authors measured.

Licences are those of the cards on the Hub. Where the authors' repositories differ:

- Intel/dpt-large, dpt-hybrid-midas and dpt-large-ade are Apache-2.0 by their cards, while the weights come from
  github.com/isl-org/DPT, which is MIT. Intel/dpt-swinv2-base-384 has no card: its weights come from
  github.com/isl-org/MiDaS, which is MIT, as are the cards of its sisters.
- Depth Anything V2's README puts the small model under Apache-2.0 and the base and large one under CC BY-NC 4.0, and so
  do their cards. The metric models of all sizes are Apache-2.0 by the authors' own cards (the Metric-Hypersim and
  Metric-VKITTI ones, of which these are conversions), though the base and the large one were tuned from the others.

None of the figures was measured here. Those of MiDaS are the zero-shot errors in the README of its repository, at the
side that the id says: AbsRel, and "bad", the percentage of pixels whose depth is off by more than a quarter. KITTI and
NYU Depth v2 were among the training data of MiDaS 3.1 and are left out. Those of Depth Anything 1 are from its README,
zero-shot, with "δ1", the percentage of pixels that are right within a quarter. For the other weights no figures of the
authors were found that belong to them beyond doubt.
"""

from __future__ import annotations

from dataclasses import dataclass

_MIDAS_FIGURES = ("ETH3D AbsRel", "Sintel AbsRel", "TUM bad")
_ANYTHING_FIGURES = ("KITTI AbsRel", "KITTI δ1", "NYU AbsRel", "NYU δ1")


@dataclass(frozen=True)
class DepthModel:
    """One model on the Hub.

    Attributes:
        name: the Hub id.
        family: "dpt" or "depth_anything".
        what: one line without figures.
        licence: the SPDX name of the weights' licence.
        published: the authors' figures, as far as they gave them.
    """

    name: str
    family: str
    what: str
    licence: str
    published: tuple[tuple[str, float], ...] = ()

    @property
    def summary(self) -> str:
        """One line for people."""
        figures = ", ".join(f"{name} {value}" for name, value in self.published)
        return f"{self.what}; its authors' {figures}" if figures else self.what


def _midas(name: str, what: str, licence: str, *figures: float) -> DepthModel:
    published = tuple(zip(_MIDAS_FIGURES, figures, strict=True))
    return DepthModel(f"Intel/{name}", "dpt", f"relative depth, {what}", licence, published)


def _first_anything(size: str, letter: str, *figures: float) -> DepthModel:
    published = tuple(zip(_ANYTHING_FIGURES, figures, strict=True))
    what = f"relative depth, version 1, ViT-{letter}"
    return DepthModel(f"LiheYoung/depth-anything-{size}-hf", "depth_anything", what, "Apache-2.0", published)


def _second_anything() -> tuple[DepthModel, ...]:
    prefix = "depth-anything/Depth-Anything-V2"
    models = []
    for size in ("Small", "Base", "Large"):
        licence = "Apache-2.0" if size == "Small" else "CC-BY-NC-4.0"
        what = f"relative depth, version 2, ViT-{size[0]}"
        models.append(DepthModel(f"{prefix}-{size}-hf", "depth_anything", what, licence))
    for place, limit, data in (("Indoor", 20, "Hypersim"), ("Outdoor", 80, "Virtual KITTI 2")):
        for size in ("Small", "Base", "Large"):
            what = f"depth in metres up to {limit} m {place.lower()}s, version 2, ViT-{size[0]} tuned on {data}"
            if size != "Small":
                what += f"; the {size} model that it was tuned from is CC-BY-NC-4.0"
            models.append(DepthModel(f"{prefix}-Metric-{place}-{size}-hf", "depth_anything", what, "Apache-2.0"))
    return tuple(models)


DEPTH: tuple[DepthModel, ...] = (
    *_second_anything(),
    _first_anything("small", "S", 0.080, 93.6, 0.053, 97.2),
    _first_anything("base", "B", 0.080, 93.9, 0.046, 97.9),
    _first_anything("large", "L", 0.076, 94.7, 0.043, 98.1),
    _midas("dpt-large", "MiDaS 3.0, ViT-L", "Apache-2.0", 0.0888, 0.2697, 9.97),
    _midas("dpt-hybrid-midas", "MiDaS 3.0, ViT-B on a ResNet-50", "Apache-2.0", 0.0934, 0.2741, 10.89),
    _midas("dpt-beit-large-512", "MiDaS 3.1, BEiT-L", "MIT", 0.0659, 0.2366, 6.13),
    _midas("dpt-beit-large-384", "MiDaS 3.1, BEiT-L", "MIT", 0.0667, 0.2545, 7.17),
    _midas("dpt-beit-base-384", "MiDaS 3.1, BEiT-B", "MIT", 0.0967, 0.2901, 9.88),
    # Of these the README gives figures for square images.
    _midas("dpt-swinv2-large-384", "MiDaS 3.1, Swin v2-L", "MIT", 0.0732, 0.2442, 8.87),
    _midas("dpt-swinv2-base-384", "MiDaS 3.1, Swin v2-B", "MIT", 0.0790, 0.2404, 8.93),
    _midas("dpt-swinv2-tiny-256", "MiDaS 3.1, Swin v2-T", "MIT", 0.1106, 0.2868, 13.43),
    *(
        DepthModel(
            f"facebook/dpt-dinov2-{size}-{data}",
            "dpt",
            f"depth in metres, DINOv2-{letter} left as it was, tuned on {title}",
            "Apache-2.0",
        )
        for data, title in (("nyu", "NYU Depth v2 (indoors)"), ("kitti", "KITTI (streets)"))
        for size, letter in (("small", "S"), ("base", "B"), ("large", "L"), ("giant", "g"))
    ),
    DepthModel("Intel/dpt-large-ade", "dpt", "semantic segmentation on ADE20K, ViT-L", "Apache-2.0"),
)
