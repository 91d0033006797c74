"""Deformable attention against transformers', on both paths: values, gradients, points far outside, export."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention as TheirAttention,
)
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention as theirs

from parity.randomise import randomise
from perpixel.errors import ConfigError, InputError
from perpixel.layers import deformable
from perpixel.layers.deformable import (
    MultiScaleDeformableAttention,
    multi_scale_deformable_attention,
    sample_with_grids,
)


def example(shapes, queries=7, *, b=2, heads=2, d=3, points=4, spread=1.0, dtype=torch.float32):
    """Values, shapes, locations around the middle of the maps and as far away as `spread` says, weights."""
    generator = torch.Generator().manual_seed(queries)
    n, levels = sum(h * w for h, w in shapes), len(shapes)
    value = torch.randn(b, n, heads, d, generator=generator, dtype=dtype)
    locations = 0.5 + spread * torch.randn(b, queries, heads, levels, points, 2, generator=generator, dtype=dtype)
    weights = torch.rand(b, queries, heads, levels, points, generator=generator, dtype=dtype)
    return value, shapes, locations, weights


SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(shapes=SHAPES, queries=st.integers(1, 9), block=st.integers(1, 10), spread=st.sampled_from([0.2, 1.0, 1e6]))
def test_both_paths_equal_transformers(shapes, queries, block, spread):
    arguments = example(shapes, queries, spread=spread)
    expected = theirs(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deformable, "QUERY_BLOCK", block)
        out = multi_scale_deformable_attention(*arguments)
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= 1e-5
    assert (sample_with_grids(*arguments) - expected).abs().max() <= 1e-5


def test_points_on_the_centres_the_edges_and_the_corners_by_hand():
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)  # rows (1, 2) and (3, 4)
    places = [(0.25, 0.25), (0.75, 0.25), (0.5, 0.75), (0.0, 0.25), (0.0, 0.0), (1.0, 1.0), (-0.25, 0.5), (1.25, 0.5)]
    expected = [1.0, 2.0, 3.5, 0.5, 0.25, 1.0, 0.0, 0.0]
    locations = torch.tensor(places).view(1, -1, 1, 1, 1, 2)
    weights = torch.full((1, len(places), 1, 1, 1), 2.0)
    for path in (multi_scale_deformable_attention, sample_with_grids):
        assert path(value, [(2, 2)], locations, weights).flatten().tolist() == [2 * e for e in expected]


@pytest.mark.parametrize("block", [3, 1024])
def test_gradients_of_all_three_equal_those_of_grid_sample(monkeypatch, block):
    monkeypatch.setattr(deformable, "QUERY_BLOCK", block)
    value, shapes, locations, weights = example([(3, 5), (1, 4)], spread=0.5, dtype=torch.float64)
    gradients = []
    for path in (multi_scale_deformable_attention, sample_with_grids):
        leaves = [tensor.clone().requires_grad_() for tensor in (value, locations, weights)]
        path(leaves[0], shapes, leaves[1], leaves[2]).sin().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for ours, expected in zip(*gradients, strict=True):
        assert expected.abs().max() > 0.1
        assert (ours - expected).abs().max() < 1e-12


def test_gradients_equal_finite_differences():
    value, shapes, locations, weights = example(
        [(2, 3), (4, 1)], 2, b=1, d=2, points=1, spread=0.3, dtype=torch.float64
    )
    leaves = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    assert torch.autograd.gradcheck(lambda v, at, by: multi_scale_deformable_attention(v, shapes, at, by), leaves)


def test_half_precision_is_summed_in_float32():
    value, shapes, locations, weights = example([(3, 5), (2, 4)])
    out = multi_scale_deformable_attention(value.bfloat16(), shapes, locations, weights)
    assert out.dtype == torch.bfloat16
    expected = theirs(value.bfloat16().float(), shapes, locations, weights)
    assert torch.equal(out, expected.bfloat16()) or (out - expected).abs().max() <= 2**-8 * expected.abs().max()


def test_what_is_not_a_number_stays_so_and_reads_nothing_else():
    value, shapes, locations, weights = example([(3, 5)])
    expected = theirs(value, shapes, locations, weights)
    locations[0, 0] = float("nan")
    out = multi_scale_deformable_attention(value, shapes, locations, weights)
    assert out[0, 0].isnan().all()
    assert (out[:, 1:] - expected[:, 1:]).abs().max() <= 1e-5


def test_a_wrong_number_of_pixels_is_told():
    value, _, locations, weights = example([(3, 5)])
    with pytest.raises(InputError, match=r"value has 15 pixels but spatial_shapes \[\(3, 6\)\] has 18"):
        multi_scale_deformable_attention(value, [(3, 6)], locations, weights)


def test_heads_that_do_not_divide_the_channels_are_told():
    with pytest.raises(ConfigError, match="10 channels cannot be shared by 4"):
        MultiScaleDeformableAttention(10, 4, 1, 1)


def module_example():
    shapes = [(2, 3), (4, 5)]
    attention = MultiScaleDeformableAttention(8, 2, levels=2, points=3)
    randomise(attention)
    attention.sampling_offsets.weight.data *= 5
    n = sum(h * w for h, w in shapes)
    generator = torch.Generator().manual_seed(1)
    tokens, positions = torch.randn(2, n, 8, generator=generator), torch.randn(1, n, 8, generator=generator)
    return attention, tokens, positions, torch.rand(n, 2, generator=generator), shapes


@torch.no_grad()
def test_the_module_equals_transformers():
    attention, tokens, positions, references, shapes = module_example()
    other = TheirAttention(8, 2, n_levels=2, n_points=3)
    other.load_state_dict(attention.state_dict())
    expected, expected_weights = other(
        tokens,
        encoder_hidden_states=tokens,
        position_embeddings=positions,
        reference_points=references[None, :, None].expand(2, -1, 2, -1),
        spatial_shapes_list=shapes,
    )
    out, weights = attention(tokens, positions, references, shapes)
    assert (out - expected).abs().max() <= 1e-5
    assert weights.shape == expected_weights.shape
    assert (weights - expected_weights).abs().max() <= 1e-6
    for i in range(2):
        table = attention.table(tokens[i], shapes)
        part, _ = attention.attend(tokens[i, 4:9] + positions[0, 4:9], references[4:9], table)
        assert (part - expected[i, 4:9]).abs().max() <= 1e-5


def test_the_module_starts_by_looking_at_its_surroundings():
    attention = MultiScaleDeformableAttention(16, 4, levels=1, points=2)
    offsets = attention.sampling_offsets.bias.detach().view(4, 2, 2)
    assert torch.allclose(offsets[:, 0], torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), atol=1e-6)
    assert torch.allclose(offsets[:, 1], 2 * offsets[:, 0])
    assert not attention.sampling_offsets.weight.any() and not attention.attention_weights.weight.any()


class OnShapes(nn.Module):
    """The attention with its shapes fixed, as an exporter wants it."""

    def __init__(self, attention, shapes):
        super().__init__()
        self.attention, self.shapes = copy.deepcopy(attention), shapes

    def forward(self, tokens, positions, references):
        return self.attention(tokens, positions, references, self.shapes)


@torch.no_grad()
def test_exported_and_traced_it_has_only_plain_operators_and_the_same_result():
    attention, tokens, positions, references, shapes = module_example()
    arguments = (tokens, positions, references)
    expected = attention(*arguments, shapes)[0]
    exported = torch.export.export(OnShapes(attention, shapes).eval(), arguments)
    operators = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert any("grid_sampler" in name for name in operators)
    assert not any("embedding_bag" in name for name in operators)
    assert (exported.module()(*arguments)[0] - expected).abs().max() <= 1e-5
    traced = torch.jit.trace(OnShapes(attention, shapes).eval(), arguments)
    assert "grid_sampler" in str(traced.inlined_graph) and "embedding_bag" not in str(traced.inlined_graph)
    assert (traced(*arguments)[0] - expected).abs().max() <= 1e-5


def test_nothing_as_large_as_the_corners_is_kept_for_the_backward_pass():
    value, shapes, locations, weights = example([(3, 5), (2, 4)], 200)
    kept = []
    leaves = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        multi_scale_deformable_attention(leaves[0], shapes, leaves[1], leaves[2])
    assert sum(kept) < 4 * weights.numel()
