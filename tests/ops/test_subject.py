from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.ops.subject import mask_from_box, mask_from_points

PETS = Path(__file__).parents[2] / "../shared/data/segmentation/pets"


def scene(height: int = 90, width: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy red disc before noisy green: (h, w, 3) uint8 and where the disc is."""
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - width * 0.5, y - height * 0.5) < min(height, width) * 0.3
    image = np.where(disc[..., None], (190, 60, 50), (60, 130, 70))
    return (image + np.random.default_rng(seed).normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8), disc


def overlap(mask: np.ndarray, true: np.ndarray) -> float:
    return float((mask & true).sum() / (mask | true).sum())


def test_box_finds_the_disc() -> None:
    image, disc = scene()
    assert overlap(mask_from_box(image, (25, 10, 95, 80)), disc) > 0.97


def test_one_click_finds_the_disc() -> None:
    image, disc = scene()
    assert overlap(mask_from_points(image, [(60, 45)]), disc) > 0.97


def test_large_images_get_a_mask_of_their_size() -> None:
    image, disc = scene(600, 801)
    mask = mask_from_box(image, (180, 60, 620, 540))
    assert mask.shape == (600, 801)
    assert mask.dtype == np.bool_
    assert overlap(mask, disc) > 0.97


def test_nothing_outside_the_box() -> None:
    image = np.full((80, 160, 3), (40, 120, 60), np.uint8)
    cv2.circle(image, (40, 40), 20, (200, 50, 50), -1)
    cv2.circle(image, (120, 40), 20, (50, 50, 200), -1)
    mask = mask_from_box(image, (10, 10, 70, 70))
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.1)
    assert not mask[:, 70:].any()


def test_the_same_input_gives_the_same_mask() -> None:
    image, _ = scene()
    first = mask_from_box(image, (20, 5, 100, 85))
    cv2.setRNGSeed(12345)
    np.testing.assert_array_equal(mask_from_box(image, (20, 5, 100, 85)), first)


def test_only_the_clicked_of_two_discs() -> None:
    image = np.full((80, 160, 3), (40, 120, 60), np.uint8)
    cv2.circle(image, (40, 40), 20, (200, 50, 50), -1)
    cv2.circle(image, (120, 40), 20, (200, 50, 50), -1)
    mask = mask_from_points(image, [(40, 40)])
    assert mask[:, :80].sum() == pytest.approx(np.pi * 20**2, rel=0.1)
    assert not mask[:, 80:].any()
    assert mask_from_points(image, [(40, 40), (120, 40)])[40, 120]


def test_background_clicks_take_a_part_away() -> None:
    image = np.full((80, 120, 3), (40, 120, 60), np.uint8)
    image[20:60, 20:60] = (200, 50, 50)
    image[20:60, 60:100] = (60, 60, 200)
    mask = mask_from_points(image, [(40, 40)], [(80, 40)], box=(10, 10, 110, 70))
    assert mask[25:55, 25:55].all()
    assert not mask[25:55, 66:].any()


def test_pinholes_are_filled_and_specks_dropped() -> None:
    image, _ = scene(100, 100)
    image[50:52, 50:52] = (60, 130, 70)
    image[10:12, 50:52] = (190, 60, 50)
    mask = mask_from_box(image, (5, 5, 95, 95))
    assert mask[50:52, 50:52].all()
    assert not mask[10:12, 50:52].any()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    where=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    seed=st.integers(0, 9),
)
def test_any_size_gives_a_mask_or_a_clear_error(height: int, width: int, where: tuple[float, float], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    point = int(where[0] * width), int(where[1] * height)
    try:
        mask = mask_from_points(image, [point])
    except InputError as error:
        assert "no subject" in str(error)
        return
    assert mask.shape == (height, width)
    assert mask[point[1], point[0]]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((50, 10, 50, 60), "is empty"),
        ((60, 10, 50, 60), "is empty"),
        ((130, 10, 150, 60), "outside the image, which is 120×90"),
        ((-20, -20, -1, -1), "outside"),
        ((0, 0, 120, 90), "covers the whole image of 120×90"),
        ((-5, -5, 500, 500), "covers the whole image"),
        ((1, 2, 3), "four numbers"),
        ((0, 0, float("nan"), 9), "four numbers"),
    ],
)
def test_bad_boxes_are_refused(box: tuple[float, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        mask_from_box(scene()[0], box)


@pytest.mark.parametrize(
    ("foreground", "background", "box", "words"),
    [
        ([], [], None, "no foreground point"),
        ([(120, 5)], [], None, r"\(120, 5\) is outside the image, which is 120×90"),
        ([(5, 5)], [(-1, 5)], None, r"background point \(-1, 5\) is outside"),
        ([(5, 5)], [(5, 5)], None, "both foreground and background"),
        ([(5, 5)], [], (10, 10, 50, 50), "outside the box"),
        ([(5, 5)], [], (0, 0, 120, 90), "covers the whole"),
        ([(5,)], [], None, "no pair"),
    ],
)
def test_bad_points_are_refused(foreground: list, background: list, box: tuple | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        mask_from_points(scene()[0], foreground, background, box)


def test_no_subject_has_a_mend() -> None:
    flat = np.full((30, 30, 3), 100, np.uint8)
    with pytest.raises(InputError, match=r"no subject stands out.*give a mask"):
        mask_from_box(flat, (5, 5, 6, 6))


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32), np.zeros((0, 5, 3), np.uint8)]
)
def test_only_eight_bit_rgb(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="8-bit RGB"):
        mask_from_box(image, (0, 0, 2, 2))


@pytest.mark.slow
@pytest.mark.skipif(not PETS.is_dir(), reason="the pet photographs are not here")
def test_pets_in_their_boxes() -> None:
    overlaps = []
    for path in sorted((PETS / "trimaps").glob("*.png"))[7::30]:
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = cv2.cvtColor(cv2.imread(str(PETS / "images" / f"{path.stem}.jpg")), cv2.COLOR_BGR2RGB)
        rows, columns = np.nonzero(labels != 2)
        box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
        if box == (0, 0, *labels.shape[::-1]):
            continue
        decided = labels != 3
        overlaps.append(overlap(mask_from_box(image, box)[decided], (labels == 1)[decided]))
    assert np.mean(overlaps) > 0.75


def test_the_prior_of_a_subject_that_the_frame_cuts_is_half_an_ellipse():
    from perpixel.ops.subject import _prior

    inside = _prior((100, 80), (10, 20, 70, 90), [], []) == cv2.GC_PR_FGD
    assert not inside[88, 14]  # the ellipse leaves the corners out
    cut = _prior((100, 80), (10, 20, 70, 100), [], []) == cv2.GC_PR_FGD
    assert cut[99, 11]
    assert cut[99, 68]
    assert not cut[22, 14]
    both = _prior((100, 80), (10, 0, 70, 100), [], []) == cv2.GC_PR_FGD
    assert not both[99, 11]  # cut at both ends: no side to mirror at
