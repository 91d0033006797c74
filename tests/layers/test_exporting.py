"""The ways that exported files take give the numbers of those that Python takes, for sizes that are left open too."""

import pytest
import torch
import torch.fx.experimental._config
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim

from perpixel.backbones.beit import BeitConfig, BeitRelativePositionBias
from perpixel.backbones.beit import plain_bias as beit_bias
from perpixel.layers.attention import _bias, distance_vectors, plain_bias
from perpixel.layers.exporting import is_open, is_recorded
from perpixel.layers.position import resample_positions
from perpixel.layers.windows import window_partition, window_unpartition

sides = st.integers(1, 6)


@settings(max_examples=10, deadline=None)
@given(sides, sides, st.integers(1, 5))
def test_decomposed_positions_by_plain_operators(h, w, learned):
    tables = torch.randn(2 * learned - 1, 4), torch.randn(2 * learned - 1, 4)
    query = torch.randn(2, 3, h, w, 4)
    expected = _bias(query, distance_vectors(tables[0], h), distance_vectors(tables[1], w))
    torch.testing.assert_close(plain_bias(query, *tables), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(sides, sides)
def test_beit_bias_by_indices(h, w):
    config = BeitConfig(image_size=48, patch_size=16, hidden_size=8, num_attention_heads=2)
    module = BeitRelativePositionBias(config)
    nn.init.normal_(module.relative_position_bias_table)
    table = module.relative_position_bias_table
    plane = table[:-3].T.reshape(1, 2, 5, 5)
    plane = nn.functional.interpolate(plane, size=(2 * h - 1, 2 * w - 1), mode="bilinear", align_corners=False)
    torch.testing.assert_close(beit_bias(table, plane[0], (h, w))[None], module((h, w)), atol=1e-6, rtol=1e-6)


SEEN = []


class Recorded(nn.Module):
    """Windows there and back, and positions for a grid: what asks for sizes."""

    def __init__(self):
        super().__init__()
        self.learned = nn.Parameter(torch.randn(1, 1 + 4 * 6, 8))

    def forward(self, x):
        h, w = x.shape[1:3]
        SEEN.append((is_recorded(), is_open(h, w)))
        windows = window_partition(x, 3)
        positions = resample_positions(self.learned, (4, 6), (h, w))
        return window_unpartition(windows * 2, h, w), windows, positions


@pytest.mark.parametrize("size", [(4, 6), (5, 4), (7, 8)])
def test_sizes_stay_open_even_where_the_recorded_one_is_special(size):
    """Recorded where the positions need no resampling and a side no filling up, it is right for every other size."""
    module = Recorded().eval()
    sizes = {1: Dim("h", min=4, max=64), 2: Dim("w", min=4, max=64)}
    with torch.no_grad(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(module, (torch.randn(1, 4, 6, 8),), dynamic_shapes=(sizes,), strict=False)
        assert SEEN[-1] == (True, True)
        x = torch.randn(1, *size, 8)
        torch.testing.assert_close(program.module(check_guards=False)(x), module(x))
    assert SEEN[-1] == (False, False)
