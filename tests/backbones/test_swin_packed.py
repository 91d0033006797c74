"""Swin as an inference copy: the same maps for any size, with windows that shift, shrink or are filled up."""

import pytest
import torch

from parity.randomise import randomise
from perpixel.backbones.swin import SwinBackbone
from perpixel.backbones.swin_config import SwinConfig
from perpixel.backbones.swin_packed import PackedWindowAttention


@pytest.fixture(scope="module")
def pair():
    config = SwinConfig(embed_dim=32, depths=[2, 2], num_heads=[1, 2], window_size=4, out_indices=[1, 2])
    model = SwinBackbone(config).eval()
    randomise(model)
    return model, model.optimize()


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (77, 50), (4, 4), (33, 5)])
def test_the_copy_sees_the_same(pair, size):
    model, copy = pair
    assert sum(isinstance(module, PackedWindowAttention) for module in copy.modules()) == 4
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = model(x, output_attentions=True)
    for found in (copy(x, output_attentions=True), copy(x)):
        for a, b in zip(found.feature_maps, expected.feature_maps, strict=True):
            assert (a - b).abs().max() <= 1e-5 * b.std()
        for a, b in zip(found.attentions or (), expected.attentions, strict=False):
            assert (a - b).abs().max() <= 1e-5


def test_the_copy_has_the_same_state(pair):
    model, copy = pair
    expected, found = model.state_dict(), copy.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
