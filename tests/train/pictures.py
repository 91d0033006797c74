"""Small generated data sets of every kind, which a small model can learn in a few steps: bright things on dark."""

import json

import numpy as np
from PIL import Image

SIDE = 72


def scene(number, side=SIDE):
    """A photograph (h, w, 3) with one bright square, and the square (h, w) bool."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 60, (side, side, 3))
    top, left = rng.integers(4, side // 2, 2)
    inside = np.zeros((side, side), bool)
    inside[top : top + side // 2 - 4, left : left + side // 2 - 4] = True
    image[inside] += 180
    return image.astype(np.uint8), inside


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def mattes(root, count=6):
    """The layout "matte-folder": the square is opaque, and half transparent along its left edge."""
    for number in range(count):
        image, inside = scene(number)
        alpha = np.where(inside & ~np.roll(inside, 3, 1), 128, 255 * inside).astype(np.uint8)
        save(root / "images" / f"{number}.png", image)
        save(root / "alphas" / f"{number}.png", alpha)
    return root


def cutouts(root, count=4):
    """The layout "rgba"."""
    for number in range(count):
        image, inside = scene(number)
        save(root / f"{number}.png", np.dstack([image, np.uint8(255) * inside]))
    return root


def labels(root, count=6):
    """The layout "label-folder" with label pictures: 0 dark, 1 bright, 255 a void corner."""
    for number in range(count):
        image, inside = scene(number)
        values = inside.astype(np.uint8)
        values[:3, :3] = 255
        save(root / "images" / f"{number}.png", image)
        save(root / "labels" / f"{number}.png", values)
    (root / "names.txt").write_text("dark\nbright\n")
    return root


def instances(root, count=6):
    """The layout "label-folder" with a mask for each object; the last photograph has none."""
    for number in range(count):
        image, inside = scene(number)
        save(root / "images" / f"{number}.png", image)
        if number < count - 1:
            save(root / "masks" / str(number) / "square_1.png", np.uint8(255) * inside)
    return root


def panoptic(root, count=6):
    """The layout "coco-panoptic": squares are things, the dark is stuff."""
    images, rows = [], []
    for number in range(1, count + 1):
        image, inside = scene(number)
        name = f"{number:012}"
        save(root / "train2017" / f"{name}.jpg", image)
        ids = np.where(inside, 7, 8).astype(np.uint8)
        save(root / "annotations" / "panoptic_train2017" / f"{name}.png", np.dstack([ids, 0 * ids, 0 * ids]))
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIDE, "width": SIDE})
        segments = [
            {"id": 7, "category_id": 1, "iscrowd": 0, "area": int(inside.sum()), "bbox": [0, 0, 1, 1]},
            {"id": 8, "category_id": 5, "iscrowd": 0, "area": int((~inside).sum()), "bbox": [0, 0, 1, 1]},
        ]
        rows.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    categories = [{"id": 1, "name": "square", "isthing": 1}, {"id": 5, "name": "dark", "isthing": 0}]
    text = json.dumps({"images": images, "annotations": rows, "categories": categories})
    (root / "annotations" / "panoptic_train2017.json").write_text(text)
    return root


def depths(root, count=6):
    """The layout "depth-folder": the square is near; a corner was not measured."""
    for number in range(count):
        image, inside = scene(number)
        metres = np.where(inside, 1.0, 4.0).astype(np.float32)
        metres[:3, :3] = 0
        save(root / "images" / f"{number}.png", image)
        path = root / "depths" / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, metres)
    return root
