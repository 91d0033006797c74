"""The names of DPT's authors: every tensor and every field of the models that they released."""

import functools

import pytest
import torch

from hub.dpt_authors import authors_names
from perpixel.errors import CheckpointError
from perpixel.hub.keymaps import detect_layout, infer_config, to_hugging_face_names
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation

transformers = pytest.importorskip("transformers")

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
