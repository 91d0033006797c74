"""Pascal Context: the photographs of VOC 2010 with every pixel labelled, 59 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perpixel.data.categories.pascal_context import (
    ORIGINAL_LABELS,
    PASCAL_CONTEXT,
    PASCAL_CONTEXT_MAT,
    PASCAL_CONTEXT_OFFICIAL,
)
from perpixel.data.folders import PICTURES, Reader, list_files, read_lines
from perpixel.data.samples import VOID, Categories, LabelKind, SegmentationSample
from perpixel.data.segmentation import (
    AnyArray,
    choose_kind,
    class_numbers,
    inner_root,
    listed,
    official_split,
    read_ids,
    semantic_sample,
)
from perpixel.errors import ConfigError, InputError, MissingDependencyError

__all__ = ["PascalContext"]

_EXPECTED = "VOC2010 with JPEGImages/, SegmentationClassContext/ or trainval/, and ImageSets/SegmentationContext/"
_MATLAB = frozenset({".mat"})
_FOLDERS = ("SegmentationClassContext", "trainval", "59_context_labels")


class PascalContext(Reader[SegmentationSample]):
    """Pascal Context, semantic, in any of the three forms in which its labels are passed on.

    Read are `JPEGImages/NAME.jpg` and one of these folders, the first that is there:

    - `SegmentationClassContext/NAME.png`, as mmsegmentation's converter writes it: 1…59 in alphabetical order;
    - `trainval/NAME.mat`, the authors' own, 459 labels (needs scipy);
    - `59_context_labels/NAME.png`, the authors' own, 1…59 in the order of their 59_labels.txt.

    All three give the same class numbers. Which photographs belong to a split is said by
    `ImageSets/SegmentationContext/{split}.txt`, or by VOC's `ImageSets/Main/{split}.txt`, of which those with labels
    are taken (4,998 for training, 5,105 for validation).

    Source: cs.stanford.edu/~roozbeh/pascal-context, "The Role of Context for Object Detection and Semantic
    Segmentation in the Wild", Mottaghi et al., 2014; the photographs are VOC 2010's, under Flickr's terms of use.

    Args:
        root: VOC2010, or the folder it is in.
        split: "train" or "val".
        kind: "semantic" or None.
        background: whether all other labels are a class of their own, number 0 of 60, as some papers have it; else
            they are void, and there are 59.
        labels: the folder of the labels, where it has another name.
        official: whether PNGs of another folder are in the order of 59_labels.txt.

    Raises:
        InputError: folders, lists or files are absent, or, when it is read, a file holds what is no label.
        MissingDependencyError: .mat files without scipy.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        background: bool = False,
        labels: str | Path | None = None,
        official: bool = False,
    ) -> None:
        choose_kind(kind, ("semantic",), "pascal-context")
        part = official_split(split, "pascal-context")
        root = inner_root(Path(root), "JPEGImages", ("VOC2010", "VOCdevkit/VOC2010"), _EXPECTED)
        folder = root / (labels or next((name for name in _FOLDERS if (root / name).is_dir()), _FOLDERS[0]))
        files = list_files(folder, PICTURES | _MATLAB)
        if not files:
            raise InputError(f"{folder} holds no labels: expected is {_EXPECTED}")
        matlab = next(iter(files.values())).suffix.lower() in _MATLAB
        if matlab and official:
            raise ConfigError("official is for PNG files: .mat files have their own numbers, leave it out")
        if matlab:
            of_file, self._highest = PASCAL_CONTEXT_MAT, ORIGINAL_LABELS
        else:
            in_order = official or folder.name == _FOLDERS[2]
            of_file, self._highest = PASCAL_CONTEXT_OFFICIAL if in_order else PASCAL_CONTEXT, len(PASCAL_CONTEXT)
        names = _split_names(root, part, files, folder)
        self._images = tuple(root / "JPEGImages" / f"{name}.jpg" for name in names)
        self._labels = tuple(files[name] for name in names)
        categories = of_file
        if background:
            categories = Categories(("background", *of_file.names), (0, *of_file.ids), (False, *of_file.things))
        others = dict.fromkeys(range(self._highest + 1), 0 if background else VOID)
        self._numbers = {**others, **categories.numbers}
        super().__init__("semantic", names, categories)

    def read(self, place: int) -> SegmentationSample:
        """Read the sample at a place from 0."""
        path = self._labels[place]
        values = _read_matlab(path) if path.suffix.lower() in _MATLAB else read_ids(path)
        mend = f"the labels are 0…{self._highest}, copy or convert the file again"
        labels = class_numbers(values, self._numbers, path, mend)
        return semantic_sample(self.names[place], self._images[place], labels, path)


def _split_names(root: Path, part: str, files: dict[str, Path], folder: Path) -> tuple[str, ...]:
    own = root / "ImageSets" / "SegmentationContext" / f"{part}.txt"
    if own.is_file():
        names = tuple(read_lines(own))
        if absent := [name for name in names if name not in files]:
            raise InputError(f"{own} lists {listed(absent)}, but {folder} holds no labels of that name: add them")
        return names
    whole = root / "ImageSets" / "Main" / f"{part}.txt"
    if not whole.is_file():
        raise InputError(f"neither {own} nor {whole} is there: one of them has to say which photographs are {part}")
    names = tuple(name for name in read_lines(whole) if name in files)
    if not names:
        raise InputError(f"{folder} holds labels for none of the photographs in {whole}: they do not belong together")
    return names


def _read_matlab(path: Path) -> AnyArray:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingDependencyError(f"{path} is a MATLAB file, which needs scipy: pip install scipy") from error
    try:
        values = np.asarray(loadmat(path)["LabelMap"])
    except KeyError:
        raise InputError(f"{path} has no LabelMap: it is no label file of Pascal Context") from None
    except Exception as error:  # its reader raises nearly anything on damaged bytes
        raise InputError(f"{path} cannot be read as a MATLAB file ({error}): copy or download it again") from error
    if values.ndim != 2 or values.dtype.kind not in "uif" or (values.dtype.kind == "f" and (values % 1).any()):
        raise InputError(f"{path} has a LabelMap that is no picture of whole numbers: copy or download it again")
    return values.astype(np.int32)
