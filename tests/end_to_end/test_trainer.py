"""transformers' `Trainer` takes the models as they are: it trains, evaluates, saves, resumes, and the files open."""

import pytest
import torch
from torch.utils.data import Dataset

from models.dpt.tiny import tiny_config as dpt_config
from models.mask2former.tiny import tiny_config as mask2former_config
from models.vitmatte.tiny import tiny_config as vitmatte_config
from perpixel import (
    DPTForDepthEstimation,
    DPTForSemanticSegmentation,
    Mask2FormerForUniversalSegmentation,
    VitMatteForImageMatting,
)

transformers = pytest.importorskip("transformers")


class Random(Dataset):
    def __init__(self, channels, labels):
        self.channels, self.labels = channels, labels

    def __len__(self):
        return 6

    def __getitem__(self, index):
        torch.manual_seed(index)
        return {"pixel_values": torch.rand(self.channels, 64, 64), **self.labels()}


def stacked(items):
    lists = {"mask_labels", "class_labels"}
    return {
        key: [item[key] for item in items] if key in lists else torch.stack([item[key] for item in items])
        for key in items[0]
    }


MODELS = {
    "vitmatte": (
        lambda: VitMatteForImageMatting(vitmatte_config()),
        Random(4, lambda: {"labels": torch.rand(1, 64, 64)}),
    ),
    "dpt-depth": (
        lambda: DPTForDepthEstimation(dpt_config()),
        Random(3, lambda: {"labels": torch.rand(64, 64) + 0.5}),
    ),
    "dpt-semantic": (
        lambda: DPTForSemanticSegmentation(dpt_config(num_labels=2)),
        Random(3, lambda: {"labels": torch.randint(0, 2, (64, 64))}),
    ),
    "mask2former": (
        lambda: Mask2FormerForUniversalSegmentation(mask2former_config()),
        Random(3, lambda: {"mask_labels": (torch.rand(2, 64, 64) > 0.5).float(), "class_labels": torch.tensor([0, 1])}),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_two_steps_of_the_trainer(name, tmp_path):
    build, data = MODELS[name]
    torch.manual_seed(0)
    model = build()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    settings = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        activation_checkpointing=True,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model, settings, data_collator=stacked, train_dataset=data, eval_dataset=data)
    trainer.train()
    assert sum(not torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items()) > 20
    assert trainer.evaluate()["eval_loss"] > 0

    trainer.save_model(str(tmp_path / "weights"))
    model.save_pretrained(tmp_path / "whole")
    weights = tmp_path / "weights" / "model.safetensors"
    for again in (
        type(model).from_pretrained(weights, config=model.config),
        type(model).from_pretrained(tmp_path / "whole"),
    ):
        after = again.state_dict()
        assert all(torch.equal(tensor, after[key]) for key, tensor in model.state_dict().items())
    resumed = transformers.Trainer(build(), settings, data_collator=stacked, train_dataset=data, eval_dataset=data)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert resumed.state.global_step == 2
