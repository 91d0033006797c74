"""The layouts of labelled images on disk that are read here, by name: plain folders, and data sets as they come."""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path
from typing import Any

from perpixel.data.samples import LABEL_KINDS, LabelKind, LabelledImages
from perpixel.errors import ConfigError, InputError

__all__ = ["EXPECTED", "LAYOUTS", "open_dataset"]

LAYOUTS: dict[str, str] = {
    "rgba": "perpixel.data.matting_sets:RgbaCutouts",
    "matte-folder": "perpixel.data.matting_sets:MatteFolder",
    "composition-1k": "perpixel.data.composed_sets:Composition1k",
    "distinctions-646": "perpixel.data.composed_sets:Distinctions646",
    "label-folder": "perpixel.data.label_folders:LabelFolder",
    "coco": "perpixel.data.coco:CocoInstances",
    "coco-panoptic": "perpixel.data.coco_panoptic:CocoPanoptic",
    "ade20k": "perpixel.data.ade20k:Ade20k",
    "cityscapes": "perpixel.data.cityscapes:Cityscapes",
    "pascal-context": "perpixel.data.pascal_context:PascalContext",
    "depth-folder": "perpixel.data.depth_sets:DepthFolder",
    "nyuv2": "perpixel.data.nyuv2:NyuV2",
    "kitti": "perpixel.data.kitti:Kitti",
}
"""Where each layout's reader is; a reader is imported when its layout is opened."""

EXPECTED: dict[str, str] = {
    "rgba": "NAME.png (RGBA cut-outs, also in subfolders)",
    "matte-folder": "images/NAME.jpg, alphas/NAME.png [, trimaps/NAME.png] [, foregrounds/NAME.png]",
    "composition-1k": "Training_set/ and Test_set/ of the Combined_Dataset, or merged/, alpha_copy/ and trimaps/",
    "distinctions-646": "Train/FG, Train/GT, Test/FG and Test/GT, or Test/Image and Test/GT",
    "label-folder": "images/NAME.jpg with labels/NAME.png (class numbers), or with masks/NAME/….png or masks/NAME.png",
    "coco": "annotations/instances_SPLIT2017.json, SPLIT2017/NAME.jpg",
    "coco-panoptic": "annotations/panoptic_SPLIT2017.json, annotations/panoptic_SPLIT2017/NAME.png, SPLIT2017/NAME.jpg",
    "ade20k": "images/SPLIT/NAME.jpg, annotations/SPLIT/NAME.png",
    "cityscapes": "leftImg8bit/SPLIT/CITY/…_leftImg8bit.png, gtFine/SPLIT/CITY/…_gtFine_….png",
    "pascal-context": "JPEGImages/NAME.jpg, SegmentationClassContext/NAME.png or trainval/NAME.mat",
    "depth-folder": "images/NAME.jpg, depths/NAME.png (16-bit; or .npy, .tiff, .exr, .pfm)",
    "nyuv2": "nyu_depth_v2_labeled.mat and splits.mat, or SPLIT/SCENE/rgb_…jpg with sync_depth_…png",
    "kitti": "2011_…/…_drive_…_sync/image_02/data/…png, data_depth_annotated/train|val/…_sync/proj_depth/…",
}
"""What lies in the root of each layout, for people."""


def open_dataset(
    layout: str, root: str | Path, *, split: str = "train", kind: LabelKind | None = None, **options: Any
) -> LabelledImages[Any]:
    """Open labelled images on disk.

    Only names are listed; photographs and labels are read sample by sample.

    Args:
        layout: a name in `LAYOUTS`, such as "matte-folder", "coco" or "nyuv2".
        root: the data set's folder.
        split: which part of it, as the data set calls it: mostly "train", "validation" or "test".
        kind: what the samples are to be labelled with, where a data set has more than one; its own by default.
        options: what else the layout's reader takes; see its class.

    Returns:
        a sequence of samples.

    Raises:
        ConfigError: no such layout, kind or option; the message suggests the right one.
        InputError: the folder does not exist, is empty, or holds something else.

    >>> open_dataset("depth-foldr", "room")
    Traceback (most recent call last):
        ...
    perpixel.errors.ConfigError: there is no layout 'depth-foldr': did you mean 'depth-folder'?
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {layout!r}: {_suggestion(layout, list(LAYOUTS))}")
    if kind is not None and kind not in LABEL_KINDS:
        raise ConfigError(f"there is no kind of label {kind!r}: {_suggestion(kind, list(LABEL_KINDS))}")
    module, _, name = LAYOUTS[layout].partition(":")
    reader = getattr(importlib.import_module(module), name)
    known = [parameter for parameter in inspect.signature(reader).parameters if parameter not in _COMMON]
    for option in options:
        if option not in known:
            raise ConfigError(f"the layout {layout!r} has no option {option!r}: {_suggestion(option, known)}")
    folder = Path(root)
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {problem}: give the folder of {layout!r} with {EXPECTED[layout]}")
    if next(folder.iterdir(), None) is None:
        raise InputError(f"{folder} is empty: {layout!r} needs {EXPECTED[layout]}")
    data: LabelledImages[Any] = reader(folder, split=split, kind=kind, **options)
    if not len(data):
        raise InputError(f"{folder} holds no sample of the split {split!r}: {layout!r} needs {EXPECTED[layout]}")
    return data


_COMMON = ("root", "split", "kind")


def _suggestion(given: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(given), known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(known)}" if known else "it has none"
