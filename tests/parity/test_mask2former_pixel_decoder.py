"""The pixel decoder against transformers': the same random weights, odd sizes, batches, states, attentions."""

import pytest
import torch
import transformers
from transformers.models.mask2former import modeling_mask2former as reference

from parity.randomise import randomise
from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.pixel_decoder import Mask2FormerPixelDecoder

CHANNELS = [12, 16, 20, 24]
SHAPE = {
    "feature_size": 64,
    "mask_feature_size": 48,
    "hidden_dim": 64,
    "encoder_layers": 3,
    "encoder_feedforward_dim": 96,
    "num_attention_heads": 4,
}


def pair(**changes):
    ours = Mask2FormerPixelDecoder(Mask2FormerConfig(**SHAPE | changes), CHANNELS).eval()
    randomise(ours)
    config = transformers.Mask2FormerConfig(**SHAPE | changes)
    theirs = reference.Mask2FormerPixelDecoder(config, CHANNELS).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def maps(height, width):
    sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(4)]
    return [torch.randn(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)]


def equal(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1), (8, 70), (55, 9)])
@pytest.mark.parametrize("gradient", [False, True])
def test_every_output_equals_transformers(size, gradient):
    torch.manual_seed(0)
    ours, theirs = pair()
    features = maps(*size)
    states = []
    theirs.encoder.register_forward_hook(lambda _, __, output: states.append(output.hidden_states))
    with torch.set_grad_enabled(gradient):
        a = ours(features, output_attentions=True, output_hidden_states=True)
        b = theirs(features, output_attentions=True, output_hidden_states=True)
    equal(a.mask_features, b.mask_features)
    for name, count in (("multi_scale_features", 3), ("attentions", 3)):
        assert len(a[name]) == len(b[name]) == count
        for x, y in zip(a[name], b[name], strict=True):
            equal(x, y)
    assert len(a.hidden_states) == 4
    for x, y in zip(a.hidden_states, states[0], strict=True):
        equal(x, y)


@pytest.mark.parametrize("common_stride", [2, 8])
@torch.no_grad()
def test_other_strides_equal_transformers(common_stride):
    ours, theirs = pair(common_stride=common_stride)
    features = maps(18, 26)
    equal(ours(features).mask_features, theirs(features).mask_features)


def test_gradients_equal_transformers():
    ours, theirs = pair()
    features = maps(9, 14)
    for model in (ours, theirs):
        out = model.train()(features)
        (out.mask_features.square().mean() + out.multi_scale_features[0].square().mean()).backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        scale = expected[name].grad.abs().max().clamp(min=1e-6)
        assert (parameter.grad - expected[name].grad).abs().max() / scale < 1e-3, name
