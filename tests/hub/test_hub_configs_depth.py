"""Configs and preprocessor files as they stand on the Hub, written down from there, with what is odd about them."""

import json

import pytest
import torch

from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation
from perpixel.models.dpt.processor import DPTFeatureExtractor, DPTImageProcessor

# What every config that was nested in another one carried along until transformers 4.37.
GENERATION = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "bad_words_ids": None,
    "bos_token_id": None,
    "chunk_size_feed_forward": 0,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "length_penalty": 1.0,
    "max_length": 20,
    "pad_token_id": None,
    "problem_type": None,
    "return_dict": True,
    "torch_dtype": None,
    "transformers_version": "4.35.0.dev0",
}
ANYTHING = {
    "_commit_hash": None,
    "architectures": ["DepthAnythingForDepthEstimation"],
    "backbone": None,
    "backbone_config": {
        "architectures": ["Dinov2Model"],
        "hidden_size": 384,
        "image_size": 518,
        "model_type": "dinov2",
        "num_attention_heads": 6,
        "out_features": ["stage3", "stage6", "stage9", "stage12"],
        "out_indices": [3, 6, 9, 12],
        "patch_size": 14,
        "reshape_hidden_states": False,
        "torch_dtype": "float32",
    },
    "backbone_kwargs": None,
    "fusion_hidden_size": 64,
    "head_hidden_size": 32,
    "head_in_index": -1,
    "initializer_range": 0.02,
    "model_type": "depth_anything",
    "neck_hidden_sizes": [48, 96, 192, 384],
    "patch_size": 14,
    "reassemble_factors": [4, 2, 1, 0.5],
    "reassemble_hidden_size": 384,
    "torch_dtype": "float32",
    "transformers_version": None,
    "use_pretrained_backbone": False,
    "use_timm_backbone": False,
}
VIT_L = {
    "architectures": ["DPTForDepthEstimation"],
    "attention_probs_dropout_prob": 0.0,
    "auxiliary_loss_weight": 0.4,
    "backbone_out_indices": [5, 11, 17, 23],
    "fusion_hidden_size": 256,
    "head_in_index": -1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 1024,
    "image_size": 384,
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-12,
    "model_type": "dpt",
    "neck_hidden_sizes": [256, 512, 1024, 1024],
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 16,
    "qkv_bias": True,
    "readout_type": "project",
    "reassemble_factors": [4, 2, 1, 0.5],
    "semantic_classifier_dropout": 0.1,
    "semantic_loss_ignore_index": 255,
    "torch_dtype": "float32",
    "transformers_version": "4.18.0.dev0",
    "use_auxiliary_head": True,
    "use_batch_norm_in_fusion_residual": False,
}
HYBRID = {
    **VIT_L,
    "_commit_hash": "65776c96786d3dd82c1cdb4847ea0c2cb46a943c",
    "backbone_config": {
        **GENERATION,
        "architectures": None,
        "depths": [3, 4, 9],
        "drop_path_rate": 0.0,
        "embedding_dynamic_padding": True,
        "embedding_size": 64,
        "global_padding": "SAME",
        "hidden_act": "relu",
        "hidden_sizes": [256, 512, 1024, 2048],
        "layer_type": "bottleneck",
        "model_type": "bit",
        "num_channels": 3,
        "num_groups": 32,
        "out_features": ["stage1", "stage2", "stage3"],
        "output_stride": 32,
        "stage_names": ["stem", "stage1", "stage2", "stage3"],
        "width_factor": 1,
    },
    "backbone_featmap_shape": [1, 1024, 24, 24],
    "backbone_out_indices": [2, 5, 8, 11],
    "embedding_type": "hybrid",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "is_hybrid": True,
    "neck_hidden_sizes": [256, 512, 768, 768],
    "neck_ignore_stages": [0, 1],
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "reassemble_factors": [1, 1, 1, 0.5],
    "reassemble_stage": None,
}
# What the backbone does is null in the whole, which older versions wrote where a backbone replaces the ViT.
NULLS = {
    "attention_probs_dropout_prob": None,
    "backbone_featmap_shape": None,
    "backbone_out_indices": None,
    "hidden_dropout_prob": None,
    "image_size": None,
    "intermediate_size": None,
    "is_hybrid": False,
    "layer_norm_eps": None,
    "neck_ignore_stages": [],
    "num_attention_heads": None,
    "num_channels": None,
    "num_hidden_layers": None,
    "patch_size": None,
    "qkv_bias": None,
}
DINOV2 = {
    **VIT_L,
    **NULLS,
    "add_projection": True,
    "backbone": None,
    "backbone_config": {
        **GENERATION,
        "apply_layernorm": False,
        "architectures": ["Dinov2Model"],
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "image_size": 518,
        "layer_norm_eps": 1e-06,
        "layerscale_value": 1.0,
        "mlp_ratio": 4,
        "model_type": "dinov2",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "out_features": ["stage5", "stage12", "stage18", "stage24"],
        "out_indices": [5, 12, 18, 24],
        "patch_size": 14,
        "qkv_bias": True,
        "reshape_hidden_states": False,
        "stage_names": ["stem", *(f"stage{i}" for i in range(1, 25))],
        "use_swiglu_ffn": False,
    },
    "hidden_size": 768,
    "neck_hidden_sizes": [128, 256, 512, 1024],
    "use_bias_in_fusion_residual": False,
    "use_batch_norm_in_fusion_residual": False,
}
SWINV2 = {
    **VIT_L,
    **NULLS,
    "backbone_config": {
        **GENERATION,
        "architectures": None,
        "depths": [2, 2, 6, 2],
        "embed_dim": 96,
        "encoder_stride": 32,
        "hidden_size": 768,
        "image_size": 256,
        "mlp_ratio": 4.0,
        "model_type": "swinv2",
        "num_heads": [3, 6, 12, 24],
        "num_layers": 4,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "out_indices": [1, 2, 3, 4],
        "path_norm": True,
        "patch_size": 4,
        "pretrained_window_sizes": [0, 0, 0, 0],
        "qkv_bias": True,
        "stage_names": ["stem", "stage1", "stage2", "stage3", "stage4"],
        "use_absolute_embeddings": False,
        "window_size": 16,
    },
    "hidden_size": 768,
    "neck_hidden_sizes": [96, 192, 384, 768],
}


def read(tmp_path, config_class, values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    return config_class.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("values", "kind", "farthest"),
    [
        ({}, "relative", 1),  # version 2 small, whose file does not name these
        ({"max_depth": 1, "depth_estimation_type": "relative"}, "relative", 1),
        ({"max_depth": 20, "depth_estimation_type": "metric"}, "metric", 20),
        ({"max_depth": None}, "relative", None),
    ],
)
def test_depth_anything(tmp_path, values, kind, farthest):
    config = read(tmp_path, DepthAnythingConfig, {**ANYTHING, **values})
    assert (config.depth_estimation_type, config.max_depth) == (kind, farthest)
    assert config.backbone_config.out_indices == [3, 6, 9, 12]
    with torch.device("meta"):
        model = DepthAnythingForDepthEstimation(config)
    assert round(model.num_parameters() / 1e6, 1) == 24.8  # as the authors count it
    again = read(tmp_path, DepthAnythingConfig, config.to_dict())
    assert again == config
    assert again.extras["_commit_hash"] is None


@pytest.mark.parametrize(
    ("values", "millions"),
    [(VIT_L, 344), (HYBRID, 123), (DINOV2, 340), (SWINV2, 42)],
    ids=["vit", "mix", "dino", "swin"],
)
def test_dpt(tmp_path, values, millions):
    config = read(tmp_path, DPTConfig, values)
    with torch.device("meta"):
        model = DPTForDepthEstimation(config)
    # The README of MiDaS counts 344, 123 and 42; facebook/dpt-dinov2-large-nyu is a file of 1.36 GB.
    assert abs(model.num_parameters() / 1e6 - millions) < 1.5
    assert read(tmp_path, DPTConfig, config.to_dict()) == config


def test_dpt_with_classes(tmp_path):
    names = {str(i): f"class {i}" for i in range(150)}
    values = {
        **VIT_L,
        "architectures": ["DPTForSemanticSegmentation"],
        "id2label": names,
        "label2id": {name: i for i, name in names.items()},
        "use_batch_norm_in_fusion_residual": True,
    }
    config = read(tmp_path, DPTConfig, values)
    assert (config.num_labels, config.id2label[149]) == (150, "class 149")
    with torch.device("meta"):
        state = DPTForSemanticSegmentation(config).state_dict()
    assert state["head.head.4.weight"].shape == (150, 256, 1, 1)
    # As in the file on the Hub: with batch norms the convolutions have no biases.
    fusion = "neck.fusion_stage.layers.1.residual_layer1"
    assert f"{fusion}.batch_norm1.running_var" in state
    assert f"{fusion}.convolution1.bias" not in state


OLD = {
    "do_normalize": True,
    "do_resize": True,
    "ensure_multiple_of": 1,
    "feature_extractor_type": "DPTFeatureExtractor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "keep_aspect_ratio": False,
    "resample": 2,
    "size": 384,
}
NEW = {
    "do_normalize": True,
    "do_pad": False,
    "do_rescale": True,
    "do_resize": True,
    "ensure_multiple_of": 14,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "DPTImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "keep_aspect_ratio": True,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 518, "width": 518},
    "size_divisor": None,
}
ODD = {
    **OLD,
    "do_rescale": True,
    "image_processor_type": "DPTFeatureExtractor",
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 384, "width": 384},
}
KEYS = {"_valid_processor_keys": ["images", "do_resize", "size", "return_tensors", "data_format"]}


@pytest.mark.parametrize("reader", [DPTImageProcessor, DPTFeatureExtractor])
@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (OLD, (384, 384)),
        (ODD, (384, 384)),
        ({**OLD, "size": 480}, (480, 480)),  # Intel/dpt-large-ade
        (NEW, (518, 686)),
        ({**NEW, **KEYS}, (518, 686)),  # version 2 of Depth Anything
        ({**NEW, "image_processor_type": "DPTImageProcessorFast"}, (518, 686)),
    ],
)
def test_preprocessor_files(tmp_path, reader, values, shape):
    from PIL import Image

    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    processor = reader.from_pretrained(tmp_path)
    assert processor(Image.new("RGB", (640, 480)), return_tensors="np").pixel_values.shape == (1, 3, *shape)
    processor.save_pretrained(tmp_path / "again")
    assert DPTImageProcessor.from_pretrained(tmp_path / "again").size == processor.size
