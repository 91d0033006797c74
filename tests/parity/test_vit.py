"""ViT against transformers: the same random weights, odd sizes, batches, masks, hidden states, attentions."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones.vit import ViTBackbone, ViTConfig, ViTModel

SHAPE = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "image_size": 64,
    "patch_size": 8,
    "pooler_output_size": 20,
}


def pair(folder, **changes):
    ours = ViTModel(ViTConfig(**SHAPE | changes), use_mask_token=True).eval()
    randomise(ours)
    ours.save_pretrained(folder)
    theirs, report = transformers.ViTModel.from_pretrained(
        folder, use_mask_token=True, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values())
    return ours, theirs.eval()


def distance(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (8, 8), (40, 128), (128, 32), (63, 200)])
@torch.no_grad()
def test_every_output_equals_transformers(tmp_path, size):
    ours, theirs = pair(tmp_path)
    pixels = torch.randn(2, 3, *size)
    options = {"interpolate_pos_encoding": True, "output_hidden_states": True, "output_attentions": True}
    a, b = ours(pixels, **options), theirs(pixels, **options)
    assert len(a.hidden_states) == len(b.hidden_states) == 4
    assert len(a.attentions) == len(b.attentions) == 3
    for one, other in zip(
        (a.last_hidden_state, a.pooler_output, *a.hidden_states, *a.attentions),
        (b.last_hidden_state, b.pooler_output, *b.hidden_states, *b.attentions),
        strict=True,
    ):
        assert distance(one, other) <= 1e-4
    fused = ours(pixels, interpolate_pos_encoding=True)  # the way that keeps no weights
    assert distance(fused.last_hidden_state, b.last_hidden_state) <= 1e-4


@pytest.mark.parametrize(
    "changes", [{"qkv_bias": False, "hidden_act": "relu"}, {"num_channels": 4, "pooler_act": "relu"}]
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, **changes)
    pixels = torch.randn(1, changes.get("num_channels", 3), 64, 64)
    a, b = ours(pixels), theirs(pixels)
    assert distance(a.last_hidden_state, b.last_hidden_state) <= 1e-4
    assert distance(a.pooler_output, b.pooler_output) <= 1e-4


@torch.no_grad()
def test_masks_equal_transformers(tmp_path):
    ours, theirs = pair(tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    masked = torch.rand(2, 64) < 0.4
    seen = torch.rand(2, 65) < 0.7
    seen[:, 0] = True
    for attend in (False, True):
        a, b = (
            m(pixels, bool_masked_pos=masked, attention_mask=seen, output_attentions=attend) for m in (ours, theirs)
        )
        assert distance(a.last_hidden_state, b.last_hidden_state) <= 1e-4


@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path):
    ours, theirs = pair(tmp_path / "ours")
    pixels = torch.randn(1, 3, 64, 64)
    expected = theirs(pixels).last_hidden_state
    theirs.save_pretrained(tmp_path / "theirs")
    assert distance(ViTModel.from_pretrained(tmp_path / "theirs")(pixels).last_hidden_state, expected) <= 1e-4
    # The names that transformers 5 uses in memory
    torch.save(theirs.state_dict(), tmp_path / "memory.pth")
    loaded = ViTModel.from_pretrained(tmp_path / "memory.pth", config=ours.config)
    assert distance(loaded(pixels).last_hidden_state, expected) <= 1e-4


@torch.no_grad()
def test_a_classifier_of_transformers_gives_its_backbone(tmp_path):
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**SHAPE, num_labels=5)).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    expected = theirs.vit(pixels).last_hidden_state[:, 1:].transpose(1, 2).reshape(2, 48, 8, 8)
    backbone = ViTBackbone.from_pretrained(tmp_path)
    assert distance(backbone(pixels).feature_maps[-1], expected) <= 1e-4
