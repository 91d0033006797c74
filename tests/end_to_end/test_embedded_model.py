"""The embedded vitmatte-nano: its file, its readers, its mattes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

import perpixel as px
from perpixel.hub.catalog import find_entry
from perpixel.ops.trimap import trimap_from_mask

FOLDER = find_entry("vitmatte-nano").path
ALPHAMATTING = Path(__file__).parents[3] / "shared" / "data" / "matting" / "alphamatting"


@pytest.fixture(scope="module")
def model():
    return px.VitMatteForImageMatting.from_pretrained("vitmatte-nano")


def astronaut(scale=1.0):
    """A portrait that the model has not seen, and a trimap with a wide band around its subject."""
    import cv2

    image = data.astronaut()
    mask = np.zeros((512, 512), np.uint8)
    outline = [[150, 40], [220, 0], [300, 40], [310, 130], [280, 190], [430, 290], [450, 511], [20, 511], [60, 300]]
    cv2.fillPoly(mask, [np.array([*outline, [180, 190], [155, 130]])], 255)
    if scale != 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return image, trimap_from_mask(mask > 0, band=20 * scale)


def test_the_weights_are_small_and_half_precision():
    assert (FOLDER / "model.safetensors").stat().st_size <= 16e6
    assert json.loads((FOLDER / "config.json").read_text())["dtype"] == "float16"
    assert (FOLDER / "README.md").is_file()


@torch.no_grad()
def test_transformers_loads_the_weights_and_draws_the_same_alphas(model):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.VitMatteForImageMatting.from_pretrained(FOLDER, dtype=torch.float32).eval()
    image, trimap = astronaut()
    inputs = px.AutoImageProcessor.from_pretrained("vitmatte-nano")(image, trimap, return_tensors="pt")
    values = inputs.pixel_values[..., :256, 128:384]
    assert (theirs(values).alphas - model(values).alphas).abs().max() <= 1e-4


def test_the_inside_is_solid_the_outside_empty_and_the_edge_soft(model):
    image, trimap = astronaut()
    alpha = px.matte(image, trimap, model=model).alpha
    assert alpha.shape == image.shape[:2]
    assert (alpha[trimap == 255] == 1).all()
    assert (alpha[trimap == 0] == 0).all()
    unknown = alpha[trimap == 128]
    assert (unknown > 0.9).mean() > 0.15
    assert (unknown < 0.1).mean() > 0.15
    assert ((unknown > 0.1) & (unknown < 0.9)).mean() > 0.05


@pytest.mark.slow
def test_a_memory_limit_leaves_no_seams(model):
    image, trimap = astronaut(scale=2.0)
    whole = px.matte(image, trimap, model=model).alpha
    limit = model.working_memory(*image.shape[:2], 256)
    assert limit < model.working_memory(*image.shape[:2], 384)
    tiled = px.matte(image, trimap, model=model, max_memory=limit).alpha
    assert (np.abs(tiled - whole) < 2 / 255).mean() >= 0.999
    assert np.abs(tiled - whole).max() < 1e-3


@pytest.mark.slow
def test_tiles_that_cannot_see_the_whole_image_stay_close_to_it(model):
    image, trimap = astronaut(scale=2.0)
    whole = px.matte(image, trimap, model=model).alpha
    limit = model.working_memory(768, 768, 256)
    assert limit < model.working_memory(*image.shape[:2], 256)
    tiled = px.matte(image, trimap, model=model, max_memory=limit).alpha
    assert (np.abs(tiled - whole) < 2 / 255).mean() >= 0.88
    assert np.abs(tiled - whole)[trimap == 128].mean() < 0.06
    # A seam would be a step along a whole line: no row or column of the difference jumps on average.
    difference = tiled - whole
    for axis in (0, 1):
        unknown = (trimap == 128).sum(axis=1 - axis)
        steps = np.abs(np.diff(difference, axis=axis)).sum(axis=1 - axis)[unknown[1:] > 100]
        assert (steps / unknown[1:][unknown[1:] > 100]).max() < 0.05


@pytest.mark.slow
@pytest.mark.skipif(not ALPHAMATTING.is_dir(), reason="the photographs of alphamatting.com are not here")
def test_the_recorded_figures_are_those_of_the_weights(model):
    from PIL import Image

    from perpixel.metrics.matting import sad

    recorded = json.loads((FOLDER / "metrics.json").read_text())["alphamatting"]
    rows = []
    for path in sorted(ALPHAMATTING.glob("*_trimap1.png")):
        name = path.name.removesuffix("_trimap1.png")
        true = np.asarray(Image.open(ALPHAMATTING / f"{name}_alpha.png").convert("L"), np.float32) / 255
        trimap = np.asarray(Image.open(path).convert("L"))
        alpha = px.matte(ALPHAMATTING / f"{name}.png", trimap, model=model).alpha
        rows.append(sad(alpha, true, trimap))
    assert np.mean(rows) == pytest.approx(recorded["narrow"]["sad"], rel=0.01)
