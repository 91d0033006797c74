"""The training loop on a toy: it learns, stops and goes on exactly, keeps what is good, and says what went wrong."""

import errno
import json
import math
import os
import signal
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from perpixel.errors import CheckpointError, ConfigError, OutputError, PerpixelError
from perpixel.train import loop
from perpixel.train.loop import train
from perpixel.train.recipe import DataRecipe, load_recipe
from train.toy_task import Blur, ErrorMeter, ToyTask, measured, toy_recipe


class Killed(Exception):
    pass


def run(output, task=ToyTask, **changes):
    recipe = toy_recipe(output, **changes)
    return train(recipe, task(recipe))


def log(output):
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def killed_at(batch):
    """The toy, whose process dies in a batch of the training, counted from 1."""

    class Mortal(ToyTask):
        count = 0

        def loss(self, model, batch_):
            Mortal.count += 1
            if Mortal.count == batch:
                raise Killed
            return super().loss(model, batch_)

    return Mortal


def same(folder, other):
    ours, theirs = load_file(folder / "model.safetensors"), load_file(other / "model.safetensors")
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# What a run gives


def test_it_learns_and_keeps_the_best(tmp_path):
    best = run(tmp_path / "run", steps=30, batch_size=4, validate_every=10, learning_rate=0.03, average=0.9)
    assert best == tmp_path / "run" / "best"
    lines = log(tmp_path / "run")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    errors = {line["step"]: line["validation"]["error"] for line in lines if "validation" in line}
    assert list(errors) == [0, 10, 20, 30]
    assert errors[0] == measured(None, toy_recipe(tmp_path, batch_size=4))["error"]
    assert measured(best, toy_recipe(tmp_path, batch_size=4))["error"] == min(errors.values())
    assert measured(best.parent / "last", toy_recipe(tmp_path, batch_size=4))["error"] == errors[30]
    assert not [path for path in best.parent.iterdir() if path.name.startswith(".")]


def test_what_is_measured_and_saved_is_the_average(tmp_path):
    folder = run(tmp_path / "averaged", average=0.9, steps=2)
    state = torch.load(folder.parent / "state.pt", weights_only=True)
    weights = load_file(folder.parent / "last" / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in state["average"].items())
    assert not torch.equal(weights["head.weight"], state["model"]["head.weight"])
    folder = run(tmp_path / "plain", average=0.0, steps=2)
    plain = load_file(folder.parent / "last" / "model.safetensors")
    assert torch.equal(plain["head.weight"], state["model"]["head.weight"])


def test_two_small_batches_are_one_large_one(tmp_path):
    changes = {"steps": 4, "save_every": 9, "validate_every": 9, "average": 0.0}

    class Plain(ToyTask):
        def model(self):
            model = super().model()
            model.norm, model.dropout = nn.Identity(), nn.Identity()
            return model

    run(tmp_path / "large", Plain, batch_size=4, **changes)
    run(tmp_path / "small", Plain, batch_size=2, accumulate=2, **changes)
    (_, large, at_end), (_, small, _) = log(tmp_path / "large"), log(tmp_path / "small")
    assert small["loss"] == pytest.approx(large["loss"], rel=1e-5)
    assert small["gradient_norm"] == pytest.approx(large["gradient_norm"], rel=1e-5)
    weights = [load_file(tmp_path / name / "last" / "model.safetensors") for name in ("large", "small")]
    assert all(torch.allclose(weights[1][name], tensor, atol=1e-6) for name, tensor in weights[0].items())
    assert at_end["validation"]["pictures"] == 5


def test_gradients_are_clipped(tmp_path):
    run(tmp_path / "free", clip=0.0, steps=1)
    run(tmp_path / "held", clip=0.1, steps=1)
    free, held = (log(tmp_path / name)[1]["gradient_norm"] for name in ("free", "held"))
    assert free == held > 0.1  # what is logged is the norm before
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True)["optimizer"] for name in ("free", "held")]
    moments = [state["state"]["head.weight"]["exp_avg"] for state in states]
    assert torch.allclose(moments[1], moments[0] * 0.1 / free, rtol=1e-4)


def test_the_rate_of_each_step_is_the_schedules(tmp_path):
    run(tmp_path, steps=4, warmup=2, schedule="constant", save_every=1, backbone_rate=0.5)
    assert [line["rate"] for line in log(tmp_path) if "rate" in line] == [0.005, 0.01, 0.01, 0.01]
    groups = torch.load(tmp_path / "state.pt", weights_only=True)["optimizer"]["param_groups"]
    rates = {name: group["lr"] for group in groups for name in group["params"]}
    assert rates["backbone.1.weight"] == 0.005 and rates["head.bias"] == 0.01


def test_frozen_modules_stay_as_they_are(tmp_path):
    class Frozen(ToyTask):
        def model(self):
            model = super().model()
            model.norm.requires_grad_(False).eval()
            return model

        def measure(self, model, batch, meter):
            super().measure(model, batch, meter)
            assert not model.dropout.training

        def loss(self, model, batch):
            assert model.dropout.training and not model.norm.training
            return super().loss(model, batch)

    folder = run(tmp_path, Frozen)
    weights = load_file(folder / "model.safetensors")
    assert torch.equal(weights["norm.running_mean"], torch.zeros(4))
    assert torch.equal(weights["norm.weight"], torch.ones(4))


def test_without_held_out_samples_the_last_model_is_the_best(tmp_path):
    folder = run(tmp_path, data=DataRecipe("toy", options={"validation": 0}))
    assert same(folder, folder.parent / "last")
    assert "Nothing was measured" in (folder / "README.md").read_text()


def test_fewer_samples_may_be_measured(tmp_path):
    run(tmp_path, steps=3, validation_samples=3)
    assert log(tmp_path)[-1]["validation"]["pictures"] == 3


def test_a_run_ends_early_without_a_gain(tmp_path):
    class Stuck(ToyTask):
        larger_is_better = True  # the error falls, so this never gains

    folder = run(tmp_path, Stuck, steps=100, validate_every=2, patience=2, save_every=50)
    assert [line["step"] for line in log(tmp_path) if "validation" in line] == [0, 2, 4, 6]
    assert torch.load(tmp_path / "state.pt", weights_only=True)["position"]["step"] == 6
    assert "step 2 of 6" in (folder / "README.md").read_text()
    before = log(tmp_path)
    assert run(tmp_path, Stuck, steps=100, validate_every=2, patience=2, save_every=50) == folder
    assert log(tmp_path) == before


def test_a_measure_that_is_no_number_never_wins(tmp_path):
    class Nothing(ToyTask):
        def meter(self):
            return Sometimes()

    class Sometimes(ErrorMeter):
        def compute(self):
            Sometimes.count += 1
            return {"error": {1: 1.0, 3: 5.0}.get(Sometimes.count, math.nan)}  # the first is before any step

        count = 0

    run(tmp_path, Nothing, steps=8, validate_every=2)
    position = torch.load(tmp_path / "state.pt", weights_only=True)["position"]
    assert (position["best_step"], position["best"], position["waiting"]) == (4, {"error": 5.0}, 2)


def test_trackers_are_told(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, trackers=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "perpixel"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in log(tmp_path) if "loss" in line]
    assert [event.step for event in events.Scalars("validation/error")] == [0, 3, 6]


def test_gradient_checkpointing_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="Blur has no gradient checkpointing"):
        run(tmp_path, gradient_checkpointing=True)
    asked = []

    class Able(ToyTask):
        def model(self):
            model = super().model()
            model.gradient_checkpointing_enable = lambda: asked.append(True)
            return model

    run(tmp_path, Able, gradient_checkpointing=True, steps=1)
    assert asked == [True]


def test_half_precision_trains(tmp_path):
    run(tmp_path / "bf16", precision="bf16", steps=3)
    run(tmp_path / "no", steps=3)  # in the same process
    half, full = (log(tmp_path / name)[1]["loss"] for name in ("bf16", "no"))
    assert half != full and half == pytest.approx(full, rel=0.02)
    weights = load_file(tmp_path / "bf16" / "best" / "model.safetensors")
    assert weights["head.weight"].dtype == torch.float32


# Stopping and going on


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "average": 0.0}, {"workers": 1}])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path, changes):
    run(tmp_path / "whole", steps=8, **changes)
    with pytest.raises(Killed):
        run(tmp_path / "stopped", killed_at(6 * changes.get("accumulate", 1)), steps=8, **changes)
    assert log(tmp_path / "stopped")[-1]["step"] == 4
    torch.rand(7)  # whatever else the process did in between
    run(tmp_path / "stopped", steps=8, **changes)
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")
    for name in ("best", "last"):
        assert same(tmp_path / "stopped" / name, tmp_path / "whole" / name)
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "stopped")]
    for part in ("model", "average"):
        assert all(torch.equal(states[1][part][name], tensor) for name, tensor in states[0][part].items()), part
    moments = [state["optimizer"]["state"] for state in states]
    assert moments[0].keys() <= moments[1].keys()  # what has no gradient may get an empty state
    assert all(torch.equal(moments[1][i]["exp_avg_sq"], moments[0][i]["exp_avg_sq"]) for i in moments[0])


def test_a_finished_run_is_left_as_it_is(tmp_path):
    folder = run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert run(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before


def test_a_finished_run_may_go_on_for_longer(tmp_path):
    run(tmp_path, steps=4, schedule="constant")
    run(tmp_path, steps=6, schedule="constant", validate_every=2, workers=0)
    run(tmp_path / "once", steps=6, schedule="constant")
    assert same(tmp_path / "last", tmp_path / "once" / "last")


def test_ctrl_c_saves_the_step_and_the_run_goes_on_from_it(tmp_path):
    class Stopped(ToyTask):
        def loss(self, model, batch):
            if batch["names"] == ["picture 6", "picture 7"]:
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(model, batch)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stopped, steps=6, save_every=100, validate_every=100)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["position"]["step"] == 4
    run(tmp_path / "stopped", steps=6, save_every=100, validate_every=100)
    run(tmp_path / "whole", steps=6, save_every=100, validate_every=100)
    assert same(tmp_path / "stopped" / "last", tmp_path / "whole" / "last")


def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    class Stopped(ToyTask):
        def loss(self, model, batch):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)  # the launcher's: the same one
            now = time.monotonic()
            monkeypatch.setattr(time, "monotonic", lambda: now + 2)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stopped)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "state.pt").exists()


def test_a_cluster_may_stop_it_too(tmp_path):
    class Stopped(ToyTask):
        def loss(self, model, batch):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(model, batch)

    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, Stopped)
    assert stopped.value.code == 143
    assert torch.load(tmp_path / "state.pt", weights_only=True)["position"]["step"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.5}, r"has another learning_rate \(0\.01, now 0\.5\): give another output, or remove"),
        ({"batch_size": 3}, r"another batch_size \(2, now 3\)"),
        ({"model": {"a": 1}}, r"another model \(\{\}, now \{'a': 1\}\)"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path, change, message):
    run(tmp_path, steps=1)
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, steps=2, **change)


@pytest.mark.parametrize("damage", [b"cut off", b"", b"PK\x03\x04 and no more"])
def test_a_damaged_state_is_refused(tmp_path, damage):
    (tmp_path / "state.pt").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"cannot go on .*give another output, or remove .*state\.pt"):
        run(tmp_path)


def test_a_state_of_another_format_is_refused(tmp_path):
    torch.save({"model": {}, "step": 1}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="cannot go on"):
        run(tmp_path)


def test_the_recipe_lies_beside_the_run(tmp_path):
    run(tmp_path, steps=1)
    assert load_recipe(tmp_path / "recipe.yaml") == toy_recipe(tmp_path, steps=1)


# What goes wrong


@pytest.mark.parametrize(("broken", "kept"), [(9, "the state of step 4 is kept"), (3, "nothing was saved yet")])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, broken, kept):
    message = rf"loss is nan in step {broken // 2 + 1}, with the samples picture \d+, picture \d+: .*{kept}"
    with pytest.raises(PerpixelError, match=message) as stopped:
        run(tmp_path, data=DataRecipe("toy", options={"broken": broken}))
    assert f"picture {broken}" in str(stopped.value)
    if broken == 9:
        weights = load_file(tmp_path / "last" / "model.safetensors")
        assert all(tensor.isfinite().all() for tensor in weights.values())
        assert torch.load(tmp_path / "state.pt", weights_only=True)["position"]["step"] == 4


def test_a_gradient_that_is_no_number_stops_the_run(tmp_path):
    class Steep(ToyTask):
        def loss(self, model, batch):
            loss, terms = super().loss(model, batch)
            zero = (loss - loss.detach()).abs()
            return loss + zero.sqrt(), terms  # the root's slope at 0 has no bounds

    with pytest.raises(PerpixelError, match=r"the gradient's norm is nan in step 1"):
        run(tmp_path, Steep)
    assert not (tmp_path / "state.pt").exists()


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("place", "name"), [(torch, "save"), (ToyTask, "save")], ids=["state", "model"])
def test_a_full_disk_leaves_what_was_saved_before(tmp_path, monkeypatch, place, name):
    run(tmp_path, steps=2)
    state = (tmp_path / "state.pt").read_bytes()
    last = load_file(tmp_path / "last" / "model.safetensors")["head.weight"]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, full)
        message = r"cannot save step 4 .*No space left on device.*make room there .*the state of step 2 is whole"
        with pytest.raises(OutputError, match=message):
            run(tmp_path, steps=4, validate_every=9)
    assert (tmp_path / "state.pt").read_bytes() == state
    now = load_file(tmp_path / "last" / "model.safetensors")["head.weight"]
    assert torch.equal(now, last) == (place is ToyTask)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    run(tmp_path, steps=4)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["position"]["step"] == 4


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write to .*file/run"):
        run(tmp_path / "file" / "run")


def test_trackers_that_there_are_not(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no tracker 'tensorbord': Accelerate has .*tensorboard"):
        run(tmp_path, trackers=["tensorbord"])


def test_nothing_left_to_train(tmp_path):
    class Frozen(ToyTask):
        def model(self):
            return Blur().requires_grad_(False)

    with pytest.raises(ConfigError, match="nothing is left to train"):
        run(tmp_path, Frozen)


def test_the_seed_of_a_batch_depends_on_all_that_names_it():
    seeds = {loop._seed(seed, item, part, 0) for seed in range(3) for item in range(50) for part in range(2)}
    assert len(seeds) == 300
    assert loop._seed(1, 2, 0) == loop._seed(1, 2, 0)
