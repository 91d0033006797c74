"""A tiny model of every kind that can be exported, each with random weights everywhere, so that nothing hides at 0."""

import torch

from perpixel.backbones import config_from_dict
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation
from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation
from perpixel.models.vitmatte.config import VitMatteConfig
from perpixel.models.vitmatte.model import VitMatteForImageMatting

NECK = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8}
OWN_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "backbone_out_indices": [0, 1, 2, 3],
    "image_size": 64,
    "readout_type": "project",
    **NECK,
}
TOKENS = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}


def vitmatte():
    backbone = config_from_dict(
        {
            "model_type": "vitdet",
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "num_channels": 4,
            "window_size": 3,
            "window_block_indices": [0],
            "residual_block_indices": [1],
            "pretrain_image_size": 64,
            "image_size": 64,
            "use_absolute_position_embeddings": True,
            "use_relative_position_embeddings": True,
        }
    )
    sizes = {"convstream_hidden_sizes": [4, 4, 8], "fusion_hidden_sizes": [8, 8, 4, 4]}
    return VitMatteForImageMatting(VitMatteConfig(backbone, hidden_size=16, **sizes))


def _mask2former(backbone):
    config = Mask2FormerConfig(
        config_from_dict({**backbone, "out_indices": [1, 2, 3, 4]}),
        feature_size=32,
        mask_feature_size=8,
        hidden_dim=16,
        num_queries=4,
        num_attention_heads=2,
        decoder_layers=4,
        encoder_layers=1,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        num_labels=3,
    )
    return Mask2FormerForUniversalSegmentation(config)


def mask2former_swin():
    heads = {"depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 2]}
    return _mask2former({"model_type": "swin", "embed_dim": 8, "window_size": 3, **heads})


def mask2former_resnet():
    shape = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    return _mask2former({"model_type": "resnet", **shape})


def dpt():
    return DPTForDepthEstimation(DPTConfig(**OWN_VIT))


def dpt_segmentation():
    return DPTForSemanticSegmentation(DPTConfig(**OWN_VIT, num_labels=3))


def dpt_hybrid():
    bit = {
        "model_type": "bit",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 32],
        "depths": [1, 1, 1],
        "num_groups": 4,
        "out_features": ["stage1", "stage2", "stage3"],
        "layer_type": "bottleneck",
        "global_padding": "same",
        "embedding_dynamic_padding": True,
    }
    changes = {"neck_hidden_sizes": [8, 16, 16, 16], "neck_ignore_stages": [0, 1], "is_hybrid": True}
    return DPTForDepthEstimation(DPTConfig(**{**OWN_VIT, **changes}, backbone_config=config_from_dict(bit)))


def _dpt_on(backbone, **changes):
    config = DPTConfig(backbone_config=config_from_dict(backbone), **{**NECK, **changes})
    return DPTForDepthEstimation(config)


def dpt_dinov2():
    backbone = {"model_type": "dinov2", "image_size": 42, "reshape_hidden_states": False, **TOKENS}
    return _dpt_on(backbone, readout_type="project", reassemble_factors=[4, 2, 1, 0.5])


def dpt_beit():
    shape = {"intermediate_size": 32, "image_size": 64, "use_relative_position_bias": True}
    backbone = {"model_type": "beit", "reshape_hidden_states": False, **shape, **TOKENS}
    return _dpt_on(backbone, readout_type="project", reassemble_factors=[4, 2, 1, 0.5])


def dpt_swinv2():
    shape = {"embed_dim": 8, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4, "image_size": 64}
    return _dpt_on({"model_type": "swinv2", "out_indices": [1, 2, 3, 4], **shape}, neck_hidden_sizes=[8, 16, 32, 64])


def depth_anything():
    backbone = config_from_dict({"model_type": "dinov2", "image_size": 42, **TOKENS})
    sizes = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [4, 8, 8, 8], "fusion_hidden_size": 8}
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone, **sizes))


ZOO = {
    make.__name__: make
    for make in (
        vitmatte,
        mask2former_swin,
        mask2former_resnet,
        dpt,
        dpt_segmentation,
        dpt_hybrid,
        dpt_dinov2,
        dpt_beit,
        dpt_swinv2,
        depth_anything,
    )
}


def tiny(name):
    """The model in eval mode. The last bias of depth is such that not everything is cut off at 0."""
    torch.manual_seed(0)
    model = ZOO[name]()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            around = 1.0 if key.endswith("weight") and parameter.ndim == 1 else 0.0
            parameter.copy_(around + 0.15 * torch.randn(parameter.shape))
            if key.endswith(("head.4.bias", "conv3.bias")) and parameter.numel() == 1:
                parameter.fill_(1.0)
        for _, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(0.5 + torch.rand(buffer.shape))
    return model.eval()
