"""Depth data sets as their authors lay them out, a few pixels small, to exercise the readers.

Every function writes a data set below `root` and returns what was drawn, so that tests know the truth without the
code under test.
"""

from pathlib import Path

import h5py
import numpy as np
import scipy.io
from PIL import Image

SIZE = (13, 22)  # rows, columns


def photo(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def plane(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Whole numbers, a corner of which was not measured."""
    numbers = np.random.default_rng(2000 + seed).integers(1, 60000, size, np.uint16)
    numbers[:4, :5] = 0
    return numbers


def write(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def nyu_labelled(root: Path, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """nyu_depth_v2_labeled.mat with five images, and splits.mat; returns the arrays, as they are seen."""
    root.mkdir(parents=True, exist_ok=True)
    images = np.stack([photo(number, size) for number in range(5)])
    raw = np.stack([plane(number, size) for number in range(5)]).astype(np.float32) / 6000
    filled = np.where(raw == 0, np.float32(2.5), raw)
    scenes = ["kitchen", "office", "kitchen", "bathroom", "living_room"]
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        # MATLAB keeps arrays column by column, so every axis is turned round here.
        file["images"] = images.transpose(0, 3, 2, 1)
        file["rawDepths"], file["depths"] = raw.transpose(0, 2, 1), filled.transpose(0, 2, 1)
        references = []
        for number, scene in enumerate(scenes):
            file[f"#refs#/{number}"] = np.array([[ord(letter)] for letter in scene], np.uint16)
            references.append(file[f"#refs#/{number}"].ref)
        file.create_dataset("sceneTypes", data=np.array([references], dtype=h5py.ref_dtype))
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": np.array([[3], [4]]), "testNdxs": np.array([[1], [2], [5]])})
    return {"images": images, "raw": raw, "filled": filled}


def nyu_extracted(root: Path) -> dict[str, np.ndarray]:
    """official_splits as BTS extracts them; returns the depth in millimetres by name."""
    drawn = {}
    for split, name in (("test", "kitchen/00000"), ("test", "office/00001"), ("train", "kitchen/00002")):
        scene, number = name.split("/")
        folder = root / "official_splits" / split / scene
        write(folder / f"rgb_{number}.jpg", photo(int(number)))
        drawn[name] = write(folder / f"sync_depth_{number}.png", plane(int(number)))
    return drawn


def kitti(root: Path, frames: dict[str, list[int]], part: str = "train", raw: str = "") -> dict[str, np.ndarray]:
    """Drives of the raw data with their annotated depth; returns the whole numbers by name.

    Each drive has a frame 3 without depth as well, for depth is not given near the ends.
    """
    drawn = {}
    for drive, numbers in frames.items():
        images = root / raw / drive[:10] / f"{drive}_sync" / "image_02" / "data"
        depths = root / "data_depth_annotated" / part / f"{drive}_sync" / "proj_depth" / "groundtruth" / "image_02"
        write(images / f"{3:010d}.png", photo(3))
        for number in numbers:
            write(images / f"{number:010d}.png", photo(number))
            drawn[f"{drive}_sync/image_02/{number:010d}"] = write(depths / f"{number:010d}.png", plane(number))
    return drawn


def kitti_selection(root: Path) -> dict[str, np.ndarray]:
    """depth_selection/val_selection_cropped; returns the whole numbers by name."""
    folder, drawn = root / "depth_selection" / "val_selection_cropped", {}
    for number, camera in ((5, 2), (8, 3)):
        drive, end = "2011_09_26_drive_0002_sync", f"{number:010d}_image_0{camera}.png"
        write(folder / "image" / f"{drive}_image_{end}", photo(number))
        name = f"{drive}/{number:010d}_image_0{camera}"
        drawn[name] = write(folder / "groundtruth_depth" / f"{drive}_groundtruth_depth_{end}", plane(number))
    return drawn
