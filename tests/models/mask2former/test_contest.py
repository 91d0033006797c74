"""The contest with tiles put off, against the plain rule on whole masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from perpixel.models.mask2former import mask_tiles
from perpixel.models.mask2former.contest import compete
from perpixel.models.mask2former.mask_tiles import MaskTiles


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(mask_tiles, "SIDE", 6)


def plain(logits, scores, least, share, size):
    """Returns the winners where they are seen, who is kept, and how near each share is to the threshold."""
    large = interpolate(logits[None], size, mode="bilinear")[0]
    winner = (large.sigmoid() * torch.from_numpy(scores)[:, None, None]).argmax(0)
    seen = torch.zeros(size, dtype=torch.int32)
    kept = []
    margins = []
    for k, logit in enumerate(large):
        won, reached = winner == k, logit >= least
        seen[won & reached] = k + 1
        ratio = float(won.sum()) / max(int(reached.sum()), 1)
        kept.append(bool((won & reached).any()) and ratio >= share)
        margins.append(abs(ratio - share))
    return seen, kept, min(margins)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from([-2.0, 0.0, 1.5]), st.integers(1, 19), st.integers(0, 9999)
)
def test_what_is_put_off_changes_nothing(height, width, least, share, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 8, 4, 4, generator=generator) * 6 - 2
    logits = interpolate(coarse, (16, 20), mode="bilinear")[0]
    scores = (torch.rand(8, generator=generator) / 2 + 0.5).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_tiles, "SIDE", 6)
        tiles = MaskTiles(logits, np.arange(8), size=(height, width))
    winner, kept = compete(tiles, scores, least, share / 20)
    expected, right, margin = plain(logits, scores, least, share / 20, (height, width))
    # Two ways to interpolate may round a pixel to either side of a tie; hardly any pixel is one.
    wrong = np.count_nonzero(winner != expected.numpy())
    assert wrong <= 1
    if wrong == 0 and margin > 0:
        assert kept.tolist() == right


def looks(monkeypatch, tiles):
    """Note the tiles and masks that are computed."""
    found, values = [], tiles.values

    def noted(masks, i, j):
        found.append((masks.tolist(), i, j))
        return values(masks, i, j)

    monkeypatch.setattr(tiles, "values", noted)
    return found


def test_a_hidden_edge_is_counted_only_for_a_doubtful_share(monkeypatch, small_tiles):
    # Mask 0 covers columns 0 to 12, mask 1 columns 9 to 23, of which it wins 11 of 15: 0.73. Its edge at column 9 lies
    # in a tile that mask 0 covers wholly; until that is counted its share is from 11/18 to 11/12.
    logits = torch.full((2, 12, 24), -9.0)
    logits[0, :, :13] = 9.0
    logits[1, :, 9:13] = 1.0
    logits[1, :, 13:] = 8.0
    for share, looked, kept in ((0.6, False, True), (0.7, True, True), (0.75, True, False), (0.95, False, False)):
        tiles = MaskTiles(logits, np.arange(2), size=(12, 24))
        found = looks(monkeypatch, tiles)
        winner, given = compete(tiles, np.array([0.99, 0.98], np.float32), 0.0, share)
        assert (winner == np.where(np.arange(24) < 13, 1, 2)).all()
        assert given.tolist() == [True, kept]
        assert any(masks == [1] and j == 1 for masks, _, j in found) == looked


def test_an_unseen_contest_is_held_only_for_a_doubtful_share(monkeypatch, small_tiles):
    # Mask 0 covers columns 0 to 6, of which mask 1 wins 3 to 6. Beyond no mask is likely enough to be seen, and mask 0
    # wins the even columns. So mask 0 wins 3 + 2 columns of its 7 in tiles with something to see, and 6 elsewhere.
    logits = torch.full((2, 6, 24), -1.2)
    logits[0, :, ::2] = -0.8
    logits[0, :, 1::2] = -1.6
    logits[0, :, :7] = 2.0
    logits[1, :, 3:7] = 4.0
    for share, looked, kept in ((0.7, False, True), (0.8, True, True), (1.5, True, True), (1.6, True, False)):
        tiles = MaskTiles(logits, np.arange(2), size=(6, 24))
        found = looks(monkeypatch, tiles)
        winner, given = compete(tiles, np.array([0.9, 0.9], np.float32), 0.0, share)
        assert (winner == np.array([1] * 3 + [2] * 4 + [0] * 17)).all()
        assert given.tolist() == [kept, True]
        assert any(j >= 2 for *_, j in found) == looked


def test_nobody_competes():
    winner, kept = compete(
        MaskTiles(torch.zeros(0, 4, 4), np.arange(0), size=(9, 7)), np.zeros(0, np.float32), 0.0, 0.8
    )
    assert winner.shape == (9, 7) and not winner.any() and kept.shape == (0,)
