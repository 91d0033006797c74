"""A ViTDet that starts from a plain ViT computes what the ViT of transformers computes."""

import pytest
import torch
import transformers
from safetensors.torch import load_file

from parity.randomise import randomise
from perpixel.backbones.vitdet import VitDetBackbone, VitDetConfig
from perpixel.errors import CheckpointError
from perpixel.train.start import start_from_vit

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-6}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A random ViT of transformers for 64 pixels, and its weights as they lie in the file."""
    config = transformers.ViTConfig(**SHAPE, intermediate_size=32, image_size=64, patch_size=16)
    model = transformers.ViTModel(config).eval()
    randomise(model)
    folder = tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    return model, load_file(folder / "model.safetensors")


def backbone(**changes):
    fields = {"mlp_ratio": 2, "num_channels": 4, "image_size": 64, "pretrain_image_size": 64}
    return VitDetBackbone(VitDetConfig(**SHAPE | fields | changes)).eval()


@torch.no_grad()
def test_embeddings_and_layers_equal_transformers(vit):
    theirs, weights = vit
    ours = backbone(use_relative_position_embeddings=True)
    randomise(ours, seed=1)
    start_from_vit(ours, weights)
    pixels = torch.randn(2, 4, 64, 64)
    tokens = ours.embeddings(pixels)  # (b, h, w, c)
    # The class token comes first; the trimap has no part yet.
    assert (tokens.flatten(1, 2) - theirs.embeddings(pixels[:, :3])[:, 1:]).abs().max() < 1e-6
    for mine, layer in zip(ours.encoder.layer, theirs.layers, strict=True):
        expected = layer(tokens.flatten(1, 2))
        expected = expected[0] if isinstance(expected, tuple) else expected
        tokens, _ = mine(tokens)
        assert (tokens.flatten(1, 2) - expected).abs().max() < 1e-5
        assert not mine.attention.rel_pos_h.any() and not mine.attention.rel_pos_w.any()


@torch.no_grad()
def test_fewer_layers_and_the_prefix_of_a_classifier(vit):
    _, weights = vit
    ours, other = backbone(num_hidden_layers=1), backbone(num_hidden_layers=1)
    start_from_vit(ours, weights)
    start_from_vit(other, {f"vit.{name}": tensor for name, tensor in weights.items()})
    for (name, one), two in zip(ours.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert torch.equal(ours.encoder.layer[0].mlp.fc1.bias, weights["encoder.layer.0.intermediate.dense.bias"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 32}, r"projection.weight is \(16, 3, 16, 16\) but the backbone needs \(32, 3, 16, 16\)"),
        ({"num_hidden_layers": 3}, r"encoder.layer.2.* is absent but the backbone needs"),
        ({"pretrain_image_size": 96}, r"position_embeddings is \(1, 17, 16\).*set pretrain_image_size"),
        ({"qkv_bias": False}, "set qkv_bias=True"),
    ],
)
def test_a_vit_of_another_shape(vit, changes, message):
    with pytest.raises(CheckpointError, match=message):
        start_from_vit(backbone(**changes), vit[1])
