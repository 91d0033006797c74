"""A ViTMatte of a few thousand random weights, with windows, positions and residual blocks like a real one."""

from parity.randomise import randomise
from perpixel.backbones.vitdet import VitDetConfig
from perpixel.models.vitmatte.config import VitMatteConfig
from perpixel.models.vitmatte.model import VitMatteForImageMatting


def tiny_config(**backbone):
    """Two layers; `backbone` changes fields of the ViTDet."""
    fields = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 64,
        "pretrain_image_size": 64,
        "num_channels": 4,
        "window_size": 2,
        "window_block_indices": [0],
        "residual_block_indices": [1],
        "use_relative_position_embeddings": True,
    }
    return VitMatteConfig(
        VitDetConfig(**fields | backbone),
        hidden_size=16,
        convstream_hidden_sizes=[4, 6, 8],
        fusion_hidden_sizes=[8, 6, 6, 4],
    )


def tiny_model(**backbone):
    """In eval mode, every weight and statistic random."""
    model = VitMatteForImageMatting(tiny_config(**backbone)).eval()
    randomise(model)
    return model
