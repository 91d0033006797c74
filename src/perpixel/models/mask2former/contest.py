"""Panoptic segmentation's contest: which mask owns each pixel, and which masks own enough of their own to be kept.

Many tiles need no look. Where one mask leads all others it wins; where no rival's logit is high enough to be seen, or
a mask lies hidden behind others, only a count of pixels is missing, and most often the share that a mask won is
decided without it. So those tiles are put off, and looked at only while a mask's share may still fall on either side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perpixel.models.mask2former.mask_tiles import Floats, MaskTiles, sigmoid

# Rounding differs between a bound and the value that it bounds; only the ratio of probabilities counts.
SLACK = 1e-4

Numbers = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


def compete(tiles: MaskTiles, scores: Floats, least: float, share: float) -> tuple[Numbers, Mask]:
    """Let the masks compete for each pixel by score × probability.

    Args:
        tiles: n masks.
        scores: (n,), the class probability of each mask.
        least: the logit that a pixel must reach to be seen.
        share: how much of its mask, the pixels that reach `least`, a mask must win; what it won counts whether seen
            or not.

    Returns:
        The winner's number, from 1, where its logit reaches `least`, elsewhere 0: (h, w) int32. Then whether each
        mask is seen at all and won its share: (n,) bool.
    """
    contest = _Contest(tiles, scores, least)
    winner = np.zeros((tiles.height, tiles.width), np.int32)
    for i, j in np.argwhere(contest.plain).tolist():
        winner[tiles.place(i, j)] = int(contest.first[i, j]) + 1
    for i, j in np.argwhere(contest.contested).tolist():
        winner[tiles.place(i, j)] = contest.look(i, j)
    return winner, contest.settle(share)


class _Contest:
    """The counts of one contest.

    Attributes:
        plain, contested, unseen: (rows, columns) bool, the tiles that one mask covers alone and wholly; those to be
            looked at; and those where several masks compete but no pixel will be seen.
        first: (rows, columns), the first rival.
        won, own, whole: (n,) int64, how many pixels each mask won, how many of those are seen, and how many of its
            own logits reach `least`, as far as they are counted.
        won_open, whole_open: (n,) int64, by how much they may still grow.
    """

    def __init__(self, tiles: MaskTiles, scores: Floats, least: float) -> None:
        self.tiles, self.scores, self.least = tiles, scores, least
        self.low = tiles.high < least
        full = tiles.low >= least
        self.mixed = ~full & ~self.low
        bottom, top = sigmoid(tiles.low) * scores[:, None, None], sigmoid(tiles.high) * scores[:, None, None]
        self.rivals = ~(top * (1 + SLACK) < bottom.max(0, initial=0))
        self.hidden = self.mixed & ~self.rivals
        alone = self.rivals.sum(0) == 1
        self.first = self.rivals.argmax(0) if len(scores) else np.zeros(tiles.areas.shape, np.int64)
        visible = (self.rivals & ~self.low).any(0)
        self.plain = alone & (self.rivals & full).any(0)
        self.contested = visible & ~self.plain
        self.unseen = ~visible & ~alone
        self.won = self._pixels(self.rivals & alone & ~self.mixed)
        self.own = self._pixels(self.rivals & self.plain)
        self.whole = self._pixels(full)
        self.won_open = self._pixels(self.rivals & self.unseen)
        self.whole_open = self._pixels(self.hidden)

    def _pixels(self, which: Mask) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = (which * self.tiles.areas).sum((1, 2))
        return found

    def look(self, i: int, j: int) -> Numbers:
        """Decide and count a tile's pixels one by one; returns the winner's number where it is seen."""
        rivals = np.flatnonzero(self.rivals[:, i, j])
        values = self.tiles.values(rivals, i, j)
        logits = values.numpy()  # (m, rows, columns)
        products = values.sigmoid().numpy()
        products *= self.scores[rivals, None, None]
        best = products.max(0)
        free = np.ones(best.shape, np.bool_)
        numbers = np.zeros(best.shape, np.int32)
        for k, logit, product in zip(rivals.tolist(), logits, products, strict=True):
            mine = product == best
            mine &= free  # of equals the first one wins
            free ^= mine
            self.won[k] += np.count_nonzero(mine)
            if self.low[k, i, j]:
                continue
            reached = logit >= self.least
            if self.mixed[k, i, j]:
                self.whole[k] += np.count_nonzero(reached)
            mine &= reached
            self.own[k] += np.count_nonzero(mine)
            numbers += mine * np.int32(k + 1)
        return numbers

    def settle(self, share: float) -> Mask:
        """Count what was put off for as long as a mask's share depends on it; returns which masks are kept."""
        for i, j in np.argwhere(self.hidden[self._undecided(share)].any(0)).tolist():
            masks = np.flatnonzero(self.hidden[:, i, j] & self._undecided(share))
            if len(masks):
                reached = self.tiles.values(masks, i, j).numpy() >= self.least
                self.whole[masks] += [np.count_nonzero(one) for one in reached]
                self.whole_open[masks] -= self.tiles.areas[i, j]
        for i, j in np.argwhere(self.unseen).tolist():
            rivals = self.rivals[:, i, j]
            if (rivals & self._undecided(share)).any():
                self.look(i, j)
                self.won_open[rivals] -= self.tiles.areas[i, j]
        kept: Mask = (self.own > 0) & ~(self.won / np.maximum(self.whole + self.whole_open, 1) < share)
        return kept

    def _undecided(self, share: float) -> Mask:
        lowest = self.won / np.maximum(self.whole + self.whole_open, 1)
        highest = (self.won + self.won_open) / np.maximum(self.whole, 1)
        found: Mask = (self.own > 0) & (lowest < share) & ~(highest < share)
        return found
