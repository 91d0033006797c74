"""The transformer decoder: masked attention, its region, order and gradients, worked out by hand or by torch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from models.mask2former.tiny import tiny_config
from parity.randomise import randomise
from perpixel.models.mask2former.transformer_decoder import (
    Mask2FormerAttention,
    Mask2FormerTransformerModule,
    MaskedAttention,
    attention_region,
    mask_logits,
)

SIZES = ((2, 3), (4, 5), (7, 9))


def module_and_maps(seed=0, **changes):
    config = tiny_config(**changes)
    module = Mask2FormerTransformerModule(config).eval()
    randomise(module, seed)
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, config.feature_size, h, w, generator=generator) for h, w in SIZES]
    return module, maps, torch.randn(2, config.mask_feature_size, 13, 18, generator=generator)


def test_a_query_looks_into_its_mask_and_everywhere_where_that_is_empty():
    features = torch.tensor([[[[1.0, -2.0, 0.0]]]])  # (1, 1, 1, 3)
    embeddings = torch.tensor([[[1.0], [-1.0], [0.0]]])  # (1, 3, 1)
    region = attention_region(embeddings, features)
    assert region.shape == (1, 1, 3, 3)
    assert region[0, 0].tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    empty = attention_region(torch.tensor([[[-1.0]]]), torch.tensor([[[[1.0, 2.0]]]]))
    assert empty.tolist() == [[[[True, True]]]]


@settings(max_examples=10, deadline=None)
@given(size=st.tuples(st.integers(1, 20), st.integers(1, 20)), small=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_shrinking_the_features_shrinks_the_masks(size, small):
    generator = torch.Generator().manual_seed(size[0])
    embeddings = torch.randn(1, 3, 8, generator=generator, dtype=torch.float64)
    features = torch.randn(1, 8, *size, generator=generator, dtype=torch.float64)
    late = functional.interpolate(mask_logits(embeddings, features), size=small, mode="bilinear")
    early = mask_logits(embeddings, functional.interpolate(features, size=small, mode="bilinear"))
    torch.testing.assert_close(early, late)


def test_masked_attention_is_that_of_torch():
    reference = nn.MultiheadAttention(16, 4, batch_first=True)
    own = MaskedAttention(16, 4, 0.0)
    randomise(reference)
    own.load_state_dict(reference.state_dict())
    query, key, value = torch.randn(2, 5, 16), torch.randn(2, 12, 16), torch.randn(2, 12, 16)
    allowed = torch.rand(2, 1, 5, 12) > 0.4
    expected, _ = reference(query, key, value, attn_mask=~allowed[:, 0].repeat_interleave(4, 0))
    torch.testing.assert_close(own(query, key, value, allowed), expected)


def test_self_attention_is_that_of_torch_with_and_without_weights():
    own, reference = Mask2FormerAttention(16, 4, 0.0), nn.MultiheadAttention(16, 4, batch_first=True)
    randomise(own)
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(layer, name) for layer in (own.q_proj, own.k_proj, own.v_proj)]
            getattr(reference, f"in_proj_{name}").copy_(torch.cat(parts))
            getattr(reference.out_proj, name).copy_(getattr(own.out_proj, name))
    x, positions = torch.randn(2, 5, 16), torch.randn(5, 16)
    expected, weights = reference(x + positions, x + positions, x, average_attn_weights=False)
    torch.testing.assert_close(own(x, positions)[0], expected)
    mixed, shown = own(x, positions, output_attentions=True)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(shown, weights)


def test_only_the_last_mask_is_the_last_of_all():
    module, maps, features = module_and_maps()
    with torch.no_grad():
        every, last = module(maps, features), module(maps, features, every_mask=False)
    assert len(every.masks_queries_logits) == 5 and len(last.masks_queries_logits) == 1
    assert torch.equal(every.masks_queries_logits[-1], last.masks_queries_logits[0])


def test_a_decoder_without_layers_predicts_from_the_queries():
    module, maps, features = module_and_maps(decoder_layers=1)
    output = module(maps, features, output_hidden_states=True, output_attentions=True)
    queries = module.queries_features.weight
    assert torch.equal(output.last_hidden_state, queries.expand(2, -1, -1))
    assert len(output.masks_queries_logits) == len(output.hidden_states) == 1 and output.attentions == ()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_every_parameter_has_a_gradient_and_checkpointing_changes_none(pre_norm):
    module, maps, features = module_and_maps(pre_norm=pre_norm, enforce_input_projection=True)
    module.train()
    gradients = []
    for checkpointing in (False, True):
        module.decoder.gradient_checkpointing = checkpointing
        module.zero_grad()
        sum(mask.square().mean() for mask in module(maps, features).masks_queries_logits).backward()
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters()})
    assert all(gradient.abs().max() > 0 for name, gradient in gradients[0].items() if not name.endswith("k_proj.bias"))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_dropout_is_for_training_only():
    module, maps, features = module_and_maps(dropout=0.5)
    first, second = (module(maps, features).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    module.train()
    first, second = (module(maps, features, output_attentions=True) for _ in range(2))
    assert not torch.equal(first.last_hidden_state, second.last_hidden_state)
    # Dropout silences parts of a layer, it never leaves one out.
    assert len(first.attentions) == 4 and len(first.masks_queries_logits) == 5


def test_starting_weights():
    module = Mask2FormerTransformerModule(tiny_config(init_xavier_std=0.5, feature_size=64))
    layer = module.decoder.layers[0]
    for linear in (layer.self_attn.q_proj, layer.self_attn.out_proj, layer.cross_attn.out_proj):
        assert not linear.bias.any()
        assert 0.5 * (6 / 64) ** 0.5 * 0.9 < linear.weight.abs().max() <= 0.5 * (6 / 64) ** 0.5
    assert not layer.cross_attn.in_proj_bias.any() and not module.input_projections[0].bias.any()
    assert 0.8 < module.queries_features.weight.std() < 1.2
