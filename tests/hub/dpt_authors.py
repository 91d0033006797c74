"""The way back to the names of DPT's and Depth Anything's authors, written on its own, and models to take it with."""

import torch

from models.dpt.tiny import BEIT, DINOV2, HYBRID, NECK, SWINV2, TINY, copied, tiny_config, tiny_model
from parity.randomise import randomise
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForSemanticSegmentation


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
