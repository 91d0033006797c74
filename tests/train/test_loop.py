"""The training loop on a tiny model: it learns, and a run that was stopped ends as if it had not been."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from models.vitmatte.tiny import tiny_config, tiny_model
from perpixel.errors import CheckpointError, ConfigError
from perpixel.models.vitmatte.model import VitMatteForImageMatting
from perpixel.models.vitmatte.processor import VitMatteImageProcessor
from perpixel.train import loop
from perpixel.train.loop import train
from perpixel.train.matting import MattingTask
from perpixel.train.recipe import DataRecipe, Recipe


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Coloured gradients that stand for photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(6):
        corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
        Image.fromarray(corners).resize((96, 80), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def recipe(photographs, tmp_path):
    def make(**changes):
        fields = {
            "model": tiny_config(drop_path_rate=0.3, dropout_prob=0.1).to_dict(),
            "data": DataRecipe(backgrounds=[str(photographs)], size=32),
            "output": str(tmp_path / "run"),
            "steps": 6,
            "batch_size": 2,
            "warmup": 2,
            "average": 0.5,
            "save_every": 3,
            "validate_every": 100,
            "validation_samples": 2,
        }
        return Recipe(**fields | changes)

    return make


class Killed(Exception):
    pass


def stop_at(monkeypatch, step):
    """Let the process die in the backward pass of a step, counted from 1."""
    original, count = MattingTask.loss, 0

    def loss(self, model, batch):
        nonlocal count
        count += 1
        if count == step:
            raise Killed
        return original(self, model, batch)

    monkeypatch.setattr(MattingTask, "loss", loss)


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [2, 5])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(recipe, monkeypatch, tmp_path, killed_at):
    whole = train(recipe(output=str(tmp_path / "whole")))
    with monkeypatch.context() as patch:
        stop_at(patch, killed_at)
        with pytest.raises(Killed):
            train(recipe())
    torch.rand(7)  # whatever else the process did in between
    resumed = train(recipe())
    expected, weights = load_file(whole / "model.safetensors"), load_file(resumed / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    states = [torch.load(folder.parent / "last.pt", weights_only=True) for folder in (whole, resumed)]
    for part in ("model", "average"):
        assert all(torch.equal(states[1][part][name], tensor) for name, tensor in states[0][part].items()), part
    assert states[0]["step"] == states[1]["step"] == 6
    moments = [state["optimizer"]["state"] for state in states]
    assert all(torch.equal(moments[1][i]["exp_avg_sq"], moments[0][i]["exp_avg_sq"]) for i in moments[0])


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(recipe):
    folder = train(recipe(steps=2, save_every=10))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert train(recipe(steps=2, save_every=10)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_stopped_between_its_two_files_loses_no_model(recipe, monkeypatch):
    def fail(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", fail)
        with pytest.raises(Killed):
            train(recipe(steps=2))
    folder = train(recipe(steps=2))
    assert (folder / "model.safetensors").is_file()
    assert torch.load(folder.parent / "last.pt", weights_only=True)["step"] == 2


@pytest.mark.slow
def test_training_learns_and_what_it_saves_loads(recipe):
    steps = recipe(
        model=tiny_config().to_dict(), steps=120, batch_size=4, learning_rate=1e-2, average=0.9, validate_every=60
    )
    folder = train(steps)
    lines = [json.loads(line) for line in (folder.parent / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 and losses[1] < 0.9 * losses[0]
    measures = [line["validation"] for line in lines if "validation" in line]
    assert len(measures) == 2 and measures[0].keys() == {"mad", "mse"}
    model = VitMatteForImageMatting.from_pretrained(folder)
    assert model.config == tiny_config()
    assert VitMatteImageProcessor.from_pretrained(folder).size_divisibility == 32
    again = train(recipe(start=str(folder), model={}, output=str(folder.parent / "more"), steps=1))
    assert VitMatteForImageMatting.from_pretrained(again).config == tiny_config()


# What does not take a whole run


def test_the_seed_of_a_step_depends_on_all_that_names_it():
    seeds = {loop._step_seed(seed, step, process) for seed in range(3) for step in range(50) for process in range(2)}
    assert len(seeds) == 300
    assert loop._step_seed(1, 2, 0) == loop._step_seed(1, 2, 0)


def test_averages_follow_quickly_at_first():
    average, count = torch.tensor([0.0]), torch.tensor(0)
    update = loop.moving_average(0.5)
    distance = 1.0
    for step, kept in [(0, 1 / 10), (2, 3 / 12), (100, 0.5)]:
        update([average, count], [torch.tensor([1.0]), torch.tensor(step)], torch.tensor(step))
        distance *= kept
        assert average.item() == pytest.approx(1 - distance)
        assert count == step  # batch counts are copied


def test_only_vitmatte_can_be_trained(recipe):
    with pytest.raises(ConfigError, match="family is 'dpt'"):
        train(recipe(family="dpt"))


def test_a_run_of_another_model_is_not_resumed(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    state = {"model": {}, "average": {}, "optimizer": {}, "step": 1}
    torch.save(state, tmp_path / "run" / "last.pt")
    with pytest.raises(CheckpointError, match=r"run cannot be resumed .*choose another output, or remove last\.pt"):
        train(recipe())
    (tmp_path / "run" / "last.pt").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train(recipe())


def test_groups_hold_every_parameter_once(recipe):
    task = MattingTask(recipe(learning_rate=1.0, backbone_rate=0.25, weight_decay=0.5))
    model = task.model()
    groups = task.groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    grouped = {names.pop(id(p)): group for group in groups for p in group["params"]}
    assert not names
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in grouped.items()}
    assert rates["backbone.encoder.layer.0.attention.qkv.weight"] == (0.25, 0.5)
    assert rates["backbone.encoder.layer.0.attention.rel_pos_h"] == (0.25, 0.0)
    assert rates["backbone.embeddings.position_embeddings"] == (0.25, 0.0)
    assert rates["decoder.fusion_blocks.0.conv.conv.weight"] == (1.0, 0.5)
    assert rates["decoder.fusion_blocks.0.conv.batch_norm.weight"] == (1.0, 0.0)


def test_the_loss_is_weighted_and_the_measures_are_of_the_unknown(recipe):
    task = MattingTask(recipe(loss={"known": 0.0, "gradient": 2.0}))
    batch = {"pixel_values": torch.zeros(1, 4, 32, 32), "labels": torch.zeros(1, 1, 32, 32)}
    batch["pixel_values"][:, 3, :, :8] = 0.5
    model = tiny_model()
    with torch.no_grad():
        total, terms = task.loss(model, batch)
        alphas = model(batch["pixel_values"]).alphas
        measures = task.measure(model, batch)
    assert float(total) == pytest.approx(terms["unknown"] + terms["laplacian"] + 2 * terms["gradient"], rel=1e-5)
    assert measures["mad"] == pytest.approx(float(alphas[..., :8].mean()), rel=1e-5)
    assert measures["mse"] == pytest.approx(float(alphas[..., :8].square().mean()), rel=1e-5)
    with pytest.raises(ConfigError, match=r"loss has \['lapalcian'\]: the terms are known, unknown, laplacian"):
        MattingTask(recipe(loss={"lapalcian": 1.0}))


def test_the_starts_that_a_recipe_may_name(recipe, tmp_path):
    source = tiny_model()
    source.save_pretrained(tmp_path / "start")
    model = MattingTask(recipe(start=str(tmp_path / "start"), model={}, batch_norm_momentum=0.2)).model()
    assert model.training
    assert torch.equal(
        model.decoder.fusion_blocks[0].conv.conv.weight, source.decoder.fusion_blocks[0].conv.conv.weight
    )
    assert {m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.2}
    other = tiny_config(num_hidden_layers=1, residual_block_indices=[]).to_dict()
    with pytest.raises(ConfigError, match=r"model is another one than that of .*start: leave out model, or start"):
        MattingTask(recipe(start=str(tmp_path / "start"), model=other)).model()
