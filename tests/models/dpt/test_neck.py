import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from parity.randomise import randomise
from perpixel.errors import ConfigError, InputError
from perpixel.models.dpt.neck import (
    DPTFeatureFusionLayer,
    DPTNeck,
    DPTReassembleLayer,
    DPTReassembleStage,
    Enlarge,
)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def near(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 3, 4]))
def test_an_enlargement_is_a_transposed_convolution(rows, columns, factor):
    layer = Enlarge(6, factor)
    x = noise(2, 6, rows, columns)
    near(layer(x), functional.conv_transpose2d(x, layer.weight, layer.bias, stride=factor))


def test_an_enlargement_has_the_gradients_of_a_transposed_convolution():
    layer, x = Enlarge(3, 2), noise(1, 3, 2, 4).requires_grad_()
    names = (x, layer.weight, layer.bias)
    weights = noise(1, 3, 4, 8)
    got = torch.autograd.grad((layer(x) * weights).sum(), names)
    plain = functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
    for one, other in zip(got, torch.autograd.grad((plain * weights).sum(), names), strict=True):
        near(one, other)


@pytest.mark.parametrize(("factor", "size"), [(4, (12, 20)), (2, (6, 10)), (1, (3, 5)), (0.5, (2, 3)), (0.25, (1, 2))])
def test_the_size_after_reassembling(factor, size):
    assert DPTReassembleLayer(6, 4, factor)(noise(1, 6, 3, 5)).shape == (1, 4, *size)


def test_the_readout_of_the_class_token():
    tokens = noise(2, 1 + 6, 4)
    first, patches = tokens[:, :1], tokens[:, 1:]
    stages = {kind: DPTReassembleStage([4], [3], [1], kind) for kind in ("ignore", "add", "project")}
    for stage in stages.values():
        randomise(stage)
    mix = stages["project"].readout_projects[0][0]
    expected = {
        "ignore": patches,
        "add": patches + first,
        "project": functional.gelu(mix(torch.cat([patches, first.expand_as(patches)], dim=2))),
    }
    for kind, stage in stages.items():
        plane = expected[kind].transpose(1, 2).reshape(2, 4, 2, 3)
        near(stage(tokens, (2, 3), 0), stage.layers[0](plane))


def test_tokens_of_registers_are_left_out():
    stage = DPTReassembleStage([4], [3], [1], "add")
    tokens = noise(1, 1 + 6, 4)
    with_registers = torch.cat([tokens[:, :1], noise(1, 4, 4) + 9, tokens[:, 1:]], dim=1)
    near(stage(with_registers, (2, 3), 0), stage(tokens, (2, 3), 0))


def test_maps_need_no_class_token_where_it_is_ignored():
    tokens = noise(1, 1 + 6, 4)
    plane = tokens[:, 1:].transpose(1, 2).reshape(1, 4, 2, 3)
    stage = DPTReassembleStage([4], [3], [1], "ignore")
    near(stage(plane, (2, 3), 0), stage(tokens, (2, 3), 0))
    with pytest.raises(InputError, match="readout_type='ignore'"):
        DPTReassembleStage([4], [3], [1], "add")(plane, (2, 3), 0)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (3, 2)])
def test_the_projection_before_the_enlargement_is_that_after_it(batch_norm, rows, columns):
    layer = DPTFeatureFusionLayer(6, batch_norm, bias=True).eval()
    randomise(layer)
    x, finer = noise(1, 6, rows, columns), noise(1, 6, rows + 1, columns)
    joined = x + layer.residual_layer1(functional.interpolate(finer, size=(rows, columns), mode="bilinear"))
    large = functional.interpolate(layer.residual_layer2(joined), scale_factor=2, mode="bilinear", align_corners=True)
    near(layer(x, finer), layer.projection(large))


def test_a_residual_unit_leaves_its_input_alone():
    layer, x = DPTFeatureFusionLayer(4, False, True), noise(1, 4, 2, 2)
    before = x.clone()
    layer(x, x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("match_sizes", [False, True])
def test_the_sizes_from_coarse_to_fine(match_sizes):
    stage = DPTReassembleStage([6] * 4, [4, 4, 4, 4], [4, 2, 1, 0.5])
    neck = DPTNeck([4, 4, 4, 4], 5, stage, match_sizes=match_sizes)
    sizes = [tuple(m.shape[1:]) for m in neck([noise(1, 1 + 15, 6)] * 4, (3, 5))]
    if match_sizes:
        assert sizes == [(5, 3, 5), (5, 6, 10), (5, 12, 20), (5, 24, 40)]
    else:  # odd sides are rounded up once and doubled from there
        assert sizes == [(5, 4, 6), (5, 8, 12), (5, 16, 24), (5, 32, 48)]


def test_without_reassembling_the_maps_pass():
    neck = DPTNeck([3, 4], 5, None)
    assert [tuple(m.shape) for m in neck([noise(1, 3, 4, 6), noise(1, 4, 2, 3)], (0, 0))] == [
        (1, 5, 4, 6),
        (1, 5, 8, 12),
    ]
    assert not [name for name, _ in neck.named_parameters() if name.startswith("reassemble_stage")]


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="one factor"):
        DPTReassembleStage([4, 4], [3, 3], [1])
    with pytest.raises(ConfigError, match="above 0"):
        DPTReassembleStage([4], [3], [0])
    with pytest.raises(InputError, match="1 maps"):
        DPTNeck([3, 4], 5, None)([noise(1, 3, 4, 4)], (0, 0))
    with pytest.raises(InputError, match="6 tokens"):
        DPTReassembleStage([4], [3], [1])(noise(1, 6, 4), (2, 3), 0)


def test_parameters_have_the_names_of_the_checkpoints():
    stage = DPTReassembleStage([6] * 3, [4] * 3, [1, 1, 0.5], "project", skipped=2)
    names = {name for name, _ in DPTNeck([4] * 3, 5, stage, batch_norm=True, bias=False).named_parameters()}
    assert "reassemble_stage.readout_projects.2.0.weight" in names
    assert "reassemble_stage.layers.2.resize.bias" in names
    assert "fusion_stage.layers.0.residual_layer2.batch_norm1.weight" in names
    assert not [name for name in names if ".layers.0.projection" in name and name.startswith("reassemble")]
    assert not [name for name in names if name.endswith("convolution1.bias")]
    assert isinstance(stage.layers[0], nn.Identity)
