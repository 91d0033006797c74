"""Depth Anything from its authors' files: every tensor, and the config from names and shapes."""

import warnings

import pytest
import torch

from hub.dpt_authors import authors_names
from models.dpt.tiny import DINOV2, NECK
from parity.randomise import randomise
from perpixel.backbones.dinov2 import Dinov2Backbone
from perpixel.errors import PerpixelWarning
from perpixel.hub.infer_dpt import depth_anything_config
from perpixel.hub.keymaps import detect_layout, infer_config, to_hugging_face_names
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("name", "indices", "kind", "farthest"),
    [
        ("depth_anything_vits14.pth", [3, 4, 5, 6, 7, 8][-4:], "relative", 1),
        ("depth_anything_v2_vits.pth", [2, 4, 6, 8], "relative", 1),
        ("depth_anything_v2_metric_hypersim_vits.pth", [2, 4, 6, 8], "metric", 20),
        ("depth_anything_v2_metric_vkitti_vits.pth", [2, 4, 6, 8], "metric", 80),
    ],
)
def test_a_depth_anything_without_a_config(tmp_path, name, indices, kind, farthest):
    shape = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 8, "out_indices": indices}
    config = DepthAnythingConfig(
        {**DINOV2, **shape},
        patch_size=8,
        reassemble_hidden_size=64,
        depth_estimation_type=kind,
        max_depth=farthest,
        **NECK,
    )
    model = DepthAnythingForDepthEstimation(config).eval()
    randomise(model)
    torch.save(authors_names(model.state_dict(), "depth_anything"), tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = DepthAnythingForDepthEstimation.from_pretrained(tmp_path / name)
    assert loaded.config.backbone_config.out_indices == indices
    assert (loaded.config.depth_estimation_type, loaded.config.max_depth) == (kind, farthest)
    pixels = torch.randn(1, 3, 40, 32)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).predicted_depth, model(pixels).predicted_depth)
    # A name that tells nothing: version 2, and a warning; a config of one's own is quiet.
    (tmp_path / name).rename(tmp_path / "model.pth")
    with pytest.warns(PerpixelWarning, match=r"model.pth does not say which version .* version 2 was taken"):
        other = DepthAnythingForDepthEstimation.from_pretrained(tmp_path / "model.pth")
    assert other.config.backbone_config.out_indices == [2, 4, 6, 8]
    part = Dinov2Backbone.from_pretrained(tmp_path / "model.pth", config=config.backbone_config)
    assert torch.equal(part.layernorm.weight, model.backbone.layernorm.weight)


SIZES = {
    "small": (384, 12, 6, [48, 96, 192, 384], 64, [9, 10, 11, 12], [3, 6, 9, 12]),
    "base": (768, 12, 12, [96, 192, 384, 768], 128, [9, 10, 11, 12], [3, 6, 9, 12]),
    "large": (1024, 24, 16, [256, 512, 1024, 1024], 256, [21, 22, 23, 24], [5, 12, 18, 24]),
}


@pytest.mark.parametrize("size", SIZES)
def test_every_tensor_of_depth_anything(size):
    width, depth, heads, neck, fusion, first, second = SIZES[size]
    backbone = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads, "image_size": 518}
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(**backbone, out_indices=first, reshape_hidden_states=False),
        reassemble_hidden_size=width,
        neck_hidden_sizes=neck,
        fusion_hidden_size=fusion,
    )
    with torch.device("meta"):
        state = transformers.DepthAnythingForDepthEstimation(config).state_dict()
        ours = DepthAnythingForDepthEstimation(DepthAnythingConfig.from_dict(config.to_dict())).state_dict()
        state = to_hugging_face_names(state, ours.keys())
        theirs = authors_names(state, "depth_anything")
    assert detect_layout(theirs.keys()) == "depth-anything-authors"
    found = to_hugging_face_names(theirs, state.keys())
    assert {key: tensor.shape for key, tensor in found.items()} == {key: t.shape for key, t in state.items()}
    letter = size[0]
    for name, indices in ((f"depth_anything_vit{letter}14.pth", first), (f"depth_anything_v2_vit{letter}.pth", second)):
        inferred = infer_config(theirs, "depth_anything", name)
        made = inferred.pop("backbone_config")
        assert made.pop("out_indices") == indices
        expected = config.to_dict()
        assert inferred == {key: expected[key] for key in inferred}
        expected = expected["backbone_config"]
        assert made == {key: expected[key] for key in made}
    assert infer_config(theirs, "dpt") is None


def test_the_gated_giant():
    """Its weights were never released; DINOv2's own are known, with 1536 channels and layers of two times 4096."""
    shapes = {
        "pretrained.pos_embed": (1, 1370, 1536),
        "pretrained.patch_embed.proj.weight": (1536, 3, 14, 14),
        "pretrained.blocks.39.norm1.weight": (1536,),
        "pretrained.blocks.0.mlp.w12.weight": (8192, 1536),
        "depth_head.scratch.output_conv2.0.weight": (32, 192, 3, 3),
        **{f"depth_head.scratch.layer{i}_rn.weight": (384, 1536, 3, 3) for i in range(1, 5)},
    }
    fields = depth_anything_config({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    backbone = fields["backbone_config"]
    assert (backbone["num_hidden_layers"], backbone["num_attention_heads"]) == (40, 24)
    assert backbone["out_indices"] == [10, 20, 30, 40]
    assert backbone["use_swiglu_ffn"]
    with torch.device("meta"):
        made = DepthAnythingForDepthEstimation(DepthAnythingConfig.from_dict(fields))
    assert made.backbone.encoder.layer[0].mlp.weights_in.weight.shape == (8192, 1536)
