"""`px.train` from generated pictures to a model that the tasks open: one family after the other."""

import json

import numpy as np
import pytest

import perpixel as px
from train.families import small_recipe
from train.pictures import scene

RUNS = {
    "vitmatte": ({"learning_rate": 3e-3}, "sad"),
    "mask2former-panoptic": ({"learning_rate": 2e-3}, "pq"),
    "dpt-semantic": ({"learning_rate": 3e-3}, "mean_iou"),
    "dpt-relative": ({"learning_rate": 3e-3}, "abs_rel"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_training_lowers_the_loss_and_the_task_opens_the_result(name, tmp_path):
    changes, headline = RUNS[name]
    recipe = small_recipe(name, tmp_path, steps=40, validate_every=20, save_every=20, **changes)
    best = px.train(recipe)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    assert any(headline in str(line) for line in lines)

    image, inside = scene(100)
    if name == "vitmatte":
        trimap = np.where(inside, np.uint8(255), np.uint8(0))
        trimap[:, 30:40] = 128
        assert px.matte(image, trimap, model=best).alpha.shape == inside.shape
    elif name == "dpt-relative":
        assert px.depth(image, model=best).values.shape == inside.shape
    else:
        found = px.segment(image, model=best)
        assert {segment.label for segment in found} <= {"square", "dark", "bright"}
