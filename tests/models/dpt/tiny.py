"""A DPT of a few thousand random weights, of each kind."""

from parity.randomise import randomise
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [4, 6, 8, 10],
    "fusion_hidden_size": 8,
}
NECK = {"neck_hidden_sizes": [4, 6, 8, 10], "fusion_hidden_size": 8}
BIT = {
    "model_type": "bit",
    "embedding_size": 8,
    "hidden_sizes": [32, 32, 64],
    "depths": [1, 1, 1],
    "num_groups": 4,
    "layer_type": "bottleneck",
    "global_padding": "same",
    "embedding_dynamic_padding": True,
    "out_features": ["stage1", "stage2", "stage3"],
}
HYBRID = {
    **TINY,
    "is_hybrid": True,
    "patch_size": 16,
    "image_size": 64,
    "backbone_config": BIT,
    "backbone_featmap_shape": [1, 64, 4, 4],
    "neck_hidden_sizes": [32, 32, 8, 10],
    "reassemble_factors": [1, 1, 1, 0.5],
}
DINOV2 = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
}
REGISTERS = {**DINOV2, "model_type": "dinov2_with_registers", "num_register_tokens": 3}
BEIT = {
    **DINOV2,
    "model_type": "beit",
    "intermediate_size": 24,
    "use_relative_position_bias": True,
}
SWINV2 = {
    "model_type": "swinv2",
    "image_size": 64,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


def copied(values):
    """Nested dictionaries are taken over by configs: give each its own."""
    return {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}


def tiny_config(values=TINY, **changes):
    return DPTConfig(**copied({**values, **changes}))


def tiny_model(model_class=DPTForDepthEstimation, config=None):
    model = model_class(config or tiny_config()).eval()
    randomise(model)
    return model
