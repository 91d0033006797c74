"""The training loss of Mask2Former: every object is matched with one query, and only points of the masks are compared.

Source: Masked-attention Mask Transformer for Universal Image Segmentation, 2022, arXiv 2112.01527, section 3.3. The
uncertain points are chosen as in PointRend: Image Segmentation as Rendering, 2019, arXiv 1912.08193, section 3.1, the
dice loss is that of V-Net, 2016, arXiv 1606.04797, smoothed by 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.matcher import Mask2FormerHungarianMatcher, Matches
from perpixel.models.mask2former.targets import CompressedMasks, Targets, check_targets, sample_points


class Mask2FormerLoss(nn.Module):
    """The losses of the classes and of the masks, for the last prediction and for the earlier ones.

    Args:
        config: gives the number of classes, the weights and how points are sampled.
        weight_dict: the weights of `loss_cross_entropy`, `loss_mask` and `loss_dice` in `total`; those of the config
            by default.

    Attributes:
        empty_weight: (k + 1,) the weight of each class in the class loss; only "no object" has another than 1.
    """

    empty_weight: Tensor

    def __init__(self, config: Mask2FormerConfig, weight_dict: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.num_labels = config.num_labels or 0
        self.weight_dict = dict(
            weight_dict
            or {
                "loss_cross_entropy": config.class_weight,
                "loss_mask": config.mask_weight,
                "loss_dice": config.dice_weight,
            }
        )
        self.num_points = config.train_num_points
        self.oversample_ratio = config.oversample_ratio
        self.importance_sample_ratio = config.importance_sample_ratio
        weights = torch.ones(self.num_labels + 1)
        weights[-1] = config.no_object_weight
        # Checkpoints hold it, as criterion.empty_weight.
        self.register_buffer("empty_weight", weights)
        self.matcher = Mask2FormerHungarianMatcher(
            cost_class=config.class_weight,
            cost_mask=config.mask_weight,
            cost_dice=config.dice_weight,
            num_points=self.num_points,
        )

    def forward(
        self,
        masks_queries_logits: Tensor,
        class_queries_logits: Tensor,
        mask_labels: Sequence[Tensor | CompressedMasks],
        class_labels: Sequence[Tensor],
        auxiliary_predictions: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Compute every loss, not weighted yet.

        Args:
            masks_queries_logits: (b, q, h, w).
            class_queries_logits: (b, q, k + 1), the last is "no object".
            mask_labels: for each image (n, h, w) of 0 and 1, bool, integer or float, or `CompressedMasks`; n may be
                0. They cover what the logits cover, at any resolution. Tensors of different sizes count as padded at
                the bottom and on the right to the largest of each side.
            class_labels: for each image (n,) integers in 0…k - 1.
            auxiliary_predictions: the same two logits, by these names, of the earlier layers.

        Returns:
            Scalars `loss_cross_entropy`, `loss_mask` and `loss_dice`, and these names with _0, _1, … for the earlier
            layers; `total` adds them up. They are finite, and every logit has a gradient, without any object too.

        Raises:
            InputError: targets that do not fit.
            MissingDependencyError: SciPy is not installed.
        """
        device = masks_queries_logits.device
        targets = check_targets(mask_labels, class_labels, len(class_queries_logits), self.num_labels, device)
        num_masks = _mean_count(sum(len(classes) for classes in targets.classes), device)
        losses = self._layer(masks_queries_logits, class_queries_logits, targets, num_masks)
        for number, earlier in enumerate(auxiliary_predictions or ()):
            masks, classes = earlier["masks_queries_logits"], earlier["class_queries_logits"]
            layer = self._layer(masks, classes, targets, num_masks)
            losses |= {f"{name}_{number}": loss for name, loss in layer.items()}
        return losses

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Add the losses of `forward` up, each with its weight."""
        weighted = [
            weight * loss
            for kind, weight in self.weight_dict.items()
            for name, loss in losses.items()
            if name == kind or name.startswith(f"{kind}_")
        ]
        return torch.stack(weighted).sum()

    def _layer(self, masks: Tensor, classes: Tensor, targets: Targets, num_masks: Tensor) -> dict[str, Tensor]:
        matches = self.matcher.match(masks, classes, targets)
        with torch.autocast(masks.device.type, enabled=False):
            return {
                **self._mask_losses(masks, targets, matches, num_masks),
                "loss_cross_entropy": self._class_loss(classes.float(), targets, matches),
            }

    def _class_loss(self, logits: Tensor, targets: Targets, matches: Matches) -> Tensor:
        wanted = torch.full(logits.shape[:2], self.num_labels, device=logits.device)  # (b, q)
        for image, (queries, objects) in enumerate(matches):
            wanted[image, queries.to(logits.device)] = targets.classes[image][objects.to(logits.device)]
        weights = self.empty_weight.float()
        loss = functional.cross_entropy(logits.transpose(1, 2), wanted, weights, reduction="sum")
        # The weighted mean. Without objects and with no_object_weight=0 all weights are 0, and so is the loss.
        return loss / weights[wanted].sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def _mask_losses(self, masks: Tensor, targets: Targets, matches: Matches, num_masks: Tensor) -> dict[str, Tensor]:
        images = torch.cat([torch.full_like(queries, image) for image, (queries, _) in enumerate(matches)])
        queries = torch.cat([queries for queries, _ in matches])
        # The matched predictions of all images, one after the other.
        predicted = masks[images.to(masks.device), queries.to(masks.device)][:, None].float()  # (m, 1, h, w)
        with torch.no_grad():
            points = self._uncertain_points(predicted)  # (m, p, 2)
            parts = torch.split(points, [len(objects) for _, objects in matches])
            truth = torch.cat(
                [
                    targets.sample(i, part, objects)
                    for i, (part, (_, objects)) in enumerate(zip(parts, matches, strict=True))
                ]
            )  # (m, p)
        if not len(predicted):
            # 0, with a gradient of zeros, so that every process of a distributed training has one.
            return {"loss_mask": predicted.sum(), "loss_dice": predicted.sum()}
        logits = sample_points(predicted, points)[:, 0]  # (m, p)
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)  # (m,)
        probabilities = logits.sigmoid()
        both = probabilities.sum(1) + truth.sum(1)  # (m,)
        dice = 1 - (2 * (probabilities * truth).sum(1) + 1) / (both + 1)  # (m,)
        return {"loss_mask": cross_entropy.sum() / num_masks, "loss_dice": dice.sum() / num_masks}

    def _uncertain_points(self, predicted: Tensor) -> Tensor:
        """Draw points for each mask (m, 1, h, w), most of them where its logit is nearest to 0: (m, p, 2).

        The calls to `torch.rand` are those of transformers, so that a seed gives the same points.
        """
        count = len(predicted)
        uncertain = int(self.importance_sample_ratio * self.num_points)
        drawn = torch.rand(count, int(self.num_points * self.oversample_ratio), 2, device=predicted.device)
        if count:
            certainty = sample_points(predicted, drawn)[:, 0].abs()  # (m, drawn)
            nearest = certainty.topk(uncertain, dim=1, largest=False).indices  # (m, uncertain)
            drawn = drawn.gather(1, nearest[..., None].expand(-1, -1, 2))  # (m, uncertain, 2)
        else:
            drawn = drawn[:, :uncertain]
        if uncertain == self.num_points:
            return drawn
        rest = torch.rand(count, self.num_points - uncertain, 2, device=predicted.device)
        return torch.cat([drawn, rest], dim=1)  # (m, p, 2)


def _mean_count(count: int, device: torch.device) -> Tensor:
    """How many objects a process has on average, at least 1: the mask losses are divided by it, as in the paper's code,
    so that the gradients averaged over the processes are those of one large batch."""
    total = torch.tensor(float(count), device=device)
    processes = 1
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
        processes = distributed.get_world_size()
    return (total / processes).clamp(min=1)
