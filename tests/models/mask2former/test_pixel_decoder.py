"""The pixel decoder by itself: shapes, gradients, its two ways of computing, memory, bad settings."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parity.randomise import randomise
from perpixel.errors import ConfigError, InputError
from perpixel.layers import deformable
from perpixel.models.mask2former.pixel_decoder import Mask2FormerPixelDecoder, reference_points

CHANNELS = [6, 8, 10, 12]


def settings_of(**changes):
    return SimpleNamespace(
        **{
            "feature_size": 64,
            "mask_feature_size": 20,
            "feature_strides": [4, 8, 16, 32],
            "common_stride": 4,
            "encoder_layers": 2,
            "encoder_feedforward_dim": 40,
            "num_attention_heads": 4,
            "dropout": 0.0,
        }
        | changes
    )


def decoder(**changes):
    made = Mask2FormerPixelDecoder(settings_of(**changes), CHANNELS).eval()
    randomise(made)
    return made


def maps(height, width, b=1):
    generator = torch.Generator().manual_seed(height)
    sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(4)]
    return [torch.randn(b, c, *size, generator=generator) for c, size in zip(CHANNELS, sizes, strict=True)]


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), b=st.integers(1, 2))
@torch.no_grad()
def test_shapes(height, width, b):
    features = maps(height, width, b)
    out = decoder()(features, output_attentions=True, output_hidden_states=True)
    assert out.mask_features.shape == (b, 20, height, width)
    expected = [(b, 64, *x.shape[-2:]) for x in features[:0:-1]]
    assert [tuple(x.shape) for x in out.multi_scale_features] == expected
    n = sum(x[0, 0].numel() for x in features[1:])
    assert [tuple(x.shape) for x in out.hidden_states] == [(n, b, 64)] * 3
    assert [tuple(x.shape) for x in out.attentions] == [(n, b, 4, 3, 4)] * 2


@pytest.mark.parametrize("block", [5, 1024])
def test_block_by_block_equals_the_whole(monkeypatch, block):
    monkeypatch.setattr(deformable, "QUERY_BLOCK", block)
    made, features = decoder(), maps(9, 13, 2)
    options = {"output_attentions": True, "output_hidden_states": True}
    whole = made(features, **options)
    with torch.no_grad():
        lean, plain = made(features, **options), made(features)
    assert plain.hidden_states is None and plain.attentions is None
    for x, y in zip(tree_leaves(lean.to_tuple()), tree_leaves(whole.to_tuple()), strict=True):
        assert x.shape == y.shape
        assert (x - y).abs().max() <= 1e-5
    for x, y in zip(tree_leaves(plain.to_tuple()), [*lean.multi_scale_features, lean.mask_features], strict=True):
        assert torch.equal(x, y)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch_and_inputs_are_left_alone():
    made, features = decoder(), maps(7, 10, 2)
    before = [x.clone() for x in features]
    both, alone = made(features), made([x[1:] for x in features])
    assert (both.mask_features[1:] - alone.mask_features).abs().max() <= 1e-5
    assert all(torch.equal(x, y) for x, y in zip(features, before, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_parameter_and_input_gets_a_gradient(checkpointing):
    made = decoder(dropout=0.1).train()
    made.encoder.gradient_checkpointing = checkpointing
    features = [x.requires_grad_() for x in maps(9, 13)]
    out = made(features)
    (out.mask_features.square().sum() + sum(x.square().sum() for x in out.multi_scale_features)).backward()
    for name, tensor in [*made.named_parameters(), *enumerate(features)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@torch.no_grad()
def test_double_and_half_precision():
    made, features = decoder(), maps(9, 13)
    exact = made.double()([x.double() for x in features]).mask_features
    single = made.float()(features).mask_features
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made(features)
    half = made.bfloat16()([x.bfloat16() for x in features]).mask_features
    assert exact.dtype == torch.float64 and half.dtype == torch.bfloat16
    assert mixed.multi_scale_features[0].dtype == torch.float32
    assert (single - exact).abs().max() <= 1e-5
    for reduced in (mixed.mask_features, half):
        assert (reduced - exact).abs().max() <= 0.1 * exact.std()


class Largest(TorchDispatchMode):
    """Watch the size of the largest tensor that any operator returns."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.size = max([self.size, *(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))])
        return out


@torch.no_grad()
def test_no_tensor_is_larger_than_the_finest_map(monkeypatch):
    monkeypatch.setattr(deformable, "QUERY_BLOCK", 16)
    features = maps(32, 40)
    with Largest() as watched:
        decoder(encoder_feedforward_dim=400)(features)
    assert watched.size == features[0][0, 0].numel() * 64


@torch.no_grad()
def test_a_coarser_mask_needs_no_pyramid_and_a_finer_one_a_second_step():
    features = maps(16, 24)
    coarse, fine = decoder(common_stride=8), decoder(common_stride=2)
    assert not hasattr(coarse, "layer_1")
    assert coarse(features).mask_features.shape[-2:] == (8, 12)
    assert hasattr(fine, "adapter_2")
    assert fine(features).mask_features.shape[-2:] == (16, 24)


def test_bad_settings_are_told():
    with pytest.raises(ConfigError, match="feature_size is 40: it must be divisible by 32"):
        decoder(feature_size=40)
    with pytest.raises(ConfigError, match="common_stride 16: at least 3 maps are needed"):
        decoder(common_stride=16)
    with pytest.raises(InputError, match="3 feature maps were given but 4 are needed"):
        decoder()(maps(8, 8)[1:])


def test_reference_points_by_hand():
    points = reference_points([(1, 2), (2, 1)], torch.zeros(1))
    assert points.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


def test_it_is_built_without_memory():
    with torch.device("meta"):
        made = Mask2FormerPixelDecoder(settings_of(), CHANNELS)
    assert all(parameter.is_meta for parameter in made.parameters())


@torch.no_grad()
def test_exported_it_has_only_plain_operators_and_the_same_result():
    made, features = decoder(), maps(6, 10)
    expected = made(features).mask_features
    exported = torch.export.export(Only(made), (features,))
    operators = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert any("grid_sampler" in name for name in operators)
    assert not any("embedding_bag" in name for name in operators)
    assert (exported.module()(features) - expected).abs().max() <= 1e-5


class Only(torch.nn.Module):
    """The mask features alone: what an exporter takes."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, features):
        return self.inner(features).mask_features
