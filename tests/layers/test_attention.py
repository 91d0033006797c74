"""Attention with relative positions against the formula written out, on every path, and the memory that it takes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.vitdet.modeling_vitdet import get_rel_pos

from perpixel.layers import attention
from perpixel.layers.attention import attention_weights, attention_with_positions, distance_vectors


def example(height, width, *, b=2, heads=2, d=4, lengths=None, dtype=torch.float32, gradient=False):
    """Query, key, value, both tables and the grid, of random numbers."""
    lengths = lengths or (height, width)
    generator = torch.Generator().manual_seed(height * 100 + width)
    shapes = [(b, heads, height * width, d)] * 3 + [(2 * length - 1, d) for length in lengths]
    tensors = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_(gradient) for shape in shapes]
    return (*tensors, height, width)


def written_out(query, key, value, table_h, table_w, height, width):
    """The formula, one pair of tokens at a time; the tables fit the grid."""
    n = height * width
    scores = [[None] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            row, column = i // width - j // width, i % width - j % width
            position = table_h[row + height - 1] + table_w[column + width - 1]
            scores[i][j] = (query[:, :, i] * (key[:, :, j] / query.shape[-1] ** 0.5 + position)).sum(-1)
    weights = torch.stack([torch.stack(row, -1) for row in scores], -2).softmax(-1)
    return weights, weights @ value


SIDES = st.integers(1, 5)


def test_long_sequences_in_half_precision_are_mixed_in_full():
    query, key, value, *rest = example(24, 25, d=8)
    half = [x.bfloat16() for x in (query, key, value)]
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            found = attention_with_positions(*half, *rest)
        exact = attention_with_positions(*(x.float() for x in half), *rest)
    assert torch.equal(found, exact.bfloat16())


@settings(max_examples=25, deadline=None)
@given(height=SIDES, width=SIDES, block=st.integers(1, 12), path=st.sampled_from(["fused", "cpu", "other", "gradient"]))
def test_every_path_follows_the_formula(height, width, block, path):
    dtype = torch.float64 if path == "other" else torch.float32
    arguments = example(height, width, dtype=dtype, gradient=path == "gradient")
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(path == "gradient"):
        if path != "fused":
            patch.setattr(attention, "SHORT_SEQUENCE", 0)
            patch.setattr(attention, "_block_length", lambda n, heads: block)
            patch.setattr(attention, "BLOCK_SCORES", block * (height + width))
        out = attention_with_positions(*arguments)
        expected = written_out(*arguments)[1]
        assert out.shape == expected.shape
        assert (out - expected).abs().max() < 1e-5
        if path == "gradient":
            out.square().sum().backward()
            own = [tensor.grad.clone() for tensor in arguments[:5]]
            for tensor in arguments[:5]:
                tensor.grad = None
            expected.square().sum().backward()
            for gradient, tensor in zip(own, arguments[:5], strict=True):
                assert (gradient - tensor.grad).abs().max() < 1e-4 * (1 + tensor.grad.abs().max())


@torch.no_grad()
def test_the_cpu_path_in_several_blocks_of_one_band():
    arguments = example(7, 9)
    whole = attention_with_positions(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SHORT_SEQUENCE", 0)
        patch.setattr(attention, "BLOCK_SCORES", 63 * 16)  # 63 tokens in one band, 32 queries at a time
        assert (attention_with_positions(*arguments) - whole).abs().max() < 1e-6


@torch.no_grad()
def test_the_weights_are_the_whole_softmax_matrix():
    query, key, value, *tables, height, width = example(3, 4)
    weights, _ = written_out(query, key, value, *tables, height, width)
    given_weights = attention_weights(query, key, *tables, height, width)
    assert given_weights.shape == (2, 2, 12, 12)
    assert (given_weights - weights).abs().max() < 1e-6
    without = attention_weights(query, key, None, None, height, width)
    assert (without - (query @ key.mT / 2).softmax(-1)).abs().max() < 1e-6


@torch.no_grad()
def test_without_tables_it_is_plain_attention():
    query, key, value, *_ = example(4, 5)
    out = attention_with_positions(query, key, value, None, None, 4, 5)
    assert (out - (query @ key.mT / 2).softmax(-1) @ value).abs().max() < 1e-6


@pytest.mark.parametrize(("stored", "size"), [(4, 4), (4, 1), (1, 3), (5, 3), (3, 8)])
def test_distances_are_those_of_transformers(stored, size):
    table = torch.randn(2 * stored - 1, 6, generator=torch.Generator().manual_seed(stored))
    vectors = distance_vectors(table, size)
    index = torch.arange(size)
    looked_up = vectors.T[size - 1 - (index[:, None] - index[None, :])]  # (size, size, d)
    assert (looked_up - get_rel_pos(size, size, table)).abs().max() < 1e-6


@pytest.mark.parametrize("path", ["fused", "cpu", "other", "gradient", "weights"])
def test_a_part_of_a_grid_has_the_distances_of_the_whole(path):
    # Keys outside the part are all that is missing: attention over the whole with those masked is the same.
    height, width, top, left = 5, 6, 1, 2
    part = (slice(top, top + 3), slice(left, left + 4))
    query, key, value, table_h, table_w, *_ = example(height, width, lengths=(3, 4), dtype=torch.float64)
    weights = attention_weights(query, key, table_h, table_w, height, width).unflatten(-1, (height, width))
    weights = weights[..., part[0], part[1]].flatten(-2).unflatten(2, (height, width))[:, :, part[0], part[1]]
    weights = weights.flatten(2, 3)
    weights = weights / weights.sum(-1, keepdim=True)  # (b, heads, 12, 12)
    cut = [t.unflatten(2, (height, width))[:, :, part[0], part[1]].flatten(2, 3) for t in (query, key, value)]
    dtype = torch.float64 if path == "other" else torch.float32
    arguments = [t.to(dtype) for t in (*cut, table_h, table_w)]
    if path == "weights":
        own = attention_weights(*arguments[:2], *arguments[3:], 3, 4, (height, width))
        assert (own - weights).abs().max() < 1e-5
        return
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(path == "gradient"):
        if path != "fused":
            patch.setattr(attention, "SHORT_SEQUENCE", 0)
            patch.setattr(attention, "_block_length", lambda n, heads: 5)
        arguments = [t.requires_grad_(path == "gradient") for t in arguments]
        out = attention_with_positions(*arguments, 3, 4, (height, width))
    assert (out - weights @ cut[2]).abs().max() < 1e-5


def test_bfloat16_on_a_cpu():
    arguments = example(5, 6)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SHORT_SEQUENCE", 0)
        patch.setattr(attention, "_block_length", lambda n, heads: 7)
        exact = attention_with_positions(*arguments)
        coarse = attention_with_positions(*(t.bfloat16() if isinstance(t, torch.Tensor) else t for t in arguments))
    assert coarse.dtype == torch.bfloat16
    assert (coarse.float() - exact).abs().mean() < 0.02


class Largest(TorchDispatchMode):
    """Records how many numbers the largest tensor has that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return out


def largest_tensor(height, width, gradient):
    arguments = example(height, width, b=1, gradient=gradient)
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(gradient), Largest() as recorder:
        # Constants for small grids, so that what is left is what grows.
        patch.setattr(attention, "SHORT_SEQUENCE", 16)
        patch.setattr(attention, "BLOCK_SCORES", 1 << 10)
        out = attention_with_positions(*arguments)
        if gradient:
            out.sum().backward()
    return recorder.numbers


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("small", "large"), [((8, 8), (16, 16)), ((1, 64), (1, 256)), ((64, 1), (256, 1))])
def test_memory_grows_linearly_with_the_tokens(small, large, gradient):
    before, after = largest_tensor(*small, gradient), largest_tensor(*large, gradient)
    assert after <= 4.1 * before
    assert after < 256 * 256 / 2


def test_the_recorder_sees_a_whole_matrix():
    query, key, *_ = example(16, 16, b=1)
    with Largest() as recorder:
        attention_weights(query, key, None, None, 16, 16)
    assert recorder.numbers == 2 * 256 * 256


def test_unmasked_attention_is_fused():
    # The memory test cannot see into a fused call: that it is one, this test sees.
    calls = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(str(function))
            return function(*args, **(kwargs or {}))

    query, key, value, *_ = example(24, 24, b=1, d=8)
    with Names():
        functional.scaled_dot_product_attention(query, key, value)
        attention_with_positions(query, key, value, None, None, 24, 24)
    assert len([name for name in calls if "flash" in name]) == 2
