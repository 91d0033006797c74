"""Does DPT learn? Fine-tune a small one, on a pretrained plain ViT, for depth or for two classes.

    python benchmarks/learning_depth.py VIT --frames INDOOR --minutes 5
    python benchmarks/learning_depth.py VIT --frames INDOOR --minutes 4 --metric
    python benchmarks/learning_depth.py VIT --pets PETS --minutes 5

VIT is a folder with a pretrained ViT classifier in Hugging Face's layout, such as ViT-Tiny; its weights go into DPT's
own ViT, and neck and head start at random.

INDOOR holds `NAME.color.jpg` and `NAME.depth.png` (uint16 millimetres, 0 and 65535 are no reading), as 7-Scenes has
them. The first three quarters of the frames are trained on, the others held back. Their error is the mean over frames
of |p - t| / t, and delta1 the share of pixels less than a factor of 1.25 off; relative depth has its scale and shift
fitted to each frame first, metric depth has not. "constant" is what a single distance would score there, and "mean map"
the mean of the frames trained on: who does better has looked at the photograph.

PETS holds `images/NAME.jpg` and `trimaps/NAME.png`, see learning.py, whose split and mean IoU these are.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learning import CLASSES, IGNORED, labels
from PIL import Image
from torch import nn

from perpixel import (
    DPTConfig,
    DPTForDepthEstimation,
    DPTForSemanticSegmentation,
    DPTImageProcessor,
    ViTBackbone,
    ViTConfig,
)
from perpixel.metrics.depth import depth_errors

# Metres; a head with a ReLU can say 0, of which there is no logarithm or quotient.
NEAREST = 1e-3


def small_config(vit: ViTConfig, **fields: Any) -> DPTConfig:
    """DPT around that ViT: its own small neck takes four layers, evenly spread."""
    layers = vit.num_hidden_layers
    return DPTConfig(
        hidden_size=vit.hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=vit.num_attention_heads,
        intermediate_size=vit.intermediate_size,
        hidden_act=vit.hidden_act,
        layer_norm_eps=vit.layer_norm_eps,
        image_size=vit.image_size,
        patch_size=vit.patch_size,
        backbone_out_indices=[layers * part // 4 - 1 for part in (1, 2, 3, 4)],
        neck_hidden_sizes=[32, 64, 128, 128],
        fusion_hidden_size=64,
        **fields,
    )


class Task:
    """What differs between depth and classes: the data, the processor, the model and the measure."""

    processor: DPTImageProcessor
    train: list[str]
    held_back: list[str]

    def model(self, vit: ViTConfig) -> nn.Module:
        raise NotImplementedError

    def example(self, name: str) -> tuple[Path, torch.Tensor]:
        """The photograph and its labels (h, w)."""
        raise NotImplementedError

    def measure(self, model: nn.Module) -> dict[str, float]:
        raise NotImplementedError

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, torch.Tensor]:
        paths, truths = zip(*(self.example(name) for name in rng.choice(self.train, size, replace=False)), strict=True)
        pixels = self.processor(list(paths), return_tensors="pt").pixel_values
        flips = torch.from_numpy(rng.random(size) < 0.5)
        return {"pixel_values": flipped(pixels, flips), "labels": flipped(torch.stack(truths), flips)}


def flipped(batch: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Mirror some items of (b, ..., w)."""
    return torch.where(flips.view(-1, *[1] * (batch.ndim - 1)), batch.flip(-1), batch)


class Depth(Task):
    def __init__(self, folder: Path, side: int, metric: bool, start: float = 1.0) -> None:
        names = sorted(path.name.removesuffix(".color.jpg") for path in folder.glob("*.color.jpg"))
        count = 3 * len(names) // 4
        self.folder, self.metric, self.start = folder, metric, start
        self.train, self.held_back = names[:count], names[count:]
        self.processor = DPTImageProcessor(size=side, keep_aspect_ratio=True, ensure_multiple_of=32)

    def model(self, vit: ViTConfig) -> nn.Module:
        model = DPTForDepthEstimation(small_config(vit, depth_loss="metric" if self.metric else "relative"))
        if not self.metric:
            # This loss leaves the shift free: depth slides below zero, where the last ReLU stops all learning.
            nn.init.constant_(model.head.head[4].bias, self.start)
        return model

    def metres(self, name: str) -> np.ndarray[Any, Any]:
        """(h, w) float32, 0 where nothing was measured."""
        read = np.array(Image.open(self.folder / f"{name}.depth.png"))
        return np.where(read == 65535, 0, read).astype(np.float32) / 1000

    def photo(self, name: str) -> Path:
        return self.folder / f"{name}.color.jpg"

    def example(self, name: str) -> tuple[Path, torch.Tensor]:
        # Every second row and column: what was measured stays as it is, and the model's output is no finer.
        truth = torch.from_numpy(self.metres(name)[::2, ::2].copy())
        return self.photo(name), truth if self.metric else torch.where(truth > 0, 1 / truth, 0)

    def predict(self, model: nn.Module, name: str, size: tuple[int, int]) -> np.ndarray[Any, Any]:
        outputs = model(**self.processor(self.photo(name), return_tensors="pt"))
        return self.processor.post_process_depth_estimation(outputs, [size])[0]["predicted_depth"].numpy()

    @torch.no_grad()
    def measure(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        found = []
        for name in self.held_back:
            truth = self.metres(name)
            depth = self.predict(model, name, truth.shape)
            if self.metric:
                errors = depth_errors(np.maximum(depth, NEAREST), truth)
            else:
                errors = depth_errors(depth, truth, align="scale_shift", inverse=True)
            found.append((errors["abs_rel"], errors["delta1"], float((depth == 0).mean())))
        model.train()
        return dict(zip(("abs_rel", "delta1", "share at zero"), np.mean(found, axis=0).tolist(), strict=True))

    def without_looking(self) -> dict[str, dict[str, float]]:
        """The measures of guesses that do not see the photograph: one distance, and the mean of the frames trained on.

        Distances are inverse where they are aligned, as the model's are.
        """
        total, count = np.zeros(()), np.zeros(())
        for truth in map(self.metres, self.train):
            known = truth > 0
            truth = np.where(known, truth, 1)
            total = total + np.where(known, truth if self.metric else 1 / truth, 0)
            count = count + known
        constant = np.full(total.shape, total.sum() / count.sum())
        mean = np.where(count > 0, total / np.maximum(count, 1), constant)
        return {"constant": self.score(constant), "mean map": self.score(mean)}

    def score(self, guess: np.ndarray[Any, Any]) -> dict[str, float]:
        """The measures of one guess (h, w) for all the frames held back."""
        align: Any = "none" if self.metric else "scale_shift"
        found = [
            depth_errors(guess, self.metres(name), align=align, inverse=not self.metric) for name in self.held_back
        ]
        return {name: float(np.mean([errors[name] for errors in found])) for name in ("abs_rel", "delta1")}


class Pets(Task):
    def __init__(self, folder: Path, side: int) -> None:
        names = sorted(path.stem for path in (folder / "images").glob("*.jpg"))
        self.folder, self.side = folder, side
        self.held_back = names[::6]
        self.train = [name for name in names if name not in set(self.held_back)]
        self.processor = DPTImageProcessor(size=side)

    def model(self, vit: ViTConfig) -> nn.Module:
        names = {name: number for number, name in CLASSES.items()}
        return DPTForSemanticSegmentation(
            small_config(
                vit,
                id2label=CLASSES,
                label2id=names,
                semantic_loss_ignore_index=IGNORED,
                use_batch_norm_in_fusion_residual=True,
            )
        )

    def photo(self, name: str) -> Path:
        return self.folder / "images" / f"{name}.jpg"

    def example(self, name: str) -> tuple[Path, torch.Tensor]:
        classes = Image.fromarray(labels(self.folder, name)).resize((self.side, self.side), Image.Resampling.NEAREST)
        return self.photo(name), torch.from_numpy(np.array(classes)).long()

    def predict(self, model: nn.Module, name: str, size: tuple[int, int]) -> np.ndarray[Any, Any]:
        outputs = model(**self.processor(self.photo(name), return_tensors="pt"))
        return self.processor.post_process_semantic_segmentation(outputs, [size])[0].numpy()

    @torch.no_grad()
    def measure(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        both, either = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
        for name in self.held_back:
            truth = labels(self.folder, name)
            found = self.predict(model, name, truth.shape)
            for number in CLASSES:
                seen = (found == number) & (truth != IGNORED)
                both[number] += (seen & (truth == number)).sum()
                either[number] += (seen | (truth == number)).sum()
        model.train()
        return {"mean IoU": float((both / either).mean())}


def start_from(model: Any, vit: ViTBackbone) -> None:
    """Put a plain ViT's weights into DPT's own ViT: all names are the same."""
    model.dpt.load_state_dict(vit.state_dict())


def train(model: Any, task: Task, *, minutes: float, size: int, rate: float, seed: int) -> int:
    """Train until the time is over and return the steps; the rate falls along a cosine."""
    # As in the paper the pretrained part learns at a tenth of the rate of the new part.
    pretrained = list(model.dpt.parameters())
    known = {id(parameter) for parameter in pretrained}
    new = [parameter for parameter in model.parameters() if id(parameter) not in known]
    rates = [rate / 10, rate]
    optimizer = torch.optim.AdamW([{"params": pretrained}, {"params": new}], lr=rate, weight_decay=0.01)
    rng = np.random.default_rng(seed)
    begin, step, share = time.monotonic(), 0, 0.0
    model.train()
    while share < 1:
        for group, highest in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = highest * min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * share))
        loss = model(**task.batch(rng, size)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        share = (time.monotonic() - begin) / (60 * minutes)
        if step % 20 == 0 or step == 1:
            print(f"  step {step}: loss {loss.item():.4f}, {60 * minutes * share / step:.2f} s a step", flush=True)
    return step


def told(measures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in measures.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vit", type=Path)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--frames", type=Path, metavar="INDOOR", help="learn depth from this folder")
    data.add_argument("--pets", type=Path, help="learn pet and background from this folder")
    parser.add_argument("--metric", action="store_true", help="learn metres, without alignment")
    parser.add_argument("--start", type=float, default=5.0, help="the bias that relative depth starts from")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="for the trained model and its processor")
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    task: Task
    if arguments.pets:
        task = Pets(arguments.pets, arguments.side)
    else:
        task = Depth(arguments.frames, arguments.side, arguments.metric, arguments.start)
    vit = ViTBackbone.from_pretrained(arguments.vit)
    model = task.model(vit.config)
    start_from(model, vit)
    print(f"{len(task.train)} pictures to train on, {len(task.held_back)} held back", flush=True)
    if isinstance(task, Depth):
        for name, measures in task.without_looking().items():
            print(f"{name}: {told(measures)}", flush=True)
    print(f"before: {told(task.measure(model))}", flush=True)
    settings = {"size": arguments.batch, "rate": arguments.rate, "seed": arguments.seed}
    steps = train(model, task, minutes=arguments.minutes, **settings)
    print(f"after {steps} steps: {told(task.measure(model))}", flush=True)
    if arguments.save:
        model.save_pretrained(arguments.save)
        task.processor.save_pretrained(arguments.save)


if __name__ == "__main__":
    main()
