"""Which prediction answers for which object, by the Hungarian method.

Source: Masked-attention Mask Transformer for Universal Image Segmentation, 2022, arXiv 2112.01527, section 3.3, after
End-to-End Object Detection with Transformers, 2020, arXiv 2005.12872, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perpixel.errors import ConfigError, MissingDependencyError
from perpixel.models.mask2former.targets import CompressedMasks, Targets, check_targets, sample_points

Matches = list[tuple[Tensor, Tensor]]


class Mask2FormerHungarianMatcher(nn.Module):
    """Assign to every object of an image a query of its own so that the sum of the costs is the smallest.

    Args:
        cost_class: weight of minus the probability of the object's class.
        cost_mask: weight of the mean cross entropy of the mask.
        cost_dice: weight of the dice loss of the mask.
        num_points: at how many random points, the same for all masks of an image, the masks are compared.

    Raises:
        ConfigError: all weights are 0, or there is no point.
    """

    def __init__(
        self, cost_class: float = 1.0, cost_mask: float = 1.0, cost_dice: float = 1.0, num_points: int = 12544
    ) -> None:
        super().__init__()
        if cost_class == cost_mask == cost_dice == 0:
            raise ConfigError("cost_class, cost_mask and cost_dice are all 0: at least one has to count")
        if num_points < 1:
            raise ConfigError(f"num_points is {num_points}: it has to be at least 1")
        self.cost_class = cost_class
        self.cost_mask = cost_mask
        self.cost_dice = cost_dice
        self.num_points = num_points

    def forward(
        self,
        masks_queries_logits: Tensor,
        class_queries_logits: Tensor,
        mask_labels: Sequence[Tensor | CompressedMasks],
        class_labels: Sequence[Tensor],
    ) -> Matches:
        """Match the predictions of a batch.

        Args:
            masks_queries_logits: (b, q, h, w).
            class_queries_logits: (b, q, k + 1), the last is "no object".
            mask_labels: for each image (n, h, w) of any size, or `CompressedMasks`.
            class_labels: for each image (n,) integers below k.

        Returns:
            For each image the numbers of the queries, ascending, and of the objects they got: two int64 tensors of
            length min(q, n), on the CPU.

        Raises:
            InputError: targets that do not fit.
            MissingDependencyError: SciPy is not installed.
        """
        batch_size, _, classes = class_queries_logits.shape
        device = masks_queries_logits.device
        targets = check_targets(mask_labels, class_labels, batch_size, classes - 1, device)
        return self.match(masks_queries_logits, class_queries_logits, targets)

    @torch.no_grad()
    def match(self, masks_queries_logits: Tensor, class_queries_logits: Tensor, targets: Targets) -> Matches:
        """Match predictions with targets that are already checked; see `forward`."""
        assign = _assignment()
        found = []
        for image, classes in enumerate(targets.classes):
            device = masks_queries_logits.device
            # Drawn for an image without objects too, so that a seed gives the points that it gives in transformers.
            points = torch.rand(1, self.num_points, 2, device=device)
            with torch.autocast(device.type, enabled=False):
                costs = self._costs(
                    masks_queries_logits[image].float(), class_queries_logits[image].float(), targets, image, points
                )
            largest = torch.finfo(costs.dtype).max
            # A prediction that is not finite gets an object only if no other is left, and training goes on.
            costs = costs.nan_to_num(largest, largest, largest)  # (q, n)
            queries, objects = assign(costs.cpu().numpy()) if len(classes) else ([], [])
            found.append((torch.as_tensor(queries, dtype=torch.int64), torch.as_tensor(objects, dtype=torch.int64)))
        return found

    def _costs(self, masks: Tensor, classes: Tensor, targets: Targets, image: int, points: Tensor) -> Tensor:
        logits = sample_points(masks[None], points)[0]  # (q, p)
        truth = targets.sample(image, points)  # (n, p)
        overlap = logits @ truth.T  # (q, n)
        # With a target of t, the cross entropy of a logit x is softplus(x) - t x.
        cross_entropy = (functional.softplus(logits).sum(-1, keepdim=True) - overlap) / self.num_points  # (q, n)
        probabilities = logits.sigmoid()
        both = probabilities.sum(-1, keepdim=True) + truth.sum(-1)  # (q, n)
        dice = 1 - (2 * probabilities @ truth.T + 1) / (both + 1)  # (q, n)
        own_class = -classes.softmax(-1)[:, targets.classes[image]]  # (q, n)
        return self.cost_mask * cross_entropy + self.cost_class * own_class + self.cost_dice * dice


def _assignment() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingDependencyError('matching needs SciPy: pip install "perpixel[train]"') from error
    return linear_sum_assignment
