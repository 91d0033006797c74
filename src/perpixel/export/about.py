"""What an exported file says of itself: which model it holds, for which sizes, and how images are prepared for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from perpixel.errors import CheckpointError, InputError

# Before every key, so that the keys of other programs in the same file stay apart.
PREFIX = "perpixel."
# What comes out of each class of models that can be exported, in this order.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "VitMatteForImageMatting": ("alphas",),
    "Mask2FormerForUniversalSegmentation": ("class_queries_logits", "masks_queries_logits"),
    "DPTForDepthEstimation": ("predicted_depth",),
    "DPTForSemanticSegmentation": ("logits",),
    "DepthAnythingForDepthEstimation": ("predicted_depth",),
}
INPUT = "pixel_values"


@dataclass(frozen=True)
class Sizes:
    """The heights and widths that a file takes.

    Attributes:
        multiple: what both have to be multiples of.
        fixed: the only height and width; None where they are left open.

    Example:
        >>> Sizes(32).check(64, 96)
        >>> Sizes(32).check(64, 97)
        Traceback (most recent call last):
        perpixel.errors.InputError: the input is 97×64 (width×height) but this file takes multiples of 32: ...
    """

    multiple: int
    fixed: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.fixed is not None:
            height, width = self.fixed
            if height < 1 or width < 1 or height % self.multiple or width % self.multiple:
                down, across = (max(1, round(side / self.multiple)) * self.multiple for side in (height, width))
                raise InputError(
                    f"the size {width}×{height} (width×height) is asked for, but this model needs multiples of "
                    f"{self.multiple}: use {across}×{down}"
                )

    def check(self, height: int, width: int) -> None:
        """Raise `InputError` unless an input of this height and width fits."""
        if self.fixed is not None and (height, width) != self.fixed:
            raise InputError(
                f"the input is {width}×{height} (width×height) but this file takes {self.fixed[1]}×{self.fixed[0]} "
                "only: resize the image, or export the model with open sizes (--dynamic)"
            )
        if height < 1 or width < 1 or height % self.multiple or width % self.multiple:
            raise InputError(
                f"the input is {width}×{height} (width×height) but this file takes multiples of {self.multiple}: pad "
                "or resize it to such a size"
            )


@dataclass(frozen=True)
class About:
    """What stands in an exported file beside the numbers.

    Attributes:
        architecture: the class of the model, such as "VitMatteForImageMatting".
        config: its configuration, as in `config.json`.
        processor: the preparation of its images, as in `preprocessor_config.json`.
        sizes: the sizes that it takes.
        outputs: the names of its outputs.
        version: the perpixel that wrote it.
        source: where the model came from; empty where it was given loaded.
        licence: the SPDX name of the weights' licence; empty where it is not known.
        depth_kind: "metric" or "inverse" for a model of depth, else empty.
        half: whether the weights are stored in 16 bits.
        opset: the version of ONNX's operators; 0 for the other formats.
    """

    architecture: str
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    sizes: Sizes
    outputs: tuple[str, ...]
    version: str
    source: str = ""
    licence: str = ""
    depth_kind: str = ""
    half: bool = False
    opset: int = field(default=0)

    def __post_init__(self) -> None:
        # As it is read again: in JSON the keys of a mapping are texts, and tuples are lists.
        for name in ("config", "processor"):
            object.__setattr__(self, name, json.loads(json.dumps(getattr(self, name))))

    def to_texts(self) -> dict[str, str]:
        """Every field as a text: a text as it is, anything else as JSON."""
        values = {**asdict(self), "config": dict(self.config), "processor": dict(self.processor)}
        return {
            PREFIX + name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in values.items()
        }

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], where: str) -> Self:
        """Read what `to_texts` made.

        Args:
            texts: texts by name; others than perpixel's are passed over.
            where: the file, for messages.

        Raises:
            CheckpointError: it is not a file that perpixel exported.
        """
        try:
            values: dict[str, Any] = {}
            for item in fields(cls):
                text = texts[PREFIX + item.name]
                values[item.name] = text if item.type == "str" else json.loads(text)
            sizes = values["sizes"]
            values["sizes"] = Sizes(sizes["multiple"], tuple(sizes["fixed"]) if sizes["fixed"] else None)
            values["outputs"] = tuple(values["outputs"])
            return cls(**values)
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{where} was not written by perpixel, or by another version of it ({error!r}): export the model with "
                "`perpixel export`, or run the file with its own library"
            ) from None
