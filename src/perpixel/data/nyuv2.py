"""NYU Depth V2: 1,449 indoor photographs with the depth of a Kinect, from its own file or from extracted folders.

Nathan Silberman, Derek Hoiem, Pushmeet Kohli, Rob Fergus, "Indoor Segmentation and Support Inference from RGBD
Images", 2012. https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from perpixel.data.depth_sets import FilePairs, to_metres
from perpixel.data.folders import Reader, list_files, named_list, one_kind, pair_names, read_lines
from perpixel.data.samples import DepthSample, LabelKind
from perpixel.errors import ConfigError, InputError, MissingDependencyError

__all__ = ["NyuV2"]

Depths = Literal["raw", "filled"]

LABELLED = "nyu_depth_v2_labeled.mat"
SPLITS = "splits.mat"
_FIELDS: dict[str, str] = {"raw": "rawDepths", "filled": "depths"}
# Around the photographs lies a white frame from their alignment with the depth; inside it are rows 7 to 473 and
# columns 7 to 631. The extracted photographs that depth networks are compared on have it black.
_INSIDE = (slice(7, 474), slice(7, 632))
_SIZE = (480, 640)


class NyuV2(Reader[DepthSample]):
    """NYU Depth V2 with its official split: 795 samples for training and 654 for testing.

    Read are, below `root`:

    - `nyu_depth_v2_labeled.mat` (arrays images, depths, rawDepths, sceneTypes) and `splits.mat` (trainNdxs,
      testNdxs), from http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat and
      http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat; needs h5py (`perpixel[eval]`) and SciPy.
    - or, without that file, the folders that BTS and later papers evaluate on, extracted from it:
      `official_splits/SPLIT/SCENE/rgb_NNNNN.jpg` and `sync_depth_NNNNN.png` (16-bit millimetres) beside each, or
      `SPLIT/SCENE/…`.
    - or, with `files`, the pairs that a list names, as BTS's training set of 24,231 frames in `sync/` has one.

    A sample is called SCENE/NNNNN with the number from 0 of the image in the file, whichever way it is read. The
    photographs are for research; Microsoft's Kinect made the depth, 0 where it measured nothing.

    Args:
        root: the folder.
        split: "train" or "test".
        kind: "depth" or None.
        depths: "raw", what was measured, on which BTS, DPT and others are compared, or "filled", where a colouring
            filled the holes; the folders hold the first.
        black_frame: paint the white frame of the photographs in the .mat black, as the extracted ones are.
        files: a list with `IMAGE DEPTH …` in each line, relative to `root`.

    Raises:
        InputError: files are missing, or, when it is read, an unreadable file.
        MissingDependencyError: h5py or SciPy is not installed and the .mat is there.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        depths: Depths = "raw",
        black_frame: bool = True,
        files: str | Path | None = None,
    ) -> None:
        one_kind(kind, "depth", "nyuv2")
        if split not in ("train", "test"):
            raise ConfigError(f"split is {split!r}: NYU Depth V2 has 'train' and 'test'")
        if depths not in _FIELDS:
            raise ConfigError(f"depths is {depths!r}: it must be 'raw' or 'filled'")
        top = Path(root)
        self._file: Path | None = None
        self._numbers: tuple[int, ...] = ()
        self._pairs: FilePairs | None = None
        self._field, self._black_frame = _FIELDS[depths], black_frame
        if files is None and (top / LABELLED).is_file():
            self._file = top / LABELLED
            names, self._numbers = _official(self._file, top / SPLITS, split)
            super().__init__("depth", names)
            return
        if depths != "raw":
            raise InputError(f"{top} has no {LABELLED}: only it holds depths={depths!r}")
        self._pairs = _listed(top, named_list(top, files)) if files is not None else _extracted(top, split)
        super().__init__("depth", self._pairs.names)

    def read(self, place: int) -> DepthSample:
        """Read a photograph and its depth."""
        if self._pairs is not None:
            return self._pairs.read(place)
        assert self._file is not None
        number = self._numbers[place]
        # Opened for each sample: a file that was open across a fork would give the workers each other's bytes.
        try:
            with _h5py().File(self._file, "r") as file:
                image = np.ascontiguousarray(file["images"][number].transpose(2, 1, 0))  # (h, w, 3)
                depth = file[self._field][number].T  # (h, w)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"{self._file} cannot be read at image {number} ({error}): download it again") from error
        if self._black_frame and image.shape[:2] == _SIZE:
            framed = np.zeros_like(image)
            framed[_INSIDE] = image[_INSIDE]
            image = framed
        return DepthSample(name=self.names[place], image=image, depth=to_metres(depth))


def _official(file: Path, splits: Path, split: str) -> tuple[list[str], tuple[int, ...]]:
    """The names of a split's samples and their places in the file, from 0."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingDependencyError('splits.mat needs SciPy: pip install "perpixel[train]"') from None
    if not splits.is_file():
        raise InputError(
            f"{splits.parent} has {LABELLED} but no {SPLITS}: "
            "download http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat"
        )
    try:
        numbers = tuple(int(number) - 1 for number in loadmat(splits)[f"{split}Ndxs"].ravel())
    except Exception as error:  # SciPy raises nearly anything on hostile bytes
        raise InputError(f"{splits} holds no {split}Ndxs ({error}): download it again") from error
    try:
        with _h5py().File(file, "r") as opened:
            count = len(opened["images"])
            scenes = [_text(opened[reference]) for reference in opened["sceneTypes"][0]]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged or not the labelled file ({error}): download it again") from error
    if any(not 0 <= number < min(count, len(scenes)) for number in numbers):
        raise InputError(f"{splits} names images beyond the {count} of {file.name}: they do not belong together")
    return [f"{scenes[number]}/{number:05d}" for number in numbers], numbers


def _text(characters: Any) -> str:
    """MATLAB's text, an array of character codes."""
    return "".join(chr(int(code)) for code in np.asarray(characters).ravel())


def _extracted(top: Path, split: str) -> FilePairs:
    """The pairs in a folder for each scene."""
    folder = next((place for place in (top / "official_splits" / split, top / split) if place.is_dir()), None)
    if folder is None:
        raise InputError(f"{top} has neither {LABELLED} nor the folder {split}: give the folder of one of them")
    listed: dict[str, dict[str, Path]] = {"image": {}, "depth": {}}
    for role, prefix in (("image", "rgb_"), ("depth", "sync_depth_")):
        for path in list_files(folder, frozenset({".jpg", ".png"})).values():
            if path.name.startswith(prefix):
                scene = path.parent.relative_to(folder).as_posix()
                listed[role][f"{scene}/{path.stem.removeprefix(prefix)}"] = path
    if not listed["image"]:
        raise InputError(f"{folder} holds no SCENE/rgb_NNNNN.jpg: extract {LABELLED} there")
    names = pair_names(listed)
    return FilePairs(names, [listed["image"][name] for name in names], [listed["depth"][name] for name in names])


def _listed(top: Path, files: Path) -> FilePairs:
    """The pairs that a list names."""
    rows: list[Sequence[str]] = [line.split() for line in read_lines(files)]
    if short := [row for row in rows if len(row) < 2]:
        raise InputError(f"{files} has the line {' '.join(short[0])!r}: each must hold an image and its depth")
    if not rows or not (top / rows[0][0].lstrip("/")).is_file():
        raise InputError(f"{files} does not begin with a file in {top}: its paths must count from there")
    images = [top / row[0].lstrip("/") for row in rows]
    depths = [top / row[1].lstrip("/") for row in rows]
    names = [_short(row[0]) for row in rows]
    return FilePairs(names, images, depths)


def _short(image: str) -> str:
    path = Path(image.lstrip("/"))
    return path.with_name(path.stem.removeprefix("rgb_")).as_posix()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError(f'{LABELLED} needs h5py: pip install "perpixel[eval]"') from None
    return h5py
