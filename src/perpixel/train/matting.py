"""What training ViTMatte adds to the loop: the model, the samples, the loss, the measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from perpixel.backbones.vitdet import VitDetBackbone
from perpixel.data.composites import CompositeDataset
from perpixel.data.photos import Split
from perpixel.errors import ConfigError
from perpixel.hub.load import load_json, load_state_dict
from perpixel.models.vitmatte.config import VitMatteConfig
from perpixel.models.vitmatte.loss import matting_loss
from perpixel.models.vitmatte.model import VitMatteForImageMatting
from perpixel.models.vitmatte.processor import VitMatteImageProcessor
from perpixel.train.recipe import Recipe
from perpixel.train.start import start_from_vit

TERMS = ("known", "unknown", "laplacian", "gradient")


class MattingTask:
    """ViTMatte in the training loop.

    Args:
        recipe: the run's recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.weights = dict.fromkeys(TERMS, 1.0) | recipe.loss
        if len(self.weights) > len(TERMS):
            raise ConfigError(f"loss has {sorted(recipe.loss)}: the terms are {', '.join(TERMS)}")

    def model(self) -> VitMatteForImageMatting:
        """A new model, started as the recipe says."""
        start = self.recipe.start
        config = VitMatteConfig.from_dict(self.recipe.model)
        if start is not None and load_json(start, "config.json").get("model_type") == "vitmatte":
            model = VitMatteForImageMatting.from_pretrained(start).train()
            if self.recipe.model and config != model.config:
                raise ConfigError(f"model is another one than that of {start}: leave out model, or start")
        else:
            model = VitMatteForImageMatting(config)
            if start is not None:
                if not isinstance(model.backbone, VitDetBackbone):
                    raise ConfigError("start is a plain ViT, which only a vitdet backbone can start from")
                start_from_vit(model.backbone, load_state_dict(start))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = self.recipe.batch_norm_momentum
        return model

    def dataset(self, split: Split, length: int) -> Dataset[dict[str, Tensor]]:
        """The first `length` samples of "train" or of "validation"."""
        data = self.recipe.data
        return CompositeDataset(
            data.backgrounds,
            data.foregrounds or None,
            size=data.size,
            length=length,
            seed=self.recipe.seed,
            split=split,
            include=data.include or None,
        )

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss of a batch, and its terms for the log."""
        pixel_values = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        alphas = model(pixel_values).alphas
        trimap = pixel_values[:, 3:4]
        terms = matting_loss(alphas, batch["labels"], (trimap > 0.25) & (trimap < 0.75))
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def measure(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
        """Mean absolute and squared error over the unknown pixels of a batch."""
        pixel_values = batch["pixel_values"]
        trimap = pixel_values[:, 3:4]
        unknown = (trimap > 0.25) & (trimap < 0.75)
        difference = (model(pixel_values).alphas - batch["labels"])[unknown]
        return {"mad": float(difference.abs().mean()), "mse": float(difference.square().mean())}

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The optimizer's groups: the backbone at a smaller rate; no decay for vectors and positions."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            plain = parameter.ndim < 2 or "rel_pos" in name or "position_embeddings" in name
            groups.setdefault((name.startswith("backbone."), plain), []).append(parameter)
        recipe = self.recipe
        return [
            {
                "params": parameters,
                "lr": recipe.learning_rate * (recipe.backbone_rate if backbone else 1.0),
                "weight_decay": 0.0 if plain else recipe.weight_decay,
            }
            for (backbone, plain), parameters in groups.items()
        ]

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the finished model and its image processor."""
        assert isinstance(model, VitMatteForImageMatting)
        model.save_pretrained(folder)
        VitMatteImageProcessor().save_pretrained(folder)
