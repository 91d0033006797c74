"""ViTMatte against transformers: every parameter and buffer random, whole forward passes, saved files both ways."""

import pytest
import torch
import transformers

import perpixel as px
from parity.randomise import randomise

BACKBONE = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": 128,
    "num_channels": 4,
    "window_size": 3,
    "window_block_indices": [0, 2],
    "residual_block_indices": [1, 3],
    "use_relative_position_embeddings": True,
    "out_features": ["stage4"],
}
DECODER = {"hidden_size": 48, "convstream_hidden_sizes": [8, 12, 16], "fusion_hidden_sizes": [24, 16, 12, 8]}


@pytest.fixture(scope="module")
def models():
    ours = px.VitMatteForImageMatting(px.VitMatteConfig(px.VitDetConfig(**BACKBONE), **DECODER)).eval()
    randomise(ours)
    config = transformers.VitMatteConfig(backbone_config=transformers.VitDetConfig(**BACKBONE), **DECODER)
    theirs = transformers.VitMatteForImageMatting(config).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def pad(size):
    return tuple(-(-side // 32) * 32 for side in size)


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (64, 96), (200, 300), (449, 1025)])
@torch.no_grad()
def test_alphas_equal_transformers(models, size):
    ours, theirs = models
    pixels = torch.randn(2, 4, *pad(size))
    a, b = ours(pixels).alphas, theirs(pixels).alphas
    assert a.shape == b.shape
    assert (a - b).abs().max() <= 1e-4
    assert b.std() > 0.01  # the weights are alive


@pytest.mark.slow
@torch.no_grad()
def test_alphas_equal_transformers_at_the_documented_size(models):
    ours, theirs = models
    pixels = torch.randn(1, 4, 640, 960)
    assert (ours(pixels).alphas - theirs(pixels).alphas).abs().max() <= 1e-4


@torch.no_grad()
def test_hidden_states_attentions_and_tuples_equal_transformers(models):
    ours, theirs = models
    pixels = torch.randn(2, 4, 64, 96)
    a = ours(pixels, output_hidden_states=True, output_attentions=True)
    b = theirs(pixels, output_hidden_states=True, output_attentions=True)
    assert list(a.keys()) == list(b.keys())
    for x, y in zip(a.hidden_states + a.attentions, tuple(b.hidden_states) + tuple(b.attentions), strict=True):
        assert (x - y).abs().max() <= 1e-4
    plain = ours(pixels, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], ours(pixels).alphas)


@torch.no_grad()
def test_transformers_loads_what_perpixel_saves_and_back(models, tmp_path):
    ours, theirs = models
    pixels = torch.randn(1, 4, 64, 64)
    ours.save_pretrained(tmp_path / "ours")
    loaded = transformers.VitMatteForImageMatting.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(loaded(pixels).alphas, theirs(pixels).alphas)
    theirs.save_pretrained(tmp_path / "theirs")
    back = px.VitMatteForImageMatting.from_pretrained(tmp_path / "theirs")
    assert torch.equal(back(pixels).alphas, ours(pixels).alphas)
    assert back.config == ours.config


@torch.no_grad()
def test_gradient_mode_and_inference_mode_agree(models):
    ours, _ = models
    pixels = torch.randn(1, 4, 160, 288)
    fast = ours(pixels).alphas
    with torch.enable_grad():
        plain = ours(pixels).alphas
    assert (fast - plain).abs().max() <= 1e-5


@torch.no_grad()
def test_only_needed_pixels_are_computed_and_are_the_same(models):
    ours, _ = models
    pixels = torch.randn(1, 4, 416, 544)
    whole = ours(pixels).alphas
    needed = torch.zeros(1, 1, 416, 544, dtype=torch.bool)
    needed[..., 100:140, 250:260] = True
    needed[..., 415, 543] = True
    part = ours(pixels, needed=needed).alphas
    assert (part - whole)[needed].abs().max() <= 1e-6
    assert (part == 0).float().mean() > 0.5


@torch.no_grad()
def test_areas_of_a_large_image_join_without_a_trace(models, monkeypatch):
    ours, theirs = models
    monkeypatch.setattr("perpixel.models.vitmatte.decode.AREA", 96)
    pixels = torch.randn(2, 4, 224, 320)
    assert (ours(pixels).alphas - theirs(pixels).alphas).abs().max() <= 1e-5
    needed = torch.rand(2, 1, 224, 320) > 0.999
    assert (ours(pixels, needed=needed).alphas - theirs(pixels).alphas)[needed].abs().max() <= 1e-5
