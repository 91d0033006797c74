"""What the training loop asks of a family: the model, its samples, the loss, the measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.utils.data import Dataset

from perpixel.metrics.meter import Meter


class TrainingTask(Protocol):
    """One family in the training loop. The loop itself knows nothing of images.

    Attributes:
        headline: the measure that chooses the best checkpoint, a name in what the meter computes.
        larger_is_better: whether more of the headline is better.
    """

    headline: str
    larger_is_better: bool

    def model(self) -> nn.Module:
        """A new model on the CPU, in training mode, started as the recipe says; frozen parts need no gradient."""

    def layer(self, name: str) -> int | None:
        """For layer-wise rates: the depth of a parameter in the backbone, 0 the embeddings; None outside of it."""

    def training_data(self, length: int) -> Dataset[Any]:
        """Items 0 … length - 1 of the endless training stream, each a pure function of the seed and its number."""

    def validation_data(self) -> Dataset[Any]:
        """The held-out items, each once, in a fixed order; its len() may be 0."""

    def collate(self, items: Sequence[Any]) -> dict[str, Any]:
        """Make a batch: tensors, or lists of tensors where an image has any number of objects.

        "names" in it, the samples' own, are told when the batch's loss is no number.
        """

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, which gradients are taken of, and its terms for the log."""

    def meter(self) -> Meter:
        """A new meter for the validation."""

    def measure(self, model: nn.Module, batch: dict[str, Any], meter: Meter) -> None:
        """Add a held-out batch's predictions to the meter; the model is in evaluation mode, without gradients."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the model and its image processor into a new folder, so that every task of the library opens it.

        The model is trained on afterwards, so it must stay as it is.
        """
