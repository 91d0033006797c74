"""Stochastic depth."""

import pytest
import torch

from perpixel.layers.drop_path import drop_path


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    x = torch.rand(4000, 2, 3, generator=torch.Generator().manual_seed(0)) + 1
    torch.manual_seed(0)
    out = drop_path(x, 0.25, training=True)
    ratio = (out / x).flatten(1)
    assert torch.allclose(ratio.amin(1), ratio.amax(1))
    kept = ratio[:, 0] > 0
    assert torch.allclose(ratio[kept], torch.tensor(1 / 0.75))
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert drop_path(x, 0.25, training=False) is x and drop_path(x, 0.0, training=True) is x
