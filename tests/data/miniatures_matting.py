"""Matting data sets as their authors lay them out, a few pixels small, to exercise the readers.

Every function writes a data set below `root` and returns what was drawn, so that tests know the truth without the
code under test.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (14, 23)  # rows, columns


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photo(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def matte(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Every grey value may occur; some pixels are certain."""
    alpha = np.random.default_rng(1000 + seed).integers(0, 256, size, np.uint8)
    alpha[:3], alpha[-3:] = 0, 255
    return alpha


def trimap(alpha: np.ndarray) -> np.ndarray:
    return np.where(alpha == 0, 0, np.where(alpha == 255, 255, 128)).astype(np.uint8)


def composed_slowly(fg: np.ndarray, alpha: np.ndarray, bg: np.ndarray) -> np.ndarray:
    """What the code that comes with the Deep Image Matting data writes, pixel by pixel as it does it."""
    h, w = alpha.shape
    ratio = max(w / bg.shape[1], h / bg.shape[0])
    picture = Image.fromarray(bg)
    if ratio > 1:
        picture = picture.resize((math.ceil(bg.shape[1] * ratio), math.ceil(bg.shape[0] * ratio)), Image.BICUBIC)
    out = np.array(picture.crop((0, 0, w, h)))
    for y in range(h):
        for x in range(w):
            a = int(alpha[y, x]) / 255
            if a >= 1:
                out[y, x] = fg[y, x]
            elif a > 0:
                for c in range(3):
                    out[y, x, c] = int(a * int(fg[y, x, c]) + (1 - a) * int(out[y, x, c]))
    return out


def matte_folder(root: Path, names: tuple[str, ...] = ("a", "b/c")) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """images/, alphas/, trimaps/ and foregrounds/; returns image and alpha by name."""
    drawn = {}
    for seed, name in enumerate(names):
        size = (SIZE[0] + seed, SIZE[1])
        drawn[name] = photo(seed, size), matte(seed, size)
        write(root / "images" / f"{name}.png", drawn[name][0])
        write(root / "alphas" / f"{name}.png", drawn[name][1])
        write(root / "trimaps" / f"{name}.png", trimap(drawn[name][1]))
        write(root / "foregrounds" / f"{name}.png", 255 - drawn[name][0])
    return drawn


def composition_1k(root: Path) -> dict[str, np.ndarray]:
    """Combined_Dataset with two test foregrounds and three training ones, and their backgrounds.

    Returns the composites by name.
    """
    top = root / "Combined_Dataset"
    test, train = top / "Test_set", top / "Training_set"
    adobe, other = "Adobe-licensed images", "Other"
    composites = {}
    for split, base, each, list_name, foregrounds in (
        ("test", test, 20, "test", [("lion 1", adobe), ("cat", adobe)]),
        ("train", train, 100, "training", [("x", other), ("y", adobe), ("z", other)]),
    ):
        pictures = {}
        folder = root / "voc" if split == "test" else root / "coco"
        for number in range(3):
            # Smaller and larger than the foreground, wider and higher.
            pictures[number] = photo(50 + number, [(9, 40), (30, 30), (5, 7)][number])
            write(folder / f"{split}{number}.png", pictures[number])
        listed = []
        for seed, (name, part) in enumerate(foregrounds):
            fg, alpha = photo(10 + seed), matte(seed)
            write(base / part / "fg" / f"{name}.png", fg)
            write(base / part / "alpha" / f"{name}.png", alpha if seed else np.repeat(alpha[..., None], 3, 2))
            for k in range(each):
                number = (seed + k) % 3
                listed.append(f"{'COCO_train2014_' if split == 'train' and k % 2 else ''}{split}{number}.png")
                if split == "test":
                    write(base / part / "trimaps" / f"{name}_{k}.png", trimap(alpha))
                if k < 4:
                    mark = "_" if split == "test" else "@"
                    composites[f"{name}{mark}{k}"] = composed_slowly(fg, alpha, pictures[number])
        (base / f"{list_name}_fg_names.txt").write_bytes("\r\n".join(f"{n}.png" for n, _ in foregrounds).encode())
        (base / f"{list_name}_bg_names.txt").write_text("\n".join(listed) + "\n")
    return composites


def composed_folder(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The folder that ViTMatte's authors evaluate on; returns image and alpha by name."""
    drawn = {}
    for seed, name in enumerate(("lion_0", "lion_1", "cat_0")):
        drawn[name] = photo(seed), matte(seed)
        write(root / "merged" / f"{name}.png", drawn[name][0])
        write(root / "alpha_copy" / f"{name}.png", drawn[name][1])
        write(root / "trimaps" / f"{name}.png", trimap(drawn[name][1]))
    return drawn


def distinctions_646(root: Path) -> dict[str, np.ndarray]:
    """Train and Test with FG and GT, lists of backgrounds, and VOC and COCO beside; returns composites by name."""
    composites = {}
    for split, each, count, folder in (
        ("Test", 20, 11, root / "VOCdevkit" / "VOC2012" / "JPEGImages"),
        ("Train", 100, 2, root / "train2014"),
    ):
        background = photo(70, (40, 9))
        write(folder / "one.png", background)
        for number in range(count):
            fg, alpha = photo(number), matte(number)
            name = f"{split.lower()}_{number}"
            write(root / split / "FG" / f"{name}.png", fg)
            write(root / split / "GT" / f"{name}.png", alpha)
            key = f"test_{number * each}" if split == "Test" else f"{name}@0"
            composites[key] = composed_slowly(fg, alpha, background)
        (root / split / f"bg_{split.lower()}.txt").write_text("one.png\n" * (each * count))
    return composites
