"""A small model to try the base classes with."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from perpixel.backbones.base import Backbone, BackboneConfig


@dataclass
class ToyConfig(BackboneConfig):
    model_type: ClassVar[str] = "toy"

    width: int = 4
    rate: float = 0.5
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    name: str | None = None

    def __post_init__(self):
        self.stage_names = ["stem", "stage1", "stage2"]
        super().__post_init__()


class Toy(Backbone):
    config_class = ToyConfig
    base_model_prefix = "toy"
    _keys_to_ignore_on_load_missing = (r"^pooler\.",)

    def __init__(self, config, buffer=True):
        super().__init__(config)
        self.num_features = [3, config.width, config.width]
        self.first = nn.Linear(3, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.pooler = nn.Linear(config.width, 1)
        self.gradient_checkpointing = False
        self.register_buffer("ramp", torch.arange(3.0), persistent=False)
        self.post_init()

    def forward(self, values):
        return self.pooler(self.norm(self.first(values + self.ramp)))
