"""The names of DPT's and Depth Anything's authors: the way back is written on its own here, name by name."""

import functools
import warnings

import pytest
import torch

from models.dpt.tiny import BEIT, DINOV2, HYBRID, NECK, SWINV2, TINY, copied, tiny_config, tiny_model
from parity.randomise import randomise
from perpixel.backbones.bit import BitBackbone
from perpixel.backbones.dinov2 import Dinov2Backbone
from perpixel.errors import CheckpointError, PerpixelWarning
from perpixel.hub.infer_dpt import depth_anything_config
from perpixel.hub.keymaps import detect_layout, infer_config, to_hugging_face_names
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation, DPTModel

transformers = pytest.importorskip("transformers")

# Names as they stand in the authors' sources (dpt/vit.py, dpt/models.py, dpt/blocks.py of DPT, midas/backbones of
# MiDaS, timm's vision_transformer.py, resnetv2.py, beit.py and swin_transformer_v2.py).
PAIRS = {
    "vit": {
        "pretrained.model.cls_token": "dpt.embeddings.cls_token",
        "pretrained.model.pos_embed": "dpt.embeddings.position_embeddings",
        "pretrained.model.patch_embed.proj.weight": "dpt.embeddings.patch_embeddings.projection.weight",
        "pretrained.model.blocks.23.norm1.weight": "dpt.encoder.layer.23.layernorm_before.weight",
        "pretrained.model.blocks.23.norm2.bias": "dpt.encoder.layer.23.layernorm_after.bias",
        "pretrained.model.blocks.3.attn.proj.bias": "dpt.encoder.layer.3.attention.output.dense.bias",
        "pretrained.model.blocks.3.mlp.fc1.weight": "dpt.encoder.layer.3.intermediate.dense.weight",
        "pretrained.model.blocks.3.mlp.fc2.weight": "dpt.encoder.layer.3.output.dense.weight",
        "pretrained.model.norm.weight": "dpt.layernorm.weight",
        "pretrained.act_postprocess1.0.project.0.weight": "neck.reassemble_stage.readout_projects.0.0.weight",
        "pretrained.act_postprocess4.3.bias": "neck.reassemble_stage.layers.3.projection.bias",
        "pretrained.act_postprocess1.4.weight": "neck.reassemble_stage.layers.0.resize.weight",
        "scratch.layer1_rn.weight": "neck.convs.0.weight",
        "scratch.layer4_rn.weight": "neck.convs.3.weight",
        "scratch.refinenet4.out_conv.weight": "neck.fusion_stage.layers.0.projection.weight",
        "scratch.refinenet4.resConfUnit1.conv1.weight": (
            "neck.fusion_stage.layers.0.residual_layer1.convolution1.weight"
        ),
        "scratch.refinenet1.resConfUnit2.conv2.bias": "neck.fusion_stage.layers.3.residual_layer2.convolution2.bias",
        "scratch.refinenet2.resConfUnit1.bn2.running_var": (
            "neck.fusion_stage.layers.2.residual_layer1.batch_norm2.running_var"
        ),
        "scratch.output_conv.0.weight": "head.head.0.weight",
        "scratch.output_conv.4.bias": "head.head.4.bias",
        "auxlayer.1.running_mean": "auxiliary_head.head.1.running_mean",
    },
    "hybrid": {
        "pretrained.model.patch_embed.proj.weight": "dpt.embeddings.projection.weight",
        "pretrained.model.patch_embed.backbone.stem.norm.bias": "dpt.embeddings.backbone.bit.embedder.norm.bias",
        "pretrained.model.patch_embed.backbone.stages.2.blocks.8.conv3.weight": (
            "dpt.embeddings.backbone.bit.encoder.stages.2.layers.8.conv3.weight"
        ),
        "pretrained.model.patch_embed.backbone.stages.1.blocks.0.downsample.norm.weight": (
            "dpt.embeddings.backbone.bit.encoder.stages.1.layers.0.downsample.norm.weight"
        ),
        "pretrained.model.blocks.11.norm1.weight": "dpt.encoder.layer.11.layernorm_before.weight",
        "pretrained.act_postprocess3.0.project.0.bias": "neck.reassemble_stage.readout_projects.2.0.bias",
    },
    "beit": {
        "pretrained.model.cls_token": "backbone.embeddings.cls_token",
        "pretrained.model.patch_embed.proj.bias": "backbone.embeddings.patch_embeddings.projection.bias",
        "pretrained.model.blocks.7.gamma_1": "backbone.encoder.layer.7.lambda_1",
        "pretrained.model.blocks.7.gamma_2": "backbone.encoder.layer.7.lambda_2",
        "pretrained.model.blocks.7.attn.q_bias": "backbone.encoder.layer.7.attention.attention.query.bias",
        "pretrained.model.blocks.7.attn.v_bias": "backbone.encoder.layer.7.attention.attention.value.bias",
        "pretrained.model.blocks.7.norm2.weight": "backbone.encoder.layer.7.layernorm_after.weight",
        "pretrained.model.blocks.7.mlp.fc2.bias": "backbone.encoder.layer.7.output.dense.bias",
    },
    "swinv2": {
        "pretrained.model.patch_embed.proj.weight": "backbone.embeddings.patch_embeddings.projection.weight",
        "pretrained.model.patch_embed.norm.weight": "backbone.embeddings.norm.weight",
        "pretrained.model.layers.2.blocks.17.attn.q_bias": (
            "backbone.encoder.layers.2.blocks.17.attention.self.query.bias"
        ),
        "pretrained.model.layers.2.blocks.17.attn.cpb_mlp.0.bias": (
            "backbone.encoder.layers.2.blocks.17.attention.self.continuous_position_bias_mlp.0.bias"
        ),
        "pretrained.model.layers.2.blocks.17.attn.proj.bias": (
            "backbone.encoder.layers.2.blocks.17.attention.output.dense.bias"
        ),
        "pretrained.model.layers.2.blocks.17.norm1.bias": "backbone.encoder.layers.2.blocks.17.layernorm_before.bias",
        "pretrained.model.layers.2.blocks.17.mlp.fc1.bias": (
            "backbone.encoder.layers.2.blocks.17.intermediate.dense.bias"
        ),
        "pretrained.model.layers.0.downsample.norm.weight": "backbone.encoder.layers.0.downsample.norm.weight",
    },
    "dinov2": {
        "pretrained.mask_token": "backbone.embeddings.mask_token",
        "pretrained.pos_embed": "backbone.embeddings.position_embeddings",
        "pretrained.blocks.5.ls1.gamma": "backbone.encoder.layer.5.layer_scale1.lambda1",
        "pretrained.blocks.5.norm2.bias": "backbone.encoder.layer.5.norm2.bias",
        "pretrained.blocks.5.mlp.fc1.bias": "backbone.encoder.layer.5.mlp.fc1.bias",
        "pretrained.blocks.5.mlp.w12.bias": "backbone.encoder.layer.5.mlp.weights_in.bias",
        "pretrained.blocks.5.mlp.w3.weight": "backbone.encoder.layer.5.mlp.weights_out.weight",
        "pretrained.blocks.5.attn.proj.weight": "backbone.encoder.layer.5.attention.output.dense.weight",
        "pretrained.norm.weight": "backbone.layernorm.weight",
        "depth_head.projects.3.bias": "neck.reassemble_stage.layers.3.projection.bias",
        "depth_head.resize_layers.3.weight": "neck.reassemble_stage.layers.3.resize.weight",
        "depth_head.scratch.layer2_rn.weight": "neck.convs.1.weight",
        "depth_head.scratch.refinenet3.out_conv.bias": "neck.fusion_stage.layers.1.projection.bias",
        "depth_head.scratch.output_conv1.bias": "head.conv1.bias",
        "depth_head.scratch.output_conv2.0.bias": "head.conv2.bias",
        "depth_head.scratch.output_conv2.2.weight": "head.conv3.weight",
    },
}
# What makes a file one of this kind.
MARKS = {
    "vit": ["pretrained.model.blocks.0.attn.qkv.bias", "scratch.x"],
    "hybrid": ["pretrained.model.patch_embed.backbone.stem.conv.weight", "scratch.x"],
    "beit": ["pretrained.model.blocks.0.attn.relative_position_bias_table", "scratch.x"],
    "swinv2": ["pretrained.model.layers.0.blocks.0.attn.logit_scale", "scratch.x"],
    "dinov2": ["pretrained.cls_token", "depth_head.x"],
}


@pytest.mark.parametrize(("kind", "theirs"), [(kind, name) for kind, pairs in PAIRS.items() for name in pairs])
def test_each_name(kind, theirs):
    value, ours = torch.ones(3), PAIRS[kind][theirs]
    state = {**{mark: torch.ones(3) for mark in MARKS[kind]}, theirs: value}
    assert to_hugging_face_names(state, {ours})[ours] is value


def fusion_names(prefix):
    """The neck's and the fusion's names, ours to theirs, as replacements."""
    return [
        *((f"neck.convs.{i}.", f"{prefix}scratch.layer{i + 1}_rn.") for i in range(4)),
        *((f"neck.fusion_stage.layers.{i}.", f"{prefix}scratch.refinenet{4 - i}.") for i in range(4)),
        (".residual_layer", ".resConfUnit"),
        (".convolution", ".conv"),
        (".batch_norm", ".bn"),
    ]


# Ours to theirs, in this order.
BACK = {
    "dpt": [
        ("dpt.embeddings.backbone.bit.embedder.convolution", "pretrained.model.patch_embed.backbone.stem.conv"),
        ("dpt.embeddings.backbone.bit.embedder.norm", "pretrained.model.patch_embed.backbone.stem.norm"),
        ("dpt.embeddings.backbone.bit.encoder.stages", "pretrained.model.patch_embed.backbone.stages"),
        *fusion_names(""),
        *((f"neck.reassemble_stage.layers.{i}.projection", f"pretrained.act_postprocess{i + 1}.3") for i in range(4)),
        *((f"neck.reassemble_stage.layers.{i}.resize", f"pretrained.act_postprocess{i + 1}.4") for i in range(4)),
        *(
            (f"neck.reassemble_stage.readout_projects.{i}.0", f"pretrained.act_postprocess{i + 1}.0.project.0")
            for i in range(4)
        ),
        ("auxiliary_head.head.", "auxlayer."),
        ("head.head.", "scratch.output_conv."),
        ("dpt.embeddings.projection", "pretrained.model.patch_embed.proj"),
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.norm.", "patch_embed.norm."),
        ("dpt.layernorm", "pretrained.model.norm"),
        ("dpt.encoder.layer.", "pretrained.model.blocks."),
        ("backbone.encoder.layer.", "pretrained.model.blocks."),
        ("backbone.encoder.layers.", "pretrained.model.layers."),
        ("dpt.", "pretrained.model."),
        ("attention.output.dense", "attn.proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
        ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"),
        ("lambda_", "gamma_"),
        ("attention.attention.relative_position_bias.relative", "attn.relative"),
        ("attention.self.continuous_position_bias_mlp", "attn.cpb_mlp"),
        ("attention.self.logit_scale", "attn.logit_scale"),
    ],
    "depth_anything": [
        *fusion_names("depth_head."),
        *((f"neck.reassemble_stage.layers.{i}.projection", f"depth_head.projects.{i}") for i in range(4)),
        *((f"neck.reassemble_stage.layers.{i}.resize", f"depth_head.resize_layers.{i}") for i in range(4)),
        ("head.conv1", "depth_head.scratch.output_conv1"),
        ("head.conv2", "depth_head.scratch.output_conv2.0"),
        ("head.conv3", "depth_head.scratch.output_conv2.2"),
        ("backbone.embeddings.patch_embeddings.projection", "pretrained.patch_embed.proj"),
        ("backbone.embeddings.position_embeddings", "pretrained.pos_embed"),
        ("backbone.embeddings.", "pretrained."),
        ("backbone.layernorm", "pretrained.norm"),
        ("backbone.encoder.layer.", "pretrained.blocks."),
        ("layer_scale1.lambda1", "ls1.gamma"),
        ("layer_scale2.lambda1", "ls2.gamma"),
        ("attention.output.dense", "attn.proj"),
    ],
}


def authors_names(state, family, extra=True):
    """The way back: the authors' tensors, with those that only their files have."""
    theirs = {}
    for key, tensor in state.items():
        parts = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        old = key
        for ours, name in BACK[family]:
            old = old.replace(ours, name)
        if ".bit." in key:
            old = old.replace(".layers.", ".blocks.")
        if "fusion_stage" in key:
            old = old.replace(".projection.", ".out_conv.")
        elif "neck" not in key and not old.startswith("pretrained") and old.startswith("backbone."):
            old = old.replace("backbone.", "pretrained.model.")
        block = old.split(".attention.")[0]
        if ".query." in key:
            if key.endswith("weight"):
                old, tensor = f"{block}.attn.qkv.weight", torch.cat([state[part] for part in parts])
            elif parts[1] in state:
                old, tensor = f"{block}.attn.qkv.bias", torch.cat([state[part] for part in parts])
            else:  # keys have no bias in BEiT and Swin v2
                old = f"{block}.attn.q_bias"
        elif ".attention." in key and ".value.bias" in key and key.replace(".value.", ".key.") not in state:
            old = f"{block}.attn.v_bias"
        elif ".attention." in key and (".key." in key or ".value." in key):
            continue
        assert old not in theirs, old
        assert old != key or ".conv" in key, key
        theirs[old] = tensor
    if extra and family == "dpt":
        theirs["pretrained.model.head.weight"] = theirs["pretrained.model.head.bias"] = torch.zeros(2)
        if not any("pos_embed" in key for key in theirs):
            theirs["pretrained.model.norm.weight"] = theirs["pretrained.model.fc_norm.bias"] = torch.zeros(2)
            theirs["pretrained.model.blocks.0.attn.relative_position_index"] = torch.zeros(2, dtype=torch.long)
            theirs["pretrained.model.layers.0.blocks.1.attn_mask"] = torch.zeros(2)
    return theirs


VIT_L = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "backbone_out_indices": [5, 11, 17, 23],
    "neck_hidden_sizes": [256, 512, 1024, 1024],
}
ADE = {"use_batch_norm_in_fusion_residual": True, "num_labels": 150}
MIX = {"is_hybrid": True, "neck_hidden_sizes": [256, 512, 768, 768], "reassemble_factors": [1, 1, 1, 0.5]}
BEIT_B = {
    "use_relative_position_bias": True,
    "reshape_hidden_states": False,
    "image_size": 384,
    "out_features": ["stage3", "stage6", "stage9", "stage12"],
}
BEIT_L = {
    **BEIT_B,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "out_features": ["stage6", "stage12", "stage18", "stage24"],
}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
TUNED = {"image_size": 384, "window_size": 24, "pretrained_window_sizes": [12, 12, 12, 6], **STAGES}
SWIN_T = {"image_size": 256, "window_size": 16, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], **STAGES}
SWIN_B = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], **TUNED}
SWIN_L = {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], **TUNED}
WIDE = {"neck_hidden_sizes": [256, 512, 1024, 1024]}
# The models of the authors' releases, as transformers' conversion scripts set them up.
RELEASES = {
    "dpt_large-midas": (VIT_L, None),
    "dpt_large-ade20k": ({**VIT_L, **ADE}, None),
    "dpt_hybrid-midas": (MIX, None),
    "dpt_hybrid-ade20k": ({**MIX, **ADE}, None),
    "dpt_beit_large_512": (WIDE, ("BeitConfig", {**BEIT_L, "image_size": 512})),
    "dpt_beit_large_384": (WIDE, ("BeitConfig", BEIT_L)),
    "dpt_beit_base_384": ({"neck_hidden_sizes": [96, 192, 384, 768]}, ("BeitConfig", BEIT_B)),
    "dpt_swin2_tiny_256": ({"neck_hidden_sizes": [96, 192, 384, 768]}, ("Swinv2Config", SWIN_T)),
    "dpt_swin2_base_384": ({"neck_hidden_sizes": [128, 256, 512, 1024]}, ("Swinv2Config", SWIN_B)),
    "dpt_swin2_large_384": ({"neck_hidden_sizes": [192, 384, 768, 1536]}, ("Swinv2Config", SWIN_L)),
}


@functools.lru_cache
def release(name):
    """transformers' config and the tensors, without values, of its model."""
    fields, backbone = RELEASES[name]
    if backbone:
        kind, values = backbone
        fields = {**fields, "backbone_config": getattr(transformers, kind)(**values)}
    config = transformers.DPTConfig(**fields)
    kind = "SemanticSegmentation" if "ade" in name else "DepthEstimation"
    with torch.device("meta"):
        return config, getattr(transformers, f"DPTFor{kind}")(config).state_dict()


def in_files(state, ours):
    """transformers 5 has other names in memory for some backbones than in files; those of ours are the files'."""
    plain = {}
    for key, tensor in state.items():
        if "backbone.beit." in key:
            for memory, file in (
                ("backbone.beit.layers.", "backbone.encoder.layer."),
                ("backbone.beit.", "backbone."),
                (".attention.q_proj.", ".attention.attention.query."),
                (".attention.k_proj.", ".attention.attention.key."),
                (".attention.v_proj.", ".attention.attention.value."),
                (".attention.o_proj.", ".attention.output.dense."),
                (".relative_position_bias.", ".attention.attention.relative_position_bias."),
                (".mlp.fc1.", ".intermediate.dense."),
                (".mlp.fc2.", ".output.dense."),
            ):
                key = key.replace(memory, file)
        plain[key] = tensor
    found = to_hugging_face_names(plain, ours)
    return {key: tensor for key, tensor in found.items() if not key.endswith("relative_position_index")}


# What only trains or starts a model differs freely, and timm's norms have another epsilon than the conversions.
FREE = {"layer_norm_eps", "drop_path_rate", "layer_scale_init_value", "model_type", "global_padding"}


@pytest.mark.parametrize("name", RELEASES)
def test_every_tensor_of_the_releases(name):
    config, state = release(name)
    model_class = DPTForSemanticSegmentation if "ade" in name else DPTForDepthEstimation
    with torch.device("meta"):
        ours = model_class(DPTConfig.from_dict(config.to_dict())).state_dict()
        state = in_files(state, ours.keys())
        theirs = authors_names(state, "dpt")
    assert ours.keys() == state.keys()
    assert detect_layout(theirs.keys()) == "dpt-authors"
    found = to_hugging_face_names(theirs, ours.keys())
    assert found.keys() == ours.keys()
    assert all(found[key].shape == ours[key].shape for key in ours)
    inferred = infer_config(theirs, "dpt")
    assert infer_config(theirs, "depth_anything") is None
    with torch.device("meta"):
        made = DPTConfig.from_dict(inferred)
        again = model_class(made).state_dict()
    assert {key: tensor.shape for key, tensor in again.items()} == {key: t.shape for key, t in ours.items()}
    backbone, expected = inferred.pop("backbone_config", None), config.to_dict()
    expected["num_labels"] = config.num_labels
    if inferred["use_bias_in_fusion_residual"] is not (expected.pop("use_bias_in_fusion_residual") is not False):
        assert "ade" in name
    inferred.pop("use_bias_in_fusion_residual")
    if "beit" in name or "swin" in name or "large" in name:
        assert not inferred.pop("is_hybrid", False)
    assert {k: v for k, v in inferred.items() if k not in FREE} == {k: expected[k] for k in inferred if k not in FREE}
    if backbone is not None:
        expected = expected["backbone_config"]
        assert backbone["model_type"] == config.backbone_config.model_type
        if "hybrid" in name:  # the fourth stage has no tensor
            expected = {**expected, "hidden_sizes": expected["hidden_sizes"][:3]}
        assert {k: backbone[k] for k in backbone if k not in FREE} == {
            k: list(v) if isinstance(v := expected[k], tuple) else v for k in backbone if k not in FREE
        }


def tiny(kind):
    """A model of random weights, the family of its names, and a size that it takes."""
    if kind == "dinov2":
        config = DepthAnythingConfig(dict(DINOV2), patch_size=8, reassemble_hidden_size=16, **NECK)
        model = DepthAnythingForDepthEstimation(config).eval()
        randomise(model)
        return model, "depth_anything", (40, 56)
    if kind == "ade":
        changes = {"use_batch_norm_in_fusion_residual": True, "use_bias_in_fusion_residual": False, "num_labels": 5}
        return tiny_model(DPTForSemanticSegmentation, tiny_config(**changes)), "dpt", (32, 48)
    if kind in ("vit", "hybrid"):
        return tiny_model(config=tiny_config({"vit": TINY, "hybrid": HYBRID}[kind])), "dpt", (64, 96)
    neck = {**NECK, "neck_hidden_sizes": [8, 16, 32, 64]} if kind == "swinv2" else NECK
    backbone = copied({"b": {"beit": BEIT, "swinv2": SWINV2}[kind]})["b"]
    return tiny_model(config=DPTConfig(backbone_config=backbone, **neck)), "dpt", (64, 64)


@pytest.mark.parametrize("kind", ["vit", "ade", "hybrid", "beit", "swinv2", "dinov2"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_file_of_the_authors_gives_the_same_model(tmp_path, kind, wrapper):
    model, family, size = tiny(kind)
    theirs = {wrapper + key: tensor.clone() for key, tensor in authors_names(model.state_dict(), family).items()}
    # MiDaS saves the optimizer beside the model while it trains.
    torch.save({"model": theirs} if wrapper else theirs, tmp_path / "weights.pt")
    loaded = type(model).from_pretrained(tmp_path / "weights.pt", config=model.config)
    found, wanted = loaded.state_dict(), model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    pixels = torch.randn(1, 3, *size)
    with torch.no_grad():
        assert torch.equal(loaded(pixels)[0], model(pixels)[0])
    loaded.save_pretrained(tmp_path / "saved")  # no two parameters share memory


def test_without_a_config(tmp_path):
    """Heads are 64 wide in all these backbones, so these models are not quite so tiny."""
    shape = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 96, "layer_norm_eps": 1e-6}
    model = tiny_model(config=tiny_config(**shape, num_channels=2))
    torch.save(authors_names(model.state_dict(), "dpt"), tmp_path / "dpt_small.pt")
    loaded = DPTForDepthEstimation.from_pretrained(tmp_path / "dpt_small.pt")
    pixels = torch.randn(1, 2, 48, 32)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).predicted_depth, model(pixels).predicted_depth)
    with pytest.warns(PerpixelWarning, match="2 missing .*pooler"):
        inner = DPTModel.from_pretrained(tmp_path / "dpt_small.pt", config=model.config)
    assert torch.equal(inner.layernorm.weight, model.dpt.layernorm.weight)


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


def test_a_joint_projection_is_split_in_order():
    joint = torch.arange(12.0).reshape(6, 2)
    state = {"pretrained.model.blocks.0.attn.qkv.weight": joint, "pretrained.model.blocks.0.attn.qkv.bias": joint[:, 0]}
    found = to_hugging_face_names({**state, "scratch.x": joint}, ())
    stem = "dpt.encoder.layer.0.attention.attention"
    assert found[f"{stem}.query.weight"].tolist() == [[0, 1], [2, 3]]
    assert found[f"{stem}.key.weight"].tolist() == [[4, 5], [6, 7]]
    assert found[f"{stem}.value.bias"].tolist() == [8, 10]


def test_a_part_of_the_hybrid_can_be_taken_out(tmp_path):
    model, _, _ = tiny("hybrid")
    torch.save(authors_names(model.state_dict(), "dpt"), tmp_path / "hybrid.pt")
    with pytest.warns(PerpixelWarning, match="2 missing .*pooler"):
        inner = DPTModel.from_pretrained(tmp_path / "hybrid.pt", config=model.config)
    assert isinstance(inner.embeddings.backbone, BitBackbone)
    assert torch.equal(inner.embeddings.projection.weight, model.dpt.embeddings.projection.weight)


def test_what_is_no_dpt():
    cut = authors_names(release("dpt_large-midas")[1], "dpt")
    del cut["pretrained.model.pos_embed"]
    with pytest.raises(CheckpointError, match=r"DPT authors but lack .*pos_embed"):
        infer_config(cut, "dpt")
    assert infer_config(cut, "mask2former") is None
    other = {"pretrained.layer1.0.weight": torch.ones(1), "scratch.refinenet1.out_conv.weight": torch.ones(1)}
    with pytest.raises(CheckpointError, match="MiDaS have a backbone other than ViT"):
        infer_config(other, "dpt")
    odd = {
        "pretrained.model.layers.0.blocks.0.attn.logit_scale": torch.ones(3, 1, 1),
        "pretrained.model.patch_embed.proj.weight": torch.ones(100, 3, 4, 4),
        **{f"scratch.layer{i}_rn.weight": torch.ones(2, 100 * 2 ** (i - 1), 3, 3) for i in range(1, 5)},
    }
    with pytest.raises(CheckpointError, match="Swin v2 of width 100"):
        infer_config(odd, "dpt")
