"""The tiled decoder against the module that it stands for."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import perpixel
from models.vitmatte.tiny import tiny_model
from perpixel.layers import winograd
from perpixel.models.vitmatte import decode as tiled
from perpixel.models.vitmatte.decode import decode, features_read

DECODER = tiny_model().decoder
SIDES = st.integers(1, 9)
AREAS = st.sampled_from([16, 32, 1024])
TILES = st.sampled_from([5, 16, 24, 128])


def inputs(b, rows, columns):
    generator = torch.Generator().manual_seed(rows * 10 + columns)
    features = torch.randn(b, 16, rows, columns, generator=generator)
    return features, torch.randn(b, 4, 16 * rows, 16 * columns, generator=generator)


def unwritten(like, channels, size):
    """What was never written shows in the result."""
    plain = torch.full((1, channels, *size), torch.nan, dtype=like.dtype)
    return plain.contiguous(memory_format=torch.channels_last)


@contextmanager
def cut_up(tile, area, quick=False):
    """Small tiles and areas, and NaN where nothing was written; `quick` for compiled convolutions of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "TILE", tile)
        patch.setattr(tiled, "AREA", area)
        patch.setattr(tiled, "_empty", unwritten)
        if quick:
            patch.setattr(tiled, "LEAST_WORK", 0)
            for name in ("LEAST_INPUTS", "LEAST_OUTPUTS", "LEAST_WORK"):
                patch.setattr(winograd, name, 0)
        yield


@settings(max_examples=15, deadline=None)
@given(b=st.integers(1, 2), rows=SIDES, columns=SIDES, tile=TILES, area=AREAS)
@torch.no_grad()
def test_areas_and_tiles_give_what_the_whole_gives(b, rows, columns, tile, area):
    features, pixels = inputs(b, rows, columns)
    with cut_up(tile, area):
        alphas = decode(DECODER, features, pixels)
    expected = DECODER(features, pixels)
    assert alphas.shape == expected.shape and alphas.dtype == torch.float32
    assert (alphas - expected).abs().max() < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    rows=SIDES,
    columns=SIDES,
    tile=TILES,
    area=AREAS,
    seed=st.integers(0, 99),
    share=st.sampled_from([0, 1e-3, 1e-2, 0.3]),
)
@torch.no_grad()
def test_needed_pixels_are_exact_and_others_are_left_out(rows, columns, tile, area, seed, share):
    features, pixels = inputs(1, rows, columns)
    needed = torch.rand(1, 1, *pixels.shape[2:], generator=torch.Generator().manual_seed(seed)) < share
    with cut_up(tile, area):
        alphas = decode(DECODER, features, pixels, needed)
    expected = DECODER(features, pixels)
    assert (alphas - expected)[needed].abs().sum() < 1e-5 * max(1, int(needed.sum()))
    # A computed pixel shares a tile with a needed one.
    near = functional.max_pool2d(needed.float(), 2 * tile - 1, stride=1, padding=tile - 1) > 0
    assert not alphas[~near].any()


@settings(max_examples=25, deadline=None)
@given(
    rows=SIDES,
    columns=SIDES,
    tile=TILES,
    area=AREAS,
    quick=st.booleans(),
    seed=st.integers(0, 99),
    share=st.sampled_from([1e-3, 1e-2, 0.3]),
)
@torch.no_grad()
def test_features_that_are_not_read_may_be_anything(rows, columns, tile, area, quick, seed, share):
    features, pixels = inputs(2, rows, columns)
    needed = torch.rand(2, 1, *pixels.shape[2:], generator=torch.Generator().manual_seed(seed)) < share
    with cut_up(tile, area, quick=quick):
        read = features_read(needed, 16, area)
        spoilt = torch.where(read[:, None], features, torch.nan)
        alphas = decode(DECODER, spoilt, pixels, needed, area)
    assert read.shape == (2, rows, columns)
    expected = DECODER(features, pixels)
    assert (alphas - expected)[needed].abs().sum() < 2e-5 * max(1, int(needed.sum()))


def test_one_needed_pixel_reads_few_features():
    needed = torch.zeros(1, 1, 320, 320, dtype=torch.bool)
    needed[..., 160, 160] = True
    read = features_read(needed, 16)[0].nonzero()
    assert read.min() >= 6 and read.max() <= 13 and 9 <= len(read) <= 64


@pytest.mark.skipif(not winograd.has_loops(), reason="the compiled loops cannot be had here")
@settings(max_examples=6, deadline=None)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    tile=st.sampled_from([9, 16, 128]),
    area=AREAS,
    share=st.sampled_from([1e-3, 0.3, 1]),
)
@torch.no_grad()
def test_the_faster_convolutions_give_the_same(rows, columns, tile, area, share):
    features, pixels = inputs(1, rows, columns)
    needed = torch.rand(1, 1, *pixels.shape[2:], generator=torch.Generator().manual_seed(rows)) < share
    with cut_up(tile, area, quick=True):
        alphas = decode(DECODER, features, pixels, needed)
    expected = DECODER(features, pixels)
    assert (alphas - expected)[needed].abs().sum() < 2e-5 * max(1, int(needed.sum()))


@torch.no_grad()
def test_one_needed_pixel_costs_a_few_pixels_a_level():
    features, pixels = inputs(1, 8, 8)
    needed = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    needed[..., 24, 24] = True  # in the middle of a tile of 16
    sizes = [(128, 128), (64, 64), (32, 32), (16, 16)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "TILE", 16)
        tiles = [[tuple(tile) for tile in level] for level in tiled._tiles(needed[0, 0], sizes)]
        alphas = decode(DECODER, features, pixels, needed)
    # The pixel and two around it, 22 to 26, lie on rows 11 to 13 of the half size, and bilinear reads one more.
    assert tiles[0] == [(24, 25, 24, 25)]
    top, bottom = min(tile[0] for tile in tiles[1]), max(tile[1] for tile in tiles[1])
    assert top <= 10
    assert 14 < bottom <= 16
    assert all(sum((t[1] - t[0]) * (t[3] - t[2]) for t in level) <= 64 for level in tiles)
    assert int((alphas != 0).sum()) == 1


@torch.no_grad()
def test_the_embedded_model_loads_no_compiled_loops_for_a_small_photograph(monkeypatch):
    def loaded():
        raise AssertionError("compiled loops were asked for")

    model = perpixel.load("vitmatte-nano").optimize()
    monkeypatch.setattr(winograd, "has_loops", loaded)
    assert model(torch.zeros(1, 4, 512, 512)).alphas.shape == (1, 1, 512, 512)


@torch.no_grad()
def test_an_empty_batch():
    assert decode(DECODER, torch.zeros(0, 16, 2, 3), torch.zeros(0, 4, 32, 48)).shape == (0, 1, 32, 48)
