"""KITTI: street scenes with the depth of a laser scanner, on the split of Eigen et al. or on the benchmark's own.

Andreas Geiger, Philip Lenz, Christoph Stiller, Raquel Urtasun, "Vision meets Robotics: The KITTI Dataset", 2013;
Jonas Uhrig et al., "Sparsity Invariant CNNs", 2017 (arXiv 1708.06500) for the annotated depth; David Eigen,
Christian Puhrsch, Rob Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", 2014
(arXiv 1406.2283) for the split. https://www.cvlibs.net/datasets/kitti/
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from perpixel.data.depth_sets import FilePairs
from perpixel.data.folders import list_files, named_list, one_kind, pair_names, read_lines
from perpixel.data.samples import LabelKind
from perpixel.errors import ConfigError, InputError

__all__ = ["Kitti"]

Protocol = Literal["eigen", "official"]

UNITS = 256.0  # a metre, in the PNGs of the annotated depth
_SPLITS: Mapping[str, tuple[str, ...]] = {
    "eigen": ("train", "test"),
    "official": ("train", "validation", "selection"),
}
_EIGEN_TEST = Path(__file__).with_name("kitti_eigen_test.txt")
# The drives of the categories city, residential and road that have no test frame (Garg et al. 2016, Godard et al.
# 2017); Eigen et al. had 28 of them.
_EIGEN_TRAIN = {
    "2011_09_26": "0001 0005 0011 0014 0015 0017 0018 0019 0022 0028 0032 0035 0039 0051 0057 0060 0061 0070 0079 "
    "0087 0091 0095 0104 0113",
    "2011_09_28": "0001",
    "2011_09_29": "0004 0026",
    "2011_09_30": "0020 0028 0033 0034",
    "2011_10_03": "0034 0042",
}
_RAW = (".", "raw", "kitti_raw", "raw_data")
_ANNOTATED = ("data_depth_annotated", ".")
_SELECTION = ("depth_selection/val_selection_cropped", "val_selection_cropped")
_CAMERA = "image_02"


class _Frame(NamedTuple):
    drive: str  # "2011_09_26_drive_0001_sync"
    number: str  # "0000000005"

    @property
    def name(self) -> str:
        return f"{self.drive}/{_CAMERA}/{self.number}"


class Kitti(FilePairs):
    """KITTI's photographs of the left colour camera with the annotated depth.

    Read are, below `root`:

    - photographs of the raw data, `DATE/DATE_drive_NNNN_sync/image_02/data/FRAME.png` (or .jpg), in `root` or in
      `root/raw`, `root/kitti_raw` or `root/raw_data`; from https://www.cvlibs.net/datasets/kitti/raw_data.php
    - depth, `data_depth_annotated/train|val/DATE_drive_NNNN_sync/proj_depth/groundtruth/image_02/FRAME.png`: 16-bit,
      256 a metre, 0 where nothing was measured; the folders train and val may be joined into one, and may lie in
      `root`; from https://s3.eu-central-1.amazonaws.com/avg-kitti/data_depth_annotated.zip
    - for "selection", `depth_selection/val_selection_cropped/image/…_image_….png` and `groundtruth_depth/…` of the
      benchmark's 1,000 validation pictures cropped to 1216×352, from data_depth_selection.zip beside it.

    The data's licence is CC BY-NC-SA 3.0.

    Args:
        root: the folder.
        split: by Eigen's protocol "train" (every annotated frame of the 33 drives without test frames) or "test" (the
            652 of the 697 test frames that have annotated depth, on which BTS, DPT and others are compared); by the
            official one "train", "validation" or "selection".
        kind: "depth" or None.
        protocol: "eigen" or "official".
        depths: the folder of the annotated depth, where it is not in `root`.
        files: a list with `IMAGE DEPTH …` in each line instead of the protocol's, such as BTS's
            `eigen_test_files_with_gt.txt`; lines whose depth is `None` are left out. A path's end, from the drive on,
            says which frame it is.

    Raises:
        ConfigError: no such protocol, or a split that it does not have.
        InputError: files are missing, or, when it is read, an unreadable file.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        protocol: Protocol = "eigen",
        depths: str | Path | None = None,
        files: str | Path | None = None,
    ) -> None:
        one_kind(kind, "depth", "kitti")
        if protocol not in _SPLITS:
            raise ConfigError(f"protocol is {protocol!r}: it must be 'eigen' or 'official'")
        if split not in _SPLITS[protocol]:
            raise ConfigError(f"split is {split!r}: by protocol={protocol!r} it must be one of {_SPLITS[protocol]}")
        top = Path(root)
        if split == "selection":
            super().__init__(*_selection(top), scale=UNITS)
            return
        folders = list(_annotated_folders(top, None if depths is None else Path(depths)))
        if files is not None:
            frames = _listed(named_list(top, files))
        elif split == "test":
            frames = _eigen_test()
        else:
            chosen = {"train": "train", "validation": "val"}[split] if protocol == "official" else None
            drives = None if protocol == "official" else set(_eigen_train())
            frames = _annotated(folders, drives, chosen)
            if not frames:
                raise InputError(f"{folders[0]} holds no annotated depth of the split {split!r}: download it anew")
        super().__init__(*_paired(frames, _raw_folder(top), folders), scale=UNITS)


def _eigen_test() -> list[_Frame]:
    rows = [line.split() for line in read_lines(_EIGEN_TEST)]
    return [_Frame(drive, f"{int(number):010d}") for drive, *numbers in rows for number in numbers]


def _eigen_train() -> list[str]:
    return [f"{date}_drive_{number}_sync" for date, numbers in _EIGEN_TRAIN.items() for number in numbers.split()]


def _listed(file: Path) -> list[_Frame]:
    """The frames of a list whose depth is given."""
    frames = []
    for line in read_lines(file):
        columns = line.split()
        path = Path(columns[0])
        drive = next((part for part in path.parts if part.endswith("_sync")), None)
        if drive is None or not path.stem.isdigit() or _CAMERA not in path.parts:
            raise InputError(
                f"{file} has the line {line!r}: it must begin with …_drive_…_sync/{_CAMERA}/data/FRAME.png"
            )
        if len(columns) < 2 or columns[1] != "None":
            frames.append(_Frame(drive, path.stem))
    return frames


def _annotated_folders(top: Path, given: Path | None) -> Iterator[Path]:
    """The folders that hold drives with annotated depth."""
    bases = [top / name for name in _ANNOTATED] if given is None else [given / name for name in _ANNOTATED]
    found = False
    for base in bases:
        for folder in (base / "train", base / "val", base):
            if folder.is_dir() and any((drive / "proj_depth").is_dir() for drive in folder.glob("*_sync")):
                found = True
                yield folder
        if found:
            return
    raise InputError(
        f"{given or top} has no data_depth_annotated/train/…_sync/proj_depth: unpack data_depth_annotated.zip there, "
        "or give its folder as the option depths"
    )


def _annotated(folders: list[Path], drives: set[str] | None, part: str | None) -> list[_Frame]:
    """Every frame with annotated depth of some drives, or of one part of the official split."""
    if part is not None:
        folders = [folder for folder in folders if folder.name == part]
        if not folders:
            raise InputError(f"the annotated depth has no folder {part}: the official split needs its own folders")
    return [
        _Frame(drive.name, name.removesuffix(".png"))
        for folder in folders
        for drive in sorted(folder.glob("*_sync"))
        if drives is None or drive.name in drives
        for name in _names(drive / "proj_depth" / "groundtruth" / _CAMERA)
        if name.endswith(".png")
    ]


def _paired(frames: list[_Frame], raw: Path, folders: list[Path]) -> tuple[list[str], list[Path], list[Path]]:
    """The names, photographs and depths of frames; each drive's folders are listed once."""
    images: dict[str, Path] = {}
    depths: dict[str, Path] = {}
    for drive in dict.fromkeys(frame.drive for frame in frames):
        for path in _files(raw / drive[:10] / drive / _CAMERA / "data"):
            if path.suffix in (".png", ".jpg"):
                images[_Frame(drive, path.stem).name] = path
        for folder in folders:
            for path in _files(folder / drive / "proj_depth" / "groundtruth" / _CAMERA):
                depths[_Frame(drive, path.stem).name] = path
    for role, there, where in (("photographs", images, raw), ("annotated depths", depths, folders[0])):
        if absent := [frame.name for frame in frames if frame.name not in there]:
            raise InputError(
                f"{len(absent)} of {len(frames)} {role} are not in {where}, such as {absent[0]}: "
                "download what is missing, or name a part of the frames by the option files"
            )
    names = [frame.name for frame in frames]
    return names, [images[name] for name in names], [depths[name] for name in names]


def _selection(top: Path) -> tuple[tuple[str, ...], list[Path], list[Path]]:
    """The cropped pictures for validation, whose two files differ by a word in their names."""
    folder = next((top / name for name in _SELECTION if (top / name).is_dir()), top)
    listed: dict[str, dict[str, Path]] = {}
    for role, place, word in (("image", "image", "_image_0"), ("depth", "groundtruth_depth", "_groundtruth_depth_0")):
        if not (folder / place).is_dir():
            raise InputError(f"{folder} has no folder {place}: unpack data_depth_selection.zip there")
        files = list_files(folder / place, frozenset({".png"}))
        listed[role] = {name.replace(word, "/0", 1): path for name, path in files.items()}
    names = pair_names(listed)
    return names, [listed["image"][name] for name in names], [listed["depth"][name] for name in names]


def _raw_folder(top: Path) -> Path:
    for name in _RAW:
        if next((top / name).glob("20??_??_??"), None) is not None:
            return top / name
    raise InputError(f"{top} has no folder of raw data such as 2011_09_26: unpack its drives there or in raw")


def _files(folder: Path) -> Iterator[Path]:
    return (folder / name for name in _names(folder))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - a path for each of 90,000 names would take seconds
    except FileNotFoundError:
        return []
