from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small pictures, smooth enough to look like photographs to an interpolation."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(7)
    for number in range(10):
        coarse = rng.integers(0, 256, (9, 12, 3), np.uint8)
        side = (120 + 10 * number, 90 + 7 * number)
        Image.fromarray(coarse).resize(side, Image.Resampling.BICUBIC).save(folder / f"photo{number}.png")
    return folder


@pytest.fixture(scope="session")
def art_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six discs with soft rims, as RGBA."""
    folder = tmp_path_factory.mktemp("art")
    away = np.hypot(*(np.mgrid[:64, :64] - 31.5))
    for number in range(6):
        picture = np.zeros((64, 64, 4), np.uint8)
        picture[..., :3] = (40 * number, 255 - 40 * number, 90)
        picture[..., 3] = np.clip((16 + 2 * number - away) * 128, 0, 255)
        Image.fromarray(picture).save(folder / f"art{number}.webp", lossless=True)
    return folder
