"""Small folders of predictions and truth, of which the figures are known."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco


def save(path, values):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(np.asarray(values)).save(path)
    return path


def rle(mask):
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}


def box(top, left, bottom, right, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def write_json(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def mattes(folder, count=3, seed=0):
    """alphas/, predictions/ and trimaps/ of `count` random mattes, 8 bits; returns (name, true, pred, trimap) each."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        size = (12 + number, 17)
        true, pred = (random.integers(0, 256, size).astype(np.uint8) for _ in range(2))
        trimap = random.choice(np.array([0, 128, 255], np.uint8), size)
        name = f"photo{number}"
        for part, values in (("alphas", true), ("predictions", pred), ("trimaps", trimap)):
            save(folder / part / f"{name}.png", values)
        found.append((name, true, pred, trimap))
    return found
