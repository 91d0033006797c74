"""The backbones of DPT and MiDaS are timm's: timm's own models, and ours with their weights, see the same."""

from functools import partial

import pytest
import torch

from backbones.conftest import timm as timm  # a fixture, which makes timm importable
from hub.dpt_authors import authors_names
from models.dpt.tiny import NECK, SWINV2, tiny_config, tiny_model
from parity.randomise import randomise
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation

pytestmark = pytest.mark.usefixtures("timm")

# Heads of these backbones are 64 wide, so the config can be read off.
WIDTH = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 256, "image_size": 64, "patch_size": 16}
SIZE = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 4, "num_heads": 1, "num_classes": 3}


def seen_by_timm(model, blocks, pixels):
    """What the blocks give, taken as MiDaS takes it."""
    outputs = []
    hooks = [block.register_forward_hook(lambda module, given, output: outputs.append(output)) for block in blocks]
    with torch.no_grad():
        model.forward_features(pixels)
    for hook in hooks:
        hook.remove()
    return outputs


def loaded(tmp_path, ours, theirs, config=None):
    """A model read from a file of the authors: neck and head of one of ours, and timm's backbone."""
    state = {k: v for k, v in authors_names(ours.state_dict(), "dpt").items() if not k.startswith("pretrained.model.")}
    state |= {f"pretrained.model.{key}": tensor for key, tensor in theirs.items()}
    torch.save(state, tmp_path / "dpt.pt")
    return DPTForDepthEstimation.from_pretrained(tmp_path / "dpt.pt", config=config)


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        theirs = theirs.reshape(ours.shape)
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_vit(tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    theirs = VisionTransformer(**SIZE).eval()
    randomise(theirs)
    ours = loaded(tmp_path, tiny_model(config=tiny_config(**WIDTH)), theirs.state_dict())
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = ours.dpt(pixels, output_hidden_states=True)
        assert_same(found.hidden_states[1:], seen_by_timm(theirs, theirs.blocks, pixels))
        assert_same([found.last_hidden_state], [theirs.forward_features(pixels)])


def test_hybrid(tmp_path):
    from timm.layers import StdConv2dSame
    from timm.models.resnetv2 import ResNetV2
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    stem = ResNetV2(
        layers=(1, 1, 2),
        channels=(128, 128, 256),
        stem_chs=32,
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    theirs = VisionTransformer(**{**SIZE, "patch_size": 1}, embed_layer=partial(HybridEmbed, backbone=stem)).eval()
    randomise(theirs)
    bit = {
        "model_type": "bit",
        "embedding_size": 32,
        "hidden_sizes": [128, 128, 256],
        "depths": [1, 1, 2],
        "global_padding": "same",
        "embedding_dynamic_padding": True,
        "out_features": ["stage1", "stage2", "stage3"],
    }
    mix = {
        "is_hybrid": True,
        "backbone_config": bit,
        "neck_hidden_sizes": [128, 128, 8, 10],
        "reassemble_factors": [1, 1, 1, 0.5],
    }
    ours = loaded(tmp_path, tiny_model(config=tiny_config(**WIDTH, **mix)), theirs.state_dict())
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = ours.dpt(pixels)
        stages = seen_by_timm(theirs, stem.stages[:2], pixels)
        assert_same(
            [*found.intermediate_activations, found.last_hidden_state], [*stages, theirs.forward_features(pixels)]
        )


def test_beit(tmp_path):
    from timm.models.beit import Beit

    theirs = Beit(**SIZE, init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True).eval()
    randomise(theirs)
    backbone = {
        "model_type": "beit",
        **WIDTH,
        "num_hidden_layers": 4,
        "use_relative_position_bias": True,
        "out_indices": [1, 2, 3, 4],
    }
    ours = tiny_model(config=DPTConfig(backbone_config=backbone, **NECK))
    ours = loaded(tmp_path, ours, theirs.state_dict())
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = ours.backbone(pixels).feature_maps
    assert_same(found, seen_by_timm(theirs, theirs.blocks, pixels))


def test_swinv2(tmp_path):
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    theirs = SwinTransformerV2(
        img_size=64, embed_dim=8, depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), window_size=4, num_classes=3
    ).eval()
    randomise(theirs)
    # The version of timm that MiDaS was built on had the merging at the end of a stage, today it begins the next.
    state = {
        f"layers.{int(key[7]) - 1}{key[8:]}" if ".downsample." in key else key: tensor
        for key, tensor in theirs.state_dict().items()
    }
    neck = {**NECK, "neck_hidden_sizes": [8, 16, 32, 64]}
    config = DPTConfig(backbone_config={**SWINV2, "depths": [2, 1, 1, 1]}, **neck)
    ours = loaded(tmp_path, tiny_model(config=config), state, config)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = ours.backbone(pixels).feature_maps
    wanted = seen_by_timm(theirs, [layer.blocks[-1] for layer in theirs.layers], pixels)
    assert_same(found, [x.permute(0, 3, 1, 2) for x in wanted])
