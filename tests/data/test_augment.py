"""A sample and its labels are changed alike, whatever the sizes; and nothing but the seed decides how."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.data.augment import PADDING, AugmentRecipe, augment
from perpixel.data.samples import VOID, DepthSample, LabelledObject, MattingSample, Sample, SegmentationSample
from perpixel.errors import ConfigError, InputError
from perpixel.ops.rle import decode_rle, encode_rle

SIDES = st.one_of(st.just(1), st.integers(2, 40))
COLOURS = AugmentRecipe(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=2, noise=0.05, jpeg=40, chance=1)


def chart(height: int, width: int) -> np.ndarray:
    """A picture whose red and green say where a pixel came from, 4 levels a pixel; blue is the checker of a class."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 4 % 256, columns * 4 % 256, (rows // 8 + columns // 8) % 2 * 255], 2).astype(np.uint8)


def positions(height: int, width: int) -> np.ndarray:
    """(h, w) float32: 1 + the number of each pixel, exact, and never 0."""
    return 1 + np.arange(height * width, dtype=np.float32).reshape(height, width)


def came_from(depth: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.divmod(depth - 1, width)


@st.composite
def recipes(draw):
    crop = draw(st.none() | st.tuples(SIDES, SIDES))
    low = draw(st.floats(0.3, 2))
    return AugmentRecipe(
        crop=crop,
        scale=(low, low * draw(st.floats(1, 1.5))),
        scale_of=draw(st.sampled_from(["image", "fit", "cover"])) if crop else "image",
        flip=draw(st.sampled_from([0.0, 0.5, 1.0])),
        rotate=draw(st.sampled_from([0.0, 30.0, 180.0])),
    )


@settings(max_examples=60, deadline=None)
@given(st.tuples(SIDES, SIDES), recipes(), st.integers(0, 1000))
def test_picture_and_depth_show_the_same_place(size, recipe, seed):
    height, width = size
    result = augment(DepthSample("x", chart(height, width), positions(height, width)), recipe, seed)
    assert result.image.shape == (*result.depth.shape, 3)
    assert recipe.crop is None or result.depth.shape == recipe.crop
    shown = result.depth > 0
    assert (result.image[~shown] == PADDING).all()
    assert np.isin(result.depth[shown], positions(height, width)).all()
    rows, columns = came_from(result.depth, width)
    for channel, place, side in ((0, rows, height), (1, columns, width)):
        apart = np.abs(result.image[..., channel] / 4 - place)[shown]
        # Nearest is half a pixel off at most, a mean half of those that fall together; here at most 1 / 0.09 do.
        along = result.depth.shape[channel] if recipe.crop is None else None
        together = max(1.0, side / along) if along else 12.0
        assert apart.size == 0 or apart.max() <= together + 0.5


@pytest.mark.parametrize("rotate", [0.0, 25.0])
@pytest.mark.parametrize("scale", [0.4, 0.83, 1.0, 1.7])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_there_is_no_shift_between_picture_and_depth(scale, rotate, flip):
    recipe = AugmentRecipe(crop=(21, 19), scale=(scale, scale), flip=flip, rotate=rotate)
    for seed in range(3):
        result = augment(DepthSample("x", chart(63, 61), positions(63, 61)), recipe, seed)
        shown = result.depth > 0
        for channel, place in enumerate(came_from(result.depth, 61)):
            inner = shown & (place > 4) & (place < 56)
            error = (result.image[..., channel] / 4 - place)[inner]
            assert np.abs(error).max() <= 0.5 / min(1, scale) + 0.5
            assert np.abs(error.mean()) < 0.15


def test_every_plane_of_every_kind_follows_one_map():
    size = (40, 50)
    image = chart(*size)
    places = positions(*size)
    recipe = AugmentRecipe(crop=(32, 32), scale=(0.7, 1.4), flip=0.5, rotate=40)
    mask = image[..., 2] > 127
    objects = (LabelledObject(0, rle=encode_rle(mask)), LabelledObject(1, crowd=True, rle=encode_rle(~mask)))
    for seed in range(6):
        guide = augment(DepthSample("x", image, places), recipe, seed)
        rows, columns = (part.astype(int) for part in came_from(guide.depth, size[1]))
        shown = guide.depth > 0
        truth = np.where(shown, mask[rows, columns], False)

        semantic = augment(SegmentationSample("x", image, "semantic", mask.astype(np.int32)), recipe, seed)
        np.testing.assert_array_equal(semantic.labels, np.where(shown, truth, VOID))
        np.testing.assert_array_equal(semantic.image, guide.image)
        panoptic = augment(SegmentationSample("x", image, "panoptic", mask.astype(np.int32), objects), recipe, seed)
        np.testing.assert_array_equal(panoptic.labels, np.where(shown, truth, VOID))
        instance = augment(SegmentationSample("x", image, "instance", None, objects), recipe, seed)
        assert [thing.crowd for thing in instance.objects] == [False, True]
        np.testing.assert_array_equal(decode_rle(instance.objects[0].rle), truth)
        np.testing.assert_array_equal(decode_rle(instance.objects[1].rle), shown & ~truth)


def test_matting_planes_follow_too():
    image = chart(48, 48)
    alpha = image[..., 0].astype(np.float32) / 255
    recipe = AugmentRecipe(crop=(33, 29), scale=(0.6, 1.6), flip=0.5, rotate=30)
    for seed in range(6):
        trimap = np.where(image[..., 2] > 0, 128, 255).astype(np.uint8)
        result = augment(MattingSample("x", image, alpha, trimap, image), recipe, seed)
        shown = result.trimap > 0
        np.testing.assert_allclose(result.alpha[shown] * 255, result.image[..., 0][shown], atol=1.01)
        np.testing.assert_array_equal(result.foreground[shown], result.image[shown])
        assert result.alpha.dtype == np.float32
        assert not result.alpha[~shown].any()
        assert not result.foreground[~shown].any()
        assert (result.image[~shown] == PADDING).all()


def test_a_window_of_a_resized_picture_is_what_pillow_makes_of_the_whole():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (53, 71, 3), np.uint8)
    recipe = AugmentRecipe(crop=(17, 23), scale=(0.6, 0.6))
    whole = np.asarray(Image.fromarray(image).resize((round(71 * 0.6), round(53 * 0.6)), Image.Resampling.BILINEAR))
    result = augment(Sample("x", image), recipe, 5).image.astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(whole.astype(int), (17, 23), (0, 1)).transpose(0, 1, 3, 4, 2)
    assert np.abs(windows - result).max((2, 3, 4)).min() <= 1


def test_turning_by_a_right_angle_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    from perpixel.data.warp import Warp

    warp = Warp((9, 9), (9, 9), angle=90, size=(9, 9))
    np.testing.assert_array_equal(warp.linear(image, 0), np.rot90(image))
    np.testing.assert_array_equal(warp.nearest(image, 0), np.rot90(image))


def test_points_are_placed_where_their_pixels_go():
    from perpixel.data.warp import Warp

    places = positions(31, 27)
    for angle, mirror in ((0, False), (0, True), (35, False), (-70, True)):
        warp = Warp((31, 27), (62, 54), angle, mirror, (0, 0), (62, 54))
        row, column = warp.place(17, 11)
        around = warp.nearest(places, 0)[round(row), round(column)]
        assert around == places[17, 11]


def test_nothing_is_changed_without_a_recipe():
    sample = DepthSample("x", chart(7, 9), positions(7, 9))
    result = augment(sample, AugmentRecipe(), 1)
    np.testing.assert_array_equal(result.image, sample.image)
    np.testing.assert_array_equal(result.depth, sample.depth)
    assert result.image is not sample.image


def test_smaller_pictures_are_padded_at_the_right_and_at_the_bottom():
    sample = SegmentationSample("x", chart(5, 4), "semantic", np.zeros((5, 4), np.int32))
    result = augment(sample, AugmentRecipe(crop=(7, 8), flip=1), 0)
    np.testing.assert_array_equal(result.image[:5, :4], sample.image[:, ::-1])
    expected = np.full((7, 8), VOID)
    expected[:5, :4] = 0
    np.testing.assert_array_equal(result.labels, expected)


def test_enlarge_and_cover_leave_nothing_to_pad():
    for recipe in (
        AugmentRecipe(crop=(30, 50), scale=(0.2, 1.0), enlarge=True),
        AugmentRecipe(crop=(30, 50), scale_of="cover"),
    ):
        assert augment(DepthSample("x", chart(13, 7), positions(13, 7)), recipe, 3).depth.all()


def test_fit_shows_the_whole_picture():
    result = augment(DepthSample("x", chart(20, 40), positions(20, 40)), AugmentRecipe((40, 40), scale_of="fit"), 0)
    assert result.depth[:20].all()
    assert not result.depth[20:].any()


def test_matting_crops_lie_around_an_unknown_pixel():
    trimap = np.zeros((60, 60), np.uint8)
    trimap[40, 21] = 128
    sample = MattingSample("x", chart(60, 60), (trimap > 0).astype(np.float32) / 2, trimap)
    for seed in range(5):
        result = augment(sample, AugmentRecipe(crop=(11, 11)), seed)
        assert result.trimap[5, 5] == 128
        turned = augment(sample, AugmentRecipe(crop=(11, 11), scale=(1.5, 2), rotate=20, flip=0.5), seed)
        assert (turned.trimap[3:8, 3:8] == 128).any()
        alone = augment(replace(sample, trimap=None), AugmentRecipe(crop=(11, 11)), seed)
        assert alone.alpha[5, 5] == 0.5


def test_objects_that_are_cut_away_are_dropped_and_labels_numbered_anew():
    labels = np.repeat(np.arange(4, dtype=np.int32), 10)[None].repeat(8, 0)
    objects = tuple(LabelledObject(category) for category in (5, 6, 7, 8))
    sample = SegmentationSample("x", chart(8, 40), "panoptic", labels, objects)
    things = tuple(replace(thing, rle=encode_rle(labels == i), area=80.0) for i, thing in enumerate(objects))
    seen = set()
    for seed in range(8):
        result = augment(sample, AugmentRecipe(crop=(8, 12)), seed)
        assert 2 <= len(result.objects) <= 3
        seen.add(result.objects[0].category)
        categories = np.array([thing.category for thing in result.objects])
        np.testing.assert_array_equal(categories[result.labels], 5 + (result.image[..., 1] // 40))
        instance = augment(
            SegmentationSample("x", sample.image, "instance", None, things), AugmentRecipe((8, 12)), seed
        )
        assert [thing.category for thing in instance.objects] == categories.tolist()
        assert all(tuple(thing.rle["size"]) == (8, 12) for thing in instance.objects)
        assert all(thing.area is None for thing in instance.objects)
    assert len(seen) > 1


def test_only_the_seed_decides_and_no_global_state_is_touched():
    sample = DepthSample("x", chart(40, 30), positions(40, 30))
    recipe = replace(COLOURS, crop=(20, 20), scale=(0.5, 2), rotate=20, flip=0.5)
    torch.manual_seed(1)
    np.random.seed(1)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = augment(sample, recipe, [3, 4])
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    torch.manual_seed(2)
    again = augment(sample, recipe, [3, 4])
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.depth, again.depth)
    other = augment(sample, recipe, [3, 5])
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(sample.image, first.image[:40, :30])


def test_colours_change_the_image_alone_and_move_nothing():
    sample = MattingSample("x", chart(30, 30), chart(30, 30)[..., 0] / np.float32(255), None, chart(30, 30))
    plain = augment(sample, AugmentRecipe(crop=(40, 20)), 7)
    result = augment(sample, replace(COLOURS, crop=(40, 20)), 7)
    np.testing.assert_array_equal(result.alpha, plain.alpha)
    np.testing.assert_array_equal(result.foreground, plain.foreground)
    assert (result.image[30:] == PADDING).all()
    changed = np.abs(result.image[:30].astype(int) - plain.image[:30])
    assert changed.mean() > 2


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "blur", "noise", "jpeg"])
def test_each_change_of_colour_works_alone(name):
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    image[:, 12:] = image[:, 12:13]
    recipe = AugmentRecipe(**{name: 40 if name == "jpeg" else 0.4}, chance=1)
    results = [augment(Sample("x", image), recipe, seed).image.astype(float) for seed in range(6)]
    assert any(not np.array_equal(result, image) for result in results)
    off = augment(Sample("x", image), replace(recipe, chance=0), 0)
    np.testing.assert_array_equal(off.image, image)
    if name == "saturation":  # what grey is stays: the weights of red, green and blue are BT.601's
        grey = image @ np.array([0.299, 0.587, 0.114])
        unclipped = [(result > 0).all(2) & (result < 255).all(2) for result in results]
        for result, sure in zip(results, unclipped, strict=True):
            np.testing.assert_allclose((result @ np.array([0.299, 0.587, 0.114]))[sure], grey[sure], atol=1)
    if name == "brightness":
        for result in results:
            sure = (result < 255) & (image > 100)
            ratio = result[sure] / image[sure]
            assert np.ptp(ratio) < 0.02
            assert 0.59 < ratio.mean() < 1.41


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, st.integers(0, 99))
def test_colours_take_any_size(height, width, seed):
    result = augment(Sample("x", chart(height, width)), COLOURS, seed)
    assert result.image.shape == (height, width, 3)
    assert result.image.dtype == np.uint8


def test_planes_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"depth of attic/1 is 4×5 but its image is 5×4"):
        augment(DepthSample("attic/1", chart(4, 5), positions(5, 4)), AugmentRecipe(), 0)
    thing = LabelledObject(0, rle=encode_rle(np.ones((5, 4), bool)))
    with pytest.raises(InputError, match="mask of attic/1 is 4×5"):
        augment(SegmentationSample("attic/1", chart(4, 5), "instance", None, (thing,)), AugmentRecipe(), 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"crop": 5}, r"augment\.crop is 5: it must be height and width"),
        ({"crop": (0, 5)}, "at least 1 pixel"),
        ({"crop": (1.5, 5)}, "whole numbers"),
        ({"scale": (2, 1)}, "largest not below"),
        ({"scale": (0, 1)}, "above 0"),
        ({"scale_of": "short"}, "image or fit or cover"),
        ({"enlarge": True}, "no crop that it could refer to"),
        ({"flip": True}, r"augment\.flip is True: it must be a chance"),
        ({"hue": 0.7}, "from 0 to 0.5"),
        ({"blur": float("nan")}, r"augment\.blur"),
        ({"jpeg": 2.5}, r"augment\.jpeg"),
        ({"noise": -1}, r"augment\.noise"),
    ],
)
def test_a_wrong_field_is_named(fields, words):
    with pytest.raises(ConfigError, match=words):
        AugmentRecipe(**fields)
