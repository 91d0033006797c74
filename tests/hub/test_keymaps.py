"""The ViTMatte authors' names and the ones that old tools leave behind."""

import pytest
import torch

from parity.randomise import randomise
from perpixel.backbones.vitdet import VitDetBackbone
from perpixel.errors import CheckpointError
from perpixel.hub.keymaps import detect_layout, infer_config, to_hugging_face_names
from perpixel.models.vitmatte.config import VitMatteConfig
from perpixel.models.vitmatte.model import VitMatteForImageMatting

# Names as they stand in the authors' files (hustvl/ViTMatte) and in hustvl/vitmatte-small-composition-1k.
PAIRS = {
    "backbone.pos_embed": "backbone.embeddings.position_embeddings",
    "backbone.patch_embed.proj.weight": "backbone.embeddings.projection.weight",
    "backbone.patch_embed.proj.bias": "backbone.embeddings.projection.bias",
    "backbone.blocks.0.norm1.weight": "backbone.encoder.layer.0.norm1.weight",
    "backbone.blocks.0.norm2.bias": "backbone.encoder.layer.0.norm2.bias",
    "backbone.blocks.1.attn.qkv.weight": "backbone.encoder.layer.1.attention.qkv.weight",
    "backbone.blocks.1.attn.proj.bias": "backbone.encoder.layer.1.attention.proj.bias",
    "backbone.blocks.1.attn.rel_pos_h": "backbone.encoder.layer.1.attention.rel_pos_h",
    "backbone.blocks.0.mlp.fc1.weight": "backbone.encoder.layer.0.mlp.fc1.weight",
    "backbone.blocks.1.residual.conv1.weight": "backbone.encoder.layer.1.residual.conv1.weight",
    "backbone.blocks.1.residual.norm3.bias": "backbone.encoder.layer.1.residual.norm3.bias",
    "decoder.convstream.convs.0.conv.weight": "decoder.convstream.convs.0.conv.weight",
    "decoder.convstream.convs.2.bn.running_var": "decoder.convstream.convs.2.batch_norm.running_var",
    "decoder.fusion_blks.0.conv.conv.weight": "decoder.fusion_blocks.0.conv.conv.weight",
    "decoder.fusion_blks.3.conv.bn.num_batches_tracked": "decoder.fusion_blocks.3.conv.batch_norm.num_batches_tracked",
    "decoder.matting_head.matting_convs.0.weight": "decoder.matting_head.matting_convs.0.weight",
    "decoder.matting_head.matting_convs.1.running_mean": "decoder.matting_head.matting_convs.1.running_mean",
    "decoder.matting_head.matting_convs.3.bias": "decoder.matting_head.matting_convs.3.bias",
}


def small_config(hidden=64):
    return VitMatteConfig(
        hidden_size=hidden,
        convstream_hidden_sizes=[4, 6, 8],
        fusion_hidden_sizes=[16, 12, 8, 4],
        backbone_config={
            "model_type": "vitdet",
            "hidden_size": hidden,
            "num_hidden_layers": 2,
            "num_attention_heads": hidden // 32,
            "num_channels": 4,
            "image_size": 128,
            "use_relative_position_embeddings": True,
            "window_size": 3,
            "window_block_indices": [0],
            "residual_block_indices": [1],
            "out_features": ["stage2"],
        },
    )


def authors_name(name):
    """The way back, written on its own: plain replacements instead of patterns."""
    for ours, theirs in (
        ("backbone.embeddings.position_embeddings", "backbone.pos_embed"),
        ("backbone.embeddings.projection", "backbone.patch_embed.proj"),
        ("backbone.encoder.layer", "backbone.blocks"),
        (".attention.", ".attn."),
        ("fusion_blocks", "fusion_blks"),
        (".batch_norm.", ".bn."),
    ):
        name = name.replace(ours, theirs)
    return name


@pytest.fixture
def model():
    model = VitMatteForImageMatting(small_config())
    randomise(model)
    return model.eval()


@pytest.mark.parametrize(("theirs", "ours"), PAIRS.items())
def test_each_name(theirs, ours):
    state = {theirs: torch.ones(1), "decoder.fusion_blks.9.x": torch.ones(1)}
    assert ours in to_hugging_face_names(state, {ours, "decoder.x"})
    assert authors_name(ours) == theirs


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_a_file_of_the_authors_gives_the_same_model(model, tmp_path, wrapper):
    state = {wrapper + authors_name(key): tensor for key, tensor in model.state_dict().items()}
    assert len(state) == len(model.state_dict())
    torch.save({"model": state}, tmp_path / "ViTMatte_S_Com.pth")
    loaded = VitMatteForImageMatting.from_pretrained(tmp_path / "ViTMatte_S_Com.pth", batch_norm_eps=1e-5)
    pixels = torch.randn(1, 4, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).alphas, model(pixels).alphas)
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    backbone = VitDetBackbone.from_pretrained(tmp_path / "ViTMatte_S_Com.pth", config=model.config.backbone_config)
    assert torch.equal(backbone.encoder.layer[1].mlp.fc1.weight, model.backbone.encoder.layer[1].mlp.fc1.weight)


def test_the_config_is_read_off_the_shapes(model):
    state = {authors_name(key): tensor for key, tensor in model.state_dict().items()}
    config = small_config(64)
    # The shapes tell the width of a head only through its relative positions, here 32.
    found = VitMatteConfig.from_dict(infer_config(state, "vitmatte"))
    assert found == config


@pytest.mark.parametrize(("hidden", "heads"), [(384, 6), (768, 12)])
def test_the_small_and_base_models(hidden, heads):
    config = VitMatteConfig(hidden_size=hidden)
    config.backbone_config = type(config.backbone_config).from_dict(
        config.backbone_config.to_dict(), hidden_size=hidden, num_attention_heads=heads
    )
    with torch.device("meta"):
        model = VitMatteForImageMatting(config)
    state = {authors_name(key): tensor for key, tensor in model.state_dict().items()}
    assert VitMatteConfig.from_dict(infer_config(state, "vitmatte")) == config


def test_a_cut_file_of_the_authors_is_an_error():
    state = {
        "backbone.blocks.0.attn.rel_pos_h": torch.ones(5, 4),
        "decoder.fusion_blks.0.conv.conv.weight": torch.ones(1),
    }
    with pytest.raises(CheckpointError, match=r"names of the ViTMatte authors but lack 'backbone.pos_embed'"):
        infer_config(state, "vitmatte")


def test_hugging_face_names_stay(model):
    state = model.state_dict()
    assert detect_layout(state.keys()) == "hugging-face"
    assert list(to_hugging_face_names(state, state.keys())) == list(state)
    assert infer_config(state, "vitmatte") is None


def test_two_spellings_of_one_tensor_are_an_error():
    state = {"norm.weight": torch.ones(1), "norm.gamma": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"norm\.weight twice"):
        to_hugging_face_names(state, {"norm.weight"})


def test_a_parameter_that_is_really_called_gamma_stays():
    state = {"layer.gamma": torch.ones(1), "layer.weight": torch.ones(1)}
    assert set(to_hugging_face_names(state, {"layer.gamma", "layer.weight"})) == {"layer.gamma", "layer.weight"}
