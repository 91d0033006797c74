"""Windows: cutting and sewing, relative positions, and what a shift must keep apart."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.layers.windows import (
    APART,
    relative_position_bias,
    shift_mask,
    window_partition,
    window_unpartition,
)


@settings(max_examples=40, deadline=None)
@given(b=st.integers(1, 3), h=st.integers(1, 9), w=st.integers(1, 9), size=st.integers(1, 5))
def test_windows_hold_the_grid_and_give_it_back(b, h, w, size):
    tokens = torch.arange(1.0, b * h * w * 2 + 1).reshape(b, h, w, 2)
    windows = window_partition(tokens, size)
    rows, columns = -(-h // size), -(-w // size)
    assert windows.shape == (b * rows * columns, size, size, 2)
    for i in range(b):
        for y in range(h):
            for x in range(w):
                window = (i * rows + y // size) * columns + x // size
                assert torch.equal(windows[window, y % size, x % size], tokens[i, y, x])
    assert int((windows == 0).sum()) == windows.numel() - tokens.numel()
    assert torch.equal(window_unpartition(windows, h, w), tokens)


@pytest.mark.parametrize(("side", "size"), [(1, 1), (2, 2), (4, 4), (4, 3), (5, 1), (7, 2)])
def test_a_bias_depends_on_the_offset_alone(side, size):
    table = torch.randn((2 * side - 1) ** 2, 3)
    bias = relative_position_bias(table, size)
    assert bias.shape == (3, size**2, size**2)
    for query in range(size**2):
        for key in range(size**2):
            down, right = query // size - key // size, query % size - key % size
            row = (down + side - 1) * (2 * side - 1) + right + side - 1
            assert torch.equal(bias[:, query, key], table[row])


def test_biases_equal_transformers():
    theirs = transformers.models.swin.modeling_swin.SwinRelativePositionBias(2, (5, 5))
    torch.nn.init.normal_(theirs.relative_position_bias_table)
    assert torch.equal(relative_position_bias(theirs.relative_position_bias_table, 5)[None], theirs())


def test_biases_have_a_gradient():
    table = torch.zeros(25, 2, requires_grad=True)
    relative_position_bias(table, 3).sum().backward()
    # The offset (0, 0) occurs in each of the 9 tokens, the far corners once.
    assert table.grad[12].tolist() == [9, 9]
    assert table.grad[0].tolist() == table.grad[24].tolist() == [1, 1]


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), size=st.integers(2, 4), data=st.data())
def test_a_shift_keeps_apart_what_was_apart(rows, columns, size, data):
    shift = data.draw(st.integers(1, size - 1))
    height, width = rows * size, columns * size
    mask = shift_mask(height, width, size, shift, torch.zeros(1))
    assert mask.shape == (rows * columns, size**2, size**2)
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).reshape(1, height, width, 2)
    came_from = window_partition(places.roll((-shift, -shift), (1, 2)), size).flatten(1, 2)  # (windows, n, 2)
    now = window_partition(places, size).flatten(1, 2)
    moved = came_from - now
    # Tokens that the roll moved by the same way are as near as they look.
    together = (moved[:, :, None] == moved[:, None]).all(-1)
    assert torch.equal(mask, torch.where(together, 0.0, APART))
