"""A network whose depth is known: it sees depth where a picture is bright."""

import numpy as np
import torch

from models.dpt.tiny import tiny_config
from perpixel.models.dpt.model import DPTForDepthEstimation
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.models.outputs import DepthEstimatorOutput
from perpixel.tasks.depth import DepthEstimator


class Seer(DPTForDepthEstimation):
    """Gives the brightness; after the first image with another scale and shift for each, or with a slant."""

    def __init__(self, config, moody=False, slant=0.0):
        super().__init__(config)
        self.slant = slant
        self.sizes = []
        self.moods = np.random.default_rng(3) if moody else None

    def forward(self, pixel_values, **_):
        depth = pixel_values.mean(1)
        if self.moods is not None and self.sizes:
            depth = depth * self.moods.uniform(0.3, 3) + self.moods.uniform(-2, 2)
        if self.slant and self.sizes:
            depth = depth + self.slant * torch.linspace(-1, 1, depth.shape[1])[:, None]
        self.sizes.append(tuple(pixel_values.shape[2:]))
        return DepthEstimatorOutput(predicted_depth=depth)


def estimator(side=32, multiple=16, moody=False, kind=None, slant=0.0):
    processor = DPTImageProcessor(
        size=side, keep_aspect_ratio=True, ensure_multiple_of=multiple, do_normalize=False, resample=2
    )
    return DepthEstimator(Seer(tiny_config(), moody, slant).eval(), processor, kind)


def smooth(height, width):
    """(h, w) in [0.2, 0.8], like a floor with a hill."""
    y, x = np.mgrid[0:height, 0:width]
    hill = np.exp(-(((x / width - 0.6) / 0.3) ** 2 + ((y / height - 0.4) / 0.3) ** 2))
    return 0.2 + 0.3 * y / height + 0.3 * hill


def picture(depth):
    """(h, w, 3) uint16 that shows it."""
    grey = np.rint(depth * 65535).astype(np.uint16)
    return np.repeat(grey[..., None], 3, axis=2)
