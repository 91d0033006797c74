from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perpixel.errors import InputError, PerpixelWarning
from perpixel.ops.trimap import (
    check_trimap,
    has_unknown,
    snap_trimap,
    trimap_from_alpha,
    trimap_from_mask,
    trimap_from_scribbles,
)

masks = hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


class TestSnap:
    @pytest.mark.parametrize(
        ("given_values", "snapped"),
        [
            (np.uint8([0, 128, 255]), [0, 128, 255]),
            (np.uint8([0, 127, 255]), [0, 128, 255]),
            (np.uint8([0, 102, 255]), [0, 128, 255]),
            (np.uint8([2, 4, 126, 130, 252, 255]), [0, 0, 128, 128, 255, 255]),
            (np.uint16([0, 128 * 257, 65535]), [0, 128, 255]),
            (np.uint16([0, 128, 255]), [0, 128, 255]),
            (np.int64([0, 128, 255]), [0, 128, 255]),
            (np.float32([0, 0.5, 1]), [0, 128, 255]),
            (np.float64([0, 128, 255]), [0, 128, 255]),
            (np.array([False, True]), [0, 255]),
            (np.uint8([0, 128]), [0, 128]),
            (np.uint8([128]), [128]),
        ],
    )
    def test_usual_values_in_silence(self, given_values: np.ndarray, snapped: list[int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = snap_trimap(given_values[None])
        assert result.dtype == np.uint8
        assert result.tolist() == [snapped]

    @pytest.mark.parametrize(
        ("given_values", "snapped", "words"),
        [
            ([1, 2, 3], [255, 0, 128], "labels 1, 2, 3, taken as foreground, background and unknown"),
            ([0, 1, 2], [0, 128, 255], "labels 0, 1, 2, taken as background, unknown and foreground"),
            ([0, 1], [0, 255], "labels 0, 1, taken as background and foreground"),
            ([20, 120, 240], [0, 128, 255], "values 20, 120, 240, taken as background, unknown and foreground"),
            ([0, 0, 0, 0, 20, 60, 200, 240, 128, 255, 255, 255], [0] * 5 + [128] * 2 + [255, 128] + [255] * 3, "PNG"),
        ],
    )
    def test_unusual_values_with_one_warning(self, given_values: list[int], snapped: list[int], words: str) -> None:
        with pytest.warns(PerpixelWarning, match=words) as caught:
            result = snap_trimap(np.uint8([given_values]))
        assert len(caught) == 1
        assert result.tolist() == [snapped]

    def test_equal_channels_are_one(self) -> None:
        assert snap_trimap(np.full((2, 3, 3), 255, np.uint8)).tolist() == [[255] * 3] * 2

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (np.arange(256, dtype=np.uint8).reshape(16, 16), "256 grey values"),
            (np.zeros((2, 2, 3), np.uint8) + np.uint8([0, 9, 9]), "coloured"),
            (np.zeros((2, 2, 2), np.uint8), "shape"),
            (np.zeros((0, 2), np.uint8), "shape"),
            (np.array([["a"]]), "type"),
            (np.array([[-1, 255]]), "-1 to 255"),
            (np.array([[np.nan, 1.0]]), "nan"),
            (np.array([[70000]]), "70000"),
        ],
    )
    def test_hopeless_values_are_refused(self, values: np.ndarray, words: str) -> None:
        with pytest.raises(InputError, match=words):
            snap_trimap(values)

    @settings(max_examples=50, deadline=None)
    @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5))))
    def test_any_grey_values_end_as_three_or_an_error(self, values: np.ndarray) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                snapped = snap_trimap(values)
            except InputError:
                return
            assert set(np.unique(snapped)) <= {0, 128, 255}
            if not set(np.unique(snapped)) <= {0, 1}:
                np.testing.assert_array_equal(snap_trimap(snapped), snapped)


class TestCheck:
    def test_the_sentence_for_another_size(self) -> None:
        sentence = (
            "trimap is 640×480 but the image is 800×600 (width×height): "
            "resize the trimap to 800×600 or pass its own image"
        )
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            check_trimap(np.zeros((480, 640), np.uint8), (600, 800))

    @pytest.mark.parametrize(
        ("values", "words"),
        [([0, 128], "no foreground.*white"), ([128, 255], "no background.*black"), ([128, 128], "no foreground")],
    )
    def test_foreground_and_background_are_needed(self, values: list[int], words: str) -> None:
        with pytest.raises(InputError, match=words):
            check_trimap(np.uint8([values]), (1, 2))

    def test_nothing_unknown_is_fine(self) -> None:
        trimap = np.uint8([[0, 255]])
        check_trimap(trimap, (1, 2))
        assert not has_unknown(trimap)
        assert has_unknown(np.uint8([[0, 128]]))


class TestFromMask:
    @settings(max_examples=60, deadline=None)
    @given(mask=masks, band=st.floats(0, 9))
    def test_as_scipy_measures_distance(self, mask: np.ndarray, band: float) -> None:
        from scipy.ndimage import distance_transform_edt

        if mask.all() or not mask.any():
            with pytest.raises(InputError, match=r"mask (has no foreground|covers)"):
                trimap_from_mask(mask, band=band)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PerpixelWarning)
            trimap = trimap_from_mask(mask, band=band)
        for region, value in ((mask, 255), (~mask, 0)):
            distance = distance_transform_edt(region)
            limit = band if distance.max() > band else distance.max() / 2
            if np.abs(distance - limit)[distance != limit].min() > 1e-4:  # else rounding decides
                np.testing.assert_array_equal(trimap == value, distance > limit)
            assert not (trimap[~region] == value).any()
            assert (trimap == value).any()

    @settings(max_examples=30, deadline=None)
    @given(
        mask=hnp.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32)),
        relative=st.sampled_from([None, 0.0, 0.02, 0.2]),
    )
    def test_fractions_are_unknown_and_sides_never_swap(self, mask: np.ndarray, relative: float | None) -> None:
        mask[0, 0], mask[6, 8] = 0, 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PerpixelWarning)
            trimap = trimap_from_mask(mask, relative_band=relative)
        assert (trimap[(mask > 0.05) & (mask < 0.95)] == 128).all()
        assert (trimap[mask > 0.05] != 0).all()
        assert (trimap[mask < 0.95] != 255).all()

    def test_the_relative_band_follows_the_size_of_the_object(self) -> None:
        for side in (50, 100):
            mask = np.zeros((side * 2, side * 2), bool)
            mask[side // 2 : -side // 2, side // 2 : -side // 2] = True
            row = trimap_from_mask(mask, relative_band=0.1)[side]
            assert (row == 128).sum() == 2 * 2 * side // 10  # two outlines, both sides, side / 10 pixels each

    def test_the_default_band(self) -> None:
        mask = np.zeros((300, 400), bool)
        mask[50:250, 100:300] = True  # 200 × 200: the band is 8 pixels
        row = trimap_from_mask(mask)[150]
        assert np.flatnonzero(np.diff(row.astype(int))).tolist() == [91, 107, 291, 307]
        small = np.zeros((60, 60), bool)
        small[20:40, 20:40] = True  # 20 × 20: at least 4 pixels
        assert (trimap_from_mask(small)[30] == 128).sum() == 16

    def test_the_border_of_the_image_is_no_outline(self) -> None:
        mask = np.zeros((40, 40), bool)
        mask[20:] = True
        trimap = trimap_from_mask(mask, band=5)
        assert (trimap[25:] == 255).all()
        assert (trimap[:15] == 0).all()
        assert (trimap[15:25] == 128).all()

    def test_a_thin_object_keeps_a_sure_part(self) -> None:
        mask = np.zeros((30, 30), bool)
        mask[10:13] = True
        with pytest.warns(PerpixelWarning, match="band of 6 pixels leaves no known foreground.*narrowed to 1 there"):
            trimap = trimap_from_mask(mask, band=6)
        assert (trimap[11] == 255).all()
        assert (trimap[[10, 12]] == 128).all()
        trimap_from_mask(mask)  # the default band narrows in silence

    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float32])
    @pytest.mark.parametrize("full", [1, 255, 65535])
    def test_every_way_to_write_a_mask(self, dtype: type, full: int) -> None:
        if (full > 255 and dtype is np.uint8) or (full > 1 and dtype in (bool, np.float32)):
            full = 1
        mask = np.zeros((20, 20), dtype)
        mask[5:15, 5:15] = full
        np.testing.assert_array_equal(trimap_from_mask(mask, band=2), trimap_from_mask(mask > 0, band=2))

    @pytest.mark.parametrize(
        ("keywords", "words"),
        [
            ({"band": 1, "relative_band": 0.1}, "give one of them"),
            ({"band": -1}, "band is -1"),
            ({"relative_band": float("nan")}, "relative_band is nan"),
        ],
    )
    def test_bad_bands_are_refused(self, keywords: dict[str, float], words: str) -> None:
        with pytest.raises(InputError, match=words):
            trimap_from_mask(np.eye(4, dtype=bool), **keywords)


class TestFromScribbles:
    def test_unpainted_and_twice_painted_pixels_are_unknown(self) -> None:
        front, back = np.uint8([[255, 255, 0, 0]]), np.uint8([[0, 255, 0, 255]])
        assert trimap_from_scribbles(front, back).tolist() == [[255, 128, 128, 0]]

    @pytest.mark.parametrize(
        ("front", "back", "words"),
        [
            ([[0, 0]], [[0, 1]], "as foreground only"),
            ([[1, 1]], [[0, 0]], "as background only"),
            ([[1, 0]], [[0, 1, 0]], "2×1.*3×1"),
        ],
    )
    def test_both_are_needed(self, front: list[list[int]], back: list[list[int]], words: str) -> None:
        with pytest.raises(InputError, match=words):
            trimap_from_scribbles(np.array(front), np.array(back))


class TestFromAlpha:
    @settings(max_examples=30, deadline=None)
    @given(
        alpha=hnp.arrays(
            np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 90, 255])
        ),
        band=st.sampled_from([0.0, 1.0, 3.0]),
    )
    def test_what_is_known_is_true(self, alpha: np.ndarray, band: float) -> None:
        trimap = trimap_from_alpha(alpha, band=band)
        known = trimap != 128
        np.testing.assert_array_equal(trimap[known], alpha[known])
        assert set(np.unique(alpha)) & {0, 255} == set(np.unique(trimap)) & {0, 255}
        if band == 0:
            np.testing.assert_array_equal(trimap == 128, alpha == 90)

    def test_hard_edges_get_a_band_too(self) -> None:
        alpha = np.float32([[0] * 5 + [1] * 5])
        assert trimap_from_alpha(alpha, band=2).tolist() == [[0] * 3 + [128] * 4 + [255] * 3]

    @pytest.mark.parametrize(("alpha", "band"), [([[0, 2.0]], 1), ([[0, 1.0]], -1), ([[0, np.nan]], 1)])
    def test_what_is_no_alpha_is_refused(self, alpha: list[list[float]], band: float) -> None:
        with pytest.raises(InputError):
            trimap_from_alpha(np.array(alpha), band=band)
