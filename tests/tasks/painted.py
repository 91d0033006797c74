"""A picture whose segments are known, and a Mask2Former that sees them: its queries look for one colour each."""

import numpy as np
import torch

from models.mask2former.tiny import tiny_config
from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput
from perpixel.tasks.segmentation import Segmenter

NAMES = {0: "person", 1: "dog", 2: "sky-other-merged"}
# Colour, label, and box (x0, y0, x1, y1): two people who touch, a dog on its own, and a sky in two parts.
PARTS = [
    ((200, 20, 20), 0, (8, 20, 60, 88)),
    ((20, 200, 20), 0, (60, 40, 100, 88)),
    ((200, 200, 20), 1, (108, 64, 120, 80)),
    ((20, 20, 200), 2, (0, 0, 60, 12)),
    ((20, 200, 200), 2, (60, 0, 128, 12)),
]


def scene():
    """(96, 128, 3) uint8."""
    image = np.zeros((96, 128, 3), np.uint8)
    for colour, _, (x0, y0, x1, y1) in PARTS:
        image[y0:y1, x0:x1] = colour
    return image


def moved(shifts):
    """A film's frames: the picture under its sky, further to the right by so many pixels in each."""
    frames = []
    for shift in shifts:
        frame = np.roll(scene(), shift, axis=1)
        frame[:12] = scene()[:12]
        frames.append(frame)
    return frames


def mask(*numbers):
    found = np.zeros((96, 128), bool)
    for number in numbers:
        x0, y0, x1, y1 = PARTS[number][2]
        found[y0:y1, x0:x1] = True
    return found


class Painted(Mask2FormerForUniversalSegmentation):
    """Gives logits of ±10 by the colours of the pixels, through the real kind of output."""

    def forward(self, pixel_values, pixel_mask=None, **_):
        colours = torch.nn.functional.avg_pool2d(pixel_values, 4) * 255  # (b, 3, h, w)
        wanted = torch.tensor([colour for colour, *_ in PARTS], dtype=torch.float32)
        distance = (colours[:, None] - wanted[None, :, :, None, None]).abs().amax(2)  # (b, q, h, w)
        classes = torch.full((len(pixel_values), len(PARTS), len(NAMES) + 1), -4.0)
        for query, (_, label, _) in enumerate(PARTS):
            classes[:, query, label] = 4.0
        sizes = torch.stack([pixel_mask.amax(2).sum(1), pixel_mask.amax(1).sum(1)], 1) / 4
        return Mask2FormerForUniversalSegmentationOutput(
            class_queries_logits=classes,
            masks_queries_logits=torch.where(distance < 60, 10.0, -10.0),
            mask_sizes=sizes,
        )


def painted_model():
    config = tiny_config(num_labels=None, id2label=NAMES)
    return Painted(config).eval()


def painted_segmenter():
    settings = {"do_resize": False, "do_normalize": False, "size_divisor": 0, "pad_divisor": 32}
    return Segmenter(painted_model(), Mask2FormerImageProcessor(**settings))


def same(found, expected):
    """Equal but for the corners: the masks are enlarged four times, which rounds these by a few pixels."""
    return np.count_nonzero(found != expected) <= 16
