"""Tiles: what they cover, how they are joined, and amounts of memory."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.errors import InputError
from perpixel.ops.tiling import Tile, memory_bytes, plan_tiles, tile_weight


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    overlap=st.integers(0, 9),
    multiple=st.integers(1, 8),
    more=st.integers(0, 12),
    share=st.sampled_from([0.0, 0.005, 0.1, 1.0]),
)
def test_tiles_cover_what_is_needed(height, width, overlap, multiple, more, share):
    side = overlap + multiple + more
    needed = np.random.default_rng(height * 60 + width).random((height, width)) < share
    tiles = plan_tiles(needed, side, overlap, multiple)
    weights = np.zeros((height, width), np.float32)
    for tile in tiles:
        assert 0 <= tile.top < tile.bottom <= height and 0 <= tile.left < tile.right <= width
        assert tile.bottom == min(tile.top + side, height) and tile.right == min(tile.left + side, width)
        assert tile.top % multiple == tile.left % multiple == 0
        assert needed[tile.window].any()
        weight = tile_weight(tile, height, width, overlap)
        assert weight.shape == (tile.bottom - tile.top, tile.right - tile.left)
        assert weight.dtype == np.float32 and weight.min() > 0 and weight.max() <= 1
        weights[tile.window] += weight
    assert (weights[needed] > 0).all()
    assert len(tiles) == len(set(tiles)) and tiles == sorted(tiles, key=lambda tile: (tile.top, tile.left))


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 200), overlap=st.integers(0, 9), multiple=st.integers(1, 8), more=st.integers(0, 20))
def test_neighbours_overlap_as_far_as_asked_for(length, overlap, multiple, more):
    tiles = plan_tiles(np.ones((length, 1), bool), overlap + multiple + more, overlap, multiple)
    assert tiles[0].top == 0 and tiles[-1].bottom == length
    for before, after in pairwise(tiles):
        assert before.bottom - after.top >= overlap


def test_joined_tiles_of_one_picture_are_that_picture():
    picture = np.random.default_rng(0).random((50, 70), np.float32)
    total, weights = np.zeros((2, 50, 70), np.float32)
    for tile in plan_tiles(np.ones((50, 70), bool), 32, 12, 4):
        weight = tile_weight(tile, 50, 70, 12)
        total[tile.window] += weight * picture[tile.window]
        weights[tile.window] += weight
    np.testing.assert_allclose(total / weights, picture, atol=1e-6)


def test_weights_fall_towards_neighbours_only():
    corner = tile_weight(Tile(0, 32, 0, 32), 64, 64, 16)
    assert corner[0, 0] == corner[15, 15] == 1
    assert corner[31, 0] == pytest.approx(1e-4) and corner[0, 31] == pytest.approx(1e-4)
    assert (np.diff(corner[:, 0]) <= 0).all()
    # A quarter of the overlap counts next to nothing; the half in the middle rises; the last quarter is whole.
    assert (corner[28:, 0] < 1.1e-4).all() and (corner[:20, 0] > 0.999).all()
    assert 0.4 < corner[24, 0] < 0.6
    inner = tile_weight(Tile(16, 48, 16, 48), 64, 64, 16)
    np.testing.assert_allclose(inner, inner[::-1], rtol=1e-6)
    np.testing.assert_allclose(inner, inner.T, rtol=1e-6)
    assert (tile_weight(Tile(0, 10, 0, 10), 10, 10, 4) == 1).all()
    assert (tile_weight(Tile(0, 10, 0, 10), 20, 20, 0) == 1).all()


@pytest.mark.parametrize(("side", "overlap", "multiple"), [(8, 8, 1), (8, -1, 1), (8, 4, 5), (8, 0, 0)])
def test_tiles_that_cannot_be(side, overlap, multiple):
    with pytest.raises(InputError, match=rf"tiles of {side} pixels cannot overlap by {overlap}"):
        plan_tiles(np.ones((20, 20), bool), side, overlap, multiple)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (1000, 1000),
        (1e16, 10**16),
        (2.5e3, 2500),
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("1.5g", 1_500_000_000),
        (".5k", 500),
        ("512MiB", 512 * 2**20),
        ("2Gi", 2**31),
        ("1TB", 10**12),
        ("1e9", 10**9),
        ("7B", 7),
    ],
)
def test_amounts_of_memory(amount, expected):
    assert memory_bytes(amount) == expected


@pytest.mark.parametrize(
    "amount", ["", "much", "4 XB", "-1GB", "0", 0, -5, "1e999", "4GBs", "GB", "nan", True, "i", "4,5GB"]
)
def test_amounts_that_are_none(amount):
    with pytest.raises(InputError, match="is no amount of memory: give bytes or an amount such as 4GB or 512MiB"):
        memory_bytes(amount)
