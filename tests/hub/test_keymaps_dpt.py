"""The names of DPT's and Depth Anything's authors, one by one."""

import pytest
import torch

from perpixel.hub.keymaps import to_hugging_face_names

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


def test_a_joint_projection_is_split_in_order():
    joint = torch.arange(12.0).reshape(6, 2)
    state = {"pretrained.model.blocks.0.attn.qkv.weight": joint, "pretrained.model.blocks.0.attn.qkv.bias": joint[:, 0]}
    found = to_hugging_face_names({**state, "scratch.x": joint}, ())
    stem = "dpt.encoder.layer.0.attention.attention"
    assert found[f"{stem}.query.weight"].tolist() == [[0, 1], [2, 3]]
    assert found[f"{stem}.key.weight"].tolist() == [[4, 5], [6, 7]]
    assert found[f"{stem}.value.bias"].tolist() == [8, 10]
