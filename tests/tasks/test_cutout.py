"""`cutout` with a tiny random model: each kind of hint, and hints that do not work."""

import numpy as np
import pytest

from models.vitmatte.tiny import tiny_model
from perpixel.errors import InputError
from perpixel.ops.subject import mask_from_box, mask_from_points
from perpixel.ops.trimap import trimap_from_mask
from perpixel.tasks.cutout import cutout
from perpixel.tasks.matting import matte

MODEL = tiny_model()
BOX = (20, 16, 76, 60)


@pytest.fixture(scope="module")
def scene():
    """A red ellipse on grey noise, and the mask of the ellipse. (72, 96)."""
    y, x = np.mgrid[:72, :96]
    mask = ((x - 48) / 24) ** 2 + ((y - 38) / 18) ** 2 < 1
    image = np.random.default_rng(0).integers(90, 130, (72, 96, 3), np.uint8)
    image[mask] = image[mask] // 8 + np.array([180, 20, 10], np.uint8)
    return image, mask


def same(result, image, trimap):
    expected = matte(image, trimap, model=MODEL)
    np.testing.assert_array_equal(result.trimap, expected.trimap)
    np.testing.assert_array_equal(result.alpha, expected.alpha)
    assert result.alpha.shape == image.shape[:2]
    assert (result.alpha[expected.trimap == 255] == 1).all() and (result.alpha[expected.trimap == 0] == 0).all()


def test_a_trimap_goes_straight_to_the_model(scene):
    image, mask = scene
    trimap = trimap_from_mask(mask)
    same(cutout(image, trimap=trimap, model=MODEL), image, trimap)


def test_a_mask_becomes_a_trimap(scene):
    image, mask = scene
    same(cutout(image, mask=mask.astype(np.uint8) * 255, model=MODEL), image, trimap_from_mask(mask))
    subject = cutout(image, mask=mask, model=MODEL)
    assert subject.alpha[38, 48] == 1 and subject.alpha[2, 2] == 0


def test_a_box_and_clicks_become_a_mask(scene):
    image, _ = scene
    same(cutout(image, box=BOX, model=MODEL), image, trimap_from_mask(mask_from_box(image, BOX)))
    clicks, beside = [(48, 38), (40, 36)], [(4, 4), (90, 66)]
    for box in (None, BOX):
        expected = trimap_from_mask(mask_from_points(image, clicks, beside, box))
        same(cutout(image, box=box, points=clicks, background_points=beside, model=MODEL), image, expected)
    result = cutout(image, box=BOX, model=MODEL)
    assert result.alpha[38, 48] == 1 and result.alpha[2, 2] == 0


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({}, r"needs a hint .* a trimap, a mask, box=\(x0, y0, x1, y1\) or points=\[\(x, y\)\]"),
        ({"points": [], "background_points": []}, "needs a hint"),
        ({"trimap": np.zeros((72, 96), np.uint8), "box": BOX}, "got trimap and box and points: give one"),
        ({"mask": np.ones((72, 96), bool), "points": [(4, 4)]}, "got mask and box and points: give one"),
        ({"mask": np.ones((72, 95), bool)}, "mask is 95×72 but the image is 96×72 .*resize the mask to 96×72"),
        ({"trimap": np.full((71, 96), 128, np.uint8)}, "trimap is 96×71 but the image is 96×72"),
        ({"box": (200, 200, 300, 300)}, "box"),
        ({"box": (20, 16, 76)}, "box"),
        ({"points": [(400, 4)]}, "400"),
    ],
)
def test_hints_that_do_not_work(scene, hints, message):
    with pytest.raises(InputError, match=message):
        cutout(scene[0], **hints, model=MODEL)
