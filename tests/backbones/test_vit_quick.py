"""Inference copies of plain vision transformers: tokens that are filled up, layers in fewer passes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.backbones import vit_quick
from perpixel.backbones.dinov2 import Dinov2Backbone, Dinov2Config
from perpixel.backbones.dinov2_with_registers import Dinov2WithRegistersBackbone, Dinov2WithRegistersConfig
from perpixel.backbones.vit import ViTConfig, ViTModel

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4}
KINDS = {
    "vit": lambda: ViTModel(ViTConfig(**SHAPE)),
    "dinov2": lambda: Dinov2Backbone(Dinov2Config(**SHAPE, out_indices=[0, 1, 2])),
    "gated": lambda: Dinov2Backbone(Dinov2Config(**SHAPE, out_indices=[1], use_swiglu_ffn=True)),
    "registers": lambda: Dinov2WithRegistersBackbone(Dinov2WithRegistersConfig(**SHAPE, out_indices=[1, 2])),
}


def pair(kind):
    torch.manual_seed(0)
    model = KINDS[kind]().eval()
    randomise(model)
    return model, model.optimize()


def tensors(model, x, **options):
    if isinstance(model, ViTModel):
        options["interpolate_pos_encoding"] = True
    with torch.inference_mode():
        found = model(x, **options)
    maps = [found.last_hidden_state] if isinstance(model, ViTModel) else list(found.feature_maps)
    return [*maps, *(found.hidden_states or ()), *(found.attentions or ())]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_are_filled_up_change_nothing(kind, monkeypatch):
    monkeypatch.setattr(vit_quick, "LEAST_TOKENS", 0)
    model, quick = pair(kind)
    counts = []
    quick.encoder.layer[0].register_forward_pre_hook(lambda layer, given: counts.append(given[0].shape[1]))

    @settings(max_examples=4, deadline=None)
    @given(b=st.integers(1, 2), rows=st.integers(1, 4), columns=st.integers(1, 4), hidden=st.booleans())
    def check(b, rows, columns, hidden):
        x = torch.randn(b, 3, 4 * rows, 4 * columns, generator=torch.Generator().manual_seed(columns))
        expected = tensors(model, x, output_hidden_states=hidden)
        for ours, theirs in zip(tensors(quick, x, output_hidden_states=hidden), expected, strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)

    check()
    assert counts and all(count % vit_quick.ROWS == 0 for count in counts)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_weights_are_those_of_the_tokens(kind, monkeypatch):
    monkeypatch.setattr(vit_quick, "LEAST_TOKENS", 0)
    x = torch.randn(1, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    model, quick = pair(kind)
    for ours, theirs in zip(
        tensors(quick, x, output_attentions=True), tensors(model, x, output_attentions=True), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_few_tokens_are_taken_as_they_are():
    _, quick = pair("vit")
    counts = []
    quick.encoder.layer[0].register_forward_pre_hook(lambda layer, given: counts.append(given[0].shape[1]))
    tensors(quick, torch.zeros(1, 3, 12, 12))
    assert counts == [10]
