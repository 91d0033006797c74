"""`matte` with a tiny random model: sizes, known pixels, tiles, devices, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.vitmatte.pictures import picture
from models.vitmatte.tiny import tiny_model
from perpixel.errors import CheckpointError, InputError
from perpixel.images.read import read_photo
from perpixel.models.vitmatte.model import VitMatteForImageMatting
from perpixel.models.vitmatte.processor import VitMatteImageProcessor
from perpixel.tasks import matting
from perpixel.tasks.matting import estimate_alpha, load_matting_model, matte

MODEL = tiny_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    MODEL.save_pretrained(path)
    return path


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_sizes_and_known_pixels(height, width):
    image, trimap = picture(height, width + 1)
    trimap.flat[[0, -1]] = 0, 255  # a trimap needs both
    width += 1
    result = matte(image, trimap, model=MODEL)
    assert result.alpha.shape == (height, width) and result.alpha.dtype == np.float32
    assert (result.alpha[trimap == 0] == 0).all() and (result.alpha[trimap == 255] == 1).all()
    np.testing.assert_array_equal(result.image, image)
    np.testing.assert_array_equal(result.trimap, trimap)
    unknown = result.alpha[trimap == 128]
    assert ((unknown > 0) & (unknown < 1)).all()


def test_unknown_pixels_are_the_models():
    image, trimap = picture(40, 52)
    inputs = VitMatteImageProcessor()(image, trimap, return_tensors="pt")
    with torch.no_grad():
        expected = MODEL(**inputs).alphas[0, 0, :40, :52].numpy()
    alpha = matte(image, trimap, model=MODEL).alpha
    np.testing.assert_allclose(alpha[trimap == 128], expected[trimap == 128], atol=1e-6)


def test_models_by_folder_and_as_they_are(folder, tmp_path):
    image, trimap = picture(20, 30)
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(trimap).save(tmp_path / "trimap.png")
    expected = matte(image, trimap, model=MODEL).alpha
    for source in (folder, str(folder)):
        result = matte(tmp_path / "image.png", str(tmp_path / "trimap.png"), model=source, device="cpu")
        np.testing.assert_allclose(result.alpha, expected, atol=1e-6)
    photo = read_photo(tmp_path / "image.png")
    np.testing.assert_array_equal(matte(photo, trimap, model=MODEL).alpha, expected)
    training = tiny_model().train()
    np.testing.assert_allclose(matte(image, trimap, model=training).alpha, expected, atol=1e-6)


def test_sixteen_bits():
    image, trimap = picture(20, 30)
    deep = matte(image.astype(np.uint16) * 257, trimap, model=MODEL)
    assert deep.image.dtype == np.uint16
    np.testing.assert_allclose(deep.alpha, matte(image, trimap, model=MODEL).alpha, atol=1e-6)


def test_nothing_unknown_needs_no_model():
    image, trimap = picture(20, 30)
    trimap = np.where(trimap > 0, 255, 0).astype(np.uint8)
    result = matte(image, trimap, model="there/is/none")
    np.testing.assert_array_equal(result.alpha, trimap / 255)


# Tiles


def in_tiles(monkeypatch, network, image, trimap, side=96, overlap=32):
    """The estimate in tiles of about `side` pixels, and how many there were."""
    monkeypatch.setattr(matting, "SMALLEST_TILE", 64)
    monkeypatch.setattr(matting, "TILE_OVERLAP", overlap)
    ran = []
    original = matting._run

    def run(network, pixels, trimap, tile=None, area=None):
        ran.append(tile)
        return original(network, pixels, trimap, tile, area)

    monkeypatch.setattr(matting, "_run", run)
    limit = network.working_memory(side, side)
    return estimate_alpha(network, image, trimap, limit), ran


def test_a_limit_that_the_backbone_meets_makes_the_decoder_work_in_smaller_areas(monkeypatch):
    image, trimap = picture(320, 640)
    whole = matte(image, trimap, model=MODEL).alpha
    areas = []
    original = matting._run

    def run(network, pixels, trimap, tile=None, area=None):
        areas.append((tile, area))
        return original(network, pixels, trimap, tile, area)

    monkeypatch.setattr(matting, "_run", run)
    limited = matte(image, trimap, model=MODEL, max_memory=MODEL.working_memory(320, 640, 256)).alpha
    assert areas == [(None, 256)]
    assert np.abs(limited - whole).max() < 1e-5


def test_tiles_where_the_limit_demands_them(monkeypatch):
    image, trimap = picture(150, 230)
    trimap[:, :100] = 255
    estimate, tiles = in_tiles(monkeypatch, MODEL, image, trimap)
    assert len(tiles) > 1 and None not in tiles
    assert all(tile.bottom - tile.top <= 96 and tile.right > 100 for tile in tiles)
    assert estimate.shape == (150, 230) and estimate.dtype == np.float32
    unknown = estimate[trimap == 128]
    assert ((unknown > 0) & (unknown < 1)).all()
    result = matte(image, trimap, model=MODEL, max_memory=MODEL.working_memory(96, 96))
    np.testing.assert_array_equal(result.alpha[trimap == 128], unknown)
    assert (result.alpha[trimap == 255] == 1).all()


def test_no_tiles_where_all_fits(monkeypatch):
    image, trimap = picture(40, 60)
    _, tiles = in_tiles(monkeypatch, MODEL, image, trimap, side=64)
    assert tiles == [None]
    np.testing.assert_array_equal(
        matte(image, trimap, model=MODEL, max_memory="4GB").alpha, matte(image, trimap, model=MODEL).alpha
    )


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("size", [(150, 330), (97, 410), (300, 310)])
def test_tiles_of_a_model_that_sees_only_its_neighbourhood_equal_the_whole(monkeypatch, window, size):
    # With windows alone, what a tile's trusted middle depends on is all in the tile.
    network = tiny_model(window_size=window, window_block_indices=[0, 1], residual_block_indices=[])
    image, trimap = picture(*size)
    trimap[:] = 128
    whole = estimate_alpha(network, image, trimap)
    monkeypatch.setattr(matting, "_largest_tile", lambda network, limit, least: 288)
    joined, tiles = in_tiles(monkeypatch, network, image, trimap, side=0, overlap=128)
    assert len(tiles) > 1
    assert np.abs(joined - whole).max() < 1e-3  # the border of a tile counts a ten-thousandth


# Errors


def test_devices():
    assert load_matting_model(MODEL, "cpu") is MODEL
    for device in ("gpu7", "cuda:99"):
        with pytest.raises(InputError, match=rf"there is no device '{device}' here: use 'cpu'"):
            load_matting_model("there/is/none", device)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trimap": np.full((20, 31), 128, np.uint8)}, "trimap is 31×20 but the image is 30×20 .*resize the trimap"),
        ({"max_memory": "much"}, "'much' is no amount of memory"),
        ({"max_memory": -1}, "-1 is no amount of memory"),
        ({"max_memory": "1MB"}, r"max_memory is 1 MB: this model needs at least \d+ MB"),
        ({"image": "there_is_none.jpg"}, "there_is_none.jpg"),
    ],
)
def test_inputs_that_cannot_be_used(changes, message):
    image, trimap = picture(20, 30)
    arguments = {"image": image, "trimap": trimap, "model": MODEL} | changes
    with pytest.raises(InputError, match=message):
        matte(arguments.pop("image"), arguments.pop("trimap"), **arguments)


def test_models_that_cannot_be_loaded(tmp_path):
    image, trimap = picture(20, 30)
    with pytest.raises(CheckpointError):
        matte(image, trimap, model=tmp_path / "none")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(Exception, match="VitMatteConfig reads 'vitmatte'"):
        matte(image, trimap, model=tmp_path)
    assert isinstance(MODEL, VitMatteForImageMatting)
