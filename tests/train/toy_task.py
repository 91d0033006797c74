"""The smallest task that the training loop can run: a convolution learns to blur random pictures."""

import time

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset

from perpixel.metrics.meter import ExactSum
from perpixel.train.recipe import DataRecipe, Recipe


def toy_recipe(output, **changes):
    fields = {
        "data": DataRecipe("toy"),
        "output": str(output),
        "steps": 6,
        "batch_size": 2,
        "warmup": 2,
        "learning_rate": 1e-2,
        "average": 0.5,
        "save_every": 2,
        "validate_every": 3,
        "trackers": [],
    }
    return Recipe("depth", **fields | changes)


class Blur(nn.Module):
    """Normed and with dropout, so that buffers, modes and the seed of a step matter."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)])
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Conv2d(4, 1, 3, padding=1)
        self.unused = nn.Linear(2, 2)  # as the first fusion layer of DPT has it

    def forward(self, x):  # (b, 1, h, w)
        for layer in self.backbone:
            x = layer(x).relu()  # (b, 4, h, w)
        return self.head(self.dropout(self.norm(x)))  # (b, 1, h, w)


class Blurs(Dataset):
    """Random pictures and their blurs, each a pure function of its number."""

    def __init__(self, length, seed, options):
        self.length, self.seed, self.options = length, seed, options

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if "pause" in self.options:
            time.sleep(self.options["pause"])
        picture = torch.from_numpy(np.random.default_rng([self.seed, index]).random((1, 8, 8), np.float32))
        blurred = nn.functional.avg_pool2d(picture[None], 3, 1, 1)[0]
        if index == self.options.get("broken"):
            blurred = blurred * torch.nan
        return {"name": f"picture {index}", "picture": picture, "blurred": blurred}


class ErrorMeter:
    def __init__(self):
        self.error = ExactSum()
        self.names = []

    def update(self, name, error):
        self.names.append(name)
        self.error.add(error)

    def merge(self, other):
        assert not set(self.names) & set(other.names)
        self.names += other.names
        self.error.merge(other.error)

    def compute(self):
        return {"error": self.error.mean, "pictures": float(len(self.names)), "nothing": float("nan")}


class ToyTask:
    headline = "error"
    larger_is_better = False

    def __init__(self, recipe):
        self.recipe = recipe

    def model(self):
        model = Blur()
        if self.recipe.model.get("plain"):  # nothing that depends on how the samples are shared out
            model.norm, model.dropout = nn.Identity(), nn.Identity()
        return model

    def layer(self, name):
        return int(name.split(".")[1]) if name.startswith("backbone.") else None

    def training_data(self, length):
        return Blurs(length, self.recipe.seed, self.recipe.data.options)

    def validation_data(self):
        return Blurs(self.recipe.data.options.get("validation", 5), 1000, {})

    def collate(self, items):
        batch = {name: torch.stack([item[name] for item in items]) for name in ("picture", "blurred")}
        return batch | {"names": [item["name"] for item in items]}

    def loss(self, model, batch):
        difference = model(batch["picture"]) - batch["blurred"]
        loss = difference.square().mean()
        return loss, {"absolute": float(difference.detach().abs().mean())}

    def meter(self):
        return ErrorMeter()

    def measure(self, model, batch, meter):
        assert not model.training
        errors = (model(batch["picture"]) - batch["blurred"]).square().mean(dim=(1, 2, 3))
        for name, error in zip(batch["names"], errors, strict=True):
            meter.update(name, float(error))

    def save(self, model, folder):
        folder.mkdir()
        save_file(model.state_dict(), folder / "model.safetensors")


def measured(folder, recipe):
    """What a saved model measures, without the loop; without a folder, what a run starts from."""
    task = ToyTask(recipe)
    torch.manual_seed(recipe.seed)
    model = task.model().eval()
    if folder is not None:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    meter, data = task.meter(), task.validation_data()
    with torch.no_grad():
        for start in range(0, len(data), recipe.batch_size):
            items = [data[i] for i in range(start, min(start + recipe.batch_size, len(data)))]
            task.measure(model, task.collate(items), meter)
    return meter.compute()
