"""How much memory depth estimation takes beside weights and image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perpixel.tasks.depth import Network

# The libraries' own buffers. Measured peaks are 0.6 to 0.8 of the whole estimate.
WORKSPACE = 32 * 2**20
STRIP_ROWS = 256


def working_memory(network: Network, height: int, width: int) -> int:
    """Estimate the bytes that inference takes beside the weights, for an input of height × width pixels.

    The most is held either in a layer of the backbone, together with the maps that were kept for the neck, or in the
    head, whose second convolution works at the input's size.

    Args:
        network: a DPT or a Depth Anything.
        height: of what the model sees, in pixels.
        width: of what the model sees.
    """
    config: Any = network.config
    backbone = getattr(config, "backbone_config", None)
    holder = config if backbone is None or (config.model_type == "dpt" and config.has_own_vit) else backbone
    pixels = height * width
    depths = getattr(holder, "depths", None)
    if depths is None:
        patch = getattr(holder, "patch_size", 16)
        area = patch**2 if isinstance(patch, int) else math.prod(patch)
        hidden, tokens = int(getattr(holder, "hidden_size", 768)), pixels / area
        # Input, norm, and the feed-forward part before and after its activation; the maps that are kept.
        floats = tokens * hidden * (10 + len(config.neck_hidden_sizes))
        if holder.model_type == "beit":
            # Relative positions make a bias, and with it whole attention matrices.
            floats += 3 * holder.num_attention_heads * tokens**2
    else:
        # The first stage is the largest, at a quarter of the input's sides.
        floats = pixels / 16 * 14 * max(int(getattr(holder, "embed_dim", 64)), 64)
    if getattr(config, "is_hybrid", False):
        floats += pixels / 4 * 64 * 3
    channels = config.fusion_hidden_size
    # The fusion's finest maps at half the input's sides; then half the channels at that size and at the full one,
    # once more where a convolution rearranges its input, and the 32 channels of the last but one layer.
    head = pixels * (channels / 4 * 2 + channels / 2 * 2 + 32 * 2)
    fusion = pixels / 4 * channels * 6
    return int(network.dtype.itemsize * (max(floats, head, fusion) + 3 * pixels)) + WORKSPACE


def result_memory(height: int, width: int, itemsize: int = 1, tiled: bool = False) -> int:
    """The bytes that the result and the way to it take, for an image of height × width pixels.

    Args:
        height: rows of the image.
        width: its columns.
        itemsize: bytes of one of its values; images of 16 bits are resized as floats.
        tiled: whether it is put together from tiles.
    """
    pixels = height * width
    # The values and, where they are checked, a copy and two masks; in tiles the whole image's depth and weights too.
    result = pixels * ((8 + 2) + (8 if tiled else 0))
    strip = min(STRIP_ROWS, height) * width * 4 * 4
    resizing = pixels * 12 if itemsize > 1 else 3 * pixels
    return max(result + strip, resizing)
