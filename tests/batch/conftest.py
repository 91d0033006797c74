"""Folders of small photographs and their trimaps."""

import numpy as np
import pytest
from PIL import Image


def picture(number, size=(24, 32)):
    return np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)


def trimap(size=(24, 32)):
    """Background on the left, subject on the right, unknown between."""
    known = np.full(size, 128, np.uint8)
    known[:, : size[1] // 3], known[:, -(size[1] // 3) :] = 0, 255
    return known


@pytest.fixture
def photographs(tmp_path):
    """Makes `in/` and `trimaps/` with photographs of these names, and returns both folders."""

    def make(names, size=(24, 32)):
        for number, name in enumerate(names):
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number, size)).save(path)
            hint = (tmp_path / "trimaps" / name).with_suffix(".png")
            hint.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(trimap(size)).save(hint)
        return tmp_path / "in", tmp_path / "trimaps"

    return make
