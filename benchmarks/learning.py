"""Does Mask2Former learn? Train a small one on photographs of pets, and transformers' in the same loop beside it.

    python benchmarks/learning.py PETS --minutes 6

PETS holds `images/NAME.jpg` and `trimaps/NAME.png` (1 pet, 2 background, 3 border, which is ignored), as the
Oxford-IIIT Pet data set has them. Every sixth photograph is held back. Both models start from the same random weights
and see the same batches; the mean IoU is that of pet and background over the photographs held back, at their own
sizes, before and after.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from perpixel import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor, SwinConfig

CLASSES = {0: "background", 1: "pet"}
IGNORED = 255


def small_model(side: int) -> Mask2FormerForUniversalSegmentation:
    backbone = SwinConfig(
        image_size=side,
        embed_dim=32,
        depths=[2, 2, 4, 2],
        num_heads=[2, 2, 4, 8],
        window_size=4,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=128,
        dim_feedforward=128,
        encoder_layers=2,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=10,
        train_num_points=1024,
        id2label=CLASSES,
        label2id={name: number for number, name in CLASSES.items()},
    )
    return Mask2FormerForUniversalSegmentation(config)


def labels(folder: Path, name: str) -> np.ndarray[Any, Any]:
    trimap = np.array(Image.open(folder / "trimaps" / f"{name}.png"))
    return np.choose(trimap, [IGNORED, 1, 0, IGNORED]).astype(np.uint8)


class Pets:
    def __init__(self, folder: Path, side: int) -> None:
        names = sorted(path.stem for path in (folder / "images").glob("*.jpg"))
        self.folder = folder
        self.held_back = names[::6]
        self.train = [name for name in names if name not in set(self.held_back)]
        self.processor = Mask2FormerImageProcessor(
            size={"height": side, "width": side}, size_divisor=0, ignore_index=IGNORED
        )
        self.prepared = {
            name: self.processor(folder / "images" / f"{name}.jpg", labels(folder, name), return_tensors="pt")
            for name in self.train
        }

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        chosen = [self.prepared[name] for name in rng.choice(self.train, size, replace=False)]
        flips = rng.random(size) < 0.5
        return {
            "pixel_values": torch.cat(
                [
                    item.pixel_values.flip(3) if flip else item.pixel_values
                    for item, flip in zip(chosen, flips, strict=True)
                ]
            ),
            "mask_labels": [
                item.mask_labels[0].flip(2) if flip else item.mask_labels[0]
                for item, flip in zip(chosen, flips, strict=True)
            ],
            "class_labels": [item.class_labels[0] for item in chosen],
        }

    @torch.no_grad()
    def mean_iou(self, model: nn.Module) -> float:
        model.eval()
        both, either = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
        for name in self.held_back:
            truth = labels(self.folder, name)
            inputs = self.processor(self.folder / "images" / f"{name}.jpg", return_tensors="pt")
            outputs = model(pixel_values=inputs.pixel_values)
            found = self.processor.post_process_semantic_segmentation(outputs, target_sizes=[truth.shape])[0].numpy()
            for number in CLASSES:
                seen = (found == number) & (truth != IGNORED)
                both[number] += (seen & (truth == number)).sum()
                either[number] += (seen | (truth == number)).sum()
        model.train()
        return float((both / either).mean())


def train(model: nn.Module, pets: Pets, *, steps: int, minutes: float, size: int, rate: float, seed: int) -> int:
    """Train until either is over and return the steps; the rate falls along a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    rng = np.random.default_rng(seed)
    begin, step, share = time.monotonic(), 0, 0.0
    model.train()
    while share < 1:
        torch.manual_seed(seed + step)  # the same random points in both libraries
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * share))
        loss = model(**pets.batch(rng, size)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0 or step == 1:
            print(
                f"  step {step}: loss {loss.item():.3f}, {(time.monotonic() - begin) / step:.2f} s a step", flush=True
            )
        share = step / steps if steps else (time.monotonic() - begin) / (60 * minutes)
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pets", type=Path)
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="of training for perpixel; transformers gets its steps"
    )
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="folder for the trained model and its processor")
    parser.add_argument("--alone", action="store_true", help="leave transformers out")
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    pets = Pets(arguments.pets, arguments.side)
    model = small_model(arguments.side)
    start = copy.deepcopy(model)
    settings = {"size": arguments.batch, "rate": arguments.rate, "seed": arguments.seed}
    print(f"{len(pets.train)} photographs to train on, {len(pets.held_back)} held back")
    print(f"perpixel: mean IoU before {pets.mean_iou(model):.4f}", flush=True)
    steps = train(model, pets, steps=0, minutes=arguments.minutes, **settings)
    print(f"perpixel: mean IoU after {steps} steps {pets.mean_iou(model):.4f}", flush=True)
    if arguments.save:
        model.save_pretrained(arguments.save)
        pets.processor.save_pretrained(arguments.save)
    if not arguments.alone:
        import transformers

        with tempfile.TemporaryDirectory() as folder:
            start.save_pretrained(folder)
            theirs = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder)
        print(f"transformers: mean IoU before {pets.mean_iou(theirs):.4f}", flush=True)
        train(theirs, pets, steps=steps, minutes=0, **settings)
        print(f"transformers: mean IoU after {steps} steps {pets.mean_iou(theirs):.4f}", flush=True)


if __name__ == "__main__":
    main()
