"""What training measures on held-out images is what `px.evaluate` measures of the saved model."""

import pytest
import torch

import perpixel as px
from perpixel.train.tasks import training_task
from train.families import FAMILIES, small_recipe


@pytest.mark.parametrize("name", FAMILIES)
def test_the_measures_of_training_are_those_of_evaluation(name, tmp_path):
    task_name, layout = FAMILIES[name][:2]
    data = {"layout": layout, "root": str(tmp_path / "data")}
    torch.manual_seed(0)
    task = training_task(small_recipe(name, tmp_path, validation=data, augment={"crop": [64, 64], "scale_of": "cover"}))
    model, meter = task.model().eval(), task.meter()
    held = task.validation_data()
    with torch.no_grad():
        for number in range(len(held)):
            task.measure(model, task.collate([held[number]]), meter)
    task.save(model, tmp_path / "saved")
    rules = {"band": 10} if task_name == "matting" else None
    found = px.evaluate(
        tmp_path / "saved", dataset=layout, root=tmp_path / "data", split="train", task=task_name, rules=rules, worst=0
    )
    expected = meter.compute()
    same = {key: value for key, value in found.measures.items() if key in expected}
    assert task.headline in same
    assert same == pytest.approx({key: expected[key] for key in same}, rel=1e-6, nan_ok=True)
