"""Small Mask2Formers for tests."""

from parity.randomise import randomise
from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation

SWIN = {
    "model_type": "swin",
    "embed_dim": 16,
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 2, 4, 4],
    "window_size": 3,
    "drop_path_rate": 0.0,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [16, 24, 32, 40],
    "depths": [1, 1, 1, 1],
    "layer_type": "bottleneck",
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
FIELDS = {
    "feature_size": 32,
    "mask_feature_size": 24,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 48,
    "encoder_layers": 2,
    "decoder_layers": 5,
    "num_attention_heads": 4,
    "dim_feedforward": 40,
    "num_queries": 6,
    "train_num_points": 64,
}


def tiny_config(encoder=SWIN, /, **changes):
    return Mask2FormerConfig(backbone_config=dict(encoder), **{**FIELDS, "num_labels": 3, **changes})


def tiny_model(config=None, seed=0):
    """A model in evaluation mode, no parameter of which is 0."""
    model = Mask2FormerForUniversalSegmentation(config or tiny_config()).eval()
    randomise(model, seed)
    return model
